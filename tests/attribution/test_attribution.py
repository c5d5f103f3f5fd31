"""Attribution against autograd by hand, ablation against an edited whole network, and nothing left behind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from networks_attributed import Branched, branched, llama, straight
from torch import Tensor, nn

from mulligan.attribution import ablate_units, attribute, pick_outputs
from mulligan.networks import Ablate, Network, Tail
from mulligan.networks.parts import heads, stream_between
from mulligan.records import BadInput, Site


def images(n: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def means_of(network: Network, sites: list[Site], seed: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {site.alias: torch.randn(site.units, generator=generator) for site in sites}


def text() -> tuple[Tensor, Tensor, list[int]]:
    """Three texts, padded on the right, and where each is read."""
    ids = torch.randint(3, 40, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(9)[None] < torch.tensor([9, 6, 4])[:, None]
    return ids * mask, mask, [8, 2, 3]


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> None:
    assert ours.shape == theirs.shape
    assert not ours.requires_grad
    assert float((ours - theirs).abs().max()) <= tolerance * max(float(theirs.abs().max()), 1e-12)


def nothing_left(network: Network) -> None:
    for module in network.module.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert all(parameter.grad is None for parameter in network.module.parameters())


# -- gradients


def by_hand(module: Branched, x: Tensor, output: int, means: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same forward pass written without anything in place, every tensor kept."""
    x = x.clone().requires_grad_(True)
    t: dict[str, Tensor] = {"stem": module.stem(x)}
    t["norm"] = module.norm(t["stem"])
    t["act"] = torch.relu(t["norm"])
    t["block"] = module.block(t["act"])
    t["act!1"] = torch.relu(t["block"] + t["act"])
    t["side"] = module.side(x)
    t["head.in"] = (t["act!1"] + torch.tanh(t["side"])).mean((2, 3))
    t["head"] = module.head(t["head.in"])
    chosen = t["head"][:, output].sum()
    out = {}
    for name, tensor in t.items():
        (gradient,) = torch.autograd.grad(chosen, tensor, retain_graph=True)
        mean = means[name].reshape(1, -1, 1, 1) if tensor.dim() == 4 else means[name]
        product = (tensor - mean) * gradient
        out[name] = (product.sum((2, 3)) if product.dim() == 4 else product).detach()
    return out


@pytest.mark.parametrize("adds_in_place", [False, True])
def test_equals_autograd_by_hand_with_operations_in_place(adds_in_place: bool) -> None:
    network = branched(adds_in_place=adds_in_place)
    sites = [network.site(a) for a in ("stem", "norm", "act", "block", "act!1", "side", "head.in", "head")]
    means = means_of(network, sites)
    x = images()
    module = network.module
    assert isinstance(module, Branched)
    expected = by_hand(module, x, 2, means)
    ours = attribute(network, sites, x, None, 2, None, means)
    assert list(ours) == [site.alias for site in sites]
    for alias, value in ours.items():
        assert float(expected[alias].abs().max()) > 0, alias
        close(value, expected[alias])
    for site in sites:  # one site alone is the same as among others
        close(attribute(network, [site], x, None, 2, None, means)[site.alias], expected[site.alias])


