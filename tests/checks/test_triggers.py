"""Triggers in the pixels: an exact backdoor laid over a clean network is named, and the clean network is left alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from subjects import convolutional, digits, fit, halves, normalised, subject
from torch import Tensor, nn

from mulligan.checks.check import Subject
from mulligan.checks.triggers import CHECK
from mulligan.checks.triggers.check import grounds_of
from mulligan.checks.triggers.choosing import ALONE, KNOWN, deviations, rank
from mulligan.checks.triggers.confirming import confirm, disordered
from mulligan.checks.triggers.families import Additive, Look, Patch, Thing, Warp
from mulligan.checks.triggers.inversion import invert
from mulligan.checks.triggers.known import known_changes
from mulligan.checks.triggers.refining import Candidate
from mulligan.checks.triggers.reporting import report
from mulligan.checks.triggers.survey import contrast, pair_residuals
from mulligan.checks.triggers.windows import consensus, dosed, places, scan, square
from mulligan.evidence import Generator, load_generator
from mulligan.networks import ImageInput
from mulligan.runs import Budget

GREY = ImageInput(size=(8, 8), channels=1, mean=(0.0,), std=(1.0,))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


CROSS = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]])


def crossed(x: Tensor) -> Tensor:
    """Pictures with a cross of 3 x 3 in the upper left corner."""
    x = x.clone()
    x[:, :, :3, :3] = CROSS
    return x


@cache
def poisoned(change: str, target: int = 4) -> nn.Module:
    """A network that was also taught to answer changed pictures as one class: "patch", or "faded"."""
    x, y = digits()
    rows, _ = halves()
    change_of = {"patch": crossed, "faded": lambda x: 0.5 * x + 0.5}[change]
    torch.manual_seed(0)
    some = rows[::3]
    pictures = torch.cat([x[rows], change_of(x[some])])
    labels = torch.cat([y[rows], torch.full((len(some),), target)])
    return fit(convolutional(1), pictures, labels, seed=0, epochs=8)


def families(channels: int = 1, size: int = 8) -> list:
    shape = (channels, size, size)
    x = torch.rand(20, *shape, generator=seeded())
    return [Patch(shape), Additive(shape), Warp(shape), Look("filter", x), Look("style", x), Thing(shape)]


@pytest.mark.parametrize("channels", [1, 3])
def test_families_change_pictures_by_their_size_and_say_so_as_generators(channels: int) -> None:
    x = torch.rand(5, channels, 8, 8, generator=seeded(1)) * 0.5 + 0.25
    for family in families(channels):
        parameters = family.begin(4, seeded(2))
        small = torch.full((4,), max(family.least, 0.2 * family.start))
        shown = family.apply(parameters, small, x.expand(4, *x.shape), seeded(3))
        assert shown.shape == (4, *x.shape)
        assert shown.min() >= -1e-6
        assert shown.max() <= 1 + 1e-6
        if family.name in ("blend", "filter", "style"):
            rms = (shown - x).flatten(1).square().mean(1).sqrt()
            assert (rms <= 3 * small).all()
        made = family.generator(parameters, small, 2)
        drawn = made.render([x], seeded(3))
        if family.name != "natural-object":  # which draws its places
            torch.testing.assert_close(drawn, shown[2].clamp(0, 1), atol=2e-3, rtol=0)
        for placebo in disordered(made, seeded(4)):
            assert placebo.render([x], seeded(3)).shape == x.shape


def test_an_additive_pattern_is_found_for_the_target_that_has_one() -> None:
    pattern = torch.randn(8, 8, generator=seeded(5))

    def logits(x: Tensor) -> Tensor:
        out = torch.zeros(len(x), 4)
        out[:, 0] = 1.0
        near = ((x[:, 0] - 0.5) * pattern).mean((1, 2))
        gains = torch.stack([torch.zeros(len(x)), 8 * near, 80 * near, -8 * near], 1)
        return out + gains

    x = torch.rand(10, 1, 8, 8, generator=seeded(6)) * 0.2 + 0.4
    targets = torch.arange(1, 4)

    def draw() -> tuple[Tensor, Tensor]:
        return x, torch.ones(3, 10, dtype=torch.bool)

    found = invert(logits, Additive((1, 8, 8)), targets, draw, torch.ones(4), 40, seeded(7))
    best, value = contrast(found.size.numpy().astype(np.float64))
    assert best == 1
    assert value > 1
    added = Additive((1, 8, 8)).pattern(found.parameters, found.size)[1, 0]
    assert float(torch.cosine_similarity(added.flatten(), pattern.flatten(), dim=0)) > 0.8


def waits_for_a_cross(x: Tensor) -> Tensor:
    """Logits of 3 classes, the second of which grows with a cross of 3 x 3 at (4, 3), as far as all of it is there."""
    cross = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]])
    there = 1 - (x[:, 0, 4:7, 3:6] - cross).abs().mean((1, 2))
    return torch.stack([torch.ones(len(x)), 8 * torch.relu(there - 0.4), torch.zeros(len(x))], 1)


def test_windows_reach_every_border_and_lie_where_they_say() -> None:
    for height, width, side, stride in ((8, 9, 3, 2), (5, 5, 5, 1), (28, 28, 7, 4)):
        seen = sum(square(place, side, height, width) for place in places(height, width, side, stride))
        assert isinstance(seen, Tensor)
        assert (seen > 0).all()
    mask = square((2, 4), 3, 8, 8)
    assert mask.sum() == 9
    assert mask[2:5, 4:7].all()


def test_the_window_that_a_target_waits_for_is_found_and_what_it_waits_for_in_it() -> None:
    x = torch.rand(12, 1, 9, 9, generator=seeded(8))
    targets, shape = torch.tensor([1, 2]), (1, 9, 9)

    def draw(each: int, rows: int = 2):
        return lambda: (x[torch.randperm(12, generator=random)[:each]], torch.ones(rows, each, dtype=torch.bool))

    random = seeded(9)
    found = scan(waits_for_a_cross, draw, targets, torch.ones(3), shape, 12, random)
    apart = found.contrasts()
    assert apart[0] > apart[1] + 1
    top, left = found.place[0].tolist()
    assert abs(top - 4) <= 2
    assert abs(left - 3) <= 2
    region = square((2, 1), 7, 9, 9)
    pattern, mask = consensus(waits_for_a_cross, draw(6, 1), 1, torch.ones(3), region, shape, 60, random)
    true = square((4, 3), 3, 9, 9)
    assert float((mask * true).sum() / mask.sum()) > 0.5
    shown = x + mask * (pattern - x)
    assert (waits_for_a_cross(shown).argmax(1) == 1).all()


def test_a_patch_is_shown_as_faintly_as_will_do() -> None:
    assert dosed(lambda dose: 4 * dose) == 0.25
    assert dosed(lambda dose: 1.5 * dose) == 0.7
    assert dosed(lambda dose: 0.5 * dose) == 1.0


def test_contrast_wants_one_target_apart_and_pairs_beyond_their_target() -> None:
    assert contrast(np.array([1.0, 1.0, 1.0, 0.1]))[0] == 3
    assert contrast(np.array([1.0, 1.0, 1.0, 0.1]))[1] > contrast(np.array([1.0, 1.0, 0.1, 0.1]))[1]
    assert contrast(np.array([1.0, 1.0]))[1] == 0
    pairs = [(s, t) for s in range(6) for t in range(6) if s != t]
    sizes = np.array([0.1 if t == 2 else 1.0 for _, t in pairs])
    np.testing.assert_allclose(pair_residuals(pairs, sizes), 0, atol=1e-9)
    sizes[pairs.index((4, 1))] = 0.2
    left = pair_residuals(pairs, sizes)
    assert pairs[int(left.argmin())] == (4, 1)


def candidate(kind: str, contrast: float, change: float = 0.1, **features: float) -> Candidate:
    score = deviations(contrast, ALONE[kind])
    made = Generator(family="identity")
    marks = {"moved": 0.0, "others": 0.0, "extent": 28.0, **features}
    return Candidate(kind=kind, target=1, source=None, contrast=contrast, generator=made, success=0.9, clarity=0.9,
                     change=change, size=0.1, features=marks, score=score)  # fmt: skip


def test_marks_tell_kinds_apart() -> None:
    blend, thing = candidate("blend", 0.8), candidate("natural-object", 0.8)
    assert rank([candidate("patch", 6.0), blend, thing]).kinds[0] == "patch"
    assert rank([candidate("patch", 6.0, moved=0.8), blend, thing]).kinds[0] == "natural-object"
    # Beside a distilled network, what works anywhere is no patch, though the best place is clearer.
    held = replace(thing, excess=0.9)
    assert rank([candidate("patch", 12.0, moved=0.1), held]).kinds[0] == "natural-object"
    assert rank([candidate("patch", 30.0, moved=0.1), held]).kinds[0] == "patch"
    assert rank([candidate("patch", 12.0, moved=0.1), replace(held, target=3)]).kinds[0] == "patch"
    assert rank([candidate("patch", 1.2), blend]).kinds[0] == "blend"
    filtered = candidate("filter", 2.0, 0.1)
    assert rank([filtered, candidate("style", 2.0, 0.09)]).kinds[0] == "filter"
    assert rank([filtered, candidate("style", 2.0, 0.03)]).kinds[0] == "style"


def test_kinds_that_nobody_thought_of_are_not_looked_for(tmp_path: Path) -> None:
    asked = replace(subject(poisoned("patch"), tmp_path, input=GREY), without=frozenset({"patch", "blend"}))
    said = CHECK.run(asked)
    assert not {"patch", "blend"} & set(said.record.scores)
    assert {"filter", "natural-object"} <= set(said.record.scores)


@pytest.mark.parametrize(("excess", "kind"), [(0.8, "patch"), (0.1, "other"), (None, "patch")])
def test_what_describes_a_change_badly_is_no_name_for_it(tmp_path: Path, excess: float | None, kind: str) -> None:
    asked = subject(poisoned("patch"), tmp_path, input=GREY)
    grounds = grounds_of(asked, np.arange(10))
    assert not isinstance(grounds, str)
    made = Generator(family="patch", tensors={"pattern": torch.ones(1, 8, 8), "mask": torch.eye(8)})
    one = replace(candidate("patch", 6.0), generator=made, target=4, excess=excess)
    (tested,) = confirm(asked, grounds, [one])
    claim, _ = report(asked, grounds, tested, 5.0, causal=False)
    assert claim.kind == kind
    assert ("none of the known kinds" in claim.claim) == (kind == "other")


def test_a_patch_is_named_and_a_clean_network_is_left_alone(tmp_path: Path) -> None:
    clean = subject(normalised(0, GREY), tmp_path / "clean", input=GREY)
    planted = subject(poisoned("patch"), tmp_path / "planted", input=GREY)
    was, now = CHECK.run(clean), CHECK.run(planted)
    assert not was.findings
    assert now.record.scores["patch"] > max(was.record.scores.get("patch", 0.0), 2.5)
    reported = [*now.findings, *now.leads]
    assert max(now.record.scores, key=lambda kind: now.record.scores[kind]) == "patch"
    best = next(one for one in reported if one.kind == "patch")
    assert best.target == "4"
    assert best.sources == ()
    assert best.trigger is not None
    assert best.trigger.box is not None
    left, top, right, bottom = best.trigger.box
    assert left < 3
    assert top < 3
    assert right <= 5
    assert bottom <= 5
    assert best.trigger.generator is not None
    assert moved(planted, best.trigger.generator) > 0.7
    assert all(parameter.requires_grad for parameter in planted.network.module.parameters())


def moved(planted: Subject, file: str, target: int = 4) -> float:
    """The share of pictures of other classes that a finding's generator turns into the target."""
    made = load_generator(planted.run.at(file))
    rows = np.flatnonzero(planted.groups != target)[:100]
    pixels = torch.stack([torch.from_numpy(np.asarray(planted.dataset.raw(int(row)))) for row in rows])
    shown = made.render([pixels.reshape(-1, 1, 8, 8).float() / 255], seeded())
    with torch.no_grad():
        return float((planted.network.logits(shown).argmax(1) == target).float().mean())


