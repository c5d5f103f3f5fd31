"""Pictures as parameters: colours decorrelate and come back, canvases agree, amplitudes stay; measured statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mulligan.datasets import load_dataset
from mulligan.networks import ImageInput
from mulligan.records import BadInput
from mulligan.visualization.parametrizations import KINDS, Fourier, MaCo, Shared, parametrization, softness
from mulligan.visualization.parametrizations.fourier import canvas
from mulligan.visualization.statistics import ImageStatistics, energy, frequencies, to_logits
from mulligan.visualization.transforms import ROBUST, STILL, Transforms

INPUT = ImageInput(size=(24, 32), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
NEUTRAL = ImageStatistics.neutral(INPUT)
CPU = torch.device("cpu")


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(kind: str, n: int = 3, **extra):
    return parametrization(kind)(n, NEUTRAL, (24, 32), random(), CPU, **extra)


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_decorrelation_inverts(seed: int) -> None:
    logits = torch.randn((2, 3, 24, 32), generator=random(seed))
    param = made("fourier", 2)
    back = torch.einsum("ij,njhw->nihw", param.colour, param.decorrelated(logits)) + param.mean[:, None, None]
    torch.testing.assert_close(back, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["fourier", "pixel"])
def test_a_picture_to_begin_with_is_that_picture(kind: str) -> None:
    start = 0.1 + 0.8 * torch.rand((3, 3, 24, 32), generator=random())
    torch.testing.assert_close(made(kind, start=start).pixels(), start, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_gives_pictures_that_can_be_climbed_in_and_left(kind: str) -> None:
    param = made(kind)
    pixels = param.pixels()
    assert pixels.shape == (3, 3, 24, 32)
    assert 0 < float(pixels.detach().min()) < float(pixels.detach().max()) < 1
    slopes = torch.autograd.grad(pixels.square().sum(), [*param.tensors, *param.common])
    assert all(bool((slope != 0).any()) for slope in slopes)
    assert param.pixels((12, 16)).shape == (3, 3, 12, 16)
    before = param.pixels().detach()
    param.keep(torch.tensor([0, 2]))
    torch.testing.assert_close(param.pixels().detach(), before[[0, 2]])


def test_a_smaller_canvas_is_the_picture_without_its_high_frequencies() -> None:
    y, x = torch.meshgrid(torch.arange(32) / 32, torch.arange(48) / 48, indexing="ij")
    wave = torch.cos(2 * torch.pi * (2 * y + 3 * x)) + 0.5 * torch.sin(2 * torch.pi * (x - 4 * y))
    waves = torch.fft.rfft2(wave[None, None], norm="ortho")
    small = canvas(waves, (32, 48), (16, 24))
    torch.testing.assert_close(small[0, 0], wave[::2, ::2], rtol=1e-4, atol=1e-5)
    large = canvas(waves, (32, 48), (64, 96))
    torch.testing.assert_close(large[0, 0, ::2, ::2], wave, rtol=1e-4, atol=1e-5)


def test_noise_to_begin_with_has_the_spectrum_of_the_data() -> None:
    param = Fourier(64, NEUTRAL, (24, 32), random(), CPU, contrast=1.0, soft=0.0)
    power = torch.fft.rfft2(param.plain((24, 32)), norm="ortho").abs().square().mean((0, 1)).detach()
    ratio = (power / (2 * NEUTRAL.spectrum.square()))[1:-1, 1:-1]
    assert 0.8 < float(ratio.mean()) < 1.25


def test_many_steps_have_smaller_high_frequencies_of_the_same_variance() -> None:
    assert [softness(steps) for steps in (1, 128, 256, 512, 100_000)] == pytest.approx([0.4, 0.4, 0.6, 0.8, 0.8])
    few, many = (Fourier(1, NEUTRAL, (24, 32), random(), CPU, soft=softness(steps)).spectrum for steps in (128, 512))
    assert energy(few, 32) == pytest.approx(energy(many, 32), rel=1e-4)
    falls = (many / few)[1:12, 1:16].diagonal()
    assert bool((falls.diff() < 0).all())


def test_maco_never_changes_an_amplitude() -> None:
    param = MaCo(2, NEUTRAL, (24, 32), random(), CPU)

    def amplitudes() -> torch.Tensor:
        return torch.fft.rfft2(param.plain((24, 32)), norm="ortho").abs()[..., 1:-1, 1:-1].detach()

    before = amplitudes()
    with torch.no_grad():
        param.tensors[0] += torch.randn(param.tensors[0].shape, generator=random(1))
    torch.testing.assert_close(amplitudes(), before, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(before[0, 0], NEUTRAL.spectrum[1:-1, 1:-1], rtol=1e-3, atol=1e-4)


def test_what_is_shared_is_in_every_picture() -> None:
    alike, apart = (Shared(8, NEUTRAL, (24, 32), random(), CPU, share=s).plain((24, 32)).detach() for s in (0.9, 0.1))

    def likeness(pictures: torch.Tensor) -> float:
        return float(np.corrcoef(pictures.flatten(1).numpy())[np.triu_indices(8, 1)].mean())

    assert likeness(alike) > 0.7 > 0.4 > likeness(apart)


def test_a_cppn_is_the_same_drawing_at_any_size() -> None:
    param = made("cppn")
    small, large = (param.pixels(size).detach() for size in ((9, 9), (17, 17)))
    torch.testing.assert_close(large[..., ::2, ::2], small, rtol=1e-3, atol=1e-4)
    with pytest.raises(BadInput, match="cannot begin"):
        made("cppn", start=small)


def test_an_unknown_kind_is_said() -> None:
    with pytest.raises(BadInput, match="gan"):
        parametrization("gan")


def test_statistics_are_those_of_the_pictures(tmp_path) -> None:
    rng = np.random.default_rng(0)
    mixing = np.array([[1.0, 0.2, 0.0], [0.8, 0.5, 0.1], [0.6, 0.1, 0.7]])
    # Horizontal stripes alone: no frequency but theirs.
    stripes = np.cos(2 * np.pi * 4 * np.arange(24) / 24)[None, None, :, None] * np.ones((1, 1, 24, 32))
    plain = stripes * rng.normal(size=(200, 3, 1, 1))
    logits = 0.4 * np.einsum("ij,njhw->nihw", mixing, plain) + np.array([0.5, 0.0, -0.5])[:, None, None]
    pixels = (255 / (1 + np.exp(-logits))).round().astype(np.uint8)
    np.savez(tmp_path / "d.npz", x=pixels.transpose(0, 2, 3, 1), y=np.zeros(200, np.int64))
    found = ImageStatistics.measure(INPUT, load_dataset(tmp_path / "d.npz"))
    assert found.n == 200
    expected = to_logits(torch.from_numpy(pixels).float() / 255)
    torch.testing.assert_close(found.mean, expected.mean((0, 2, 3)), rtol=1e-3, atol=1e-3)
    covariance = np.cov(expected.movedim(1, -1).reshape(-1, 3).numpy().T)
    np.testing.assert_allclose((found.colour @ found.colour.T).numpy(), covariance, rtol=0.05, atol=0.02)
    loud = np.unravel_index(int(found.spectrum.argmax()), tuple(found.spectrum.shape))
    assert loud in [(4, 0), (20, 0)]


def test_the_spectrum_at_another_size_has_the_same_variance_a_pixel() -> None:
    for size in ((48, 64), (12, 16), (25, 31)):
        other = NEUTRAL.resized(size)
        assert other.shape == (size[0], size[1] // 2 + 1)
        # What `rfft2` leaves out mirrors what it keeps.
        mirrored = other[:, 1 : (size[1] + 1) // 2]
        energy = float(other.square().sum() + mirrored.square().sum())
        assert energy / (size[0] * size[1]) == pytest.approx(1.0, rel=1e-3)


def test_frequencies_are_waves_a_pixel() -> None:
    table = frequencies(8, 8)
    assert float(table[0, 0]) == 0
    assert float(table[4, 0]) == 0.5
    assert float(table[0, 4]) == 0.5
    assert float(table[7, 0]) == pytest.approx(1 / 8)


def test_transforms_move_pictures_and_none_does_not() -> None:
    pixels = torch.rand((4, 3, 24, 32), generator=random())
    assert STILL(pixels, random()) is pixels
    assert ROBUST(pixels, random(), 0.0) is pixels
    moved = ROBUST(pixels, random(1))
    assert moved.shape == pixels.shape
    assert not torch.allclose(moved[0], pixels[0])
    torch.testing.assert_close(moved, ROBUST(pixels, random(1)))  # a seed repeats it
    plain = torch.full((2, 3, 24, 32), 0.3)
    torch.testing.assert_close(Transforms(0.1, 20, 0.2, pad=0.1)(plain, random()), plain, rtol=1e-4, atol=1e-4)


def test_a_shift_is_a_shift() -> None:
    pixels = torch.zeros(1, 1, 33, 33)
    pixels[0, 0, 16, 16] = 1
    draws = [Transforms(jitter=0.2, rotate=0, scale=0)(pixels, random(seed))[0, 0] for seed in range(20)]
    y = torch.arange(33.0)
    centres = torch.stack([torch.stack([(d.sum(1) * y).sum(), (d.sum(0) * y).sum()]) / d.sum() for d in draws])
    assert float(centres.std(0).min()) > 1.5
    assert float((centres - 16).abs().max()) <= 0.2 * 33 + 0.5
