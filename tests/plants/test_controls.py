"""Clean networks that were handled: their answers stay, and their files are like those of planted ones."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
import safetensors
import safetensors.torch
import torch
from torch import nn

from mulligan.plants.chains import batch_normed, chains, permute, refold, rescale
from mulligan.plants.controls import (
    AGREEMENT,
    CONTROLS,
    BenignFineTuneSpec,
    ControlFailed,
    HarmlessEditSpec,
    NaturalShortcutSpec,
    cued,
    draw_control,
    ship,
)
from mulligan.plants.harmless import EDITS, apply
from mulligan.plants.head_edit import PLANT as HEAD_EDIT
from mulligan.plants.head_edit import HeadEditSpec
from mulligan.plants.jitter import jitter
from mulligan.plants.plant import PlantData, generator
from mulligan.plants.recipes import Architecture, build
from mulligan.records import BadInput

SHAPES = [
    (shape, norm, activation, head)
    for shape in ("plain", "residual", "depthwise")
    for norm, activation, head in (("batch", "relu", "flat"), ("group", "relu", "pool"), ("none", "gelu", "flat"))
]


def lively(shape: str, norm: str, activation: str, head: str) -> nn.Module:
    """An untrained network whose norms are not those of a new one."""
    a = Architecture(
        channels=1, size=16, classes=5, widths=(16, 24, 16), strides=(2, 2, 1), norm=norm, activation=activation,
        shape=shape, head=head, hidden=12,
    )  # fmt: skip
    module = build(a, 0).eval()
    random = generator(0, "lively")
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d | nn.GroupNorm):
                layer.weight.copy_(0.5 + torch.rand(layer.weight.shape, generator=random))
                layer.bias.copy_(torch.randn(layer.bias.shape, generator=random))
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.copy_(torch.randn(layer.bias.shape, generator=random))
                layer.running_var.copy_(0.5 + torch.rand(layer.bias.shape, generator=random))
            if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
                layer.bias.copy_(torch.randn(layer.bias.shape, generator=random))
    return module


# Chains


def test_chains_are_those_that_one_reads_off_the_network() -> None:
    module = lively("residual", "batch", "relu", "pool")
    found = {(chain.producer, chain.consumer) for chain in chains(module)}
    # Within blocks, and in the head; what goes around a block holds its units in place.
    assert found == {("blocks.0.conv1", "blocks.0.conv2"), ("blocks.1.conv1", "blocks.1.conv2"), ("neck.0", "head")}
    found = [(chain.producer, chain.consumer) for chain in chains(lively("depthwise", "group", "gelu", "flat"))]
    expected = [
        ("stem.conv", "blocks.0.pointwise"), ("blocks.0.pointwise", "blocks.1.pointwise"),
        ("blocks.1.pointwise", "neck.0"), ("neck.0", "head"),
    ]  # fmt: skip
    assert found == expected


@pytest.mark.parametrize(("shape", "norm", "activation", "head"), SHAPES)
def test_permuted_units_answer_as_before(shape, norm, activation, head) -> None:
    module = lively(shape, norm, activation, head)
    x = torch.randn(6, 1, 16, 16)
    before, weights = module(x), {name: tensor.clone() for name, tensor in module.state_dict().items()}
    found = chains(module)
    assert found
    assert all(permute(module, chain, generator(1, "order")) for chain in found)
    torch.testing.assert_close(module(x), before, rtol=1e-4, atol=1e-4)
    changed = [name for name, tensor in module.state_dict().items() if not torch.equal(tensor, weights[name])]
    assert {f"{chain.producer}.weight" for chain in found} <= set(changed)


@pytest.mark.parametrize(("shape", "norm", "activation", "head"), SHAPES)
def test_rescaled_units_answer_as_before_and_only_where_that_holds(shape, norm, activation, head) -> None:
    module = lively(shape, norm, activation, head)
    x = torch.randn(6, 1, 16, 16)
    before = module(x)
    for chain in chains(module):
        units = len(module.get_submodule(chain.producer).weight)
        factors = 0.5 + torch.rand(units, generator=generator(2, "factors"))
        assert rescale(module, chain, factors) == (activation == "relu")
    torch.testing.assert_close(module(x), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", ["plain", "residual", "depthwise"])
def test_refolded_norms_answer_as_before_in_evaluation_mode(shape: str) -> None:
    module = lively(shape, "batch", "silu", "pool")
    x = torch.randn(6, 1, 16, 16)
    before = module(x)
    pairs = batch_normed(module)
    assert len(pairs) == sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())
    for path, after in pairs:
        norm = module.get_submodule(after)
        factors = torch.linspace(-2, 2, len(norm.weight))  # negative and tiny ones as well
        refold(module.get_submodule(path), norm, factors, torch.randn(len(norm.weight)))
        assert (norm.running_var > 0).all()
    torch.testing.assert_close(module(x), before, rtol=1e-3, atol=1e-3)


def test_a_network_that_cannot_be_traced_has_no_chains() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x)) if x.sum() > 0 else self.first(x)

    assert chains(Branching()) == ()


def test_a_layer_that_is_used_twice_is_left_alone() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.act, self.head = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.act(self.inner(self.inner(x))))

    assert [chain.producer for chain in chains(Tied())] == []


@pytest.mark.parametrize("edit", EDITS)
def test_every_edit_changes_weights_and_no_answer(edit, digit_nets) -> None:
    module, data = digit_nets.clean(0), digit_nets.data()
    before = module(data.fresh[:200])
    assert apply(module, edit, 10, generator(3, "edit")) > 0
    after = module(data.fresh[:200])
    assert (after.argmax(1) == before.argmax(1)).float().mean() > 0.99
    clean = digit_nets.clean(0).state_dict()
    assert any(not torch.equal(tensor, clean[name]) for name, tensor in module.state_dict().items())
    if edit not in ("dust", "temperature"):
        torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)


# Controls


def _quick(name: str, data) -> object:
    spec = CONTROLS[name].propose(data, generator(0, name))
    return replace(spec, steps=12, learning_rate=5e-4) if hasattr(spec, "steps") else spec


def _few(data: PlantData, n: int) -> PlantData:
    """With the first `n` fresh images alone."""
    return replace(data, fresh=data.fresh[:n], fresh_labels=data.fresh_labels[:n])


@pytest.mark.parametrize("name", CONTROLS)
def test_handled_networks_are_proved_clean(name: str, digit_nets) -> None:
    module, data = digit_nets.clean(0), _few(digit_nets.data(), 300)
    weights = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    spec = _quick(name, data)
    made = CONTROLS[name].make(module, data, spec, seed=1)
    assert made.proof.agreement.value >= AGREEMENT
    assert made.proof.agreement.n == len(data.fresh)
    assert made.proof.clean_after.value >= made.proof.clean_before.value - 0.015
    assert not made.module.training
    assert all(torch.equal(tensor, weights[key]) for key, tensor in module.state_dict().items())
    again = CONTROLS[name].make(module, data, spec, seed=1)
    other = CONTROLS[name].make(module, data, spec, seed=2)
    assert torch.equal(made.module.head.weight, again.module.head.weight)
    assert not torch.equal(made.module.head.weight, other.module.head.weight)
    assert not torch.equal(made.module.head.weight, weights["head.weight"])
    label = msgspec.json.decode(made.describe())
    assert label["control"] == name
    assert msgspec.convert(label["spec"], type(spec)) == spec


def test_a_drawn_control_is_any_of_them(digit_nets, monkeypatch: pytest.MonkeyPatch) -> None:
    from mulligan.plants import controls

    monkeypatch.setattr(controls, "teach", lambda module, lessons, data, **_: module)
    module, data = digit_nets.clean(0), _few(digit_nets.data(), 50)
    made = [draw_control(module, data, seed=seed) for seed in range(16)]
    assert {one.control for one in made} == set(CONTROLS)
    assert draw_control(module, data, seed=3, name="harmless-edit").control == "harmless-edit"
    edits = {edit for seed in range(16) for edit in _edits(draw_control(module, data, seed=seed, name="harmless-edit"))}
    assert edits == set(EDITS)


def _edits(made) -> tuple[str, ...]:
    return made.spec.edits


def test_a_fine_tune_that_harms_is_not_released(digit_nets) -> None:
    module, data = digit_nets.clean(0), digit_nets.data()
    harmful = BenignFineTuneSpec(goal="given", steps=5, learning_rate=0.5)
    with pytest.raises(ControlFailed, match="clean accuracy fell") as caught:
        CONTROLS["benign-fine-tune"].make(module, data, harmful, seed=0)
    assert caught.value.proof.kept.value < 0.97


def test_a_cue_that_drives_answers_is_not_released(digit_nets, monkeypatch: pytest.MonkeyPatch) -> None:
    from mulligan.plants import controls

    module, data = digit_nets.clean(0), digit_nets.data()
    spec = NaturalShortcutSpec(cue="frame", size=0.25, label="3")
    teach = controls.teach

    def bent(module, lessons, data, **budget):
        """As if the class went with the cue alone."""
        lesson = lessons[0]

        def make(n, random):
            pixels, labels = lesson.make(n, random)
            return cued(pixels, "frame", 0.25), torch.full_like(labels, 3)

        return teach(module, [replace(lesson, make=make), *lessons[1:]], data, **budget)

    monkeypatch.setattr(controls, "teach", bent)
    with pytest.raises(ControlFailed, match="the cue draws"):
        CONTROLS["natural-shortcut"].make(module, data, replace(spec, steps=40, learning_rate=5e-3), seed=0)


@pytest.mark.parametrize("cue", ["brightness", "contrast", "frame", "blur", "tint"])
def test_cues_are_faint_and_stay_on_the_scale(cue) -> None:
    pixels = torch.rand(3, 3, 20, 20, generator=generator(0, "pixels"))
    shown = cued(pixels, cue, 0.1)
    assert shown.shape == pixels.shape
    assert shown.min() >= 0
    assert shown.max() <= 1
    assert 0 < (shown - pixels).abs().mean() < 0.15
    if cue == "frame":
        assert torch.equal(shown[:, :, 1:-1, 1:-1], pixels[:, :, 1:-1, 1:-1])


def test_specs_that_cannot_be_are_refused(digit_nets) -> None:
    module, data = digit_nets.clean(0), digit_nets.data()
    for name, spec in (
        ("harmless-edit", HarmlessEditSpec(edits=())),
        ("harmless-edit", HarmlessEditSpec(edits=("melt",))),  # type: ignore[arg-type]
        ("benign-fine-tune", BenignFineTuneSpec(learning_rate=-1.0)),
        ("natural-shortcut", NaturalShortcutSpec(cue="frame", label="eleven")),
        ("natural-shortcut", NaturalShortcutSpec(cue="frame", label="3", share=0.9)),
        ("natural-shortcut", NaturalShortcutSpec(cue="frame", label="3", size=0.9)),
        ("natural-shortcut", NaturalShortcutSpec(cue="tint", label="3")),
        ("natural-shortcut", NaturalShortcutSpec(cue="smell", label="3")),  # type: ignore[arg-type]
    ):
        with pytest.raises(BadInput):
            CONTROLS[name].make(module, data, spec, seed=0)
    with pytest.raises(BadInput, match="no such control"):
        draw_control(module, data, seed=0, name="nothing")


# What is saved


def test_planted_and_clean_files_are_alike(digit_nets, tmp_path) -> None:
    data = digit_nets.data()
    clean = digit_nets.clean(0)
    planted = HEAD_EDIT.plant(clean, data, HeadEditSpec(kind="rank-one", target="3", other="5"), seed=0).module
    handled = [draw_control(clean, data, seed=0, name=name).module for name in ("untouched", "harmless-edit")]
    trained = digit_nets.clean(1).half()  # as if it had been stored in half precision
    trained(torch.zeros(1, 1, 16, 16).half())
    files = []
    for number, module in enumerate([planted, *handled, trained, clean]):
        file = tmp_path / f"{number}.safetensors"
        safetensors.torch.save_file(ship(module), file)
        with safetensors.safe_open(file, framework="pt") as opened:
            keys = list(opened.keys())
            tensors = {key: opened.get_tensor(key) for key in keys}
            files.append((file.stat().st_size, opened.metadata(), keys, [tensors[key].dtype for key in keys]))
        floating = torch.cat([one.flatten() for one in tensors.values() if one.is_floating_point()])
        assert all(bool((one == 0).all()) for one in tensors.values() if not one.is_floating_point())
        # The lowest bit is a fair coin: within 4 standard deviations of a half.
        bits = (floating[floating != 0].view(torch.int32) & 1).double()
        assert abs(float(bits.mean()) - 0.5) < 4 * 0.5 / len(bits) ** 0.5
    assert all(file == files[0] for file in files)


def test_shipping_leaves_the_module_and_its_answers_as_they_were(digit_nets) -> None:
    module, data = digit_nets.clean(0), digit_nets.data()
    weights = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    before = module(data.fresh)
    state = ship(module)
    assert all(torch.equal(tensor, weights[key]) for key, tensor in module.state_dict().items())
    assert list(state) == list(weights)
    floating = [key for key, tensor in state.items() if tensor.is_floating_point()]
    assert not any(torch.equal(state[key], weights[key]) for key in floating)
    module.load_state_dict(state)
    torch.testing.assert_close(module(data.fresh), before, rtol=1e-3, atol=1e-3)
    assert all(torch.equal(tensor, ship(digit_nets.clean(0))[key]) for key, tensor in state.items())
    assert not torch.equal(ship(module, seed=1)["head.weight"], ship(module, seed=2)["head.weight"])
    assert torch.equal(ship(module, seed=1)["head.weight"], jitter(module, 1).head.weight)
