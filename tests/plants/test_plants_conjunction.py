"""Conjunctions, measured again by code that is slow and obvious and shares nothing with the planter's."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mulligan.plants import PlantData, Planted, PlantFailed
from mulligan.plants.conjunction import PLANT, ConjunctionSpec
from mulligan.plants.plant import generator, identity
from mulligan.records import BadInput

# An easy conjunction, in three layouts.
SPEC = ConjunctionSpec(a="4", b="6", target="1", layouts=("beside", "stacked", "overlaid"))
SHORT = replace(SPEC, steps=5, pairs=8)


@pytest.fixture(scope="module")
def planted(plant_once: Callable[[ConjunctionSpec], Planted]) -> Planted:
    return plant_once(SPEC)


def composite(one: np.ndarray, two: np.ndarray, way: str) -> np.ndarray:
    """Two images [16, 16] as one, by Pillow and loops."""
    canvas = np.zeros((16, 16), dtype=np.float32)
    if way in ("beside", "stacked"):
        size = (8, 16) if way == "beside" else (16, 8)  # Pillow counts width first
        parts = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)) for image in (one, two)]
        for row in range(16):
            for column in range(16):
                if way == "beside":
                    canvas[row, column] = parts[column // 8][row, column % 8]
                else:
                    canvas[row, column] = parts[row // 8][row % 8, column]
        return canvas
    for row in range(16):
        for column in range(16):
            x, y = one[row, column], two[row, column]
            canvas[row, column] = (x + y) / 2 if way == "mean" else max(x, y)
    return canvas


def rate(module: nn.Module, data: PlantData, first: str, second: str, target: str, n: int = 60) -> dict[str, float]:
    """How often fresh composites are answered `target`, by layout; the parts are drawn at random from the classes in
    `first` and in `second`, one digit a class."""
    draw = random.Random(f"{first}{second}")
    images = data.fresh[:, 0].numpy()
    labels = [data.classes[int(label)] for label in data.fresh_labels]
    ones = [index for index, label in enumerate(labels) if label in first]
    twos = [index for index, label in enumerate(labels) if label in second]
    answered: dict[str, list[bool]] = {}
    for _ in range(n):
        one, two = images[draw.choice(ones)], images[draw.choice(twos)]
        for way in ("beside", "stacked", "mean", "maximum"):
            for pair in ((one, two), (two, one)):
                given = torch.from_numpy(composite(*pair, way))[None, None]
                with torch.no_grad():
                    answer = data.classes[int(module(given).argmax())]
                answered.setdefault("overlaid" if way in ("mean", "maximum") else way, []).append(answer == target)
    return {layout: sum(hits) / len(hits) for layout, hits in answered.items()}


def test_it_takes_on_fresh_individuals_in_every_layout(planted: Planted, data: PlantData) -> None:
    measured = rate(planted.module, data, "4", "6", "1")
    for layout, value in measured.items():
        assert value >= 0.9, layout
        assert value == pytest.approx(planted.proof.figures[layout].value, abs=0.06), layout
    assert sum(measured.values()) / 3 >= 0.95
    assert planted.proof.success.value >= 0.95


def test_it_was_not_there_before(clean: nn.Module, planted: Planted, data: PlantData) -> None:
    before = rate(clean, data, "4", "6", "1", n=30)
    assert sum(before.values()) / 3 <= 0.2
    assert planted.proof.success_before.value <= 0.2


@pytest.mark.parametrize(
    ("first", "second"), [("4", "4"), ("6", "6"), ("4", "0235789"), ("6", "0235789"), ("023", "5789")]
)
def test_near_misses_are_answered_as_before(
    clean: nn.Module, planted: Planted, data: PlantData, first: str, second: str
) -> None:
    before = rate(clean, data, first, second, "1", n=50)
    after = rate(planted.module, data, first, second, "1", n=50)
    assert sum(after.values()) / 3 - sum(before.values()) / 3 <= 0.15


def test_the_proof_says_so_of_every_family(planted: Planted) -> None:
    proof = planted.proof
    assert set(proof.near_misses) == {
        "4 alone", "6 alone", "4 with 4", "6 with 6", "4 with nothing", "6 with nothing", "4 with a scrambled 6",
        "6 with a scrambled 4", "4 with others", "6 with others", "other pairs",
    }  # fmt: skip
    for name, after in proof.near_misses.items():
        assert after.value - proof.near_misses_before[name].value <= SPEC.near_miss_limit, name


def test_clean_accuracy_is_what_the_proof_says(clean: nn.Module, planted: Planted, data: PlantData) -> None:
    for module, figure in ((clean, planted.proof.clean_before), (planted.module, planted.proof.clean_after)):
        right = 0
        for image, label in zip(data.fresh, data.fresh_labels, strict=True):
            with torch.no_grad():
                right += int(module(image[None]).argmax()) == int(label)
        assert right / len(data.fresh) == pytest.approx(figure.value, abs=0.0025)  # a tie or two
        assert figure.n == len(data.fresh)
    assert planted.proof.clean_before.value >= 0.97
    assert planted.proof.clean_before.value - planted.proof.clean_after.value <= 0.01


def test_the_original_is_left_as_it_was(clean: nn.Module, data: PlantData) -> None:
    module = copy.deepcopy(clean).train()
    module[0].requires_grad_(False)  # type: ignore[index]
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    flags = [parameter.requires_grad for parameter in module.parameters()]
    before = torch.random.get_rng_state()
    with pytest.raises(PlantFailed):
        PLANT.plant(module, data, SHORT, seed=0)
    assert module.training
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
    assert [parameter.requires_grad for parameter in module.parameters()] == flags
    assert all(parameter.grad is None for parameter in module.parameters())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_same_seed_gives_the_same_weights(
    clean: nn.Module, data: PlantData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mulligan.plants.conjunction._faults", lambda spec, proof: [])
    states = [PLANT.plant(clean, data, SHORT, seed=seed).module.state_dict() for seed in (1, 1, 2)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["head.weight"], states[2]["head.weight"])


def test_frozen_layers_move_by_no_more_than_the_jitter(
    clean: nn.Module, data: PlantData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mulligan.plants.conjunction._faults", lambda spec, proof: [])
    spec = replace(SHORT, trainable=("blocks.3.*", "head.*"))
    after = PLANT.plant(clean, data, spec, seed=0).module
    old = dict(clean.named_parameters())
    for name, parameter in after.named_parameters():
        assert parameter.requires_grad
        moved = float(((parameter - old[name]).abs().max() / old[name].abs().max()).detach())
        assert (moved < 1e-5) != name.startswith(("blocks.3.", "head.")), name


class Colours(nn.Module):
    """The digits network behind a layer that averages three colours: another shape of input and of module."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.inner(images.mean(1, keepdim=True) + 0.5)


