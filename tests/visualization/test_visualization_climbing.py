"""Climbing: a planted detector's picture is what it detects; batches, seeds, early stops and failures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import mulligan
from mulligan.networks import ImageInput, Network
from mulligan.records import BadInput
from mulligan.visualization import climbing
from mulligan.visualization.climbing import batched, visualize
from mulligan.visualization.measuring import fires_less, summarized, values_of
from mulligan.visualization.objectives import channel, diversity, inversion, layer, logit, neuron
from mulligan.visualization.quickened import agrees, kept_memory, quickened
from mulligan.visualization.transforms import STILL

GREY = ImageInput(size=(33, 33), channels=1, mean=(0.5,), std=(0.25,))
COLOUR = ImageInput(size=(32, 32), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)


def arc(radius: float, side: int = 21) -> np.ndarray:
    """An arc of a circle: light on dark, of mean zero."""
    y, x = np.mgrid[:side, :side] - side // 2
    ring = np.exp(-((np.hypot(x, y + radius * 0.6) - radius) ** 2) / 2.0) * (y > 0)
    return (ring - ring.mean()) / np.linalg.norm(ring - ring.mean())


@pytest.fixture(scope="module")
def detector() -> tuple[Network, list[np.ndarray]]:
    """Two units that detect an arc each, one upside down, and a third that nothing moves."""
    kernels = [arc(8), arc(8)[::-1].copy()]
    conv = nn.Conv2d(1, 3, 21, padding=10)
    with torch.no_grad():
        conv.weight.zero_()
        conv.bias.zero_()
        for unit, kernel in enumerate(kernels):
            conv.weight[unit, 0] = torch.from_numpy(kernel).float()
    module = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    return Network(module, input=GREY, classes=["a", "b"]), kernels


@pytest.fixture(scope="module")
def small() -> Network:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(12, 4),
    )  # fmt: skip
    for norm in (module[1], module[5]):
        norm.running_mean.normal_(0, 0.2)
        norm.running_var.uniform_(0.5, 2)
    return Network(module, input=COLOUR, classes=["a", "b", "c", "d"])


def test_a_planted_curve_detector_looks_for_its_curve(detector) -> None:
    network, kernels = detector
    made = visualize(network, [neuron("0", 0), neuron("0", 1)], steps=48)
    for unit in range(2):
        seen = made.pixels[unit, 6:27, 6:27, 0].astype(float)
        likeness = [float(np.corrcoef(seen.ravel(), k.ravel())[0, 1]) for k in kernels]
        assert likeness[unit] > 0.5, likeness
        assert likeness[unit] > likeness[1 - unit] + 0.3


@pytest.mark.parametrize("kind", ["fourier", "maco", "pixel", "cppn"])
def test_every_kind_of_picture_rises(small: Network, kind: str) -> None:
    wanted = [channel("4", unit) for unit in range(3)]
    short, long = (visualize(small, wanted, steps=steps, parametrization=kind, patient=True) for steps in (1, 48))
    assert (long.reached > short.reached + 0.1).all()
    assert (long.alpha is not None) == (kind == "maco")
    if long.alpha is not None:
        assert long.alpha.shape == (3, 32, 32)
        assert long.alpha.max() == 1


def test_what_is_reached_is_of_the_stored_pixels(small: Network) -> None:
    wanted = [channel("5", 1), -channel("5", 2), logit(3)]
    made = visualize(small, wanted, steps=12)
    assert made.pixels.dtype == np.uint8
    np.testing.assert_allclose(made.reached, values_of(small, wanted, made.pixels), rtol=1e-6)
    x = COLOUR.normalise(torch.from_numpy(made.pixels).permute(0, 3, 1, 2).float() / 255)
    with torch.no_grad(), small.watching("5", copy=True) as watched:
        answer = small.logits(x)
    by_hand = [float(watched["5"][0, 1].mean()), -float(watched["5"][1, 2].mean()), float(answer[2, 3])]
    np.testing.assert_allclose(made.reached, by_hand, rtol=1e-4, atol=1e-5)


def test_the_network_is_left_as_it_was(small: Network) -> None:
    before = {name: tensor.clone() for name, tensor in small.module.state_dict().items()}
    visualize(small, channel("4", 0), steps=3)
    assert all(torch.equal(before[name], tensor) for name, tensor in small.module.state_dict().items())
    assert all(parameter.requires_grad for parameter in small.module.parameters())


def test_a_seed_repeats_it_and_another_does_not(small: Network) -> None:
    wanted = [channel("4", 0), channel("4", 1)]
    one, two, three = (visualize(small, wanted, steps=6, seed=seed).pixels for seed in (0, 0, 1))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)


def test_quickened_agrees_and_does_not_fold_what_is_watched(small: Network) -> None:
    quick = quickened(small, [small.site("4")])
    assert isinstance(quick.module[1], nn.Identity)
    assert isinstance(quick.module[5], nn.BatchNorm2d)  # its convolution is watched
    assert agrees(small, quick, [small.site("4"), small.site("6")])
    assert not any(parameter.requires_grad for parameter in quick.module.parameters())


class Odd(nn.Module):
    """Gives on both what a convolution makes and what its norm makes of it: folding would be wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.norm.running_mean.fill_(0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.conv(x)
        return (made + self.norm(made)).mean((2, 3))


def test_a_copy_is_made_anew_when_weights_change(small: Network) -> None:
    site = [small.site("4")]
    one = quickened(small, site)
    assert quickened(small, site) is one
    with torch.no_grad():
        small.module[0].weight.mul_(1.0)
    assert quickened(small, site) is not one


def test_where_folding_is_wrong_the_plain_network_is_used() -> None:
    torch.manual_seed(0)
    network = Network(Odd(), input=COLOUR, classes=["a", "b", "c", "d"])
    quick = quickened(network, [network.site("norm")])
    assert isinstance(quick.module.norm, nn.BatchNorm2d)


def test_a_photograph_to_begin_with_dreams(small: Network) -> None:
    start = torch.rand((3, 32, 32), generator=torch.Generator().manual_seed(0))
    made = visualize(small, layer("4"), start=start, steps=12, rate=0.02)
    before = values_of(small, [layer("4")], (255 * start.permute(1, 2, 0)).round().to(torch.uint8).numpy()[None])
    assert made.reached[0] > before[0]
    assert np.abs(made.pixels[0] / 255 - start.permute(1, 2, 0).numpy()).mean() < 0.3
    with pytest.raises(BadInput, match="32 x 32"):
        visualize(small, layer("4"), start=start[:, :16, :16], steps=1)


def test_inversion_comes_near_what_was_seen(small: Network) -> None:
    shown = torch.rand((3, 32, 32), generator=torch.Generator().manual_seed(1))
    made = visualize(small, inversion(small, "2", shown), steps=80, transforms=STILL, parametrization="pixel")
    assert made.reached[0] > -0.2


def test_copies_that_are_to_differ_do(small: Network) -> None:
    plain = visualize(small, [channel("4", 0)] * 3, steps=24).pixels
    one = channel("4", 0) + 3.0 * diversity("4")
    apart = visualize(small, [one] * 3, steps=24).pixels

    def likeness(pictures: np.ndarray) -> float:
        x = COLOUR.normalise(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255)
        with torch.no_grad(), small.watching("4", copy=True) as watched:
            small(x)
        rows = watched["4"].flatten(2)
        gram = torch.nn.functional.normalize((rows @ rows.transpose(1, 2)).flatten(1), dim=1)
        return float((gram @ gram.T)[0, 1:].mean())

    assert likeness(apart) < likeness(plain)


def test_what_nothing_moves_is_left_out_and_the_rest_goes_on(detector) -> None:
    network, _ = detector
    made = visualize(network, [neuron("0", 0), neuron("0", 2)], steps=8)
    assert made.failed == {1: climbing.STILL}
    assert np.isnan(made.reached[1])
    assert made.reached[0] > 0
    assert made.steps.tolist() == [8, 1]


class Root(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (0 * x).sqrt()


def test_gradients_that_are_nan_are_said() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), Root(), nn.Flatten())
    network = Network(module, input=COLOUR, task="other")
    made = visualize(network, [channel("0", 0), channel("1", 1)], steps=4)
    assert made.failed == {1: climbing.BROKEN}
    assert np.isfinite(made.reached[0])


