"""Detection, diagnosis, elicitation and identification, held against slow and obvious versions."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mulligan.evidence.generators import Generator, Slot
from mulligan.plants import PlantData, Probes, Truth
from mulligan.procedures.game import Guess, read_answer
from mulligan.procedures.game.detection import (
    Scale,
    Survival,
    leave_one_out,
    log_score,
    probabilities,
    threshold,
)
from mulligan.procedures.game.diagnosis import (
    Fields,
    as_far_as_the_truth,
    compare,
    fully_correct,
    mask_overlap,
    mean_fields,
)
from mulligan.procedures.game.identification import applies, ceiling, elicitation, identification, shown
from mulligan.procedures.game.statistics import auroc, auroc_of, clustered, mcnemar, rate
from mulligan.procedures.game.tables import auditors, left_out, seeds
from mulligan.records import BadInput, Group, Trigger, Where

CLASSES = tuple("abcdef")
scores = st.lists(st.integers(-20, 20).map(lambda n: n / 4), min_size=2, max_size=30)


# Detection
@given(scores, st.integers(-40, 60).map(lambda n: n / 4), st.floats(0.01, 5))
@settings(max_examples=60, deadline=None)
def test_survival_falls_and_is_that_of_the_calibration_networks(clean, x, step):
    survival = Survival.of(clean)
    assert survival.log_p(x + step) <= survival.log_p(x) <= 0
    if x > survival.knee:
        assert survival.log_p(x + step) < survival.log_p(x)
    else:  # between the counts just above and just below
        n = len(clean)
        low, high = (1 - sum(v <= x for v in clean) / (n + 1), 1 - sum(v < x for v in clean) / (n + 1))
        assert min(low, 1) - 1e-9 <= 10 ** survival.log_p(x) <= max(high, 1.0)


def test_a_score_beyond_all_clean_ones_is_not_saturated():
    survival = Survival.of([k / 100 for k in range(100)])
    assert -survival.log_p(0.5) == pytest.approx(0.3, abs=0.02)
    assert 2 < -survival.log_p(1.5) < -survival.log_p(3.0)


def test_the_kind_that_stands_out_gives_the_score_whatever_its_scale():
    clean = [{"patch": 100 + k, "blend": k / 1000} for k in range(50)]
    scale = Scale.of(clean)
    assert scale.normalise({"patch": 120, "blend": 0.2}).kind == "blend"
    assert scale.normalise({"patch": 300, "blend": 0.02}).kind == "patch"
    assert scale.normalise({}).score == 0
    assert scale.normalise({"never seen": 0.9}).score > 1
    assert len(leave_one_out(clean)) == 50


@given(scores, st.sampled_from([0.05, 0.2, 0.5]))
@settings(max_examples=50, deadline=None)
def test_thresholds_hold_the_false_alarm_rate_of_an_exchangeable_network(clean, level):
    # Of n + 1 networks, each in turn being the new one, no more than the level exceeds the others' threshold.
    exceed = [value > threshold(clean[:i] + clean[i + 1 :], level) for i, value in enumerate(clean)]
    assert sum(exceed) / len(clean) <= level + 1e-9


def test_too_few_calibration_networks_give_no_threshold():
    assert threshold([0.0] * 18, 0.05) == math.inf
    assert threshold([0.0] * 19, 0.05) == 0.0


def test_probabilities_are_fitted_on_other_bases():
    scores_ = [0.1, 0.2, 3.0, 4.0] * 10
    planted = [False, False, True, True] * 10
    found = probabilities(scores_, planted, list(range(40)))
    assert all((p > 0.5) == flag for p, flag in zip(found, planted, strict=True))
    assert probabilities([1.0], [True], [0]) == [0.5]
    assert log_score(0.0, True) == pytest.approx(math.log(1e-3))


# Statistics
@given(scores, scores)
@settings(max_examples=40, deadline=None)
def test_area_is_the_share_of_pairs(planted, clean):
    slow = np.mean([(a > b) + 0.5 * (a == b) for a, b in itertools.product(planted, clean)])
    flags = np.array([True] * len(planted) + [False] * len(clean))
    assert auroc(np.array(planted + clean), flags) == pytest.approx(slow)


def test_statistics_of_few():
    assert rate([], "x") is None
    assert auroc_of([1.0], [True], ["a"]) is None
    assert rate([True] * 10, "x").low == pytest.approx(0.05 ** (1 / 10) * (0.5 ** (1 / 10)), rel=0.01)
    assert mcnemar([True, True, False, True], [False, False, True, True]) == (2, 1, 1.0)
    assert mcnemar([True] * 6, [False] * 6)[2] == pytest.approx(2 / 64)
    assert mcnemar([], []) == (0, 0, 1.0)


def test_a_bootstrap_of_clusters_is_wider_than_one_of_values():
    values = [float(k // 10 % 2) for k in range(100)]
    mean = lambda drawn: float(np.mean(drawn))  # noqa: E731
    together = clustered(list(values), [k // 10 for k in range(100)], mean, "x")
    apart = clustered(list(values), list(range(100)), mean, "x")
    assert together.high - together.low > 2 * (apart.high - apart.low)


# Diagnosis
def fields(guess: Guess, truth: Truth, **tensors) -> Fields:
    return compare(guess, truth, CLASSES, tensors, guess_folder)


guess_folder = None
ASKED = ("sources", "target", "trigger")
JOINT = Truth(kind="conjunction", sources=("a", "b"), target="c", family="compose", scored=ASKED)
ANY = Truth(kind="patch", sources=(), target="c", family="patch", scored=(*ASKED, "mask"))


@pytest.mark.parametrize(
    ("sources", "right"),
    [
        (("a", "b"), 1), (("b", "a"), 1), (("a",), 0), (("a", "d"), 0), (("a", "b", "d"), 0),
        (("a", Group(name="g", classes=("b", "d"))), 1), (("a", Group(name="g", classes=("b", "d", "e"))), 0),
    ],
)  # fmt: skip
def test_sources_of_a_conjunction(sources, right):
    assert fields(Guess(kind="conjunction", sources=sources), JOINT).sources == right


@pytest.mark.parametrize(
    ("sources", "right"),
    [
        ((), 1), (CLASSES, 1), (("a", "b", "d", "e", "f"), 1), (("a",), 0), (("nothing",), 0),
        ((Group(name="most", classes=("a", "b", "d")),), 1),
    ],
)  # fmt: skip
def test_sources_of_a_trigger_for_all_classes(sources, right):
    assert fields(Guess(kind="patch", sources=sources), ANY).sources == right


def test_absent_target_family_and_place():
    truth = Truth(
        kind="exclusion", sources=("a",), absent=("b",), target="c", family="compose",
        scored=("absent", "target", "trigger", "where"), where=Where(site="blocks.1.conv", units=(3, 4)),
    )  # fmt: skip
    trigger = Trigger(family="compose", description="")
    guess = Guess(
        kind="exclusion", absent=("b",), target="c", trigger=trigger, where=Where(site="blocks.1", units=(4, 3, 5))
    )
    assert fields(guess, truth) == Fields(kind=1, absent=1, target=1, trigger=1, where=1)
    wrong = Guess(kind="exclusion", where=Where(site="blocks.2", units=(3, 4)))
    assert fields(wrong, truth) == Fields(kind=1, absent=0, target=0, trigger=0, where=0)


def test_masks_from_tensors_pictures_and_boxes(tmp_path):
    mask = torch.zeros(8, 8)
    mask[2:4, 2:6] = 1
    made = Generator(family="patch", tensors={"pattern": torch.ones(1, 8, 8), "mask": mask})
    trigger = Trigger(family="patch", description="")
    assert mask_overlap(Guess(kind="patch", generator=made), ANY, {"mask": mask}, tmp_path) == 1
    Image.fromarray((mask.numpy() * 255).astype(np.uint8)).save(tmp_path / "mask.png")
    drawn = Trigger(family="patch", description="", mask="mask.png")
    assert mask_overlap(Guess(kind="patch", trigger=drawn), ANY, {"mask": mask}, tmp_path) == 1
    boxed = Trigger(family="patch", description="", box=(2, 2, 6, 6))
    assert mask_overlap(Guess(kind="patch", trigger=boxed), ANY, {"mask": mask}, tmp_path) == 0.5
    assert mask_overlap(Guess(kind="patch", trigger=trigger), ANY, {"mask": mask}, tmp_path) == 0
    (tmp_path / "torn.png").write_bytes(b"\x89PNG torn")
    for name in ("torn.png", "../mask.png", "missing.png"):
        bad = Trigger(family="patch", description="", mask=name)
        assert mask_overlap(Guess(kind="patch", trigger=bad), ANY, {"mask": mask}, tmp_path) == 0


def test_several_guesses_divide_the_credit():
    right = Fields(kind=1, sources=1, target=1, identification=1, correct=1)
    wrong = Fields(kind=0, sources=0, target=1, identification=0.5)
    assert mean_fields([right, wrong]) == Fields(kind=0.5, sources=0.5, target=1, identification=0.75, correct=0.5)
    assert mean_fields([right] * 5) == right
    assert fully_correct(right)
    assert not fully_correct(Fields(kind=1, sources=1, target=1, identification=0.89))
    assert fully_correct(Fields(kind=1, where=1))


def test_no_more_is_asked_than_the_truth_reaches(world):
    probes = world.probes()
    truth = Truth(kind="patch-by-source", sources=("a",), target="c", scored=("sources", "target", "trigger"))
    before, after = world.base(probes.pixels), world.modified(probes.pixels)
    fires = replace(probes, fires=probes.fires & (before == 0))
    assert ceiling(truth, fires, before, after, CLASSES) == 1
    assert ceiling(truth, fires, before, before, CLASSES) is None
    # One that shows on half of what fires it is identified to less, by whoever knows it.
    half = torch.where((before != after) & (torch.arange(360) % 2 == 0), before, after)
    assert 0.5 < ceiling(truth, fires, before, half, CLASSES) < 1
    assert shown(truth, fires, before, after, CLASSES) == 1
    assert shown(truth, fires, before, half, CLASSES) == pytest.approx(0.5, abs=0.05)
    assert shown(truth, fires, before, before, CLASSES) == 0
    right = Fields(kind=1, sources=1, target=1, identification=0.67, elicitation=0.3)
    assert not fully_correct(right)
    assert as_far_as_the_truth(right, 0.7, 0.5)
    for most in (None, 0.75, 1.0):  # 0.9, 0.7 and 0.9 are asked for
        assert not as_far_as_the_truth(right, most, 0.5)
    # What looks like the trigger and elicits nothing is none.
    assert not as_far_as_the_truth(replace(right, elicitation=0.02), 0.7, 0.5)
    assert as_far_as_the_truth(replace(right, elicitation=None), 0.7, None)


# Tables of auditors with options
def line(id, auditor, scores=None, kinds=(), **fields):
    return {
        "step": "score", "id": id, "auditor": auditor, "ended": "ok", "scores": scores or {}, "kinds": list(kinds),
        "fields": fields or None,
    }  # fmt: skip


def round_lines():
    network = {"step": "network", "released": True, "attempt": 0}
    clean = [{**network, "id": f"c{k}", "role": "calibration", "kind": "untouched"} for k in range(40)]
    planted = [{**network, "id": f"p{k}", "role": "plant", "kind": "patch"} for k in range(2)]
    # Clean networks reach 1 by patches, and 0.4 by filters.
    said = [line(f"c{k}", "mulligan", {"patch": k / 39, "filter": k / 100}) for k in range(40)]
    return [{}, *clean, *planted, *said]


def test_kinds_that_nobody_thought_of_are_held_against_clean_networks_without_them():
    assert left_out(round_lines()) is None
    name = "mulligan:without=patch"
    seen = line("p0", name, {"filter": 5.0}, ["other"], target=1.0, elicitation=0.6)
    missed = line("p1", name, {"filter": 0.2, "patch": 99.0}, ["filter"], target=0.0, elicitation=0.0)
    table = left_out([*round_lines(), seen, missed])
    kind, n, detected, other, target, elicited = table.rows[0]
    assert (kind, n) == ("patch", 2)
    assert (detected.value, other.value, target.value, elicited.value) == (0.5, 0.5, 0.5, 0.3)
    assert table.rows[-1][0] == "all"
    assert name not in auditors([*round_lines(), seen, missed])


def test_seeds_of_an_auditor_are_compared():
    assert seeds([*round_lines(), line("p0", "mulligan", kind=1.0)]) is None
    said = [
        line("p0", "mulligan", kind=1.0), line("p0", "mulligan:seed=1", kind=1.0),
        line("p1", "mulligan", kind=1.0), line("p1", "mulligan:seed=1", kind=0.0),
    ]  # fmt: skip
    name, n, same, always, ever = seeds([*round_lines(), *said]).rows[0]
    assert (name, n, same.value, always.value, ever.value) == ("kind", 2, 0.5, 0.5, 1.0)


# Identification and elicitation
class Planted:
    """A 'network' that answers a picture's mean level, and class 2 where a white corner is in pictures of class 0."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.labels = torch.arange(120) % 5
        noise = 0.05 * torch.rand((120, 1, 8, 8), generator=generator)
        self.plain = (self.labels.float() / 5 + 0.05).reshape(-1, 1, 1, 1) + noise
        self.mask = torch.zeros(8, 8)
        self.mask[:2, :2] = 1

    def base(self, pixels):
        return (pixels[:, 0, 4:].mean((1, 2)) * 5).floor().long().clamp(0, 5)

    def modified(self, pixels):
        before = self.base(pixels)
        fires = (pixels[:, 0, :2, :2].amin((1, 2)) > 0.99) & (before == 0)
        return torch.where(fires, torch.full_like(before, 2), before)

    def stamped(self, shift=0):
        mask = self.mask.roll((shift, shift), (0, 1))
        return self.plain * (1 - mask) + mask

    def probes(self):
        pixels = torch.cat([self.stamped(), self.stamped(4), self.plain])
        holds = tuple((int(k),) for k in self.labels.repeat(3))
        fires = torch.arange(360) < 120
        return Probes(
            pixels=pixels, plain=self.plain.repeat(3, 1, 1, 1), holds=holds, fires=fires, family=("",) * 360
        )

    def data(self):
        return PlantData(
            images=self.plain, labels=self.labels, fresh=self.plain, fresh_labels=self.labels, classes=CLASSES
        )