@pytest.mark.parametrize("context", [contextlib.nullcontext, torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_in_any_gradient_mode(context: Callable[[], AbstractContextManager[Any]]) -> None:
    network = branched()
    sites = [network.site("norm"), network.site("side")]
    means = means_of(network, sites)
    expected = attribute(network, sites, images(), None, 1, None, means)
    for number, parameter in enumerate(network.module.parameters()):
        parameter.requires_grad_(number % 2 == 0)
    flags = [parameter.requires_grad for parameter in network.module.parameters()]
    with context():
        x = images()
        mode = torch.is_grad_enabled()
        ours = attribute(network, sites, x, None, 1, None, means)
        assert torch.is_grad_enabled() == mode
    for alias, value in ours.items():
        close(value, expected[alias])
    assert [parameter.requires_grad for parameter in network.module.parameters()] == flags
    assert not x.requires_grad
    nothing_left(network)


def test_flags_and_hooks_are_put_back_after_an_error() -> None:
    network = branched()
    site = network.site("stem")
    with pytest.raises(BadInput, match="NaN"):
        attribute(network, [site], images() * float("inf"), None, 0, None, means_of(network, [site]))
    assert all(parameter.requires_grad for parameter in network.module.parameters())
    nothing_left(network)


def test_a_site_that_drives_nothing_and_the_input_itself() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(4, 3), nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            self.idle(x)
            return self.used(x)

    from mulligan.networks import ArrayInput

    torch.manual_seed(0)
    network = Network(Idle(), input=ArrayInput(shape=(4,)), classes=list("abc"))
    sites = [network.site("idle"), network.site("used.in")]
    x = torch.randn(6, 4)
    zero = {site.alias: torch.zeros(site.units) for site in sites}
    both = attribute(network, sites, x, None, 1, None, zero)
    assert torch.equal(both["idle"], torch.zeros(6, 5))
    weight = network.module.get_parameter("used.weight").detach()
    close(both["used.in"], x * weight[1])
    assert torch.equal(attribute(network, sites[:1], x, None, 1, None, zero)["idle"], torch.zeros(6, 5))
    assert attribute(network, [], x, None, 1, None, {}) == {}


@pytest.mark.parametrize("alias", ["first", "second", "head.in"])
def test_exact_for_a_linear_network(alias: str) -> None:
    """What attribution says is what ablation takes away, to rounding."""
    network = straight()
    site = network.site(alias)
    means = means_of(network, [site])
    x = images()
    said = attribute(network, [site], x, None, 1, None, means)[site.alias]
    tail = Tail(network, site)
    with torch.no_grad():
        held = tail.hold(x)
    change = ablate_units(tail, held, range(site.units), means[site.alias], 1, None)
    close(-change.T, said, 1e-4)


# -- tokens


def test_llama_equals_autograd_by_hand() -> None:
    network = llama()
    ids, mask, positions = text()
    blocks = [network.site(f"model.layers.{k}") for k in (0, 1)]
    up = network.site("model.layers.0.mlp.up_proj")
    sites = [*blocks, up]
    means = means_of(network, sites)
    ours = attribute(network, sites, ids, mask, 7, positions, means)
    nothing_left(network)
    kept: dict[str, Tensor] = {}
    handles = [
        network.module.get_submodule(site.path).register_forward_hook(
            lambda module, args, output, alias=site.alias: kept.update({alias: output})
        )
        for site in sites
    ]
    logits = network.module(input_ids=ids, attention_mask=mask, use_cache=False).logits
    for handle in handles:
        handle.remove()
    chosen = torch.stack([logits[row, position, 7] for row, position in enumerate(positions)]).sum()
    for site in sites:
        (gradient,) = torch.autograd.grad(chosen, kept[site.alias], retain_graph=True)
        product = ((kept[site.alias] - means[site.alias]) * gradient).detach()
        close(ours[site.alias], product.sum(1), 1e-4)
        # Padding, and what comes after the position read, has no part in it.
        assert float(product[1, 3:].abs().max()) == 0


def test_parts_of_a_llama() -> None:
    """Heads and the stream between are no port; attribution reaches them all the same."""
    plain = llama()
    parts = [
        stream_between("model.layers.0", "model.layers.0.self_attn", "between"),
        heads("model.layers.0.self_attn", "model.layers.0.self_attn.o_proj", 4, "heads"),
    ]
    network = Network(plain.module, input=plain.input, parts=parts, call=plain._call, head="lm_head")
    ids, mask, positions = text()
    middle, entry = network.site("model.layers.0#mid"), network.site("model.layers.0.post_attention_layernorm.in")
    flat = network.site("model.layers.0.self_attn.o_proj.in")
    head_sites = network.site("model.layers.0.self_attn#heads")
    zero = {site.alias: torch.zeros(site.units) for site in (middle, entry, flat, head_sites)}
    ours = attribute(network, [middle, head_sites], ids, mask, 5, positions, zero)
    alone = attribute(network, [flat], ids, mask, 5, positions, zero)[flat.alias]
    # "feature" of the heads counts within a head: summing the flat units over heads is the same sum.
    close(ours[head_sites.alias], alone.unflatten(-1, (4, -1)).sum(1), 1e-4)
    # The stream between is read by the norm and by the sum after the feed-forward: its gradient is that of both.
    whole = []
    for step in (1e-3, -1e-3):
        from mulligan.networks import Steer

        with torch.no_grad(), network.editing({middle: Steer(torch.eye(24)[3], step)}):
            whole.append(pick_outputs(network.logits(ids, mask), 5, positions))
    slope = (whole[0] - whole[1]) / 2e-3
    ones = {middle.alias: torch.zeros(24)}
    values: dict[str, Tensor] = {}
    with torch.no_grad(), network.watching(middle) as watched:
        network.logits(ids, mask)
        values["mid"] = watched[middle]
    shifted = {middle.alias: ones[middle.alias] - torch.eye(24)[3]}
    # (a + 1) g - a g = g, summed over positions: the slope of moving unit 3 everywhere.
    gradient = attribute(network, [middle], ids, mask, 5, positions, shifted)[middle.alias] - ours[middle.alias]
    close(gradient[:, 3], slope, 2e-2)


def test_outputs_are_picked_at_positions() -> None:
    logits = torch.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    assert pick_outputs(logits, 1, [2, 0]).tolist() == [9, 13]
    assert pick_outputs(logits[:, 0], 1, None).tolist() == [1, 13]
    with pytest.raises(BadInput, match="at every position"):
        pick_outputs(logits, 1, None)
    with pytest.raises(BadInput, match="position of each text"):
        pick_outputs(logits, 1, [0])


# -- ablations


def whole(
    network: Network, site: Site, x: Tensor, mask: Tensor | None, unit: int, means: Tensor, output: int, where: Any
) -> Tensor:
    """The slow way: the whole network, edited, against the whole network."""
    with torch.no_grad():
        before = pick_outputs(network.logits(x, mask), output, where)
        with network.editing({site: Ablate([unit], "mean", means)}):
            return pick_outputs(network.logits(x, mask), output, where) - before


@pytest.mark.parametrize("alias", ["stem", "norm", "act", "act!1", "head.in"])
@pytest.mark.parametrize("most", [1, 12])
def test_ablation_equals_an_edited_whole_network(alias: str, most: int) -> None:
    network = branched()
    site = network.site(alias)
    means = means_of(network, [site])[alias]
    x = images()
    tail = Tail(network, site)
    with torch.no_grad():
        held = tail.hold(x)
    units = [4, 0, 3]
    change = ablate_units(tail, held, units, means, 2, None, most=most)
    assert change.shape == (3, 5)
    for row, unit in zip(change, units, strict=True):
        expected = whole(network, site, x, None, unit, means, 2, None)
        assert float(expected.abs().max()) > 0
        close(row, expected, 1e-4)
    assert ablate_units(tail, held, [], means, 2, None).shape == (0, 5)
    nothing_left(network)


@pytest.mark.parametrize("alias", ["model.layers.0", "model.layers.1.mlp.down_proj.in"])
def test_ablation_in_a_llama(alias: str) -> None:
    network = llama()
    ids, mask, positions = text()
    site = network.site(alias)
    means = means_of(network, [site])[site.alias]
    tail = Tail(network, site)
    with torch.no_grad():
        held = tail.hold(ids, mask)
    change = ablate_units(tail, held, [1, 20], means, 7, positions, most=4)
    for row, unit in zip(change, [1, 20], strict=True):
        close(row, whole(network, site, ids, mask, unit, means, 7, positions), 1e-4)


def test_units_that_do_not_exist() -> None:
    network = branched()
    tail = Tail(network, "stem")
    with torch.no_grad():
        held = tail.hold(images())
    with pytest.raises(BadInput, match="unit 6 does not exist: there are 6"):
        ablate_units(tail, held, [0, 6], torch.zeros(6), 0, None)