def test_a_picture_that_no_longer_rises_leaves(small: Network, monkeypatch) -> None:
    monkeypatch.setattr(climbing, "RISE", 10.0)  # no rise is ever enough
    made = visualize(small, [channel("4", 0)], steps=400, progressive=False)
    assert made.steps[0] == 3 * climbing.WINDOW
    patient = visualize(small, [channel("4", 0)], steps=60, progressive=False, patient=True)
    assert patient.steps[0] == 60


def test_a_compiled_step_must_agree(small: Network, monkeypatch) -> None:
    plain = visualize(small, [channel("4", 0)], steps=6)
    used: list[int] = []

    def through(wrong: float):
        def compile(step, **options):
            return lambda x: (used.append(1), step(x) * wrong)[1]

        return compile

    def broken(step, **options):
        raise RuntimeError("no compiler")

    for stand_in, times in ((through(1.0), 7), (through(1.5), 1), (broken, 0)):
        monkeypatch.setattr(torch, "compile", stand_in)
        used.clear()
        made = visualize(small, [channel("4", 0)], steps=6, compiled=True)
        assert np.array_equal(made.pixels, plain.pixels)
        assert len(used) == times


def test_a_batch_holds_what_reads_the_same_sites() -> None:
    same = channel("a", 0)
    every = [channel("a", 1), channel("b", 1), same, same, channel("a", 2), same]
    parts = batched(every, 2)
    assert sorted(row for part in parts for row in part) == list(range(6))
    assert [1] in parts
    assert any({2, 3, 5} <= set(part) for part in parts)


