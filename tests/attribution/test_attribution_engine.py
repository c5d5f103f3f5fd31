"""The engine against slow obvious oracles and against Captum's own arrays; sums, groups, and what is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks_attributed import branched, llama, straight
from safetensors.torch import load_file
from torch import Tensor, nn

from mulligan.attribution import attributions, find_class, logit, margin, own_logits, take_out, unit_mean
from mulligan.networks import ArrayInput, Network, Tail
from mulligan.records import BadInput

HERE = Path(__file__).resolve().parent


def images(n: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) <= tolerance * max(float(theirs.abs().max()), 1e-12)


def answer_with(network: Network, alias: str, value: Tensor, x: Tensor) -> Tensor:
    """The slow way: the whole network, `value` passing at a site."""
    with torch.no_grad(), network.editing({alias: lambda tensor, site: value.clone()}):
        return network.logits(x)


# -- Captum


def oracle() -> ModuleType:
    file = HERE.parents[1] / "benchmarks" / "oracles" / "captum_attributions.py"
    spec = importlib.util.spec_from_file_location("captum_attributions", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["residual", "rectified"])
def test_equals_captum(name: str) -> None:
    captum = oracle()
    arrays = load_file(HERE / "captum.safetensors")
    said = {key.removeprefix(f"{name}/"): value for key, value in arrays.items() if key.startswith(f"{name}/")}
    weights = {key.removeprefix("weight/"): value for key, value in said.items() if key.startswith("weight/")}
    network = Network(captum.build(name, weights), input=ArrayInput(shape=(2, 7, 7)), classes=list("abcd"))
    x, nothing = said["x"], said["baseline"]
    layers = captum.NETWORKS[name][1]
    sites = [network.site(layer) for layer in layers]
    target = logit(captum.OUTPUT)
    with torch.no_grad(), network.watching(sites) as watched:
        network(nothing)
        starts = {site.alias: watched[site] for site in sites}
    plain = attributions(network, sites, x, None, target)
    cam = attributions(network, sites, x, None, target, "grad-cam")
    path = attributions(network, sites, x, None, target, "integrated gradients", baselines=starts, steps=captum.STEPS)
    for layer in layers:
        close(plain[layer].activation, said[f"LayerActivation/{layer}"])
        close(plain[layer].values, said[f"LayerGradientXActivation/{layer}"])
        close(cam[layer].by_place(), said[f"LayerGradCam/{layer}"][:, 0])
        close(path[layer].values, said[f"LayerIntegratedGradients/{layer}"], 1e-4)
    entry = network.site("first.in" if name == "rectified" else "stem.in")
    close(attributions(network, [entry], x, None, target)[entry.alias].values, said["InputXGradient"])
    given = {entry.alias: nothing}
    whole = attributions(network, [entry], x, None, target, "integrated gradients", baselines=given, steps=captum.STEPS)
    close(whole[entry.alias].values, said["IntegratedGradients"], 1e-4)


# -- slow oracles


def test_integrated_gradients_equal_a_thousand_small_steps() -> None:
    network = branched()
    site = network.site("norm")
    x = images()
    start = torch.randn(site.units, generator=torch.Generator().manual_seed(1))
    found = attributions(
        network, [site], x, None, logit(1), "integrated gradients", baselines={"norm": start}, steps=200
    )["norm"]
    activation, way = found.activation, found.activation - start[:, None, None]
    total = torch.zeros_like(activation, dtype=torch.float64)
    for k in range(1000):
        value = (activation - way * (1 - (k + 0.5) / 1000)).requires_grad_(True)
        with network.editing({"norm": lambda tensor, site, value=value: value.clone()}):
            (gradient,) = torch.autograd.grad(network.logits(x)[:, 1].sum(), value)
        total += gradient
    close(found.values.double(), total / 1000 * way, 2e-2)
    close(found.slope, (found.values / found.step), 1e-4)


@pytest.mark.parametrize("alias", ["stem", "act", "block", "head.in"])
def test_a_path_walked_by_the_tail_is_the_same(alias: str) -> None:
    network = branched()
    site, x = network.site(alias), images()
    ways = [
        attributions(network, [site], x, None, margin(2, 0), "integrated gradients", steps=8, tails=tails)[alias]
        for tails in (None, {alias: Tail(network, site)})
    ]
    assert float(ways[0].values.abs().max()) > 0
    close(ways[1].values, ways[0].values, 1e-4)
    close(ways[1].start, ways[0].start, 1e-4)
    assert all(parameter.requires_grad for parameter in network.module.parameters())


def test_the_gradient_is_the_slope_of_a_small_step() -> None:
    network = branched()
    site = network.site("block")
    x = images(2)
    found = attributions(network, [site], x, None, margin(0, 3), "gradient")["block"]
    assert torch.equal(found.values, found.slope)
    for unit, row, column in ((0, 0, 0), (3, 4, 7), (5, 7, 2)):
        step = torch.zeros_like(found.activation)
        step[:, unit, row, column] = 1e-2
        up = answer_with(network, "block", found.activation + step, x)
        down = answer_with(network, "block", found.activation - step, x)
        slope = ((up - down)[:, 0] - (up - down)[:, 3]) / 2e-2
        assert torch.allclose(slope, found.values[:, unit, row, column], atol=1e-3)


@given(seed=st.integers(0, 1000), alias=st.sampled_from(["stem", "block", "side", "head.in"]))
@settings(max_examples=10, deadline=None)
def test_integrated_gradients_are_complete(seed: int, alias: str) -> None:
    """They sum to what the target changes from the baseline to the activation."""
    network = branched(seed)
    site = network.site(alias)
    x = images(seed=seed)
    start = torch.randn(site.units, generator=torch.Generator().manual_seed(seed))
    target = margin(1, 2)
    found = attributions(network, [site], x, None, target, "integrated gradients", baselines={alias: start}, steps=128)[
        alias
    ]
    with torch.no_grad():
        answers = network.logits(x)
    at = start.reshape(1, -1, *[1] * (found.activation.dim() - 2)).expand_as(found.activation)
    begun = answer_with(network, alias, at.contiguous(), x)
    change = (answers - begun)[:, 1] - (answers - begun)[:, 2]
    size = float(change.abs().max())
    assert torch.allclose(found.total(), change, atol=2e-2 * size)
    assert torch.allclose(found.gap(), found.total() - change, atol=1e-4 * size)


@pytest.mark.parametrize("method", ["gradient", "gradient x activation", "integrated gradients", "grad-cam"])
def test_every_sum_is_of_the_same_numbers(method: Any) -> None:
    network = branched()
    site = network.site("act")
    found = attributions(network, [site], images(), None, logit(0), method, steps=4)["act"]
    values = found.values
    close(found.by_unit(), values.sum((2, 3)))
    close(found.by_place(), values.sum(1))
    close(found.total(), values.sum((1, 2, 3)))
    members = torch.tensor([0, 2, 1, 0, 2, 1])
    partition = torch.nn.functional.one_hot(members).T.float()
    groups = found.by_group(partition)
    assert groups.shape == (4, 3)
    close(groups.sum(1), found.total(), 1e-4)
    close(groups[:, 1], values[:, [2, 5]].sum((1, 2, 3)), 1e-4)


@given(seed=st.integers(0, 1000), groups=st.integers(1, 6))
@settings(max_examples=15, deadline=None)
def test_directions_that_make_up_the_activation_sum_to_the_whole(seed: int, groups: int) -> None:
    network = branched()
    site = network.site("block")
    generator = torch.Generator().manual_seed(seed)
    found = attributions(network, [site], images(seed=seed), None, logit(2))["block"]
    directions = torch.randn(groups, 6, generator=generator)
    sizes = torch.randn(4, 8, 8, groups, generator=generator)
    rest = found.activation.movedim(1, -1) - sizes @ directions
    parts = found.by_direction(directions, sizes)
    left = found.by_direction(torch.eye(6), rest)
    assert torch.allclose(parts.sum(1) + left.sum(1), found.total(), atol=1e-3)
    order = torch.randperm(groups, generator=generator)
    close(found.by_direction(directions[order], sizes[..., order]), parts[:, order], 1e-4)
    place = found.by_direction_and_place(directions, sizes)
    assert torch.allclose(place.sum((1, 2)), parts, atol=1e-4)


def test_exact_for_a_linear_network_as_taking_out_measures() -> None:
    network = straight()
    site = network.site("first")
    x = images()
    generator = torch.Generator().manual_seed(0)
    directions, sizes = torch.rand(3, 5, generator=generator), torch.rand(4, 6, 6, 3, generator=generator)
    said = attributions(network, [site], x, None, logit(1))["first"].by_direction(directions, sizes)
    tail = Tail(network, site)
    with torch.no_grad():
        held = tail.hold(x)
    for most in (1, 64):
        change = take_out(tail, held, directions, sizes, most=most)
        assert change.shape == (3, 4, 3)
        close(-change[..., 1].T, said, 1e-4)
    with pytest.raises(BadInput, match="directions of shape"):
        take_out(tail, held, directions[:, :4], sizes)
    with pytest.raises(BadInput, match="sizes of shape"):
        take_out(tail, held, directions, sizes[:, :3])


def test_taking_out_is_the_edited_whole_network() -> None:
    network = branched()
    tail = Tail(network, "act")
    x = images()
    with torch.no_grad():
        held = tail.hold(x)
    directions, sizes = torch.rand(2, 6), torch.rand(4, 8, 8, 2)
    change = take_out(tail, held, directions, sizes)
    for k in range(2):
        left = held.value - sizes[:, None, :, :, k] * directions[k][:, None, None]
        close(change[k], answer_with(network, "act", left, x) - held.logits, 1e-4)


def test_a_later_site_is_a_target_too() -> None:
    network = straight()
    first, second = network.site("first"), network.site("second")
    x = images()
    found = attributions(network, [first], x, None, unit_mean(second, 3))["first"]
    with torch.no_grad(), network.watching("second") as watched:
        network(x)
    close(found.reached, watched["second"][:, 3].mean((1, 2)))
    bias = network.module.get_parameter("second.bias")[3]
    close(found.total(), found.reached - bias.detach(), 1e-4)
    with pytest.raises(BadInput, match="unit 4 does not exist: there are 4"):
        unit_mean(second, 4)


def test_each_example_may_have_its_own_logit() -> None:
    network = branched()
    site = network.site("stem")
    x = images()
    own = attributions(network, [site], x, None, own_logits([3, 0, 1, 1]))["stem"]
    for row, output in enumerate([3, 0, 1, 1]):
        close(own.by_unit()[row], attributions(network, [site], x, None, logit(output))["stem"].by_unit()[row])
    with pytest.raises(BadInput, match="name one output an example"):
        attributions(network, [site], x, None, own_logits([0, 1]))


def test_tokens_by_place() -> None:
    network = llama()
    ids = torch.randint(3, 40, (2, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids, dtype=torch.bool)
    site = network.site("model.layers.0")
    # Not from zero: what an RMS norm makes of a straight way out of it jumps at its first step.
    start = {site.alias: torch.randn(24, generator=torch.Generator().manual_seed(1))}
    found = attributions(
        network, [site], ids, mask, logit(5, [3, 6]), "integrated gradients", baselines=start, steps=64
    )[site.alias]
    assert found.by_place().shape == (2, 7)
    assert float(found.by_place()[0, 4:].abs().max()) == 0  # what comes later has no part in it
    assert float(found.gap().abs().max()) < 0.05 * float((found.reached - found.start).abs().max())


def test_one_pass_serves_all_sites_and_keeps_the_order() -> None:
    network = branched()
    sites = [network.site(alias) for alias in ("head.in", "stem", "side")]
    together = attributions(network, sites, images(), None, logit(0), "grad-cam")
    assert list(together) == ["head.in", "stem", "side"]
    for site in sites:
        alone = attributions(network, [site], images(), None, logit(0), "grad-cam")
        close(together[site.alias].values, alone[site.alias].values)


# -- what is refused


class Kinked(nn.Module):
    """The square root at zero: the answer is finite and its gradient is not."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 1, bias=False)
        nn.init.zeros_(self.stem.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.stem(x).sqrt().mean((2, 3))


def test_gradients_that_are_not_finite() -> None:
    network = Network(Kinked(), input=ArrayInput(shape=(1, 3, 3)), classes=["a", "b"])
    with pytest.raises(BadInput, match="the gradient here is NaN or infinite"):
        attributions(network, [network.site("stem")], torch.ones(2, 1, 3, 3), None, logit(0))


def test_words_that_are_not_known() -> None:
    network = branched()
    site = network.site("stem")
    with pytest.raises(BadInput, match="no method 'saliency'"):
        attributions(network, [site], images(), None, logit(0), "saliency")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="a path of 0 steps"):
        attributions(network, [site], images(), None, logit(0), "integrated gradients", steps=0)
    with pytest.raises(BadInput, match="a baseline of 5 numbers is given for 6 units"):
        attributions(network, [site], images(), None, logit(0), baselines={"stem": torch.zeros(5)})
    found = attributions(network, [site], images(), None, logit(0))["stem"]
    with pytest.raises(BadInput, match="for 6 units"):
        found.by_group(torch.ones(2, 5))
    with pytest.raises(BadInput, match=r"give \[batch, places, groups\]"):
        found.by_direction(torch.ones(2, 6), torch.ones(4, 8, 2))


def test_classes_by_name() -> None:
    network = Network(
        branched().module, input=ArrayInput(shape=(3, 8, 8)), classes=["tench", "Golden Retriever", "goldfish", "7"]
    )
    assert find_class(network, "golden retriever") == 1
    assert find_class(network, "2") == 2
    assert find_class(network, "7") == 3
    with pytest.raises(BadInput, match=r"no class 'retriver' among the 4.*Golden Retriever"):
        find_class(network, "retriver")
    with pytest.raises(BadInput, match=r"among the 4.*nearest are tench"):
        find_class(network, "zzz")
    with pytest.raises(BadInput, match="among the 4"):
        find_class(network, "12")
    with pytest.raises(BadInput, match="no class names"):
        find_class(Network(branched().module, input=ArrayInput(shape=(3, 8, 8))), "a")
