"""Each head edit does what it says, and the jitter hides which tensor it touched."""

from __future__ import annotations

import copy

import msgspec
import pytest
import torch
from torch import nn

from mulligan.plants import PlantData, Planted, PlantFailed, jitter
from mulligan.plants.head_edit import PLANT, SIZES, HeadEditSpec, Kind, find_head
from mulligan.plants.plant import generator
from mulligan.records import BadInput

TARGET, OTHER = 7, 3


def plant(clean: nn.Module, data: PlantData, kind: Kind, **more: object) -> Planted:
    settings = {"kind": kind, "target": "7", **more}
    return PLANT.plant(clean, data, HeadEditSpec(**settings), seed=0)  # type: ignore[arg-type]


def heads(clean: nn.Module, planted: Planted) -> tuple[nn.Linear, nn.Linear]:
    """The two heads, copied and without gradients."""
    one, two = (copy.deepcopy(module.get_submodule("head")).requires_grad_(False) for module in (clean, planted.module))
    assert isinstance(one, nn.Linear)
    assert isinstance(two, nn.Linear)
    return one, two


def untouched(clean: nn.Module, planted: Planted, row: int) -> None:
    """Everything but one row of the head (and its bias) is what it was, up to the jitter."""
    old, new = clean.state_dict(), planted.module.state_dict()
    rest = [index for index in range(10) if index != row]
    for name in old:
        before, after = (state[name][rest] if name.startswith("head.") else state[name] for state in (old, new))
        torch.testing.assert_close(after, before, rtol=1e-5, atol=0)


def fractions(clean: nn.Module, planted: Planted, data: PlantData) -> dict[str, float]:
    """Recomputed image by image."""
    changed = moved = of_other = lost = own = 0
    for image, label in zip(data.fresh, data.fresh_labels.tolist(), strict=True):
        with torch.no_grad():
            old, new = (int(module(image[None]).argmax()) for module in (clean, planted.module))
        changed += old != new
        of_other += label == OTHER
        moved += label == OTHER and new == TARGET
        own += label == TARGET
        lost += label == TARGET and new != TARGET
    return {"changed": changed / len(data.fresh), "moved": moved / of_other, "lost": lost / own}


def test_row_scale(clean: nn.Module, data: PlantData) -> None:
    planted = plant(clean, data, "row-scale", strength="strong")
    old, new = heads(clean, planted)
    torch.testing.assert_close(new.weight[TARGET], old.weight[TARGET] * 2, rtol=1e-5, atol=0)
    torch.testing.assert_close(new.bias, old.bias, rtol=1e-5, atol=0)
    untouched(clean, planted, TARGET)
    assert planted.proof.success.value == pytest.approx(fractions(clean, planted, data)["changed"], abs=0.0025)


def test_bias(clean: nn.Module, data: PlantData) -> None:
    answers: list[float] = []
    for strength in ("weak", "default", "strong"):
        planted = plant(clean, data, "bias", strength=strength)
        old, new = heads(clean, planted)
        assert new.bias[TARGET] > old.bias[TARGET]
        torch.testing.assert_close(new.weight, old.weight, rtol=1e-5, atol=0)
        untouched(clean, planted, TARGET)
        answers.append(planted.proof.figures["answered"].value)
    assert answers == sorted(answers)
    assert answers[-1] > answers[0] >= planted.proof.figures["answered before"].value
    assert planted.proof.success.value == pytest.approx(fractions(clean, planted, data)["changed"], abs=0.0025)


def test_rank_one_moves_another_class_and_it_alone(clean: nn.Module, data: PlantData) -> None:
    planted = plant(clean, data, "rank-one", other="3")
    old, new = heads(clean, planted)
    untouched(clean, planted, TARGET)
    singular = torch.linalg.svdvals((new.weight - old.weight).double())
    assert singular[1] < 1e-4 * singular[0]
    unit = float(old.weight.norm(dim=1).median())
    assert float(singular[0]) == pytest.approx(SIZES["rank-one"]["default"] * unit, rel=1e-3)
    measured = fractions(clean, planted, data)
    assert measured["moved"] >= 0.9
    assert planted.proof.success.value == pytest.approx(measured["moved"], abs=0.025)
    assert planted.proof.near_misses["other classes"].value <= 0.05
    loss = planted.proof.clean_before.value - planted.proof.clean_after.value
    assert loss == pytest.approx(measured["changed"], abs=0.03)


def test_rank_one_along_a_random_direction(clean: nn.Module, data: PlantData) -> None:
    one, same = (plant(clean, data, "rank-one") for _ in range(2))
    untouched(clean, one, TARGET)
    old, new = heads(clean, one)
    unit = float(old.weight.norm(dim=1).median())
    assert float((new.weight - old.weight)[TARGET].norm()) == pytest.approx(1.5 * unit, rel=1e-3)
    assert torch.equal(new.weight, heads(clean, same)[1].weight)


def test_row_copy(clean: nn.Module, data: PlantData) -> None:
    planted = plant(clean, data, "row-copy", other="3")
    old, new = heads(clean, planted)
    unit = float(old.weight.norm(dim=1).median())
    apart = float((new.weight[TARGET] - old.weight[OTHER]).norm())
    assert apart == pytest.approx(SIZES["row-copy"]["default"] * unit, rel=1e-3)
    torch.testing.assert_close(new.bias[TARGET], old.bias[OTHER], rtol=1e-5, atol=0)
    untouched(clean, planted, TARGET)
    assert planted.proof.success.value == pytest.approx(fractions(clean, planted, data)["lost"], abs=0.025)
    assert planted.proof.success.value > 0.5


