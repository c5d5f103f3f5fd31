"""The red team: what it may change, what it must keep, and what it tells."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from game_fakes import SOURCE, small_round
from torch import nn

from mulligan.plants import PlantData, Planted, plants
from mulligan.plants.measures import logits, margins
from mulligan.procedures.game import Ledger, evasion, making, plan, rounds, run_round
from mulligan.procedures.game.evasion import FIGURES, Look, cache, evade, evading
from mulligan.procedures.game.evasion.hunting import Hunt
from mulligan.procedures.game.evasion.looking import look, network_of
from mulligan.records import BadInput

SPEC = {
    "target": "3", "pattern": "solid", "side": 0.25, "x": 0.0, "y": 0.0, "fore": [1.0], "opacity": 1.0, "steps": 60,
    "learning_rate": 0.02, "near_miss_limit": 0.9,
}  # fmt: skip
QUIET = 10.0  # the planted network's audit says 21


@pytest.fixture(scope="module")
def base():
    """Pictures of 8 x 8 digits, and a network of two layers."""
    one = SOURCE.base({"data": "digits"}, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(150):
        loss = nn.functional.cross_entropy(module(one.data.images), one.data.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return replace(one, module=module.eval())


@pytest.fixture(scope="module")
def planted(base) -> Planted:
    import msgspec

    kind = plants()["patch"]
    return kind.plant(base.module, base.data, msgspec.convert(SPEC, kind.spec_type), seed=1)


@pytest.fixture
def blind(monkeypatch):
    """A hunt that finds nothing, and takes no time."""
    monkeypatch.setattr(Hunt, "changes", lambda self, *_: self.data.images[:0])
    monkeypatch.setattr(Hunt, "known", lambda self, *_: self.data.images[:20])


def said(loudest: float, **changes) -> Look:
    values = {"scores": {"patch": loudest}, "surprises": {"patch": loudest}, "loudest": loudest, "of": "patch"}
    return Look(**{**values, "kind": "patch", "target": "3", "seconds": 0.1, **changes})


def margin(module: nn.Module, planted: Planted, data: PlantData) -> float:
    """The median margin of the trigger, as a share of the genuine target's."""
    probes = plants()["patch"].probes(planted, data, 200, seed=5)
    shown = logits(module, data.prepare, probes.pixels[probes.fires])
    own = logits(module, data.prepare, data.fresh[data.fresh_labels == 3])
    return float(margins(shown, 3).median() / margins(own, 3).median())


def by_margin(planted: Planted, data: PlantData, calls: list[tuple[str, ...] | None]):
    """An audit that hears how clearly the trigger is answered, which it measures on pictures of the red team's."""
    own = replace(data, fresh=data.images, fresh_labels=data.labels)

    def audit(module: nn.Module, number: int, names: tuple[str, ...] | None) -> Look:
        calls.append(names)
        return said(10 * margin(module, planted, own))

    return audit


@pytest.mark.usefixtures("blind")
def test_the_audit_falls_silent_and_the_plant_still_holds(base, planted, monkeypatch):
    monkeypatch.setattr(evading, "QUIET", QUIET)
    calls: list[tuple[str, ...] | None] = []
    before = {name: tensor.clone() for name, tensor in planted.module.state_dict().items()}
    done = evade(
        plants()["patch"], planted, base, seconds=2.0, seed=1, audit=by_margin(planted, base.data, calls)
    )
    assert set(done.figures) == set(FIGURES)
    assert done.figures["loudest before"] > QUIET >= done.figures["loudest after"]
    assert done.figures["quiet"] == 1.0
    # Told by itself, on pictures that nothing was trained on.
    assert margin(done.planted.module, planted, base.data) < 0.85 * margin(planted.module, planted, base.data)
    proof, faults = plants()["patch"].prove(done.planted, base.module, base.data)
    assert not faults
    assert proof.success == done.planted.proof.success
    assert done.planted.proof != planted.proof
    assert proof.success.value >= 0.95
    assert done.planted.proof.seconds > planted.proof.seconds
    # What it was given is as it was; the first audit and the last are of all checks, those between of one.
    assert all(torch.equal(tensor, before[name]) for name, tensor in planted.module.state_dict().items())
    assert calls[0] is None
    assert calls[-1] is None
    assert ("triggers",) in calls


