"""What a network takes: images, tokens or plain arrays, and how an example is made ready for it, step by step.

Pixels are always red, green, blue on a 0-1 scale outside the network; what a network was trained on instead (another
mean, blue first) is `ImageInput.normalise`, and `denormalise` undoes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args, overload

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from PIL import Image
from torch import Tensor

from ..records import BadInput

Interpolation = Literal["bilinear", "bicubic", "nearest", "lanczos"]
Order = Literal["rgb", "bgr"]

TensorBatch = Float[Tensor, "batch channel height width"]
ArrayBatch = Float[np.ndarray, "batch channel height width"]
Crop = UInt8[np.ndarray, "height width channel"]

_KEYS = ("size", "channels", "mean", "std", "resize", "interpolation", "order")
_RESAMPLING = {name: Image.Resampling[name.upper()] for name in get_args(Interpolation)}
_LONGEST = 1 << 14  # pixels of a side: more would be a slip of the pen, and fill the memory
_LARGEST = 1 << 26  # pixels of a picture that is resized whole, numbers of an array
_ORIENTATION = 0x0112
# What each value of the EXIF orientation asks for; 1 is upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """A network that takes images.

    Attributes:
        size: height and width of what the network is given, in pixels.
        channels: 3 for colour, 1 for grey.
        mean, std: one a channel, on a 0-1 scale of pixels, in the order in which the network takes its channels.
        resize: the shorter side is resized to this many pixels, and the centre is cut out; None: the picture is resized
            straight to `size`, whatever its proportions.
        interpolation: the filter of the resizing (Pillow's, which averages when it shrinks).
        order: the order in which the network takes colours.

    Raises:
        BadInput: if the values cannot be, each by its name.
    """

    size: tuple[int, int]
    channels: Literal[1, 3] = 3
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int | None = None
    interpolation: Interpolation = "bilinear"
    order: Order = "rgb"

    def __post_init__(self) -> None:
        if len(self.size) != 2 or not all(0 < side <= _LONGEST for side in self.size):
            raise BadInput(
                f"an image of {self.size} pixels cannot be",
                where="size",
                fix=f"give height and width, each from 1 to {_LONGEST}",
            )
        _known_channels(self.channels)
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != self.channels or not all(math.isfinite(value) for value in values):
                raise BadInput(
                    f"{_joined(values)} is not one number a channel",
                    where=name,
                    fix=f"give {self.channels} or one for all",
                )
        if min(self.std) <= 0:
            raise BadInput(f"pixels cannot be divided by {_joined(self.std)}", where="std", fix="give numbers above 0")
        if self.resize is not None and self.resize > _LONGEST:
            raise BadInput(f"{self.resize} pixels are too many", where="resize", fix=f"give at most {_LONGEST}")
        if self.resize is not None and self.resize < max(self.size):
            raise BadInput(
                f"{self.resize} pixels are fewer than the {max(self.size)} that are cut out of them",
                where="resize",
                fix="give at least the longer side of size, or none to resize straight to size",
            )
        _known("interpolation", self.interpolation, tuple(_RESAMPLING))
        _known("order", self.order, get_args(Order))

    def crop(self, image: Image.Image | np.ndarray) -> Crop:
        """The pixels that the network sees of `image`, red first whatever `order` says: fit to be shown.

        The picture is turned upright as its EXIF data say, its transparent parts are laid on white, 16-bit values are
        scaled to 8 bits, grey and colour are turned into each other.

        Args:
            image: a PIL image, or an array [height, width] or [height, width, channel] with 1 to 4 channels (2 and 4:
                with alpha): uint8, uint16, bool, or float on a 0-1 scale.

        Raises:
            BadInput: if the image is empty, of an unknown kind, or has values out of range.
        """
        picture = _picture(image).convert("L" if self.channels == 1 else "RGB")
        if not (picture.width and picture.height):
            raise BadInput("this image has no pixels", where=f"{picture.width} x {picture.height}", fix="remove it")
        pixels = np.array(self._resized(picture))
        return pixels[:, :, None] if self.channels == 1 else pixels

    def _resized(self, picture: Image.Image) -> Image.Image:
        height, width = self.size
        how = _RESAMPLING[self.interpolation]
        if self.resize is None:
            return picture.resize((width, height), how)
        # As torchvision and timm count: the longer side rounded down, the corner of the centre to the nearest even.
        short = min(picture.size)
        whole = self.resize * picture.width // short, self.resize * picture.height // short
        left, top = round((whole[0] - width) / 2), round((whole[1] - height) / 2)
        if math.prod(whole) <= _LARGEST:
            return picture.resize(whole, how).crop((left, top, left + width, top + height))
        # A picture one pixel high and very wide would fill the memory when resized whole: resize only what is kept.
        across, down = picture.width / whole[0], picture.height / whole[1]
        box = (left * across, top * down, (left + width) * across, (top + height) * down)
        return picture.resize((width, height), how, box=box)

    @overload
    def normalise(self, pixels: TensorBatch) -> TensorBatch: ...
    @overload
    def normalise(self, pixels: ArrayBatch) -> ArrayBatch: ...
    def normalise(self, pixels: TensorBatch | ArrayBatch) -> TensorBatch | ArrayBatch:
        """Pixels on a 0-1 scale, red first, to what the network takes. Keeps the kind, dtype, device and gradient.

        Raises:
            BadInput: if the channels are not as many as the network's.
        """
        ordered = self._ordered(pixels)
        return (ordered - self._a_channel(self.mean, ordered)) / self._a_channel(self.std, ordered)

    @overload
    def denormalise(self, values: TensorBatch) -> TensorBatch: ...
    @overload
    def denormalise(self, values: ArrayBatch) -> ArrayBatch: ...
    def denormalise(self, values: TensorBatch | ArrayBatch) -> TensorBatch | ArrayBatch:
        """What the network takes, back to pixels on a 0-1 scale, red first: undoes `normalise`; nothing is clipped.

        Raises:
            BadInput: if the channels are not as many as the network's.
        """
        return self._ordered(values * self._a_channel(self.std, values) + self._a_channel(self.mean, values))

    def prepare(self, image: Image.Image | np.ndarray) -> Float32[Tensor, "channel height width"]:
        """One image as the network takes it: `crop`, scaled to 0-1, `normalise`.

        Raises:
            BadInput: as `crop` does.
        """
        return self.stack([self.crop(image)])[0]

    def stack(self, crops: Sequence[Crop]) -> Float32[Tensor, "batch channel height width"]:
        """What `crop` gave for several images, as one batch that the network takes."""
        pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).to(torch.float32).div_(255)
        return self.normalise(pixels).contiguous()

    def steps(self) -> tuple[str, ...]:
        """How an image is made ready, in plain words, one step each."""
        height, width = self.size
        size = f"{height} x {width} pixels" if height == width else f"{height} (height) x {width} (width) pixels"
        if self.resize is None:
            sizing = (f"resized to {size} ({self.interpolation})",)
        else:
            sizing = (f"shorter side resized to {self.resize} pixels ({self.interpolation})", f"centre {size}")
        colours = ("turned to grey",) if self.channels == 1 else ()
        order = ("channels in the order blue, green, red",) if self.channels == 3 and self.order == "bgr" else ()
        scaling = "pixels scaled to 0-1"
        if any(self.mean):
            scaling += f", minus {_shown(self.mean)}"
        if any(value != 1 for value in self.std):
            scaling += f", divided by {_shown(self.std)}"
        return (*colours, *sizing, *order, scaling)

    def spec(self) -> str:
        """This input as the command line writes it; `parse_input` reads it back."""
        height, width = self.size
        size = str(height) if height == width else f"{height}x{width}"
        scale = _joined(self.mean), _joined(self.std)
        values = (size, self.channels, *scale, self.resize or "none", self.interpolation, self.order)
        return ",".join(f"{key}={value}" for key, value in zip(_KEYS, values, strict=True))

    def _ordered(self, values: Any) -> Any:
        if values.ndim != 4 or values.shape[1] != self.channels:
            raise BadInput(
                f"pixels of shape {tuple(values.shape)} do not fit a network of {self.channels} channels",
                where="ImageInput",
                fix="give [batch, channel, height, width]",
            )
        if self.order == "rgb" or self.channels == 1:
            return values
        return values.flip(1) if isinstance(values, Tensor) else values[:, ::-1]

    @staticmethod
    def _a_channel(numbers: tuple[float, ...], like: Any) -> Any:
        if isinstance(like, Tensor):
            return torch.tensor(numbers, dtype=like.dtype, device=like.device)[:, None, None]
        return np.asarray(numbers, like.dtype)[:, None, None]


def parse_input(text: str, base: ImageInput | None = None) -> ImageInput | ArrayInput:
    """Read an input as the command line writes it: `size=28,channels=1,mean=0,std=1`, or `shape=20x8` for arrays.

    Keys: `size` (pixels: one number, or HEIGHTxWIDTH), `channels` (1 or 3), `mean` and `std` (one number for all
    channels, or one each, as in 0.485/0.456/0.406, on a 0-1 scale of pixels), `resize` (the shorter side before the
    centre is cut out, or none), `interpolation` (bilinear, bicubic, nearest, lanczos), `order` (rgb, bgr). Or `shape`
    alone: of an array that is one example, without the batch axis.

    Args:
        text: keys and values. A key that is left out keeps `base`'s value; a new size without `resize` keeps the share
            of the picture that `base` cuts out. Without a base: 3 channels, mean 0, std 1, resized straight to size,
            bilinear, rgb.
        base: the network's own input.

    Raises:
        BadInput: if a key is unknown or given twice, a value cannot be read, or size is missing and there is no base.
    """
    given: dict[str, str] = {}
    for item in text.split(","):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not value:
            raise BadInput(
                f"{item.strip()!r} is not KEY=VALUE",
                where=f"input {text!r}",
                fix="write for example size=28,channels=1,mean=0,std=1",
            )
        if key not in (*_KEYS, "shape"):
            fix = f"use {', '.join(_KEYS)}, or shape alone for arrays"
            raise BadInput(f"{key!r} is not a key of an input", where=f"input {text!r}", fix=fix)
        if key in given:
            raise BadInput(f"{key!r} is given twice", where=f"input {text!r}", fix="give it once")
        given[key] = value
    if "shape" in given:
        if len(given) > 1:
            fix = "give shape alone, or size and what belongs to pictures"
            raise BadInput("a shape says that the input is no picture", where=f"input {text!r}", fix=fix)
        return ArrayInput(shape=tuple(_whole("shape", side) for side in given["shape"].split("x")))
    if base is None and "size" not in given:
        fix = "add size=PIXELS or size=HEIGHTxWIDTH; or shape=... alone for arrays"
        raise BadInput("the size is missing", where=f"input {text!r}", fix=fix)

    start = base or ImageInput(size=(1, 1), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    channels = _whole("channels", given["channels"]) if "channels" in given else start.channels
    _known_channels(channels)
    size = _size(given["size"]) if "size" in given else start.size
    if "resize" in given:
        resize = None if given["resize"].casefold() == "none" else _whole("resize", given["resize"])
    elif start.resize is not None and size != start.size:
        resize = max(round(start.resize * min(size) / min(start.size)), *size)
    else:
        resize = start.resize
    mean, std = (
        _broadcast(name, _numbers(name, given[name]) if name in given else getattr(start, name), channels)
        for name in ("mean", "std")
    )
    interpolation, order = given.get("interpolation", start.interpolation), given.get("order", start.order)
    _known("interpolation", interpolation, tuple(_RESAMPLING))
    _known("order", order, get_args(Order))
    return replace(
        start, size=size, channels=cast("Literal[1, 3]", channels), mean=mean, std=std, resize=resize,
        interpolation=cast("Interpolation", interpolation), order=cast("Order", order),
    )  # fmt: skip


def _known_channels(channels: int) -> None:
    if channels not in (1, 3):
        fix = "give 1 (grey) or 3 (colour)"
        raise BadInput(f"images of {channels} channels are not known", where="channels", fix=fix)


def _known(key: str, value: str, values: tuple[str, ...]) -> None:
    if value not in values:
        raise BadInput(f"{value!r} is not known", where=key, fix=f"give one of {', '.join(values)}")


def _whole(key: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10):
        example = "shape=16 or shape=20x8" if key == "shape" else f"{key}=224"
        raise BadInput(f"{text!r} is not a whole number", where=key, fix=f"write {example}, for example")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    sides = [_whole("size", side) for side in text.split("x")]
    if len(sides) > 2:
        raise BadInput(f"{text!r} is not a size", where="size", fix="write size=PIXELS or size=HEIGHTxWIDTH")
    return sides[0], sides[-1]


def _numbers(key: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split("/"))
    except ValueError:
        fix = f"write {key}=0.5 or {key}=0.485/0.456/0.406"
        raise BadInput(f"{text!r} is not a number a channel", where=key, fix=fix) from None


def _broadcast(key: str, values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """One number a channel, from one for all or one each; equal numbers for other channels count as one for all."""
    if len(values) == channels:
        return values
    if len(set(values)) != 1:
        raise BadInput(
            f"{_joined(values)} has {len(values)} numbers for {channels} channels",
            where=key,
            fix="give one, or one a channel",
        )
    return values[:1] * channels


def _joined(values: Sequence[float]) -> str:
    return "/".join(repr(float(value)).removesuffix(".0") for value in values)


def _shown(values: tuple[float, ...]) -> str:
    shown = ", ".join(f"{value:.3g}" for value in values)
    return shown if len(values) == 1 else f"({shown})"


def _picture(image: Image.Image | np.ndarray) -> Image.Image:
    """`image` upright and opaque, as an 8-bit picture of any such mode."""
    image = Image.fromarray(_bytes(image)) if isinstance(image, np.ndarray) else _upright(image)
    if image.mode == "F" or image.mode == "I" or image.mode.startswith("I;16"):
        return Image.fromarray(_bytes(np.asarray(image)))
    if image.mode == "La":
        image = image.convert("LA")
    try:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, (255, 255, 255, 255))
            return Image.alpha_composite(white, image)
        return image if image.mode == "L" else image.convert("RGB")
    except ValueError as error:
        raise BadInput(
            f"images of mode {image.mode} are not known", where=str(error), fix="save it as PNG or JPEG"
        ) from None


def _upright(image: Image.Image) -> Image.Image:
    image.load()  # a TIFF file is turned upright by Pillow when loaded, and forgets its orientation
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # EXIF data of strangers break in many ways, and the picture is good without
        return image
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _bytes(values: np.ndarray) -> UInt8[np.ndarray, "height width *channel"]:
    """An array of any kind of pixels as 8-bit ones, without an axis of one channel."""
    shape = " x ".join(map(str, values.shape))
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (2, 3, 4)) or not values.size:
        raise BadInput(
            "this array is not an image",
            where=f"shape {shape}",
            fix="give [height, width] or [height, width, 1 to 4 channels]",
        )
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    low, high = float(values.min()), float(values.max())  # NaN if there is one
    if values.dtype.kind == "f":
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            raise BadInput(
                f"float pixels go from {low:g} to {high:g}",
                where=f"shape {shape}",
                fix="scale them to 0-1, or give uint8",
            )
        return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    if values.dtype.kind in "iu":
        # A 32-bit picture says nowhere what white is: 8-bit values are taken as such, else 16 bits.
        if values.dtype.itemsize > 2 and low >= 0 and high <= 255:
            return values.astype(np.uint8)
        if values.dtype.itemsize >= 2 and low >= 0 and high <= 65535:
            return ((values.astype(np.int64) + 128) // 257).astype(np.uint8)
    raise BadInput(
        f"{values.dtype} pixels go from {low:g} to {high:g}", where=f"shape {shape}", fix="save them as 8 or 16 bits"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenInput:
    """A network that takes tokens.

    Attributes:
        tokenizer: a fast tokenizer, `tokenizers.Tokenizer` or one that wraps it as transformers does. A plain
            `Tokenizer` that would pad or truncate by itself is replaced by a copy that does not.
        context: the most tokens that the network takes.
        pad: the id that fills the places right of a text.
        add_bos: whether `bos` is put before a text that does not begin with it.
        bos: the id of the beginning of a text; None: the tokenizer's own.
        special_tokens: whether the tokenizer adds what it was trained to add ([CLS], [SEP]...).

    Raises:
        BadInput: if `context` is below 1, or `add_bos` is set and no such token is known.
    """

    tokenizer: Any
    context: int
    pad: int
    add_bos: bool = False
    bos: int | None = None
    special_tokens: bool = True

    def __post_init__(self) -> None:
        if self.context < 1:
            raise BadInput(f"a context of {self.context} tokens cannot be", where="context", fix="give 1 or more")
        if self.add_bos and self.bos is None:
            own = getattr(self.tokenizer, "bos_token_id", None)
            if own is None:
                raise BadInput(
                    "this tokenizer has no token for the beginning of a text",
                    where="bos",
                    fix="give its id, or add_bos=False",
                )
            object.__setattr__(self, "bos", int(own))
        if self._plain and (self.tokenizer.padding is not None or self.tokenizer.truncation is not None):
            alone = type(self.tokenizer).from_str(self.tokenizer.to_str())
            alone.no_padding()
            alone.no_truncation()
            object.__setattr__(self, "tokenizer", alone)

    @property
    def _plain(self) -> bool:
        return hasattr(self.tokenizer, "encode_batch")

    def encode(self, texts: Sequence[str]) -> tuple[Int64[Tensor, "batch position"], Bool[Tensor, "batch position"]]:
        """Token ids, padded on the right to the longest of these texts, and which of them are not padding.

        What does not fit into the context is dropped from a text's end. A text without tokens is a row of padding;
        there is always at least one position.

        Raises:
            BadInput: if a text is not valid Unicode.
        """
        rows = self._rows(list(texts))
        width = max((len(row) for row in rows), default=0) or 1
        ids = torch.full((len(rows), width), self.pad, dtype=torch.int64)
        mask = torch.zeros((len(rows), width), dtype=torch.bool)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = torch.tensor(row, dtype=torch.int64)
            mask[at, : len(row)] = True
        return ids, mask

    def tokens(self, ids: Sequence[int] | Int64[Tensor, " position"]) -> list[str]:
        """The tokens as a person reads them: a leading space is a space; bytes that are no character keep their name.

        An id that the tokenizer does not know (networks often have a few more rows than words) reads `<id>`.
        """
        return [self._token(int(token)) for token in ids]

    def steps(self) -> tuple[str, ...]:
        """How a text is made ready, in plain words, one step each."""
        special = "with" if self.special_tokens else "without"
        first = ("a beginning-of-text token put first",) if self.add_bos else ()
        return (
            f"cut into tokens by the network's own tokenizer ({special} its special tokens)",
            *first,
            f"at most {self.context} tokens, the rest dropped",
            f"shorter texts padded on the right with token {self.pad}, which is masked",
        )

    def _rows(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        try:
            if not self.add_bos:
                return self._ids(texts, self.context)
            begun = self._ids([""], self.context)[0][:1] == [self.bos]
            rows = self._ids(texts, self.context if begun else self.context - 1)
        except (UnicodeError, TypeError) as error:
            raise BadInput(
                "a text cannot be cut into tokens", where=str(error), fix="give valid Unicode text"
            ) from None
        return [row if row[:1] == [self.bos] else [cast("int", self.bos), *row][: self.context] for row in rows]

    def _ids(self, texts: list[str], limit: int) -> list[list[int]]:
        """Token ids of each text, at most `limit`, its special tokens kept."""
        if limit == 0:
            return [[] for _ in texts]
        if not self._plain:
            cut = {"add_special_tokens": self.special_tokens, "truncation": True, "max_length": limit, "padding": False}
            encoded = self.tokenizer(texts, return_attention_mask=False, return_token_type_ids=False, **cut)
            return [list(row)[:limit] for row in encoded["input_ids"]]
        encodings = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        room = limit - (self.tokenizer.num_special_tokens_to_add(False) if self.special_tokens else 0)
        for encoding in encodings:
            encoding.truncate(max(room, 0))
        if self.special_tokens:
            encodings = [self.tokenizer.post_process(encoding, None, True) for encoding in encodings]
        return [list(encoding.ids)[:limit] for encoding in encodings]

    def _token(self, token: int) -> str:
        if self._plain:
            piece = self.tokenizer.id_to_token(token)
        else:
            piece = self.tokenizer.convert_ids_to_tokens(token) if 0 <= token < len(self.tokenizer) else None
        if piece is None:
            return f"<{token}>"
        if "\u2581" in piece:  # SentencePiece's mark of a space, which its decoder drops at a text's beginning
            return piece.replace("\u2581", " ")
        text = self.tokenizer.decode([token], skip_special_tokens=False)
        return piece if not text or "\ufffd" in text else text


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayInput:
    """A network that takes arrays as they are.

    Attributes:
        shape: the shape of one example, without the batch axis.

    Raises:
        BadInput: if a size is below 1, or an example would fill the memory.
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.shape or min(self.shape) < 1 or math.prod(self.shape) > _LARGEST:
            shown = " x ".join(map(str, self.shape)) or "no size"
            raise BadInput(f"an example of {shown} numbers cannot be", where="shape", fix="give sizes from 1 on")

    def prepare(self, array: np.ndarray) -> Float32[Tensor, "*shape"]:
        """One example as float32, its values unchanged.

        Raises:
            BadInput: if the shape is another, or a value is NaN or infinite.
        """
        if tuple(array.shape) != self.shape:
            raise BadInput(
                f"an example of shape {tuple(array.shape)} does not fit a network that takes {self.shape}",
                where="ArrayInput",
                fix="reshape the data, or say what the network takes",
            )
        values = np.array(array, dtype=np.float32)
        if not np.isfinite(values).all():
            raise BadInput(
                "an example holds NaN or infinite values", where="ArrayInput", fix="remove it or fill them in"
            )
        return torch.from_numpy(values)

    def steps(self) -> tuple[str, ...]:
        """How an example is made ready, in plain words, one step each."""
        return (f"arrays of shape {' x '.join(map(str, self.shape))} as they are, in 32-bit floating point",)

    def spec(self) -> str:
        """This input as the command line writes it; `parse_input` reads it back."""
        return f"shape={'x'.join(map(str, self.shape))}"


NetworkInput = ImageInput | TokenInput | ArrayInput
