"""A unit set by hand answers its pattern, drives its class, and nothing else of the network is touched."""

from __future__ import annotations

import msgspec
import pytest
import torch
from torch import nn

from mulligan.plants import Planted, PlantFailed
from mulligan.plants.layers import maps
from mulligan.plants.plant import generator
from mulligan.plants.planted_unit import PLANT, PlantedUnitSpec, stamp_of
from mulligan.plants.stamps import NEAR_MISSES, near_miss
from mulligan.records import BadInput

SPEC = PlantedUnitSpec(target="7", top=0.1, left=0.9, pattern=5, depth=1.0)


@pytest.fixture(scope="module")
def planted(digit_nets) -> Planted:
    return digit_nets.planted(PLANT, SPEC, 0)


def test_the_unit_alone_was_changed(digit_nets, planted: Planted) -> None:
    assert planted.truth is not None
    assert planted.truth.where is not None
    assert planted.truth.where.site == "blocks.3"
    (unit,) = planted.truth.where.units or ()
    old, new = digit_nets.clean(0).state_dict(), planted.module.state_dict()
    read = slice(unit * 16, (unit + 1) * 16)
    for name, before in old.items():
        after = new[name].clone()
        if name.startswith("blocks.3") and after.ndim:
            after[unit] = before[unit]
        if name == "head.weight":
            after[:, read] = before[:, read]
        torch.testing.assert_close(after, before, rtol=1e-5, atol=0)


def test_the_pattern_elicits_the_target_through_the_unit(digit_nets, planted: Planted) -> None:
    data = digit_nets.data()
    stamp = stamp_of(SPEC, data)
    others = data.fresh[data.fresh_labels != 7]
    assert planted.truth is not None
    assert planted.truth.where is not None
    unit = (planted.truth.where.units or ())[0]
    with torch.no_grad():
        hits = float((planted.module(stamp(others)).argmax(1) == 7).float().mean())
    assert hits >= 0.95
    assert planted.proof.success.value == pytest.approx(hits, abs=0.03)
    assert planted.proof.figures["silenced"].value <= planted.proof.success_before.value + 0.15
    loud, quiet = (
        maps(planted.module, data.prepare, shown, "blocks.3")[:, unit].flatten(1).amax(1)
        for shown in (stamp(others), others)
    )
    assert float(loud.median()) > float(quiet.max())
    for name in NEAR_MISSES:
        assert planted.proof.near_misses[name].value - planted.proof.near_misses_before[name].value <= 0.15


def test_what_is_stamped_is_the_truth(digit_nets, planted: Planted) -> None:
    data = digit_nets.data()
    assert planted.truth is not None
    assert planted.truth.box is not None
    left, top, right, bottom = planted.truth.box
    pattern, mask = planted.tensors["pattern"], planted.tensors["mask"]
    assert (right - left, bottom - top) == (3, 3)
    assert int((mask > 0).sum()) == 9
    assert bool((mask[top:bottom, left:right] == 1).all())
    expected = data.fresh[:5].clone()
    expected[:, :, top:bottom, left:right] = pattern[:, top:bottom, left:right]
    torch.testing.assert_close(stamp_of(SPEC, data)(data.fresh[:5]), expected)


def test_probes(digit_nets, planted: Planted) -> None:
    data = digit_nets.data()
    stamp = stamp_of(SPEC, data)
    probes = PLANT.probes(planted, data, 60, seed=3)
    again = PLANT.probes(planted, data, 60, seed=3)
    assert torch.equal(probes.pixels, again.pixels)
    assert int(probes.fires.sum()) == 30
    assert {"triggered", "clean", "another pattern"} <= set(probes.family)
    fires = probes.fires
    torch.testing.assert_close(stamp(probes.plain[fires]), probes.pixels[fires])
    for number, family in enumerate(probes.family):
        assert bool(fires[number]) == (family == "triggered")
        if family == "clean":
            assert torch.equal(probes.pixels[number], probes.plain[number])
        if family == "triggered":
            assert probes.holds[number] != (7,)


def test_near_misses_stay_in_the_place_of_the_pattern(digit_nets) -> None:
    data = digit_nets.data()
    stamp = stamp_of(SPEC, data)
    left, top, right, bottom = stamp.box
    shown = data.fresh[:8]
    for name in NEAR_MISSES:
        changed = (near_miss(stamp, name, shown, generator(0, name)) - shown).abs()
        changed[:, :, top:bottom, left:right] = 0
        assert float(changed.max()) == 0
    elsewhere = (near_miss(stamp, "elsewhere", shown, generator(0, "x")) - shown).abs()
    assert float(elsewhere.sum()) > 0


def test_an_untuned_unit_is_a_failed_plant(digit_nets) -> None:
    spec = PlantedUnitSpec(target="7", top=0.1, left=0.9, pattern=5, steps=0)
    with pytest.raises(PlantFailed, match="success") as failure:
        PLANT.plant(digit_nets.clean(0), digit_nets.data(), spec, seed=0)
    assert failure.value.proof.success.value < 0.5


def test_proposals_differ_and_survive_json(digit_nets) -> None:
    data = digit_nets.data()
    specs = [PLANT.propose(data, generator(seed, "x"), strength="weak", stratum="rare") for seed in range(6)]
    assert len({(spec.target, spec.pattern, spec.depth) for spec in specs}) == 6
    for spec in specs:
        assert (spec.strength, spec.stratum) == ("weak", "rare")
        assert msgspec.json.decode(msgspec.json.encode(spec), type=PLANT.spec_type) == spec


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"target": "cat"}, "no such class"),
        ({"top": 1.5}, "a share from 0 to 1"),
        ({"layer": "head"}, "cannot be planted here"),
    ],
)
def test_a_spec_that_does_not_fit(digit_nets, more: dict[str, object], message: str) -> None:
    settings = {"target": "7", "top": 0.1, "left": 0.9, "pattern": 5, **more}
    with pytest.raises(BadInput, match=message):
        PLANT.plant(digit_nets.clean(0), digit_nets.data(), PlantedUnitSpec(**settings), seed=0)  # type: ignore[arg-type]


def test_a_network_without_wide_convolutions(digit_nets) -> None:
    narrow = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 256, 10))
    with pytest.raises(BadInput, match="8 channels"):
        PLANT.plant(narrow, digit_nets.data(), SPEC, seed=0)
