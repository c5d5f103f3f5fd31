"""What a network takes: pictures of every kind become the right pixels, and specs read back as they were written."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mulligan.networks.inputs import ArrayInput, ImageInput, TokenInput, parse_input
from mulligan.records import BadInput

PLAIN = ImageInput(size=(8, 8), mean=(0.0,) * 3, std=(1.0,) * 3)
GREY = ImageInput(size=(8, 8), channels=1, mean=(0.0,), std=(1.0,))


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


# -- crop


def test_pixels_of_the_right_size_pass_unchanged() -> None:
    pixels = noise(8, 8, 3)
    for image in (pixels, Image.fromarray(pixels), pixels / 255, pixels.astype(np.float32) / 255):
        assert (PLAIN.crop(image) == pixels).all()


def test_grey_becomes_colour_and_colour_grey() -> None:
    grey = noise(8, 8)
    assert (PLAIN.crop(grey) == grey[:, :, None]).all()
    assert (PLAIN.crop(grey[:, :, None]) == grey[:, :, None]).all()
    assert (GREY.crop(np.repeat(grey[:, :, None], 3, axis=2)) == grey[:, :, None]).all()
    red = np.zeros((8, 8, 3), np.uint8)
    red[:, :, 0] = 255
    assert (GREY.crop(red) == 76).all()  # ITU-R 601: 0.299


def test_transparent_parts_are_white() -> None:
    pixels = noise(8, 8, 4)
    expected = np.rint(pixels[:, :, :3] * (pixels[:, :, 3:] / 255) + 255 - pixels[:, :, 3:])
    for image in (pixels, Image.fromarray(pixels)):
        assert np.abs(PLAIN.crop(image).astype(int) - expected).max() <= 1
    assert (PLAIN.crop(Image.new("RGBA", (8, 8), (1, 2, 3, 0))) == 255).all()
    assert (GREY.crop(Image.new("LA", (8, 8), (9, 0))) == 255).all()
    assert (GREY.crop(np.zeros((8, 8, 2), np.uint8)) == 255).all()


def test_palettes_also_with_a_transparent_colour() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    assert (PLAIN.crop(image) == (40, 50, 60)).all()
    for transparency in (1, b"\xff\x00"):
        file = io.BytesIO()
        image.save(file, "PNG", transparency=transparency)
        with Image.open(file) as opened:
            assert opened.mode == "P"
            assert (PLAIN.crop(opened) == 255).all()


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_sixteen_bits_are_scaled_to_eight(mode: str) -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    image = Image.fromarray(values if mode == "I;16" else values.astype(np.int32))
    assert image.mode == mode
    expected = np.rint(values / 257).astype(np.uint8)[:, :, None]
    assert (GREY.crop(image) == expected).all()
    assert (GREY.crop(values) == expected).all()
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    with Image.open(file) as opened:
        assert (GREY.crop(opened) == expected).all()


@pytest.mark.parametrize("mode", ["1", "CMYK", "YCbCr", "HSV", "RGBX", "PA", "La", "RGBa", "F"])
def test_other_modes_of_pillow(mode: str) -> None:
    white = Image.new("L", (8, 8), 255).convert(mode) if mode in ("1", "CMYK") else None
    if mode == "F":
        white = Image.new("F", (8, 8), 1.0)
    elif white is None:
        through = {"PA": "LA", "La": "LA", "RGBa": "RGBA"}.get(mode, "RGB")
        white = Image.new("RGB", (8, 8), (255, 255, 255)).convert(through).convert(mode)
    assert (PLAIN.crop(white) >= 254).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["JPEG", "TIFF", "PNG"])
def test_exif_orientation_is_applied(orientation: int, suffix: str) -> None:
    upright = np.zeros((16, 16, 3), np.uint8)
    upright[:8, :8] = 255  # a white corner, top left
    upright[8:, 8:] = 100
    # How each orientation stores the upright picture (EXIF 2.3, 4.6.4 A).
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright), 7: np.rot90(upright, 2).transpose(1, 0, 2), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(stored)).save(file, suffix, exif=exif)
    with Image.open(file) as opened:
        seen = PLAIN.crop(opened)
    assert seen[1, 1, 0] > 230
    assert 80 < seen[6, 6, 0] < 120
    assert seen[1, 6, 0] < 20


def test_broken_exif_data_are_passed_over() -> None:
    file = io.BytesIO()
    Image.fromarray(noise(8, 8, 3)).save(file, "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff")
    with Image.open(file) as opened:
        assert PLAIN.crop(opened).shape == (8, 8, 3)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(1, 40), st.integers(0, 20))
def test_shorter_side_and_centre_match_the_slow_way(height: int, width: int, high: int, wide: int, more: int) -> None:
    """Against torchvision's rule, written out: resize the whole picture, then cut out its centre."""
    resize = max(high, wide) + more
    pixels = noise(height, width, 3)
    short = min(height, width)
    whole = tuple(resize if side == short else int(resize * side / short) for side in (width, height))
    large = np.asarray(Image.fromarray(pixels).resize(whole, Image.Resampling.BICUBIC))
    top, left = round((whole[1] - high) / 2.0), round((whole[0] - wide) / 2.0)
    spec = ImageInput(size=(high, wide), mean=(0.0,) * 3, std=(1.0,) * 3, resize=resize, interpolation="bicubic")
    assert (spec.crop(pixels) == large[top : top + high, left : left + wide]).all()