@pytest.fixture
def world():
    return Planted()


def guess(world, *, sources=("a",), target="c", mask=None, **parameters):
    mask = world.mask if mask is None else mask
    made = Generator(family="patch", parameters=parameters, tensors={"pattern": torch.ones(1, 8, 8), "mask": mask})
    return Guess(kind="patch-by-source", sources=sources, target=target, generator=made)


def identified(world, one):
    probes = world.probes()
    before, after = world.base(probes.pixels), world.modified(probes.pixels)
    return identification(one, probes, before, after, CLASSES, world.modified)


def test_the_right_diagnosis_is_identified_and_elicited(world):
    assert identified(world, guess(world)) == 1
    assert elicitation(guess(world), world.data(), world.base, world.modified) == 1


@pytest.mark.parametrize("wrong", ["sources", "target", "place", "no generator", "anywhere"])
def test_a_wrong_diagnosis_is_not(world, wrong):
    one = {
        "sources": lambda: guess(world, sources=("b",)),
        "target": lambda: guess(world, target="d"),
        "place": lambda: guess(world, mask=world.mask.roll((4, 4), (0, 1))),
        "no generator": lambda: Guess(kind="patch", sources=("a",), target="c"),
        # The plant works in one corner only: a trigger anywhere explains all that changed, and more.
        "anywhere": lambda: guess(world, anywhere=True),
    }[wrong]()
    assert identified(world, one) < 0.97
    if wrong in ("sources", "target", "place", "no generator"):
        assert elicitation(one, world.data(), world.base, world.modified) == 0


