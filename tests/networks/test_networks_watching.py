from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from networks_small import Conv, Mlp, assert_close, check_every_port, everything, mlp, no_hooks_left
from torch import Tensor, nn

from mulligan.networks import Ablate, ArrayInput, Clamp, ImageInput, Network, Steer
from mulligan.networks.parts import pattern
from mulligan.records import BadInput, MulliganError, Site

PICTURE = ImageInput(size=(12, 12), mean=(0.5,) * 3, std=(0.5,) * 3)
FIVE = ArrayInput(shape=(5,))


@dataclass
class Out:
    answer: Tensor
    hidden: Tensor


class Nested(nn.Module):
    """Layers that are given and give all kinds of values."""

    class Give(nn.Module):
        def __init__(self, kind: str) -> None:
            super().__init__()
            self.kind, self.layer = kind, nn.Linear(5, 5)

        def forward(self, x: Tensor, *, scale: Tensor, label: str = "") -> Any:
            a, b = self.layer(x), x * scale
            match self.kind:
                case "tuple":
                    return a, None, [b, label]
                case "dictionary":
                    return {"a": a, "inner": {"b": b}}
                case _:
                    return Out(a, b)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.three = self.Give("tuple"), self.Give("dictionary"), self.Give("dataclass")

    def forward(self, x: Tensor) -> Out:
        a, _, (b, _) = self.one(x, scale=torch.tensor(2.0), label="text")
        out = self.two(a + b, scale=a)
        return self.three(x=out["a"] + out["inner"]["b"], scale=b)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.act, self.two = nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.two(self.act(self.one(x))))