def test_a_very_long_picture_fills_no_memory() -> None:
    spec = ImageInput(size=(16, 16), mean=(0.0,) * 3, std=(1.0,) * 3, resize=256)
    long = np.zeros((1, 300_000, 3), np.uint8)
    long[:, 150_000:] = 200  # the middle is an edge
    seen = spec.crop(long)
    assert seen.shape == (16, 16, 3)
    assert seen[0, 0, 0] < 100 < seen[0, -1, 0]


def test_the_picture_is_not_changed() -> None:
    image = Image.fromarray(noise(9, 5, 4))
    before = image.tobytes(), image.size, image.mode
    PLAIN.crop(image)
    assert (image.tobytes(), image.size, image.mode) == before


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((8, 8, 5), np.uint8), "not an image"),
        (np.zeros((8,), np.uint8), "not an image"),
        (np.zeros((0, 8), np.uint8), "not an image"),
        (np.full((8, 8), 17.0), "scale them to 0-1"),
        (np.full((8, 8), np.nan), "scale them to 0-1"),
        (np.full((8, 8), -1, np.int64), "8 or 16 bits"),
        (np.full((8, 8), 1 << 20, np.int64), "8 or 16 bits"),
        (Image.new("F", (8, 8), 255.0), "scale them to 0-1"),
        (Image.new("RGB", (0, 4)), "no pixels"),
    ],
)
def test_what_is_no_image_is_refused(array: np.ndarray | Image.Image, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        PLAIN.crop(array)


# -- normalise


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_normalise_against_the_slow_way_and_back(order: str) -> None:
    spec = ImageInput(size=(4, 5), mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), order=order)
    pixels = noise(2, 3, 4, 5) / 255.0
    values = spec.normalise(pixels)
    for channel in range(3):
        source = channel if order == "rgb" else 2 - channel
        expected = (pixels[:, source] - spec.mean[channel]) / spec.std[channel]
        np.testing.assert_allclose(values[:, channel], expected, rtol=1e-12)
    np.testing.assert_allclose(spec.denormalise(values), pixels, rtol=0, atol=1e-12)
    tensor = torch.from_numpy(pixels).requires_grad_()
    torch.testing.assert_close(spec.normalise(tensor).detach().numpy(), values)
    spec.normalise(tensor)[:, 0].sum().backward()
    assert tensor.grad is not None
    assert tensor.grad[:, 0 if order == "rgb" else 2].unique().numpy() == pytest.approx(2.0)
    assert spec.normalise(tensor.detach().half()).dtype == torch.float16
    assert spec.normalise(pixels.astype(np.float32)).dtype == np.float32


def test_normalise_refuses_other_channels() -> None:
    with pytest.raises(BadInput, match="network of 1 channels"):
        GREY.normalise(torch.zeros(2, 3, 8, 8))


def test_prepare_is_crop_scaled_and_normalised() -> None:
    spec = ImageInput(size=(6, 4), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), resize=7, order="bgr")
    image = noise(20, 30, 3)
    ready = spec.prepare(image)
    assert ready.dtype == torch.float32
    assert ready.shape == (3, 6, 4)
    pixels = spec.crop(image).astype(np.float64).transpose(2, 0, 1)[None] / 255
    np.testing.assert_allclose(ready.numpy(), spec.normalise(pixels)[0], atol=1e-6)
    torch.testing.assert_close(spec.stack([spec.crop(image)] * 2)[1], ready, rtol=0, atol=0)


# -- steps and specs