def test_bad_input_is_said(small: Network) -> None:
    with pytest.raises(BadInput, match="nothing to visualize"):
        visualize(small, [])
    with pytest.raises(BadInput, match="the site has 12"):
        visualize(small, channel("4", 12))
    with pytest.raises(BadInput, match="takes no pictures"):
        visualize(Network(small.module, task="other"), channel("4", 0))
    with pytest.raises(BadInput, match="1 or more"):
        visualize(small, channel("4", 0), steps=0)


class Fixed(nn.Module):
    """Takes pictures of one size alone, as a vision transformer does."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = nn.Conv2d(3, 16, 32, stride=32)
        self.mix = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.place = nn.Parameter(torch.randn(1, 16, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(self.cut(x).flatten(2).transpose(1, 2) + self.place).mean(1)


def test_a_network_of_one_size_is_climbed_on_that_size() -> None:
    torch.manual_seed(0)
    taken = ImageInput(size=(128, 128), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    network = Network(Fixed(), input=taken, task="other")
    made = visualize(network, [channel("mix", 3), neuron("mix", 3, (5,))], steps=20)
    assert not made.failed
    assert (made.reached > visualize(network, [channel("mix", 3), neuron("mix", 3, (5,))], steps=1).reached).all()
    with pytest.raises(BadInput, match=r"does not run on pictures of 96 x 96 pixels.* it takes 128 x 128"):
        visualize(network, channel("mix", 3), size=96, steps=1)


def test_a_picture_smaller_than_a_kernel_is_said() -> None:
    network = Network(nn.Sequential(nn.Conv2d(3, 4, 9), nn.Flatten()), input=COLOUR, task="other")
    with pytest.raises(BadInput, match="does not run on pictures of 8 x 8 pixels"):
        visualize(network, channel("0", 1), size=8, steps=1)
    assert visualize(network, channel("0", 1), size=9, steps=1).pixels.shape == (1, 9, 9, 3)


def test_what_fires_less_than_the_data_is_known() -> None:
    data = summarized(np.array([[0.0, -3.0], [2.0, -1.0], [np.nan, -2.0]]))
    assert data.best.tolist() == [2.0, -1.0]
    assert data.row.tolist() == [1, 1]
    assert fires_less(1.9, 2.0, 0.0)
    assert not fires_less(2.0, 2.0, 0.0)


def test_memory_settings_leave_a_working_process() -> None:
    with kept_memory():
        assert float(torch.ones(1 << 20).sum()) == 1 << 20
    assert float(torch.ones(1 << 20).sum()) == 1 << 20


def test_it_is_reached_from_the_top(small: Network) -> None:
    assert mulligan.visualize is visualize