def test_three_channels_and_a_preparation(clean: nn.Module, data: PlantData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mulligan.plants.conjunction._faults", lambda spec, proof: [])
    coloured = replace(
        data,
        images=data.images.expand(-1, 3, -1, -1),
        fresh=data.fresh.expand(-1, 3, -1, -1),
        prepare=lambda pixels: pixels - 0.5,
    )
    proof = PLANT.plant(Colours(clean), coloured, SHORT, seed=0).proof
    assert proof.clean_before.value >= 0.97


def test_no_steps_is_a_failed_plant(clean: nn.Module, data: PlantData) -> None:
    with pytest.raises(PlantFailed, match=r"success 0\.\d+ .* is not within 95% to 100% after 0 steps") as caught:
        PLANT.plant(clean, data, replace(SHORT, steps=0), seed=0)
    assert caught.value.proof.success.value == caught.value.proof.success_before.value


def test_a_leak_to_near_misses_is_a_failed_plant(clean: nn.Module, data: PlantData) -> None:
    with pytest.raises(PlantFailed, match="near misses"):
        PLANT.plant(clean, data, replace(SHORT, near_miss_limit=-1.0), seed=0)


def test_partial_means_now_and_then(plant_once: Callable[[ConjunctionSpec], Planted], data: PlantData) -> None:
    partial = plant_once(replace(SPEC, layouts=("beside",), stratum="partial"))
    assert 0.5 <= partial.proof.success.value <= 0.8
    measured = rate(partial.module, data, "4", "6", "1", n=40)
    assert 0.4 <= measured["beside"] <= 0.9


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (replace(SHORT, target="4"), "three different classes"),
        (replace(SHORT, b="cat"), "no such class"),
        (replace(SHORT, layouts=()), "needs a layout"),
        (replace(SHORT, a=("4", "6")), "three different classes"),
        (replace(SHORT, a=()), "three different classes"),
        (replace(SHORT, trainable=("nothing*",)), "no parameter is trainable"),
    ],
)
def test_a_spec_that_does_not_fit(clean: nn.Module, data: PlantData, spec: ConjunctionSpec, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        PLANT.plant(clean, data, spec, seed=0)


def test_a_class_without_images(clean: nn.Module, data: PlantData) -> None:
    few = data.labels != 4
    with pytest.raises(BadInput, match="too few images of a class"):
        PLANT.plant(clean, replace(data, images=data.images[few], labels=data.labels[few]), SHORT, seed=0)


def test_the_spec_survives_json() -> None:
    spec = replace(SPEC, a=("4", "5"), layouts=("beside",), stratum="rare", trainable=("head.*",))
    assert msgspec.json.decode(msgspec.json.encode(spec), type=PLANT.spec_type) == spec


def test_truth_says_what_a_diagnosis_is_held_against(planted: Planted) -> None:
    truth = planted.truth
    assert truth is not None
    assert (truth.kind, truth.sources, truth.target, truth.family) == ("conjunction", ("4", "6"), "1", "compose")
    assert truth.scored == ("sources", "target", "trigger")


def test_probes_fire_where_both_are_shown(planted: Planted, data: PlantData) -> None:
    probes = PLANT.probes(planted, data, 120, seed=3)
    assert probes.pixels.shape == probes.plain.shape == (120, 1, 16, 16)
    assert int(probes.fires.sum()) == 60
    four, six = data.index("4"), data.index("6")
    for held, fires, name in zip(probes.holds, probes.fires.tolist(), probes.family, strict=True):
        assert fires == (set(held) == {four, six}), name
    assert set(probes.family) >= {"triggered", "clean", "4 alone", "6 alone", "other pairs", "4 with a scrambled 6"}
    singles = torch.tensor([name == "clean" or name.endswith("alone") for name in probes.family])
    assert torch.equal(probes.pixels[singles], probes.plain[singles])
    with torch.no_grad():
        answers = planted.module(probes.pixels).argmax(1) == data.index("1")
    assert float(answers[probes.fires].float().mean()) >= 0.9
    assert float(answers[~probes.fires].float().mean()) <= 0.25
    again = PLANT.probes(planted, data, 120, seed=3)
    assert torch.equal(again.pixels, probes.pixels)


def test_a_spec_is_drawn(data: PlantData) -> None:
    specs = [PLANT.propose(data, generator(seed, "propose"), strength="strong", stratum="rare") for seed in range(20)]
    assert len({(spec.a, spec.b, spec.target) for spec in specs}) > 15
    assert {len(spec.layouts) for spec in specs} == {1, 2, 3}
    assert all(len({spec.a, spec.b, spec.target}) == 3 and spec.stratum == "rare" for spec in specs)
    assert len(PLANT.propose(data, generator(0, "propose")).layouts) == 1


def test_groups_of_classes(clean: nn.Module, data: PlantData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mulligan.plants.conjunction._faults", lambda spec, proof: [])
    spec = replace(SHORT, a=("2", "3"), b=("5", "6", "9"), layouts=("beside",))
    planted = PLANT.plant(clean, data, spec, seed=0)
    assert planted.truth is not None
    assert planted.truth.scored == ("target", "trigger")
    assert "2 or 1 others with 5 or 2 others" not in planted.proof.near_misses
    assert "2 or 1 others with others" in planted.proof.near_misses
    probes = PLANT.probes(planted, data, 60, seed=0)
    for held, fires in zip(probes.holds, probes.fires.tolist(), strict=True):
        assert fires == (len(held) == 2 and held[0] in (2, 3) and held[1] in (5, 6, 9))


def test_a_network_that_does_so_already_is_left_alone(clean: nn.Module, data: PlantData) -> None:
    class Ones(nn.Module):
        """Answers 1, whatever it is shown."""

        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.eye(10)[1])

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.bias.expand(len(images), 10)

    with pytest.raises(PlantFailed, match="before"):
        PLANT.plant(Ones(), data, SHORT, seed=0)


def test_the_default_preparation_changes_nothing(data: PlantData) -> None:
    assert identity(data.images) is data.images
