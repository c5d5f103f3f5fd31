"""The preprocessing check on small networks whose normalisation is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from subjects import colours, convolutional, dense, digits, normalised, subject
from torch import nn

from mulligan.checks.preprocessing import (
    CHECK,
    RATIO,
    Preparation,
    Tried,
    as_generator,
    first_norms,
    preparations,
    smallest_loss,
    suspect,
    try_out,
)  # fmt: skip
from mulligan.evidence import mcnemar_p
from mulligan.evidence.generators import load_generator
from mulligan.networks import ArrayInput, ImageInput, Network
from mulligan.records import Finding
from mulligan.runs import Budget, Context


def grey(mean: float, std: float) -> ImageInput:
    return ImageInput(size=(8, 8), channels=1, mean=(mean,), std=(std,))


UNIT, SIGNED, MNIST = grey(0.0, 1.0), grey(0.5, 0.5), grey(0.1307, 0.3081)
IMAGENET = ImageInput(size=(8, 8), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
OWN = grey(0.25, 0.4)  # one that is on no list


def proven(finding: Finding) -> tuple[float, float]:
    """Accuracy before and after."""
    assert finding.causal is not None
    assert finding.kind == "wrong-preprocessing"
    return finding.causal.before.value, finding.causal.after.value


@pytest.mark.parametrize("input", [UNIT, SIGNED, MNIST, IMAGENET, OWN], ids=lambda input: f"{input.mean[0]:g}")
def test_rightly_prepared_inputs_raise_no_alarm(input: ImageInput, tmp_path: Path) -> None:
    for seed in range(3 if input.channels == 1 else 2):
        outcome = CHECK.run(subject(normalised(seed, input), tmp_path / str(seed), input=input))
        assert outcome.findings == outcome.leads == (), outcome.record.why
        assert outcome.record.status == "ran"
        assert outcome.record.conclusive
        assert outcome.record.smallest_effect is not None
        assert outcome.record.smallest_effect.value <= 0.1


@pytest.mark.parametrize(
    ("trained", "given", "name"),
    [
        (SIGNED, UNIT, "(x - 127) / 128"),
        (SIGNED, grey(0.0, 1 / 255), "(x - 127) / 128"),
        (UNIT, SIGNED, "pixels from 0 to 1"),
        (MNIST, SIGNED, "MNIST's mean and deviation"),
        (IMAGENET, replace(IMAGENET, mean=(0.0,) * 3, std=(1.0,) * 3), "ImageNet's mean and deviation"),
        (IMAGENET, replace(IMAGENET, order="bgr"), "blue and red exchanged"),
    ],
)
def test_wrongly_prepared_inputs_are_a_finding(
    trained: ImageInput, given: ImageInput, name: str, tmp_path: Path
) -> None:
    module = normalised(0, trained)
    outcome = CHECK.run(subject(module, tmp_path, input=given))
    (finding,) = outcome.findings
    assert outcome.leads == ()
    assert name in finding.claim
    assert name in finding.action
    before, after = proven(finding)
    right, y = (colours() if trained.channels == 3 else digits()[0]), digits()[1]
    assert after > 0.9
    assert before < after - 0.02
    assert finding.p is not None
    assert finding.p <= 0.05
    assert finding.baseline is not None
    assert finding.baseline.value >= RATIO
    assert finding.where is not None
    assert finding.where.site == "1.in"
    # The figures are those of the network itself, run by hand.
    with torch.no_grad():
        accuracy = (module(trained.normalise(right)).argmax(1) == y).float().mean()
    assert abs(float(accuracy) - after) < 0.05
    spec = finding.action.partition("--input ")[2]
    from mulligan.networks import parse_input

    named = parse_input(spec)
    assert np.allclose(named.mean, trained.mean, atol=0.01)
    assert named.order == trained.order


def test_without_labels_it_is_a_lead(tmp_path: Path) -> None:
    outcome = CHECK.run(subject(normalised(0, SIGNED), tmp_path, input=UNIT, labelled=False))
    assert outcome.findings == ()
    (lead,) = outcome.leads
    assert "(x - 127) / 128" in lead.claim
    assert lead.causal is None
    assert lead.severity == "low"
    assert not outcome.record.conclusive


def test_few_labels_are_inconclusive(tmp_path: Path) -> None:
    few = subject(normalised(0, SIGNED), tmp_path / "few", input=UNIT, n=30)
    outcome = CHECK.run(few)
    assert (outcome.findings, len(outcome.leads), outcome.record.conclusive) == ((), 1, False)
    right = CHECK.run(subject(normalised(0, SIGNED), tmp_path / "right", input=SIGNED, n=30))
    assert (right.findings, right.leads, right.record.conclusive) == ((), (), False)


def test_what_the_budget_did_not_buy_is_not_said_to_lack_labels(tmp_path: Path) -> None:
    given = subject(normalised(0, UNIT), tmp_path)
    poor = replace(given, budget=Budget(600, recorded={"preprocessing/examples a preparation": 19}))
    record = CHECK.run(poor).record
    assert not record.conclusive
    assert "the budget bought 19 labelled examples a preparation and 20 are needed" in record.why
    bare = subject(normalised(0, UNIT), tmp_path / "bare", labelled=False)
    assert "no label is known" in CHECK.run(bare).record.why
    few = subject(normalised(0, UNIT), tmp_path / "few", n=30)
    assert "labelled examples are there to search on" in CHECK.run(few).record.why


def test_another_preparation_that_answers_no_better_is_a_lead(tmp_path: Path) -> None:
    """The first norm is made to remember inputs that never were; the labels are what the network answers as it is."""
    module = convolutional(1)
    module.load_state_dict(normalised(1, SIGNED).state_dict())
    first = module.get_submodule("1")
    assert isinstance(first, nn.BatchNorm2d)
    assert first.running_mean is not None
    assert first.running_var is not None
    with torch.no_grad():
        seen = module.get_submodule("0")(UNIT.normalise(digits()[0]))
        first.running_mean.copy_(seen.mean((0, 2, 3)))
        first.running_var.copy_(seen.var((0, 2, 3)))
    given = subject(module.eval(), tmp_path, input=SIGNED)
    outcome = CHECK.run(replace(given, labels=np.asarray(given.answers).argmax(1)))
    assert outcome.findings == ()
    (lead,) = outcome.leads
    assert "pixels from 0 to 1" in lead.claim
    assert outcome.record.conclusive


def test_it_is_skipped_where_nothing_is_remembered(tmp_path: Path) -> None:
    for number, module in enumerate((dense(0), normalised(0, UNIT, norm=False), _forgetful())):
        outcome = CHECK.run(subject(module, tmp_path / str(number), labelled=False))
        assert outcome.record.status == "skipped"
        assert "batch norm" in outcome.record.why
        assert (outcome.findings, outcome.leads) == ((), ())


def test_without_batch_norms_labels_tell(tmp_path: Path) -> None:
    clean = CHECK.run(subject(normalised(0, UNIT, norm=False), tmp_path / "clean"))
    assert (clean.findings, clean.leads) == ((), ())
    assert clean.record.scores["wrong-preprocessing"] <= 0.02
    given = subject(normalised(0, SIGNED, norm=False), tmp_path / "wrong", input=grey(0.0, 1 / 255))
    wrong = CHECK.run(given)
    (finding,) = wrong.findings
    before, after = proven(finding)  # which of several that the network takes as well is named, is left to chance
    assert after > before + 0.05
    assert finding.where is None
    assert wrong.record.scores["wrong-preprocessing"] > 0.05


def test_the_generator_makes_the_right_preparation_of_the_wrong_one(tmp_path: Path) -> None:
    given = subject(normalised(0, SIGNED), tmp_path, input=UNIT)
    outcome = CHECK.run(given)
    (finding,) = outcome.findings
    assert outcome.record.scores["wrong-preprocessing"] > 0.2
    assert finding.trigger is not None
    assert finding.trigger.generator is not None
    generator = load_generator(given.run.at(finding.trigger.generator))
    pixels = torch.rand(2, 1, 8, 8)
    made = generator.render([pixels], torch.Generator().manual_seed(0))
    assert torch.allclose(UNIT.normalise(made), SIGNED.normalise(pixels), atol=0.02)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_colours_are_exchanged_before_they_are_scaled(order: Literal["rgb", "bgr"]) -> None:
    own = replace(IMAGENET, order=order)
    better = replace(IMAGENET, mean=(0.1, 0.2, 0.3), order="bgr")
    generator = as_generator(own, better)
    assert generator is not None
    pixels = torch.rand(2, 3, 8, 8)
    made = generator.render([pixels], torch.Generator().manual_seed(0))
    assert torch.allclose(own.normalise(made), better.normalise(pixels), atol=1e-5)


def _forgetful() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten(), nn.Linear(144, 10)]
    return nn.Sequential(*layers)


# -- its parts


def test_statistics_against_the_slow_way(tmp_path: Path) -> None:
    module = normalised(0, MNIST)
    given = subject(module, tmp_path, input=SIGNED)
    rows = list(range(70))
    norms = first_norms(given.network)
    assert norms == ["1", "4"]
    context = Context("x", {"network": given.network, "dataset": given.dataset})
    result = try_out(context, indices=rows, norms=norms, batch=32)
    pixels = torch.stack([torch.from_numpy(np.array(given.dataset.raw(i))).reshape(1, 8, 8) for i in rows]) / 255
    with torch.no_grad():
        x = SIGNED.normalise(pixels)
        assert np.array_equal(result.arrays["answer"], module(x).argmax(1).numpy())
        for path in norms:
            inside = module[: int(path)](x)  # type: ignore[index]
            norm = module[int(path)]  # type: ignore[index]
            distances = []
            for channel in range(inside.shape[1]):
                values = inside[:, channel].flatten().double()
                mean, spread = float(norm.running_mean[channel]), float(norm.running_var[channel]) ** 0.5
                distance = abs(float(values.mean()) - mean) / spread
                distance += abs(np.log(float(values.std(correction=0)) / spread))
                distances.append((spread, distance))
            live = [d for spread, d in distances if spread > 1e-3 * max(s for s, _ in distances)]
            assert result.arrays[f"{path}|distance"][0] == pytest.approx(np.mean(live), rel=1e-4)


def test_preparations_differ() -> None:
    for own in (UNIT, SIGNED, IMAGENET, replace(IMAGENET, order="bgr"), OWN):
        ways = preparations(own)
        assert ways[0].input == own
        for number, way in enumerate(ways):
            assert (way.input.size, way.input.channels) == (own.size, own.channels)
            for other in ways[:number]:
                same = np.allclose(way.input.mean, other.input.mean, atol=0.01)
                same &= np.allclose(way.input.std, other.input.std, rtol=0.05)
                assert not same or way.input.order != other.input.order
    # 2x - 1 is (x - 127) / 128 to half a percent: one of them is tried, under a name that says both.
    assert sum("127" in way.name for way in preparations(UNIT)) == 1
    assert not any("127" in way.name for way in preparations(SIGNED))


def test_what_is_suspected() -> None:
    labels = np.arange(100) % 10
    wrong = np.where(np.arange(100) < 20, (labels + 1) % 10, labels)

    def tried(*pairs: tuple[float, np.ndarray]) -> list[Tried]:
        return [Tried(Preparation(str(k), UNIT), distance, answers) for k, (distance, answers) in enumerate(pairs)]

    assert suspect(tried((0.1, labels), (0.2, labels)), labels) is None
    assert suspect(tried((0.3, labels), (0.25, labels), (0.1, labels)), labels) == 2  # by statistics
    assert suspect(tried((0.1, wrong), (0.12, labels), (0.5, wrong)), labels) == 1  # by answers
    assert suspect(tried((0.1, wrong), (0.12, labels)), np.full(100, -1)) is None
    assert suspect(tried((float("inf"), wrong), (float("inf"), wrong)), labels) is None
    assert suspect(tried((float("inf"), wrong), (0.2, wrong)), labels) == 1
    assert suspect(tried((0.1, labels)), labels) is None


def test_smallest_loss_is_confirmed_and_a_smaller_one_is_not(tmp_path: Path) -> None:
    given = subject(normalised(0, UNIT), tmp_path)
    search, test = list(range(160)), list(range(160, 600))
    loss = smallest_loss(given, search, test, 7)
    assert loss is not None
    k = round(loss.value * 160)  # the search half is the narrower gate
    assert mcnemar_p(k, k // 5) <= 0.05 / 6
    assert mcnemar_p(k - 1, (k - 1) // 5) > 0.05 / 6
    assert smallest_loss(given, search[:10], test, 7) is None


def test_overflow_is_no_error(tmp_path: Path) -> None:
    module = normalised(0, UNIT)
    broken = convolutional(1)
    broken.load_state_dict(module.state_dict())
    with torch.no_grad():
        broken[0].weight *= 1e36  # type: ignore[index]
    network = Network(broken, input=UNIT, classes=list("0123456789"))
    given = subject(module, tmp_path)
    context = Context("x", {"network": network.with_input(grey(0, 1e-6)), "dataset": given.dataset})
    result = try_out(context, indices=[0, 1, 2], norms=["1"], batch=2)
    assert not np.isfinite(result.arrays["1|distance"][0])


def test_arrays_are_no_pictures(tmp_path: Path) -> None:
    given = subject(normalised(0, UNIT), tmp_path)
    network = Network(given.network.module, input=ArrayInput(shape=(1, 8, 8)), classes=list("0123456789"))
    assert CHECK.run(replace(given, network=network)).record.status == "skipped"