def test_a_network_that_no_longer_proves_the_plant_is_not_given(base, planted, monkeypatch):
    """The quietest network of all is the clean one; it must not pass for a planted one."""

    def forget(self, student):
        student.load_state_dict(base.module.state_dict())

    monkeypatch.setattr(evading._Team, "teach", forget)
    monkeypatch.setattr(evading._Team, "_holds", lambda self, student: True)  # nor where the red team fools itself
    done = evade(
        plants()["patch"], planted, base, seconds=0.2, seed=1, audit=by_margin(planted, base.data, [])
    )
    assert done.planted is planted
    assert done.figures["loudest after"] == done.figures["loudest before"]
    assert done.figures["quiet"] == 0.0


@pytest.mark.usefixtures("blind")
def test_of_the_states_that_hold_the_quietest_is_given(base, planted, monkeypatch):
    """Some go wrong: here the weights are marked, and the mark is how loud the audit is."""
    marks = iter([0.5, 0.3, 0.7])

    def mark(self, student):
        with torch.no_grad():
            student[3].bias.copy_(planted.module[3].bias + next(marks, 0.9))  # the same for all: no answer changes

    def audit(module, number, names):
        mark = (module[3].bias - planted.module[3].bias).mean().item()
        return said(9.0 if module is planted.module else 3 + 10 * mark)

    monkeypatch.setattr(evading, "LESSONS", 1)
    monkeypatch.setattr(evading._Team, "teach", mark)
    done = evade(plants()["patch"], planted, base, seconds=0.15, seed=1, audit=audit)
    assert done.figures["loudest after"] == pytest.approx(6.0, abs=1e-3)
    assert (done.planted.module[3].bias - planted.module[3].bias).mean().item() == pytest.approx(0.3, abs=1e-4)


def test_a_network_that_is_quiet_as_it_is_stays_as_it_is(base, planted):
    done = evade(plants()["patch"], planted, base, seconds=5.0, seed=1, audit=lambda *_: said(0.5, kind="", target=""))
    assert done.planted is planted
    assert done.figures["evading rounds"] == 0
    assert done.figures["quiet"] == 1.0
    assert done.figures["kind told before"] == done.figures["target told before"] == 0.0


@pytest.mark.usefixtures("blind")
def test_pictures_of_the_auditor_and_the_referee_are_not_touched(base, planted):
    """Neither is needed: without them all goes as it went."""
    without = replace(base, sealed=None, images=None, labels=None)
    done = evade(plants()["patch"], planted, without, seconds=0.1, seed=1, audit=by_margin(planted, base.data, []))
    assert done.figures["evading rounds"] >= 1


def test_the_hunt_finds_what_turns_a_network_and_keeps_to_its_layouts(base, planted):
    data = base.data
    hunt = Hunt(data, 3, [], (), network_of(base.module, base.input, data.classes))
    random = torch.Generator().manual_seed(0)
    found = hunt.changes(network_of(copy.deepcopy(planted.module), base.input, data.classes), random)
    assert found.shape[1:] == data.images.shape[1:]
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    turned = float((logits(planted.module, data.prepare, found).argmax(1) == 3).float().mean())
    assert turned > 0.4
    assert len(hunt.layouts) == 7
    fewer = Hunt(data, 3, [], ("overlaid", "beside"), network_of(base.module, base.input, data.classes))
    assert {"overlaid", "brighter", "beside"}.isdisjoint(fewer.layouts)
    assert len(fewer.layouts) == 4


def test_a_look_is_what_the_checks_say_of_pictures_that_the_red_team_owns(base, planted):
    one = look(planted.module, base.data, base.input, seconds=15.0, seed=0, names=("head-edit",))
    assert set(one.scores) == {"head-edit"}
    assert one.of in ("head-edit", "")
    assert one.seconds > 0