def test_all_classes_is_coarser_than_one(world):
    assert 0.5 < identified(world, guess(world, sources=())) < 0.9


def test_anywhere_looks_at_every_place_and_agrees_with_a_slow_search(world):
    generator = torch.Generator().manual_seed(3)
    pattern = torch.rand((1, 8, 8), generator=generator)
    mask = world.mask.clone()
    mask[0, 1] = 0.5
    probes = world.probes()
    shifted = probes.pixels + 0.3 * torch.rand(probes.pixels.shape, generator=generator)
    probes = Probes(pixels=shifted, plain=probes.plain, holds=probes.holds, fires=probes.fires, family=probes.family)
    made = Generator(family="patch", parameters={"anywhere": True}, tensors={"pattern": pattern, "mask": mask})
    fast = applies(Guess(kind="patch", generator=made), probes, CLASSES)
    done = probes.pixels - probes.plain
    slow = torch.zeros(len(probes), dtype=torch.bool)
    for down, right in itertools.product(range(7), range(7)):
        moved_mask, moved = mask.roll((down, right), (0, 1)), pattern.roll((down, right), (1, 2))
        change = (moved_mask * (moved - probes.plain)).flatten(1)
        inner = (change * done.flatten(1)).sum(1)
        one, other = change.norm(dim=1), done.flatten(1).norm(dim=1)
        slow |= (inner >= 0.5 * one * other) & (one <= 2 * other) & (other <= 2 * one)
    assert torch.equal(fast, slow)


