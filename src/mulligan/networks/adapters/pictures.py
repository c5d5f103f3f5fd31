"""How a folder of transformers says that pixels become input: preprocessor_config.json, read without running anything.

What a file leaves out is what the processor's class says, as transformers 5 does (its `image_processing_pil_*.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, NoReturn, cast

from PIL import Image

from ...records import BadInput
from ..inputs import ImageInput, Interpolation
from .folders import Folder

_FILTERS: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # as Pillow numbers them
_LARGEST = 1 << 26  # pixels of a picture that is resized whole, as in `ImageInput`
_HALF = [0.5, 0.5, 0.5]
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_CLIP = {
    "size": {"shortest_edge": 224}, "crop_size": 224, "do_center_crop": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
}  # fmt: skip
_ALL = {
    "do_resize": True, "do_center_crop": False, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
    "image_mean": _HALF, "image_std": _HALF, "resample": 3,
}  # fmt: skip
#: What each class of processors does where a file says nothing; a size that is one number is a square here...
_SQUARE: dict[str, dict[str, Any]] = {
    "Beit": {"size": 224, "crop_size": 224},
    "DeiT": {"size": 256, "crop_size": 224, "do_center_crop": True},
    "EfficientNet": {"size": 346, "crop_size": 289, "include_top": True},
    "Pvt": {"size": 224, **_IMAGENET},
    "Segformer": {"size": 512, "resample": 2, **_IMAGENET},
    "ViT": {"size": 224, "resample": 2},
}
#: ... and the shorter side here.
_SHORTEST: dict[str, dict[str, Any]] = {
    "Bit": _CLIP,
    "CLIP": _CLIP,
    "ConvNext": {"size": {"shortest_edge": 384}, "crop_pct": 224 / 256},
    "Levit": {"size": {"shortest_edge": 224}, "crop_size": 224, "do_center_crop": True, **_IMAGENET},
    "MobileNetV1": {"size": {"shortest_edge": 256}, "crop_size": 224, "do_center_crop": True, "resample": 2},
    "MobileNetV2": {"size": {"shortest_edge": 256}, "crop_size": 224, "do_center_crop": True, "resample": 2},
    "MobileViT": {
        "size": {"shortest_edge": 224}, "crop_size": 256, "do_center_crop": True, "do_normalize": False,
        "do_flip_channel_order": True,
    },
    "Siglip": {"size": {"height": 224, "width": 224}},
}  # fmt: skip
#: Which of them a kind of model is given, where the file does not name one.
_OF_MODELS = {
    "beit": "Beit", "bit": "Bit", "clip": "CLIP", "clip_vision_model": "CLIP", "convnext": "ConvNext",
    "convnextv2": "ConvNext", "data2vec-vision": "Beit", "deit": "DeiT", "dinov2": "Bit",
    "dinov2_with_registers": "Bit", "efficientnet": "EfficientNet", "levit": "Levit", "mobilenet_v1": "MobileNetV1",
    "mobilenet_v2": "MobileNetV2", "mobilevit": "MobileViT", "mobilevitv2": "MobileViT", "pvt": "Pvt", "pvt_v2": "Pvt",
    "regnet": "ConvNext", "resnet": "ConvNext", "segformer": "Segformer", "siglip": "Siglip",
    "siglip_vision_model": "Siglip", "swin": "ViT", "swinv2": "ViT", "vit": "ViT", "vit_mae": "ViT", "vit_msn": "ViT",
}  # fmt: skip
#: Keys that change no pixel.
_SILENT = {
    "_processor_class", "_valid_processor_keys", "data_format", "default_to_square", "device", "disable_grouping",
    "do_convert_rgb", "do_reduce_labels", "feature_extractor_type", "image_processor_type", "image_seq_length",
    "input_data_format", "model_input_names", "num_channels", "processor_class", "reduce_labels", "return_tensors",
    "transformers_version",
}  # fmt: skip
_KNOWN = _SILENT | {
    "crop_pct", "crop_size", "do_center_crop", "do_flip_channel_order", "do_normalize", "do_rescale", "do_resize",
    "image_mean", "image_std", "include_top", "resample", "rescale_factor", "size",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorInput(ImageInput):
    """Images as processors of transformers make them ready.

    Where an odd number of pixels is cut away, theirs cut one less at the left and the top than `ImageInput` may.

    Attributes:
        squash: height and width that a picture is resized to, whatever its proportions, before the centre of `size` is
            cut out; None: as `resize` says.
    """

    squash: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        ImageInput.__post_init__(self)
        if self.squash is not None and (self.squash[0] < self.size[0] or self.squash[1] < self.size[1]):
            raise BadInput(
                f"{self.size} pixels cannot be cut out of {self.squash}",
                where="size",
                fix="give a smaller size, or say with --input how pixels become input",
            )

    def _resized(self, picture: Image.Image) -> Image.Image:
        height, width = self.size
        short = min(picture.size)
        resize = self.resize or 0
        whole = self.squash or (resize * picture.height // short, resize * picture.width // short)
        if (self.squash is None and self.resize is None) or whole[0] * whole[1] > _LARGEST:
            return ImageInput._resized(self, picture)
        top, left = (whole[0] - height) // 2, (whole[1] - width) // 2
        how = Image.Resampling[self.interpolation.upper()]
        return picture.resize((whole[1], whole[0]), how).crop((left, top, left + width, top + height))

    def steps(self) -> tuple[str, ...]:
        """How an image is made ready, in plain words, one step each."""
        said = ImageInput.steps(self)
        if self.squash is None:
            return said
        height, width = self.squash
        first = f"resized to {height} x {width} pixels ({self.interpolation})"
        at = next(number for number, step in enumerate(said) if step.startswith("resized to"))
        centre = f"centre {self.size[0]} x {self.size[1]} pixels"
        return (*said[:at], first, centre, *said[at + 1 :])


def image_input(folder: Folder) -> ImageInput | None:
    """How pixels become input; None if the folder has no preprocessor_config.json.

    Raises:
        BadInput: if it asks for something that is not known here, by its name.
    """
    told = folder.json("preprocessor_config.json")
    if not told:
        return None
    kind = _kind(folder, told)
    said = {**_ALL, **_SQUARE.get(kind, {}), **_SHORTEST.get(kind, {}), **told}
    strange = sorted(key for key, value in told.items() if key not in _KNOWN and value not in (None, False))
    if strange:
        _refuse(folder, strange[0])
    if not said["do_resize"]:
        _refuse(folder, "do_resize", "pictures of any size")
    if said["resample"] not in _FILTERS:
        _refuse(folder, "resample", said["resample"])
    size = _sides(folder, "size", said["size"], square=kind in _SQUARE)
    crop = _sides(folder, "crop_size", said["crop_size"], square=True) if said["do_center_crop"] else None
    if isinstance(crop, int):
        _refuse(folder, "crop_size", said["crop_size"])
    resize: int | None = None
    squash: tuple[int, int] | None = None
    if kind == "ConvNext":
        if not isinstance(size, int):
            _refuse(folder, "size", said["size"])
        if size < 384:  # a margin is cut off small pictures only
            resize = int(size / said["crop_pct"])
        target = (size, size)
    elif isinstance(size, int):
        resize = int(256 / 224 * size) if kind == "Levit" else size
        if crop is None:
            _refuse(folder, "size", "a shortest edge with nothing cut out")
        target = crop
    else:
        target = crop or size
        squash = size if crop is not None and crop != size else None
    mean, std = _scale(folder, said)
    if resize is not None and resize < max(target):
        _refuse(folder, "crop_size", f"{target} pixels of pictures whose shorter side has {resize}")
    plain = ImageInput(
        size=target,
        mean=mean,
        std=std,
        channels=cast("Literal[1, 3]", len(mean)),
        resize=resize,
        interpolation=_FILTERS[said["resample"]],
        order="bgr" if said.get("do_flip_channel_order") else "rgb",
    )
    if resize is None and squash is None:
        return plain
    shared = {field.name: getattr(plain, field.name) for field in fields(plain)}
    return ProcessorInput(**shared, squash=squash)


def _kind(folder: Folder, told: dict[str, Any]) -> str:
    named = told.get("image_processor_type") or told.get("feature_extractor_type")
    if named is None:
        kind = _OF_MODELS.get(str(folder.config.get("model_type")), "ViT")
    else:
        kind = str(named).removesuffix("Fast").removesuffix("Pil")
        kind = kind.removesuffix("ImageProcessor").removesuffix("FeatureExtractor")
        if kind not in _SQUARE and kind not in _SHORTEST:
            _refuse(folder, "image_processor_type", named)
    return kind


def _scale(folder: Folder, said: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std on a 0-1 scale of pixels, from those on the scale that the file asks for."""
    factor = 255 * (said["rescale_factor"] if said["do_rescale"] else 1.0)
    if abs(factor - 1) < 1e-3:  # 0.00392156862745098, and what people shorten it to
        factor = 1.0
    if not factor > 0:
        _refuse(folder, "rescale_factor", said["rescale_factor"])
    mean, std = [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]
    if said["do_normalize"]:
        mean, std = _numbers(folder, "image_mean", said["image_mean"]), _numbers(folder, "image_std", said["image_std"])
    if len(mean) != len(std) or len(mean) not in (1, 3):
        _refuse(folder, "image_mean", said["image_mean"])
    if said.get("include_top"):  # EfficientNet divides once more
        std = [one * own for one, own in zip(std, _numbers(folder, "image_std", said["image_std"]), strict=False)]
    return tuple(value / factor for value in mean), tuple(value / factor for value in std)