def test_steps_are_plain_words() -> None:
    spec = ImageInput(size=(224, 224), mean=(127 / 255,) * 3, std=(128 / 255,) * 3, resize=256, interpolation="bicubic")
    assert spec.steps() == (
        "shorter side resized to 256 pixels (bicubic)",
        "centre 224 x 224 pixels",
        "pixels scaled to 0-1, minus (0.498, 0.498, 0.498), divided by (0.502, 0.502, 0.502)",
    )
    assert parse_input("size=28,channels=1,mean=0.1307,std=0.3081").steps() == (
        "turned to grey",
        "resized to 28 x 28 pixels (bilinear)",
        "pixels scaled to 0-1, minus 0.131, divided by 0.308",
    )
    assert parse_input("size=28x32,order=bgr").steps() == (
        "resized to 28 (height) x 32 (width) pixels (bilinear)",
        "channels in the order blue, green, red",
        "pixels scaled to 0-1",
    )


finite = st.floats(-1e6, 1e6)
positive = st.floats(1e-6, 1e6)


@st.composite
def fields(draw: st.DrawFn) -> dict[str, Any]:
    channels = draw(st.sampled_from([1, 3]))
    size = draw(st.tuples(st.integers(1, 500), st.integers(1, 500)))
    return {
        "size": size,
        "channels": channels,
        "mean": draw(st.tuples(*[finite] * channels)),
        "std": draw(st.tuples(*[positive] * channels)),
        "resize": draw(st.none() | st.integers(max(size), 600)),
        "interpolation": draw(st.sampled_from(["bilinear", "bicubic", "nearest", "lanczos"])),
        "order": draw(st.sampled_from(["rgb", "bgr"])),
    }


@given(fields(), st.none() | fields())
def test_a_spec_reads_back_whatever_the_base(given_fields: dict[str, Any], base: dict[str, Any] | None) -> None:
    spec = ImageInput(**given_fields)
    assert parse_input(spec.spec(), None if base is None else ImageInput(**base)) == spec


@given(fields(), st.floats(0, 1), st.floats(0.1, 1))
def test_numbers_for_all_channels(base_fields: dict[str, Any], mean: float, std: float) -> None:
    base = ImageInput(**base_fields)
    got = parse_input(f"mean={mean},std={std}", base)
    assert got.mean == (mean,) * base.channels
    assert got.std == (std,) * base.channels
    assert (got.size, got.resize, got.order) == (base.size, base.resize, base.order)


def test_keys_left_out() -> None:
    assert parse_input("size=28,channels=1,mean=0,std=1") == ImageInput(
        size=(28, 28), channels=1, mean=(0.0,), std=(1.0,)
    )
    base = ImageInput(size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.2, 0.2, 0.2), resize=256)
    assert parse_input("size=240", base).resize == 274  # the same share of the picture
    assert parse_input("size=240x200, resize=none", base).resize is None
    assert parse_input("order=bgr", base).mean == base.mean
    assert parse_input("channels=1,mean=0.5", base).std == (0.2,)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not KEY=VALUE"),
        ("size", "not KEY=VALUE"),
        ("size=", "not KEY=VALUE"),
        ("sise=28", "'sise' is not a key"),
        ("size=28,size=29", "given twice"),
        ("size=big", "not a whole number"),
        ("size=-3", "not a whole number"),
        ("size=2x3x4", "not a size"),
        ("size=0", "cannot be"),
        ("size=999999999", "cannot be"),
        ("mean=0", "size is missing"),
        ("size=8,mean=a", "not a number a channel"),
        ("size=8,mean=nan", "mean"),
        ("size=8,mean=0/1", "2 numbers for 3 channels"),
        ("size=8,std=0", "divided by"),
        ("size=8,channels=2", "2 channels"),
        ("size=8,channels=999999999", "channels"),
        ("size=8,resize=4", "fewer than"),
        ("size=8,resize=999999", "too many"),
        ("size=8,interpolation=cubic", "'cubic' is not known"),
        ("size=8,order=gbr", "'gbr' is not known"),
    ],
)
def test_bad_specs(text: str, says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        parse_input(text)
    assert caught.value.where
    assert caught.value.fix


def test_a_base_of_other_channels_needs_numbers() -> None:
    base = ImageInput(size=(8, 8), mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))
    with pytest.raises(BadInput, match="3 numbers for 1 channels"):
        parse_input("channels=1", base)


# -- tokens

tokenizers = pytest.importorskip("tokenizers")
WORDS = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "b": 5, "c": 6}