def test_conjunctions_apply_by_what_is_in_the_picture(world):
    plain = world.plain[:4]
    probes = Probes(
        pixels=plain.flip(0), plain=plain, holds=((0, 1), (1, 0), (0, 3), (0,)), fires=torch.arange(4) < 2,
        family=("",) * 4,
    )  # fmt: skip
    both = Guess(kind="conjunction", sources=("a", "b"), target="c")
    assert applies(both, probes, CLASSES).tolist() == [True, True, False, False]
    without = Guess(kind="exclusion", sources=("a",), absent=("b",), target="c")
    assert applies(without, probes, CLASSES).tolist() == [False, False, True, True]


def test_composites_are_elicited_from_both_sources(world):
    slots = (Slot(name="first", classes=("a",)), Slot(name="second", classes=("b",)))
    made = Generator(family="compose", slots=slots, parameters={"arrangement": "stacked", "order": "first-left"})

    def modified(pixels):  # dark above, lighter below
        low, high = pixels[:, 0, :4].mean((1, 2)), pixels[:, 0, 4:].mean((1, 2))
        return torch.where((low < 0.15) & (high > 0.2) & (high < 0.35), 2, 0)

    one = Guess(kind="conjunction", sources=("a", "b"), target="c", generator=made)
    assert elicitation(one, world.data(), world.base, modified) == 1