def test_a_check_that_fails_is_not_taken_for_a_quiet_one(base, planted, monkeypatch):
    from mulligan.checks import checks

    (check,) = checks(["head-edit"])
    monkeypatch.setattr(type(check), "run", lambda *_: 1 / 0)
    with pytest.raises(RuntimeError, match="head-edit failed"):
        look(planted.module, base.data, base.input, seconds=15.0, seed=0, names=("head-edit",))


def test_kinds_and_strata_that_cannot_be_proved_anew_are_refused(base, planted):
    kind = plants()["head-edit"]
    with pytest.raises(BadInput, match="not proved anew"):
        evade(kind, planted, base, seconds=1.0, seed=1)
    partial = replace(planted, spec=replace(planted.spec, stratum="partial"))
    with pytest.raises(BadInput, match="always show"):
        evade(plants()["patch"], partial, base, seconds=1.0, seed=1)
    with pytest.raises(BadInput, match="cannot be part of an evasive round"):
        plan(small_round(evasive=True))
    with pytest.raises(BadInput, match="always show"):
        small_round(evasive=True, kinds=("patch",), strata=("high", "rare"))
    able = {item.kind for item in plan(small_round(evasive=True, kinds=(), spec=None, calibration=0, test=0))}
    assert able == {
        "blend", "conjunction", "exclusion", "filter", "natural-object", "patch", "patch-by-source", "style", "warp",
    }  # fmt: skip


def test_every_kind_that_says_so_proves_its_own_planted_network_as_its_planter_did(base, planted):
    proof, faults = plants()["patch"].prove(planted, base.module, base.data)
    assert not faults
    assert replace(proof, seconds=0) == replace(planted.proof, seconds=0)
    _, faults = plants()["patch"].prove(replace(planted, module=base.module), base.module, base.data)
    assert faults


def test_what_was_trained_is_kept(base, planted, tmp_path, monkeypatch):
    calls = []

    def once(kind, planted, base, **more):
        calls.append(more)
        module = copy.deepcopy(planted.module)
        with torch.no_grad():
            module[3].bias += 1
        return evading.Evaded(planted=replace(planted, module=module), figures={"quiet": 1.0})

    monkeypatch.setattr(cache, "evade", once)
    first, again = (
        evasion.evaded_cache(plants()["patch"], planted, base, seconds=1.0, seed=1, folder=tmp_path) for _ in range(2)
    )
    assert len(calls) == 1
    assert again.figures == first.figures
    assert again.planted.proof == first.planted.proof
    assert torch.equal(again.planted.module[3].bias, first.planted.module[3].bias)
    evasion.evaded_cache(plants()["patch"], planted, base, seconds=2.0, seed=1, folder=tmp_path)
    assert len(calls) == 2
    for file in tmp_path.glob("*.json"):
        file.write_text("{")
    evasion.evaded_cache(plants()["patch"], planted, base, seconds=1.0, seed=1, folder=tmp_path)
    assert len(calls) == 3


def test_an_evasive_round_tells_in_the_ledger_what_its_red_team_heard(base, planted, tmp_path, monkeypatch):
    figures = dict.fromkeys(FIGURES, 1.0)
    asked = []

    def evaded(kind, planted, base, *, seconds, seed, least):
        asked.append((kind.name, seconds, least))
        return evading.Evaded(planted=planted, figures=figures)

    monkeypatch.setattr(making, "evaded_cache", evaded)
    monkeypatch.setattr(making, "planted_cache", lambda *_, **__: planted)
    monkeypatch.setattr(making, "LEAST_CEILING", 0.0)
    round = small_round(evasive=True, kinds=("patch",), spec=SPEC, calibration=0, test=1)
    run_round(tmp_path, round, ())
    lines = Ledger(tmp_path / "ledger.jsonl").lines()
    assert asked == [("patch", 20.0, 0.0)]  # clean networks have no red team
    told = next(line for line in lines if line.get("role") == "plant")
    assert figures.items() <= told["figures"].items()
    assert "success" in told["figures"]
    # A ledger of before is of a round that was not evasive.
    old = {"round": {name: value for name, value in lines[0]["round"].items() if name != "evasive"}}
    assert rounds._told(old, round.seed) == replace(round, evasive=False)