def word_tokenizer(*, special: bool = True, busy: bool = False) -> object:
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(WORDS, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    if special:
        template = tokenizers.processors.TemplateProcessing
        made.post_processor = template(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    if busy:
        made.enable_padding(direction="left", length=9)
        made.enable_truncation(2)
    return made


def wrapped(**options: bool) -> object:
    transformers = pytest.importorskip("transformers")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=word_tokenizer(**options), pad_token="[PAD]")


@pytest.mark.parametrize("make", [word_tokenizer, wrapped])
def test_tokens_are_padded_right_and_cut_to_the_context(make) -> None:
    spec = TokenInput(tokenizer=make(), context=4, pad=0)
    ids, mask = spec.encode(["a b", "a b c a b c", "z", ""])
    assert ids.tolist() == [[2, 4, 5, 3], [2, 4, 5, 3], [2, 1, 3, 0], [2, 3, 0, 0]]
    assert mask.tolist() == [[True] * 4, [True] * 4, [True] * 3 + [False], [True] * 2 + [False] * 2]
    assert ids.dtype == torch.int64
    assert spec.tokens(ids[0]) == ["[CLS]", "a", "b", "[SEP]"]
    assert spec.tokens([6, 99]) == ["c", "<99>"]


@pytest.mark.parametrize("make", [word_tokenizer, wrapped])
def test_texts_without_special_tokens(make) -> None:
    spec = TokenInput(tokenizer=make(), context=2, pad=0, special_tokens=False)
    ids, mask = spec.encode(["a b c", "", "c"])
    assert ids.tolist() == [[4, 5], [0, 0], [6, 0]]
    assert mask.tolist() == [[True, True], [False, False], [True, False]]
    assert spec.encode([""])[0].shape == (1, 1)
    assert spec.encode([])[0].shape == (0, 1)


@pytest.mark.parametrize("make", [word_tokenizer, wrapped])
def test_a_beginning_is_added_once(make) -> None:
    twice = TokenInput(tokenizer=make(), context=3, pad=0, add_bos=True, bos=2)
    assert twice.encode(["a b c"])[0].tolist() == [[2, 4, 3]]
    bare = TokenInput(tokenizer=make(special=False), context=3, pad=0, add_bos=True, bos=2)
    assert bare.encode(["a b c", "a"])[0].tolist() == [[2, 4, 5], [2, 4, 0]]
    assert TokenInput(tokenizer=make(special=False), context=1, pad=0, add_bos=True, bos=2).encode(["a"])[
        0
    ].tolist() == [[2]]


@pytest.mark.parametrize("make", [word_tokenizer, wrapped])
def test_a_tokenizer_that_pads_and_cuts_by_itself_does_not(make) -> None:
    tokenizer = make(busy=True)
    spec = TokenInput(tokenizer=tokenizer, context=8, pad=0)
    assert spec.encode(["a b c", "a"])[0].tolist() == [[2, 4, 5, 6, 3], [2, 4, 3, 0, 0]]


def test_leading_spaces_can_be_read() -> None:
    marked = tokenizers.Tokenizer(tokenizers.models.WordLevel({"▁cat": 0, "cat": 1}, unk_token="cat"))
    marked.decoder = tokenizers.decoders.Metaspace()
    assert TokenInput(tokenizer=marked, context=4, pad=0).tokens([0, 1]) == [" cat", "cat"]
    of_bytes = tokenizers.Tokenizer(tokenizers.models.WordLevel({"Ġcat": 0, "Ã": 1, "Ċ": 2}, unk_token="Ċ"))
    of_bytes.decoder = tokenizers.decoders.ByteLevel()
    assert TokenInput(tokenizer=of_bytes, context=4, pad=0).tokens([0, 1, 2]) == [" cat", "Ã", "\n"]


def test_token_steps_and_refusals() -> None:
    spec = TokenInput(tokenizer=word_tokenizer(), context=128, pad=0, add_bos=True, bos=2)
    assert spec.steps() == (
        "cut into tokens by the network's own tokenizer (with its special tokens)",
        "a beginning-of-text token put first",
        "at most 128 tokens, the rest dropped",
        "shorter texts padded on the right with token 0, which is masked",
    )
    with pytest.raises(BadInput, match="context of 0 tokens"):
        TokenInput(tokenizer=word_tokenizer(), context=0, pad=0)
    with pytest.raises(BadInput, match="no token for the beginning"):
        TokenInput(tokenizer=word_tokenizer(), context=4, pad=0, add_bos=True)
    with pytest.raises(BadInput, match="cannot be cut into tokens"):
        spec.encode(["\ud800"])


# -- arrays


def test_arrays_pass_as_they_are() -> None:
    spec = ArrayInput(shape=(2, 3))
    ready = spec.prepare(np.arange(6).reshape(2, 3))
    assert ready.dtype == torch.float32
    assert ready.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert spec.steps() == ("arrays of shape 2 x 3 as they are, in 32-bit floating point",)
    with pytest.raises(BadInput, match="does not fit"):
        spec.prepare(np.zeros((3, 2)))
    with pytest.raises(BadInput, match="NaN"):
        spec.prepare(np.full((2, 3), np.nan))