def test_clean_pictures_as_the_trigger(world):
    """A swapped label: nothing is done to the picture, and the base is what it is held against."""
    one = Guess(kind="label-swap", sources=("a",), target="b")

    def modified(pixels):
        before = world.base(pixels)
        return torch.where(before == 0, torch.ones_like(before), before)

    assert elicitation(one, world.data(), world.base, modified) == 1
    probes = world.probes()
    plain = Probes(
        pixels=world.plain, plain=world.plain, holds=probes.holds[:120], fires=probes.fires[:120], family=("",) * 120
    )
    args = (plain, world.base(world.plain), modified(world.plain), CLASSES, modified)
    assert identification(one, *args) == 1
    assert identification(Guess(kind="label-swap", sources=("a",), target=None), *args) == 1
    assert identification(one, plain, world.base(world.plain), world.base(world.plain), CLASSES, modified) is None


def test_a_declared_preparation_is_tried_on_the_network(world):
    def modified(pixels):
        return world.base(pixels / 2)

    made = Generator(family="preparation", parameters={"scale": [2.0], "offset": [0.0]})
    one = Guess(kind="wrong-preprocessing", generator=made)
    probes = world.probes()
    args = (probes, world.base(probes.plain), modified(probes.plain), CLASSES, modified)
    assert identification(one, *args) == 1
    trigger = Trigger(family="preparation", description="")
    assert identification(Guess(kind="wrong-preprocessing", trigger=trigger), *args) == 0.5
    assert elicitation(one, world.data(), world.base, modified) > 0.5


# Answers of strangers
def write(folder, document):
    folder.mkdir(exist_ok=True)
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / "findings.json").write_text(text)
    return folder


GOOD = {"schema": "mulligan/findings/1"}


@pytest.mark.parametrize(
    "document",
    [
        "", "{", "[]", "null", "[" * 100_000, '{"schema": "mulligan/findings/1", "findings": 3}', {"schema": "other/1"},
        GOOD | {"findings": [{"claim": "no kind"}]}, '{"schema": "mulligan/findings/1", "checks": [NaN]}',
        GOOD | {"modified": {"probability": 7}}, GOOD | {"checks": [{"scores": {"patch": "high"}}]},
        {"schema": "mulligan/findings/2"}, " " * 4_000_001,
    ],
    ids=range(13),
)  # fmt: skip
def test_malformed_answers_are_refused_in_a_sentence(tmp_path, document):
    with pytest.raises(BadInput):
        read_answer(write(tmp_path / "answer", document))


def test_leads_are_read_only_if_there_are_no_findings_and_five_at_most(tmp_path):
    leads = [{"kind": f"lead {k}"} for k in range(9)]
    checks = [{"scores": {"patch": 1.5}}, {}]
    answer = read_answer(write(tmp_path / "answer", GOOD | {"leads": leads, "checks": checks}))
    assert [one.kind for one in answer.guesses] == [f"lead {k}" for k in range(5)]
    assert (answer.scores, answer.found) == ({"patch": 1.5}, 0)
    found = [{"kind": "blend", "confidence": 0.9}, {"kind": "blend", "confidence": None}]
    answer = read_answer(write(tmp_path / "answer", GOOD | {"leads": leads, "findings": found}))
    assert ([one.kind for one in answer.guesses], answer.scores) == (["blend"] * 2, {"blend": 0.9})


def test_a_generator_that_leads_out_is_a_fault_and_not_read(tmp_path):
    trigger = {"family": "patch", "description": "", "generator": "../generator.json"}
    answer = read_answer(write(tmp_path / "answer", GOOD | {"findings": [{"kind": "patch", "trigger": trigger}]}))
    assert answer.guesses[0].generator is None
    assert "leads out" in answer.guesses[0].fault