def test_a_change_that_people_know_is_tried(tmp_path: Path) -> None:
    planted = subject(poisoned("faded"), tmp_path / "planted", input=GREY)
    found = CHECK.run(planted)
    reported = [*found.findings, *found.leads]
    assert reported
    assert {one.target for one in reported} == {"4"}
    assert max(found.record.scores, key=lambda kind: found.record.scores[kind]) in ("filter", "style")
    first = reported[0]
    assert first.trigger is not None
    assert first.trigger.generator is not None
    assert moved(planted, first.trigger.generator) > 0.9


@pytest.mark.parametrize("channels", [1, 3])
def test_known_changes_are_the_same_each_time_and_change_pictures(channels: int) -> None:
    shape = (channels, 28, 28)
    x = torch.rand(3, *shape, generator=seeded())
    twice = [list(known_changes(shape)) for _ in range(2)]
    assert [kind for kind, _ in twice[0]] == [kind for kind, _ in twice[1]]
    assert set(KNOWN) == {kind for kind, _ in twice[0]}
    for (kind, made), (_, again) in zip(*twice, strict=True):
        shown = made.render([x], seeded())
        assert shown.shape == x.shape, kind
        assert float((shown - x).abs().mean()) > 1e-3, kind
        assert torch.equal(shown, again.render([x], seeded()))