class Attention(nn.Module):
    """Four heads of two, by hand or by the fused kernel; may break off in the middle."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fused, self.error = fused, None
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 4, 2)).permute(2, 0, 3, 1, 4)
        if self.error is not None:
            raise self.error
        if self.fused:
            mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            allowed = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
            mixed = ((q @ k.mT) * 2**-0.5).masked_fill(~allowed, float("-inf")).softmax(-1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))


def attention(fused: bool = True) -> Network:
    module = nn.Sequential(nn.Linear(8, 8), Attention(fused))
    return Network(module, input=ArrayInput(shape=(6, 8)), parts=[pattern("1", 4, "weights")])


@pytest.mark.parametrize(
    ("module", "taken"),
    [(Mlp(), FIVE), (Conv(), PICTURE), (Nested(), FIVE), (Twice(), FIVE), (nn.LSTM(5, 4, 2), ArrayInput(shape=(5,)))],
    ids=["mlp", "conv", "nested", "twice", "lstm"],
)
def test_every_port_holds_what_plain_hooks_see(module: nn.Module, taken: Any) -> None:
    network = Network(module, input=taken)
    x, mask = network.example(3)
    assert check_every_port(network, x, mask) >= 2


def test_nested_values_have_named_leaves() -> None:
    network = Network(Nested(), input=FIVE)
    wanted = ["one", "one[2/0]", "two[inner/b]", "three[hidden]", "three.in", "three.in[scale]", "two.in[scale]"]
    x, _ = network.example()
    raw = everything(network.module, lambda: network.module(x))
    with network.watching(wanted) as watched:
        out = network(x)
    assert set(watched) == set(wanted)
    assert torch.equal(watched["one[2/0]"], raw["one", "out", 0][1])
    assert torch.equal(watched["two.in[scale]"], raw["two", "in", 0][1])
    assert torch.equal(watched["three[hidden]"], out.hidden)
    assert torch.equal(watched["three.in"], raw["three", "in", 0][0])


def test_nested_values_are_edited_where_they_are() -> None:
    network = Network(Nested(), input=FIVE)
    x, _ = network.example()
    with network.editing({"three[hidden]": Ablate()}):
        out = network(x)
    assert isinstance(out, Out)
    assert not out.hidden.any()
    assert torch.equal(out.answer, network(x).answer)
    with network.editing({"one[2/0]": Clamp(value=1.0), "three.in[scale]": Clamp(value=3.0)}), torch.no_grad():
        out = network(x)
    m = network.module
    a = m.one.layer(x)
    inner = a + 1
    expected = m.two.layer(inner) + inner * a
    assert_close(out.answer, m.three.layer(expected))
    assert_close(out.hidden, expected * 3)


def test_what_an_inplace_module_overwrites_is_what_was_there_before() -> None:
    network = Network(Conv(), input=PICTURE)
    x, _ = network.example(3)
    module = network.module
    with torch.no_grad():
        normed = module.norm(module.conv(x))
        with network.watching(["conv", "norm", "act.in", "act", "pool.in"]) as watched:
            network(x)
    assert (normed < 0).any()
    assert torch.equal(watched["norm"], normed)
    assert torch.equal(watched["act.in"], normed)
    assert torch.equal(watched["act"], normed.relu())
    assert network.dry_run.overwritten == {Site("norm"), Site("act", "in")}


def test_a_reduction_that_is_a_view_is_safe_from_overwriting() -> None:
    network = Network(Conv(), input=PICTURE)
    x, _ = network.example(3)
    with torch.no_grad():
        normed = network.module.norm(network.module.conv(x))
        with network.watching("norm", reduce=lambda t, site: t[:, 0]) as view:
            network(x)
        with network.watching(["norm", "act"], reduce=lambda t, site: t.mean((2, 3))) as means:
            network(x)
    assert torch.equal(view["norm"], normed[:, 0])
    assert torch.equal(means["norm"], normed.mean((2, 3)))
    assert torch.equal(means["act"], normed.relu().mean((2, 3)))


def test_a_reduction_is_told_the_site() -> None:
    network = Network(Conv(), input=PICTURE)
    seen = []
    with network.watching("*", reduce=lambda t, site: seen.append(site) or t) as watched:
        network(network.example()[0])
    assert [site.alias for site in seen] == ["conv", "norm", "act", "pool", "head", ""]
    assert all(site.axes and site.shape for site in seen)
    assert set(watched) == {site.alias for site in watched.sites}


def test_unforeseen_overwriting_is_an_error_not_a_wrong_answer() -> None:
    class Moody(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.overwrite = nn.Linear(5, 5), False

        def forward(self, x: Tensor) -> Tensor:
            out = self.layer(x)
            return out.relu_() if self.overwrite else out

    network = Network(Moody(), input=FIVE)
    x = network.example()[0]
    _ = network.dry_run
    network.module.overwrite = True
    with torch.no_grad():
        with network.watching("layer") as watched:
            network(x)
        with network.watching("layer", copy=True) as copied:
            network(x)
    with pytest.raises(MulliganError, match="changed in place later"):
        watched["layer"]
    assert (copied["layer"] < 0).any()


def test_each_call_of_a_shared_module_is_its_own_site() -> None:
    network = Network(Twice(), input=FIVE)
    x = network.example()[0]
    m = network.module
    with torch.no_grad(), network.watching(["act", "act!1"]) as watched:
        network(x)
        first = m.one(x).tanh()
        assert torch.equal(watched["act"], first)
        assert torch.equal(watched["act!1"], m.two(first).tanh())
        with network.editing({"act!1": Ablate()}):
            assert not network(x).any()
            assert torch.equal(watched["act"], first)
        with network.editing({"act": Ablate()}):
            assert torch.equal(network(x), m.two.bias.tanh().expand(2, 5))
    no_hooks_left(network.module)


def test_a_pass_is_counted_however_it_is_started() -> None:
    """`call` may go past the root, or run it twice."""
    around = Network(Twice(), input=FIVE, call=lambda m, x, mask: m.act(m.one(x)))
    x = around.example()[0]
    with torch.no_grad(), around.watching("act") as watched:
        for scale in (1, 2, 3):
            around(x * scale)
            assert torch.equal(watched["act"], around.module.one(x * scale).tanh())
    twice = Network(Twice(), input=FIVE, call=lambda m, x, mask: m(m(x)))
    assert [site.alias for site in twice.sites()] == [
        "one",
        "act",
        "two",
        "act!1",
        "",
        "one!1",
        "act!2",
        "two!1",
        "act!3",
        "!1",
    ]
    with torch.no_grad(), twice.watching("*") as watched:
        for scale in (1, 2):
            out = twice(x * scale)
            assert torch.equal(watched["!1"], out)
            assert torch.equal(watched["act!3"], out)
            assert torch.equal(watched[""], twice.module(x * scale))


def test_the_module_itself_may_be_called_within_the_block() -> None:
    network = Network(Twice(), input=FIVE)
    x = network.example()[0]
    with torch.no_grad(), network.watching("act!1") as watched:
        for scale in (1, 2):
            out = network.module(x * scale)
            assert torch.equal(watched["act!1"], out)


@pytest.mark.parametrize("order", ["watch outside", "edit outside"])
def test_a_reader_sees_what_flows_on_however_blocks_are_nested(order: str) -> None:
    network = mlp()
    x = network.example()[0]
    with torch.no_grad():
        blocks = [
            lambda: network.watching(["first", "act.in", "act"]),
            lambda: network.editing({"first": Clamp(value=2.0)}),
        ]
        with ExitStack() as stack:
            entered = [stack.enter_context(make()) for make in (blocks if order == "watch outside" else blocks[::-1])]
            watched = next(item for item in entered if item is not None)
            network(x)
    for alias in ("first", "act.in", "act"):
        assert torch.equal(watched[alias], torch.full((2, 7), 2.0, dtype=torch.float64))
    no_hooks_left(network.module)


def test_outer_edits_act_first() -> None:
    network = mlp()
    x = network.example()[0]
    add, zero = Steer(torch.ones(7)), Ablate()
    with torch.no_grad(), network.watching("first") as watched:
        with network.editing({"first": zero}), network.editing({"first": add}):
            network(x)
        assert (watched["first"] == 1).all()
        with network.editing({"first": add}), network.editing({"first": zero}):
            network(x)
        assert (watched["first"] == 0).all()


def test_two_networks_at_once_know_nothing_of_each_other() -> None:
    one, two = mlp(0), mlp(1)
    x = one.example()[0]
    with torch.no_grad():
        clean = one(x), two(x)
        with one.watching("act") as a, two.editing({"act": Ablate()}), two.watching("act") as b:
            assert torch.equal(one(x), clean[0])
            assert torch.equal(two(x), two.module.second.bias.expand(2, 3))
            assert a["act"].any()
            assert not b["act"].any()
            no_hooks_left(mlp(2).module)
        assert torch.equal(two(x), clean[1])
    no_hooks_left(one.module)
    no_hooks_left(two.module)


def test_two_networks_around_one_module() -> None:
    one = mlp()
    two = Network(one.module, input=FIVE)
    x = one.example()[0]
    with torch.no_grad(), one.watching("act") as a, two.watching("act") as b, two.editing({"first": Ablate()}):
        one(x)
        assert torch.equal(a["act"], b["act"])
        assert not a["act"].any()
    no_hooks_left(one.module)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("learnt", [False, True], ids=["first use inside", "first use outside"])
def test_watching_in_every_mode_of_autograd(context: Callable[[], Any], learnt: bool) -> None:
    network = Network(Conv(), input=PICTURE)
    if learnt:
        _ = network.dry_run
    with context():
        x = network.example(3)[0]
        with network.watching(["norm", "act", "head"]) as watched, network.editing({"conv": Clamp(low=-1.0)}):
            out = network(x)
        assert torch.equal(watched["head"], out)
        conv = network.module.conv(x).clamp(min=-1)
        assert torch.equal(watched["norm"], network.module.norm(conv))
        assert out.requires_grad == (context is torch.enable_grad)


def test_an_input_made_in_inference_mode_may_be_rehearsed_on() -> None:
    network = Network(nn.Sequential(nn.Linear(5, 5), nn.ReLU(inplace=True)))
    with torch.inference_mode():
        network.rehearse(torch.randn(2, 5))
    assert network.dry_run.overwritten == {Site("0"), Site("1", "in")}


def test_gradients_flow_through_what_is_watched_and_edited() -> None:
    network = mlp()
    x = network.example()[0].double().requires_grad_()
    direction = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    with network.watching(["first", "act"]) as watched, network.editing({"first": Steer(direction)}):
        network(x).sum().backward()
    m = network.module
    assert_close(direction.grad, (m.second.weight.sum(0) * (watched["first"] > 0)).sum(0).detach())
    assert watched["act"].grad_fn is not None


def test_hooks_are_gone_after_an_error_in_the_pass() -> None:
    network = mlp()
    _ = network.dry_run
    with pytest.raises(RuntimeError), network.watching("*"), network.editing({"act": Ablate()}):
        network.module(torch.zeros(2, 99))
    no_hooks_left(network.module)
    x = network.example()[0]
    with network.watching("act") as watched:
        with pytest.raises(RuntimeError):
            network.module(torch.zeros(2, 99))
        network(x)  # the counts start anew
        assert watched["act"].shape == (2, 7)


def test_hooks_are_gone_after_an_error_in_an_edit_or_a_wrong_site() -> None:
    network = mlp()
    x = network.example()[0]
    with (
        pytest.raises(BadInput, match=r"gives shape \(2, 1\) where \(2, 7\) passes \(act\)"),
        network.editing({"act": lambda t, s: t[:, :1]}),
    ):
        network(x)
    with pytest.raises(BadInput), network.watching(["act", "nothing"]):
        pass
    with pytest.raises(BadInput), network.editing({"act": Ablate(), "nothing": Ablate()}):
        pass
    no_hooks_left(network.module)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_attention_modes_are_gone_after_an_error(fused: bool, error: BaseException) -> None:
    network = attention(fused)
    x = network.example()[0]
    clean = network(x)
    with network.watching("1#pattern") as watched:
        network.module[1].error = error
        with pytest.raises(type(error)):
            network(x)
        network.module[1].error = None
        network(x)
        assert watched["1#pattern"].shape == (2, 4, 6, 6)
        network.module[1].error = error
        with pytest.raises(type(error)):
            network(x)
    network.module[1].error = None
    no_hooks_left(network.module)
    assert torch.equal(network(x), clean)


@pytest.mark.parametrize("fused", [True, False])
def test_attention_patterns_are_seen_and_edited_in_either_way_of_computing_them(fused: bool) -> None:
    network = attention(fused)
    x = network.example()[0]
    m = network.module
    with torch.no_grad():
        q, k, v = m[1].qkv(m[0](x)).unflatten(-1, (3, 4, 2)).permute(2, 0, 3, 1, 4)
        allowed = torch.ones(6, 6, dtype=torch.bool).tril()
        weights = ((q @ k.mT) * 2**-0.5).masked_fill(~allowed, float("-inf")).softmax(-1)
        with network.watching("1#pattern") as watched:
            out = network(x)
        assert_close(watched["1#pattern"], weights)
        assert_close(out, m[1].out((weights @ v).transpose(1, 2).flatten(2)))
        with network.editing({"1#pattern": lambda t, site: t.flip(1)}), network.watching("1#pattern") as flipped:
            out = network(x)
        assert_close(flipped["1#pattern"], weights.flip(1))
        assert_close(out, m[1].out((weights.flip(1) @ v).transpose(1, 2).flatten(2)))
    assert network.site("1#pattern").shape == (2, 4, 6, 6)
    no_hooks_left(network.module)


def test_attention_that_computes_no_weights_is_an_error_not_a_silence() -> None:
    network = Network(
        nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), input=ArrayInput(shape=(6, 8)), parts=[pattern("1", 4, "no")]
    )
    with (
        pytest.raises(MulliganError, match="no attention weights were computed in 1"),
        network.editing({"1#pattern": Ablate()}),
    ):
        network(network.example()[0])
    no_hooks_left(network.module)


@pytest.mark.parametrize("mask", ["none", "boolean", "float", "whole row"])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_fused_attention_is_computed_step_by_step_as_torch_does(mask: str, grouped: bool, scale: float | None) -> None:
    torch.manual_seed(0)

    class Fused(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            key = x[:, :2] if grouped else x
            given = {"none": None, "boolean": allowed, "float": bias, "whole row": nothing}[mask]
            return nn.functional.scaled_dot_product_attention(
                x, key * 2, key + 1, attn_mask=given, is_causal=mask == "none", scale=scale, enable_gqa=grouped
            )

    allowed = torch.rand(3, 1, 6, 6) > 0.4
    allowed[..., 0] = True
    nothing = allowed.clone()
    nothing[1, :, 2] = False
    bias = torch.randn(3, 1, 6, 6)
    network = Network(nn.Sequential(Fused()), input=ArrayInput(shape=(4, 6, 8)), parts=[pattern("0", 4, "weights")])
    x = torch.randn(3, 4, 6, 8)
    network.rehearse(x)
    clean = network(x)
    with network.watching("0#pattern") as watched:
        assert_close(network(x), clean)
    sums = watched["0#pattern"].sum(-1)
    assert watched["0#pattern"].shape == (3, 4, 6, 6)
    assert_close(sums[0], torch.ones(4, 6))
    assert bool((sums[1, :, 2] == 0).all()) == (mask == "whole row")


def test_attention_keeps_double_precision() -> None:
    network = attention().with_module(attention().module.double())
    x = network.example()[0]
    clean = network(x)
    with network.watching("1#pattern") as watched:
        assert_close(network(x), clean, 1e-13)
    assert watched["1#pattern"].dtype == torch.float64


def test_watched_is_a_mapping() -> None:
    network = mlp()
    x = network.example()[0]
    with network.watching(["first", "act"]) as watched:
        assert len(watched) == 0
        assert "act" not in watched
        with pytest.raises(BadInput, match=r"nothing has passed here \(act\): run the network inside"):
            watched["act"]
        network(x)
        assert dict(watched).keys() == {"first", "act"}
        assert watched[network.site("act")] is watched["act"] is watched["act!0"]
        assert network.site("act") in watched
        assert watched.get("second") is None
        with pytest.raises(BadInput, match="not watched"):
            watched["second"]
    assert watched["act"].shape == (2, 7)


def test_the_latest_pass_replaces_the_one_before() -> None:
    network = mlp()
    x = network.example()[0]
    with torch.no_grad(), network.watching("first") as watched:
        network(x)
        network(x * 2)
        assert torch.equal(watched["first"], network.module.first(x.double() * 2))


def test_a_module_that_runs_only_sometimes_keeps_what_passed_last() -> None:
    class Sometimes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.always, self.rarely = nn.Linear(5, 5), nn.Linear(5, 5)

        def forward(self, x: Tensor) -> Tensor:
            out = self.always(x)
            return self.rarely(out) if x.sum() > 0 else out

    network = Network(Sometimes(), input=FIVE)
    with network.watching("rarely") as watched:
        network(-torch.ones(1, 5))
        assert "rarely" not in watched


def test_precision_is_that_of_the_weights() -> None:
    for dtype in (torch.float64, torch.bfloat16):
        network = Network(Mlp().to(dtype), input=FIVE)
        assert network.dtype == dtype
        assert network.logits(torch.rand(2, 5)).dtype == dtype
        assert network.sites()


def test_nothing_of_torch_is_changed_for_good() -> None:
    before = nn.functional.scaled_dot_product_attention, nn.Module.__call__, torch.softmax
    network = attention()
    with network.watching("1#pattern"):
        network(network.example()[0])
    assert before == (nn.functional.scaled_dot_product_attention, nn.Module.__call__, torch.softmax)
    assert not nn.modules.module._global_forward_hooks
    assert not nn.modules.module._global_forward_pre_hooks