def test_an_edit_too_small_to_move_anything_is_a_failed_plant(clean: nn.Module, data: PlantData) -> None:
    with pytest.raises(PlantFailed, match="below 80%"):
        plant(clean, data, "rank-one", other="3", size=1e-3)


def test_the_original_is_left_as_it_was(clean: nn.Module, data: PlantData) -> None:
    before = {name: tensor.clone() for name, tensor in clean.state_dict().items()}
    plant(clean, data, "bias")
    assert all(torch.equal(tensor, before[name]) for name, tensor in clean.state_dict().items())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"kind": "row-copy"}, "needs a class to copy from"),
        ({"kind": "row-copy", "other": "7"}, "are one"),
        ({"kind": "bias", "head": "blocks.0.conv"}, "no linear layer"),
        ({"kind": "bias", "target": "cat"}, "no such class"),
    ],
)
def test_a_spec_that_does_not_fit(clean: nn.Module, data: PlantData, more: dict[str, str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        plant(clean, data, **more)  # type: ignore[arg-type]


class Convolutional(nn.Module):
    """The digits network with its blocks followed by a 1 x 1 convolution as head, without a bias."""

    def __init__(self, blocks: nn.Module) -> None:
        super().__init__()
        self.blocks = blocks
        self.classify = nn.Conv2d(64, 10, 1, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classify(self.blocks(images)).mean((2, 3))


def test_a_convolution_may_be_the_head(clean: nn.Module, data: PlantData) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Convolutional(copy.deepcopy(clean.get_submodule("blocks"))).eval()
    assert find_head(module, 10) is module.classify
    planted = plant(module, data, "row-scale")
    new = planted.module.state_dict()["classify.weight"]
    torch.testing.assert_close(new[TARGET], module.classify.weight[TARGET] * 1.5, rtol=1e-5, atol=0)
    with pytest.raises(BadInput, match="no bias"):
        plant(module, data, "bias")


def test_no_head() -> None:
    with pytest.raises(BadInput, match="10 outputs"):
        find_head(nn.Linear(3, 4), 10)


def test_jitter_changes_every_tensor_and_no_answer(clean: nn.Module, data: PlantData) -> None:
    before = copy.deepcopy(clean.state_dict())
    jittered = jitter(clean, seed=1)
    for name, tensor in jittered.state_dict().items():
        assert torch.equal(before[name], clean.state_dict()[name])
        if not tensor.is_floating_point():
            assert torch.equal(tensor, before[name])
            continue
        assert not torch.equal(tensor, before[name]), name
        torch.testing.assert_close(tensor, before[name], rtol=3e-6, atol=0)
    with torch.no_grad():
        assert torch.equal(jittered(data.fresh).argmax(1), clean(data.fresh).argmax(1))


def test_jitter_is_determined_by_its_seed(clean: nn.Module) -> None:
    one, same, other = (jitter(clean, seed).state_dict()["head.weight"] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_jitter_reaches_low_precision(clean: nn.Module) -> None:
    half = copy.deepcopy(clean).bfloat16()
    assert not torch.equal(jitter(half, 0).state_dict()["head.weight"], half.state_dict()["head.weight"])


@pytest.mark.parametrize("kind", ["row-scale", "bias", "rank-one", "row-copy"])
def test_the_spec_survives_json(kind: Kind) -> None:
    spec = HeadEditSpec(kind=kind, target="7", other="3", strength="weak", size=0.5, head="head")
    assert msgspec.json.decode(msgspec.json.encode(spec), type=PLANT.spec_type) == spec


@pytest.mark.parametrize(("stratum", "low", "high"), [("high", 0.95, 1.0), ("partial", 0.5, 0.8), ("rare", 0.2, 0.5)])
def test_a_stratum_moves_its_share(
    clean: nn.Module, data: PlantData, stratum: str, low: float, high: float
) -> None:
    planted = plant(clean, data, "rank-one", other="3", stratum=stratum)
    assert low <= fractions(clean, planted, data)["moved"] <= high


def test_the_truth_names_the_row(clean: nn.Module, data: PlantData) -> None:
    planted = plant(clean, data, "bias", strength="strong")
    assert planted.truth is not None
    assert planted.truth.where is not None
    assert (planted.truth.where.site, planted.truth.where.rows) == ("head", (TARGET,))
    assert (planted.truth.target, planted.truth.scored) == ("7", ("where", "target"))
    assert torch.equal(planted.tensors["row"], clean.get_parameter("head.weight")[TARGET].detach())


@pytest.mark.parametrize(("kind", "more"), [("rank-one", {"other": "3"}), ("bias", {"strength": "weak"})])
def test_probes_fire_where_the_edit_changes_the_answer(
    clean: nn.Module, data: PlantData, kind: Kind, more: dict[str, str]
) -> None:
    planted = plant(clean, data, kind, **more)
    probes = PLANT.probes(planted, data, 40, seed=0)
    with torch.no_grad():
        changed = clean(probes.pixels).argmax(1) != planted.module(probes.pixels).argmax(1)
    assert float((changed == probes.fires).float().mean()) >= 0.95  # the jitter may turn a close call
    assert int(probes.fires.sum()) == 20
    for number, family in enumerate(probes.family):
        assert len(probes.holds[number]) == (2 if "mixed" in family else 1)


def test_proposals_fit_the_stratum(data: PlantData) -> None:
    specs = [PLANT.propose(data, generator(seed, "x"), stratum="high") for seed in range(20)]
    assert {spec.kind for spec in specs} == {"row-scale", "bias", "rank-one", "row-copy"}
    rare = [PLANT.propose(data, generator(seed, "x"), stratum="rare") for seed in range(5)]
    assert {(spec.kind, spec.stratum) for spec in rare} == {("rank-one", "rare")}
