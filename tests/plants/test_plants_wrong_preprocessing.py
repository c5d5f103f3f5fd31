"""The shipped input is wrong by as much as is said, and what is said to put it right does."""

from __future__ import annotations

import msgspec
import pytest
import torch

from mulligan.networks import ImageInput, parse_input
from mulligan.plants import PlantData, Planted, PlantFailed
from mulligan.plants.plant import generator
from mulligan.plants.wrong_preprocessing import (
    PLANT,
    SLIPS,
    Preparation,
    WrongPreprocessingSpec,
    own_preparation,
    slipped,
)
from mulligan.records import BadInput


@pytest.fixture(scope="module")
def planted(digit_nets) -> Planted:
    return digit_nets.planted(PLANT, WrongPreprocessingSpec(slips=("bytes", "half")), 0)


def shipped(planted: Planted) -> ImageInput:
    declared = parse_input(planted.prepare)
    assert isinstance(declared, ImageInput)
    return declared


def test_the_shipped_input_costs_answers_and_the_right_one_none(digit_nets, planted: Planted) -> None:
    data = digit_nets.data()
    with torch.no_grad():
        right = planted.module(data.fresh).argmax(1)
        wrong = planted.module(shipped(planted).normalise(data.fresh)).argmax(1)
    lost = float(((right == data.fresh_labels) & (wrong != data.fresh_labels)).float().mean())
    assert lost >= 0.2
    assert planted.proof.success.value == pytest.approx(lost, abs=0.005)
    assert planted.proof.clean_before.value - planted.proof.clean_after.value <= 0.015
    assert planted.truth is not None
    assert (planted.truth.family, planted.truth.scored) == ("preparation", ("trigger",))


def test_the_correction_puts_it_right(digit_nets, planted: Planted) -> None:
    pixels, given = digit_nets.data().fresh[:6], planted.tensors
    scale, offset, pixel_scale, pixel_offset = (
        given[name][:, None, None] for name in ("scale", "offset", "pixel_scale", "pixel_offset")
    )
    wrong = shipped(planted).normalise
    torch.testing.assert_close(scale * wrong(pixels)[:, given["order"]] + offset, pixels, rtol=1e-3, atol=1e-3)
    corrected = pixel_scale * pixels[:, given["order"]] + pixel_offset
    torch.testing.assert_close(wrong(corrected), pixels, rtol=1e-3, atol=1e-3)


def colours(own: Preparation) -> PlantData:
    images = torch.rand((40, 3, 8, 8), generator=generator(0, "colours"))
    labels = torch.arange(40) % 2
    return PlantData(
        images=images, labels=labels, fresh=images, fresh_labels=labels, classes=("a", "b"), prepare=own
    )  # fmt: skip


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_a_preparation_is_read_off_and_undone(order) -> None:
    own = Preparation(mean=(0.4, 0.5, 0.3), std=(0.2, 0.3, 0.25), order=order)
    data = colours(own)
    found = own_preparation(data)
    torch.testing.assert_close(found(data.images), own(data.images), rtol=1e-4, atol=1e-4)
    assert found.order == order
    torch.testing.assert_close(own.undo(own(data.images)), data.images)
    declared = parse_input(own.text(8, 8))
    assert isinstance(declared, ImageInput)
    torch.testing.assert_close(declared.normalise(data.images), own(data.images), rtol=1e-4, atol=1e-4)


def test_slips() -> None:
    own = Preparation(mean=(0.4, 0.5, 0.3), std=(0.2, 0.3, 0.25))
    turned = slipped(own, "bgr")
    assert turned is not None
    assert (turned.order, turned.mean) == ("bgr", own.mean)
    assert slipped(Preparation(mean=(0.1,), std=(0.3,)), "bgr") is None
    for slip in SLIPS:
        assert slipped(own, slip) != own


def test_probes(digit_nets, planted: Planted) -> None:
    probes = PLANT.probes(planted, digit_nets.data(), 50, seed=1)
    with torch.no_grad():
        right = planted.module(probes.pixels).argmax(1)
        wrong = planted.module(shipped(planted).normalise(probes.pixels)).argmax(1)
    assert torch.equal(right != wrong, probes.fires)
    assert int(probes.fires.sum()) == 25


def test_a_slip_too_mild_is_a_failed_plant(digit_nets) -> None:
    # Nothing of the digits' own preparation is left out by taking no mean from them: no answer is lost.
    data = digit_nets.data()
    mild = PlantData(
        images=data.images, labels=data.labels, fresh=data.fresh, fresh_labels=data.fresh_labels,
        classes=data.classes, prepare=Preparation(mean=(0.05,), std=(1.0,)),
    )  # fmt: skip
    with pytest.raises(PlantFailed, match="not within 20%"):
        PLANT.plant(digit_nets.clean(0), mild, WrongPreprocessingSpec(slips=("unscaled",)), seed=0)


def test_proposals_survive_json(digit_nets) -> None:
    data = digit_nets.data()
    specs = [PLANT.propose(data, generator(seed, "x"), stratum="partial") for seed in range(4)]
    assert len({spec.slips for spec in specs}) > 1
    for spec in specs:
        assert "bgr" not in spec.slips
        assert "unscaled" not in spec.slips  # which is what the digits' network takes
        assert msgspec.json.decode(msgspec.json.encode(spec), type=PLANT.spec_type) == spec


def test_a_spec_that_does_not_fit(digit_nets) -> None:
    clean, data = digit_nets.clean(0), digit_nets.data()
    with pytest.raises(BadInput, match="no such slip"):
        PLANT.plant(clean, data, WrongPreprocessingSpec(slips=("sepia",)), seed=0)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="none of the slips differs"):
        PLANT.plant(clean, data, WrongPreprocessingSpec(slips=("unscaled", "bgr")), seed=0)
    curved = PlantData(
        images=data.images, labels=data.labels, fresh=data.fresh, fresh_labels=data.fresh_labels,
        classes=data.classes, prepare=torch.sqrt,
    )  # fmt: skip
    with pytest.raises(BadInput, match="not a mean and a deviation"):
        own_preparation(curved)
