from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks_small import Conv, assert_close, no_hooks_left
from torch import Tensor, nn

from mulligan.networks import Ablate, ArrayInput, ImageInput, Network, Steer, Tail
from mulligan.networks.parts import stream_between
from mulligan.records import BadInput, MulliganError, Site

EIGHT = ArrayInput(shape=(8,))
PICTURE = ImageInput(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)


class Graph(nn.Module):
    """Layer k reads the sum of the outputs that `reads[k]` names (0 is the input); the last is the answer."""

    def __init__(self, reads: list[list[int]], kinds: list[str], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        make = {
            "linear": lambda: nn.Linear(8, 8),
            "relu": lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True)),
            "norm": lambda: nn.LayerNorm(8),
        }
        self.layers = nn.ModuleList(make[kind]() for kind in kinds)
        self.reads = reads

    def forward(self, x: Tensor) -> Tensor:
        outs = [x]
        for layer, reads in zip(self.layers, self.reads, strict=True):
            outs.append(layer(torch.stack([outs[i] for i in reads]).sum(0)))
        return outs[-1]


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = (nn.Conv2d(i, o, 3, padding=1) for i, o in ((3, 4), (4, 8), (8, 8)))
        self.up_b, self.up_a, self.head = (
            nn.Conv2d(16, 4, 3, padding=1),
            nn.Conv2d(8, 4, 3, padding=1),
            nn.Conv2d(4, 2, 1),
        )
        self.pool, self.up = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x).relu()
        b = self.b(self.pool(a)).relu()
        c = self.c(self.pool(b)).relu()
        b = self.up_b(torch.cat([self.up(c), b], 1)).relu()
        return self.head(self.up_a(torch.cat([self.up(b), a], 1)).relu())


def check(network: Network, site: str, x: Tensor, mask: Tensor | None = None) -> Tail:
    """The tail's answers are the whole network's, edited at the site; for one batch and for three at once."""
    tail = Tail(network, site)
    held = tail.hold(x, mask)
    assert_close(held.logits, network.logits(x, mask))
    with network.watching(site, copy=True) as watched:
        network(x, mask)
    assert torch.equal(held.value, watched[site])
    versions = [held.value, held.value * 0.5 + 0.1, torch.zeros_like(held.value)]
    whole = []
    for version in versions:
        with network.editing({site: lambda t, s, version=version: version}):
            whole.append(network.logits_unchecked(x, mask))
    assert_close(tail(held, versions[1]), whole[1], 2e-5)
    assert_close(tail(held, torch.cat(versions)), torch.cat(whole), 2e-5)
    no_hooks_left(network.module)
    return tail


@st.composite
def graphs(draw: Any) -> tuple[list[list[int]], list[str], int, int]:
    n = draw(st.integers(2, 7))
    reads = [sorted(draw(st.sets(st.integers(0, k), min_size=1, max_size=3))) for k in range(n)]
    kinds = [draw(st.sampled_from(["linear", "relu", "norm"])) for _ in range(n)]
    return reads, kinds, draw(st.integers(0, n - 1)), draw(st.integers(0, 99))