def _numbers(folder: Folder, key: str, value: Any) -> list[float]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [float(value)] * 3
    if not isinstance(value, list) or not all(isinstance(one, int | float) for one in value):
        _refuse(folder, key, value)
    return [float(one) for one in value]


def _sides(folder: Folder, key: str, size: Any, *, square: bool) -> int | tuple[int, int]:
    """One number for the shortest edge, or height and width."""
    if isinstance(size, dict):
        given = {name: value for name, value in size.items() if value is not None}
        if set(given) == {"shortest_edge"} and isinstance(given["shortest_edge"], int):
            return given["shortest_edge"]
        if set(given) == {"height", "width"} and all(isinstance(value, int) for value in given.values()):
            return given["height"], given["width"]
    elif isinstance(size, int) and not isinstance(size, bool):
        return (size, size) if square else size
    elif isinstance(size, list) and len(size) == 2 and all(isinstance(value, int) for value in size):
        return size[0], size[1]
    return _refuse(folder, key, size)


def _refuse(folder: Folder, key: str, value: Any = None) -> NoReturn:
    shown = f"{key} ({value})" if value is not None else key
    raise BadInput(
        f"preprocessor_config.json asks for what is not known here: {shown}",
        where=folder.path,
        fix="take that file away, and say with --input how pixels become input",
    )
