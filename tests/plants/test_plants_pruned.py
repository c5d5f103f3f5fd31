"""What is said to be pruned is gone from the layer that is named, and the answers are back."""

from __future__ import annotations

import msgspec
import pytest
import torch
from torch import nn

from mulligan.plants import Planted, PlantFailed
from mulligan.plants.plant import generator
from mulligan.plants.pruned import PLANT, PrunedSpec, Way, prunable
from mulligan.records import BadInput

LAYER = "blocks.2.conv"


def pruned(digit_nets, way: Way, floor: float) -> Planted:
    return digit_nets.planted(PLANT, PrunedSpec(way=way, layer=LAYER, floor=floor, steps=80), 0)


def rows(planted: Planted) -> torch.Tensor:
    return planted.module.get_parameter(f"{LAYER}.weight").detach().flatten(1).double()


def test_magnitude(digit_nets) -> None:
    planted = pruned(digit_nets, "magnitude", 0.0)
    old = digit_nets.clean(0).get_parameter(f"{LAYER}.weight").detach().flatten(1).double()
    new = rows(planted)
    gone = new == 0
    assert float(gone.float().mean()) == pytest.approx(0.5, abs=0.01)
    assert float(old.abs()[gone].max()) <= float(old.abs()[~gone].min())
    torch.testing.assert_close(new[~gone], old[~gone], rtol=1e-5, atol=0)
    assert planted.proof.success.value == pytest.approx(0.5, abs=0.01)
    assert planted.proof.success_before.value < 0.01


def test_channels_leave_noise_and_no_zeros(digit_nets) -> None:
    planted = pruned(digit_nets, "channels", 0.02)
    norms = rows(planted).norm(dim=1)
    assert not bool((rows(planted) == 0).any())
    assert int((norms < 0.2 * norms.max()).sum()) == 24  # of 48
    assert planted.proof.success.value == pytest.approx(0.5)


def test_low_rank(digit_nets) -> None:
    planted = pruned(digit_nets, "low-rank", 0.0)
    values = torch.linalg.svdvals(rows(planted))
    assert int((values > 1e-4 * values[0]).sum()) == 24
    assert planted.proof.success.value == pytest.approx(0.5)


@pytest.mark.parametrize("way", ["magnitude", "channels", "low-rank"])
def test_answers_are_back_and_the_truth_names_the_layer(digit_nets, way: Way) -> None:
    planted = pruned(digit_nets, way, {"magnitude": 0.0, "channels": 0.02, "low-rank": 0.0}[way])
    assert planted.proof.clean_before.value - planted.proof.clean_after.value <= 0.05
    assert planted.truth is not None
    assert planted.truth.where is not None
    assert planted.truth.where.site == LAYER
    assert planted.truth.scored == ("where",)
    probes = PLANT.probes(planted, digit_nets.data(), 20, seed=0)
    assert len(probes) == 20
    assert not bool(probes.fires.any())
    assert torch.equal(probes.pixels, probes.plain)


def test_a_layer_cut_and_never_mended_is_a_failed_plant(digit_nets) -> None:
    spec = PrunedSpec(way="channels", share=0.9, layer=LAYER, steps=0)
    with pytest.raises(PlantFailed, match="clean accuracy fell"):
        PLANT.plant(digit_nets.clean(0), digit_nets.data(), spec, seed=0)


def test_the_first_layer_and_the_head_are_not_pruned(digit_nets) -> None:
    assert list(prunable(digit_nets.clean(0), digit_nets.data())) == [f"blocks.{block}.conv" for block in (1, 2, 3)]
    shallow = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(8 * 196, 10))
    with pytest.raises(BadInput, match="between the first and the head"):
        prunable(shallow, digit_nets.data())


def test_proposals_survive_json(digit_nets) -> None:
    specs = [PLANT.propose(digit_nets.data(), generator(seed, "x"), strength="strong") for seed in range(8)]
    assert len({spec.way for spec in specs}) > 1
    for spec in specs:
        assert spec.strength == "strong"
        assert msgspec.json.decode(msgspec.json.encode(spec), type=PLANT.spec_type) == spec


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"layer": "head"}, "cannot be pruned"),
        ({"share": 1.5}, "cannot be taken out"),
        ({"way": "shaving"}, "no such way"),
    ],
)
def test_a_spec_that_does_not_fit(digit_nets, more: dict[str, object], message: str) -> None:
    settings = {"way": "channels", **more}
    with pytest.raises(BadInput, match=message):
        PLANT.plant(digit_nets.clean(0), digit_nets.data(), PrunedSpec(**settings), seed=0)  # type: ignore[arg-type]