@given(graph=graphs(), port=st.sampled_from(["", ".in"]), batch=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_the_tail_of_any_small_network_answers_as_the_whole(graph: Any, port: str, batch: int) -> None:
    reads, kinds, at, seed = graph
    network = Network(Graph(reads, kinds, seed), input=EIGHT)
    x = torch.randn(batch, 8, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        tail = check(network, f"layers.{at}{port}", x)
    # What comes after the site reads these, whether or not they are on the way.
    live = {len(reads)}
    for k in range(len(reads) - 1, at, -1):
        live |= set(reads[k]) if k + 1 in live else set()
    outside = {f"layers.{i - 1}" for i in live if 0 < i <= at}
    assert {path for path, _ in tail.needed} <= outside


@pytest.mark.parametrize("site", ["a", "b", "pool!1", "c", "up", "up_b", "up_b.in", "up!1", "up_a", "head.in", "head"])
def test_the_tail_keeps_the_skips_of_a_u_net(site: str) -> None:
    network = Network(UNet(), input=PICTURE)
    x = network.example(3)[0]
    with torch.no_grad():
        tail = check(network, site, x)
    expected = {
        "a": set(),
        "pool!1": {("a", 0), ("b", 0)},
        "c": {("a", 0), ("b", 0)},
        "up_b": {("a", 0)},
        "up_a": set(),
    }
    if site in expected:
        assert tail.needed == expected[site]


def test_nothing_before_the_site_runs_again() -> None:
    network = Network(UNet(), input=PICTURE)
    ran: list[str] = []
    with torch.no_grad():
        tail = Tail(network, "c")
        held = tail.hold(network.example()[0])
        convolutions = {path: m for path, m in network.module.named_modules() if isinstance(m, nn.Conv2d)}
        for path, module in convolutions.items():
            original = module._conv_forward
            module._conv_forward = lambda *a, path=path, original=original: ran.append(path) or original(*a)  # type: ignore[method-assign]
        tail(held, held.value)
    assert ran == ["up_b", "up_a", "head"]
    assert sum(t.untyped_storage().nbytes() > 8 for t in held.outputs.values()) == 2  # the skips a and b alone


def test_the_tail_of_a_shared_module_starts_at_its_call() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.act, self.two = nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.two(self.act(self.one(x)))) + x

    network = Network(Twice(), input=EIGHT)
    x = network.example(3)[0]
    with torch.no_grad():
        for site in ("act", "act!1", "act.in", "act!1.in", "", ".in", "one", "two"):
            check(network, site, x)


def test_the_tail_may_start_inside_a_nested_output() -> None:
    class Give(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> dict[str, Any]:
            return {"a": self.layer(x), "b": [x * 2, torch.arange(3)]}

    class Take(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.give, self.last = Give(), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            out = self.give(x)
            return self.last(out["a"].relu() + out["b"][0]) + out["b"][1]

    network = Network(Take(), input=EIGHT)
    x = network.example(4)[0]
    with torch.no_grad():
        assert check(network, "give", x).needed == {("give", 0)}
        check(network, "give[b/0]", x)


@pytest.mark.parametrize("batch", [1, 2, 3, 6])
def test_a_table_that_is_as_long_as_the_batch_is_not_repeated(batch: int) -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.arange(16.0).reshape(2, 8))

        def forward(self) -> Tensor:
            return self.table * 1

    class Uses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.one, self.two = Table(), nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            rows = self.table()
            return self.two(self.one(x)) + self.one(x) @ rows.T

    network = Network(Uses(), input=EIGHT)
    with torch.no_grad():
        tail = check(network, "one!1", network.example(batch)[0])
    assert ("table", 0) in tail.needed


def test_edits_before_the_site_act_once_and_the_tail_keeps_them() -> None:
    """A skip that is edited flows edited into the tail, and not twice."""
    network = Network(UNet(), input=PICTURE)
    x = network.example(3)[0]
    tail = Tail(network, "c")
    shift = Steer(torch.ones(4))
    with torch.no_grad(), network.editing({"a": shift, "up_a": Ablate([1])}):
        whole = network.logits(x)
        held = tail.hold(x)
        assert_close(held.logits, whole)
        assert_close(tail(held, held.value), whole)
        assert_close(tail(held, torch.cat([held.value] * 2)), torch.cat([whole] * 2))


def test_gradients_flow_from_the_tail_s_answer_to_the_values() -> None:
    network = Network(UNet(), input=PICTURE)
    tail = Tail(network, "c")
    with torch.no_grad():
        held = tail.hold(network.example(2)[0])
    values = held.value.clone().requires_grad_()
    tail(held, values).sum().backward()
    with network.watching("c") as watched:
        out = network(held.x)
    expected = torch.autograd.grad(out.sum(), watched["c"])[0]
    assert_close(values.grad, expected)


def test_batch_norm_and_inplace_relu() -> None:
    network = Network(Conv(), input=PICTURE)
    with torch.no_grad():
        for site in ("conv", "norm", "act", "act.in", "pool", "head"):
            check(network, site, network.example(3)[0])


def test_a_network_without_an_input_of_its_own_uses_the_rehearsed_one() -> None:
    network = Network(Graph([[0], [1], [0, 2]], ["linear", "relu", "linear"], 0))
    network.rehearse(torch.randn(3, 8))
    with torch.no_grad():
        check(network, "layers.1", torch.randn(5, 8))


def test_the_tail_works_within_inference_mode() -> None:
    network = Network(UNet(), input=PICTURE)
    with torch.inference_mode():
        check(network, "c", network.example(3)[0])


def test_a_forward_that_someone_else_replaced_is_left_as_it_was() -> None:
    network = Network(UNet(), input=PICTURE)
    module = network.module.b
    original = module.forward
    theirs = lambda x: original(x) * 2  # noqa: E731
    module.forward = theirs
    with torch.no_grad():
        tail = Tail(network, "c")
        held = tail.hold(network.example(2)[0])
        assert_close(tail(held, held.value), network.logits(held.x))
    assert module.forward is theirs


def test_forwards_are_given_back_after_an_error() -> None:
    network = Network(UNet(), input=PICTURE)
    tail = Tail(network, "c")
    with pytest.raises((RuntimeError, MulliganError)):
        tail.hold(torch.zeros(2, 5, 16, 16))
    no_hooks_left(network.module)


def test_what_a_tail_cannot_do_is_said() -> None:
    class Random(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.one(x)) + torch.rand(())

    with pytest.raises(BadInput, match=r"does not give the network's own answer here \(one\)"):
        Tail(Network(Random(), input=EIGHT), "one")
    network = Network(Graph([[0], [1]], ["linear", "linear"], 0), input=EIGHT)
    tail = Tail(network, "layers.0")
    held = tail.hold(torch.zeros(3, 8))
    for shape in ((4, 8), (0, 8), (3, 7)):
        with pytest.raises(BadInput, match=r"the held batch \(3, 8\)"):
            tail(held, torch.zeros(shape))
    with_part = Network(network.module, input=EIGHT, parts=[stream_between("layers.0", "layers.1", "no")])
    with pytest.raises(BadInput, match="starts at a module's input or output"):
        Tail(with_part, Site("layers.0", part="mid"))
    with pytest.raises(BadInput, match="NaN or infinity"):
        tail.hold(torch.full((1, 8), float("nan")))


class _AddsInPlace(nn.Module):
    """As torchvision's ResNet: the skip is added into the branch's own output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.relu, self.second, self.fc = nn.ReLU(inplace=True), nn.Conv2d(3, 3, 1), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn(self.conv(x))
        out += x
        out = self.relu(out)
        after = self.second(out)
        after += out
        return self.fc(torch.relu_(after).mean((2, 3)))


@pytest.mark.parametrize("place", ["bn", "relu", "second", "conv", "fc.in", "second.in"])
def test_what_the_tail_adds_in_place_leaves_the_held_batch_alone(place: str) -> None:
    torch.manual_seed(0)
    network = Network(_AddsInPlace(), input=ImageInput(size=(6, 6), channels=3, mean=(0.0,) * 3, std=(1.0,) * 3))
    x, _ = network.example(4)
    with torch.no_grad():
        tail = Tail(network, place)
        held = tail.hold(x)
        before = held.value.clone()
        for _ in range(3):
            torch.testing.assert_close(tail(held, held.value), network.logits(x))
            torch.testing.assert_close(held.value, before, rtol=0, atol=0)
        edit = Ablate([1])
        with network.editing({place: edit}):
            edited = network.logits(x)
        torch.testing.assert_close(tail(held, edit(held.value, tail.site)), edited)
        torch.testing.assert_close(
            tail(held, held.value.repeat(2, *[1] * (held.value.dim() - 1)))[4:], network.logits(x)
        )