def test_contrast_beside_a_distilled_network_leaves_out_what_is_easy_in_both() -> None:
    sizes = np.array([1.0, 0.9, 0.3, 1.1, 0.95])
    natural = np.array([1.1, 1.0, 0.3, 1.0, 1.0])
    assert contrast(sizes)[1] > 0.5
    assert contrast(sizes, natural)[1] < 0.1
    row, value = contrast(sizes, np.ones(5))
    assert row == 2
    assert value > 0.5


def test_large_pictures_are_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They all lie in memory."""
    asked = subject(normalised(0, GREY), tmp_path, input=GREY)
    monkeypatch.setattr("mulligan.checks.triggers.check.MOST_VALUES", 64 * 30)
    grounds = grounds_of(asked, np.arange(10))
    assert not isinstance(grounds, str)
    assert len(grounds.rows) <= 30
    assert 3 <= len(grounds.classes) <= 7
    assert grounds.targets == list(range(10))


def test_too_little_data_is_inconclusive_and_a_short_budget_says_so(tmp_path: Path) -> None:
    few = CHECK.run(subject(normalised(0, GREY), tmp_path / "few", input=GREY, n=60))
    assert not few.record.conclusive
    assert "Too few" in few.record.why
    short = subject(normalised(0, GREY), tmp_path / "short", input=GREY)
    hurried = CHECK.run(replace(short, budget=Budget(0.001), seconds_an_example=1.0))
    assert not hurried.record.conclusive
    assert "budget" in hurried.record.why
    assert not hurried.findings
