"""Each edit against a slow obvious oracle: the same network's forward, written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks_small import Conv, assert_close, mlp, no_hooks_left
from torch import Tensor, nn

from mulligan.networks import Ablate, ArrayInput, Clamp, Edit, ImageInput, Network, Patch, ProjectOut, Steer, Then
from mulligan.networks.parts import Part, stream_between
from mulligan.records import BadInput, Site

PICTURE = ImageInput(size=(12, 12), mean=(0.5,) * 3, std=(0.5,) * 3)
MEANS = torch.linspace(-1, 1, 7)
SOURCE = torch.arange(14.0).reshape(2, 7) / 10
DIRECTIONS = torch.tensor([[1.0, 2, 0, 0, -1, 0, 3], [0, 1, 1, 0, 0, 0, 0]])


def project_out(h: list[float], directions: list[list[float]], around: list[float]) -> list[float]:
    """Gram-Schmidt, then take away each component, in plain numbers."""
    basis: list[list[float]] = []
    for direction in directions:
        v = list(direction)
        for b in basis:
            dot = sum(x * y for x, y in zip(v, b, strict=True))
            v = [x - dot * y for x, y in zip(v, b, strict=True)]
        length = sum(x * x for x in v) ** 0.5
        if length > 1e-9:
            basis.append([x / length for x in v])
    centred = [x - a for x, a in zip(h, around, strict=True)]
    for b in basis:
        dot = sum(x * y for x, y in zip(centred, b, strict=True))
        centred = [x - dot * y for x, y in zip(centred, b, strict=True)]
    return [x + a for x, a in zip(centred, around, strict=True)]


CASES: list[tuple[str, Edit, Callable[[list[list[float]]], list[list[float]]]]] = [
    ("ablate all", Ablate(), lambda h: [[0.0] * 7, [0.0] * 7]),
    ("ablate two", Ablate([1, 4]), lambda h: [[0.0 if j in (1, 4) else x for j, x in enumerate(r)] for r in h]),
    ("ablate none", Ablate([]), lambda h: h),
    (
        "mean",
        Ablate([0, 6], how="mean", values=MEANS),
        lambda h: [[float(MEANS[j]) if j in (0, 6) else x for j, x in enumerate(r)] for r in h],
    ),
    ("resample", Ablate([2], how="resample"), lambda h: [[*a[:2], b[2], *a[3:]] for a, b in (h, h[::-1])]),
    ("clamp value", Clamp([3], value=0.25), lambda h: [[0.25 if j == 3 else x for j, x in enumerate(r)] for r in h]),
    ("clamp range", Clamp(low=-0.2, high=0.1), lambda h: [[min(max(x, -0.2), 0.1) for x in r] for r in h]),
    ("clamp low", Clamp([0], low=0.0), lambda h: [[max(r[0], 0.0), *r[1:]] for r in h]),
    ("steer", Steer(MEANS, scale=-2.0), lambda h: [[x - 2 * float(MEANS[j]) for j, x in enumerate(r)] for r in h]),
    ("patch", Patch(SOURCE), lambda h: SOURCE.tolist()),
    ("patch one", Patch(SOURCE[:1], [5]), lambda h: [[*r[:5], float(SOURCE[0, 5]), r[6]] for r in h]),
    ("project out", ProjectOut(DIRECTIONS), lambda h: [project_out(r, DIRECTIONS.tolist(), [0.0] * 7) for r in h]),
    (
        "project out around",
        ProjectOut(DIRECTIONS, around=MEANS),
        lambda h: [project_out(r, DIRECTIONS.tolist(), MEANS.tolist()) for r in h],
    ),
    ("then", Then([Ablate(), Steer(MEANS)]), lambda h: [MEANS.tolist()] * 2),
]


@pytest.mark.parametrize(("edit", "oracle"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_an_edit_does_what_a_forward_written_by_hand_does(edit: Edit, oracle: Any) -> None:
    network = mlp()
    x = network.example()[0].double()
    m = network.module
    with torch.no_grad():
        hidden = m.first(x)
        before = hidden.clone()
        changed = torch.tensor(oracle(hidden.tolist()), dtype=torch.float64)
        with network.editing({"first": edit}), network.watching("first") as watched:
            out = network(x)
        assert_close(watched["first"], changed, 1e-6)
        assert_close(out, m.second(changed.relu()), 1e-6)
        # An edit writes into nothing that it is given.
        edit(hidden, network.site("first"))
        assert torch.equal(hidden, before)
        # An input is edited alike: between these two nothing happens.
        with network.editing({"act.in": edit}):
            assert_close(network(x), m.second(changed.relu()), 1e-6)
    no_hooks_left(m)


def test_channels_of_pictures_are_the_units() -> None:
    network = Network(Conv(), input=PICTURE)
    x = network.example(3)[0]
    m = network.module
    direction = torch.linspace(0, 1, 6)
    with torch.no_grad():
        for edit, oracle in (
            (Ablate([1, 5]), lambda t: t * torch.tensor([1.0, 0, 1, 1, 1, 0])[:, None, None]),
            (Steer(direction), lambda t: t + direction[:, None, None]),
            (Ablate(how="mean", values=direction), lambda t: direction[:, None, None].expand_as(t)),
            (ProjectOut(torch.eye(6)[:2]), lambda t: torch.cat([torch.zeros_like(t[:, :2]), t[:, 2:]], 1)),
        ):
            expected = m.head(oracle(m.norm(m.conv(x))).relu().mean((2, 3)))
            with network.editing({"norm": edit}):
                assert_close(network(x), expected)


def test_positions_of_a_text_are_chosen_by_number() -> None:
    network = Network(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), input=ArrayInput(shape=(6, 4)))
    x = network.example()[0]
    with torch.no_grad():
        hidden = network.module[0](x)
        hidden[:, [1, -1]] += 2.0
        with network.editing({"0": Steer(torch.ones(4), 2.0, positions=[1, -1])}):
            assert_close(network(x), network.module[1](hidden))
    with (
        pytest.raises(BadInput, match="position 6 does not exist: there are 6"),
        network.editing({"0": Steer(torch.ones(4), positions=[6])}),
    ):
        network(x)
    flat = mlp()
    with (
        pytest.raises(BadInput, match="no axis of positions"),
        flat.editing({"first": Steer(torch.ones(7), positions=[0])}),
    ):
        flat(flat.example()[0])


@given(n=st.integers(2, 9), seed=st.integers(0, 5))
@settings(deadline=None)
def test_resampling_gives_nobody_their_own(n: int, seed: int) -> None:
    rows = torch.arange(float(n))[:, None].expand(n, 3)
    out = Ablate(how="resample", seed=seed)(rows, Site("x", axes=("batch", "feature"), shape=(n, 3)))
    assert sorted(out[:, 0].tolist()) == list(range(n))
    assert (out != rows).all()
    assert torch.equal(out, Ablate(how="resample", seed=seed)(rows, Site("x", axes=("batch", "feature"))))


@given(k=st.integers(1, 9), rank=st.integers(0, 5), seed=st.integers(0, 99))
@settings(deadline=None)
def test_projecting_out_takes_the_span_and_nothing_else(k: int, rank: int, seed: int) -> None:
    """Also where the directions hang on each other, are zero, or are more than the units."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(rank, 5, generator=generator, dtype=torch.float64)
    directions = torch.randn(k, rank, generator=generator, dtype=torch.float64) @ basis
    values = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    site = Site("x", axes=("batch", "feature"), shape=(4, 5))
    out = ProjectOut(directions)(values, site)
    assert float((out @ directions.T).abs().max()) < 1e-8
    assert int(torch.linalg.matrix_rank(values - out, tol=1e-9)) <= torch.linalg.matrix_rank(directions)
    assert float((ProjectOut(directions)(out, site) - out).abs().max()) < 1e-9
    away = torch.linalg.svd(directions).Vh[int(torch.linalg.matrix_rank(directions)) :]
    assert torch.allclose(out @ away.T, values @ away.T, atol=1e-9)


def test_ablation_of_everything_needs_no_units() -> None:
    weights = torch.rand(2, 4, 6, 6)
    site = Site("x", part="pattern", axes=("batch", "head", "query", "key"), shape=(2, 4, 6, 6))
    assert not Ablate()(weights, site).any()
    assert torch.equal(Patch(weights * 2)(weights, site), weights * 2)
    with pytest.raises(BadInput, match="no axis of units"):
        Ablate([1])(weights, site)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (Ablate([7]), "unit 7 does not exist: there are 7"),
        (Ablate([-1]), "unit -1 does not exist"),
        (Ablate(how="mean"), "mean ablation needs the means"),
        (Ablate(how="mean", values=torch.zeros(6)), r"numbers of shape \(6,\) are given for 7 units"),
        (Clamp([0]), "a clamp needs a value"),
        (Steer(torch.ones(1)), r"numbers of shape \(1,\) are given for 7 units"),
        (Patch(torch.zeros(3, 7)), r"the patch has shape \(3, 7\) and the site \(2, 7\)"),
        (Patch(torch.zeros(2, 8)), "the patch has shape"),
        (ProjectOut(torch.ones(2, 6)), r"directions of shape \(2, 6\)"),
    ],
)
def test_wrong_edits_say_what_is_wrong(edit: Edit, sentence: str) -> None:
    network = mlp()
    with pytest.raises(BadInput, match=sentence) as caught, network.editing({"first": edit}):
        network(network.example()[0])
    assert "(first)" in str(caught.value)
    no_hooks_left(network.module)


def test_resampling_needs_two() -> None:
    network = mlp()
    with pytest.raises(BadInput, match="at least two examples"), network.editing({"first": Ablate(how="resample")}):
        network(network.example(1)[0])


class Residual(nn.Module):
    """A pre-norm block: x + a(n(x)) = mid, mid + f(m(mid))."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.n, self.a, self.m, self.f = nn.LayerNorm(4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.a(self.n(x))
        return x + self.f(self.m(x))


def residual(inplace: bool = False) -> Network:
    block = nn.Sequential(nn.Linear(4, 4), Residual())
    return Network(block, input=ArrayInput(shape=(6, 4)), parts=[stream_between("1", "1.a", "mid")])


def test_an_edit_in_the_middle_of_a_block_reaches_the_norm_and_the_skip() -> None:
    network = residual()
    x = network.example()[0]
    b = network.module[1]
    direction = torch.tensor([1.0, -2, 3, 0.5])
    with torch.no_grad():
        stream = network.module[0](x)
        middle = stream + b.a(b.n(stream))
        with network.watching("1#mid") as watched:
            network(x)
        assert_close(watched["1#mid"], middle)
        for edit, new in (
            (Steer(direction), middle + direction),
            (Ablate(), torch.zeros_like(middle)),
            (Ablate([2]), middle * torch.tensor([1.0, 1, 0, 1])),
        ):
            for nested in (False, True):
                with (
                    network.watching(["1#mid"] if nested else [], copy=True) as watched,
                    network.editing({"1#mid": edit}),
                ):
                    out = network(x)
                assert_close(out, new + b.f(b.m(new)))
                if nested:
                    assert_close(watched["1#mid"], new)
    assert network.site("1#mid").shape == (2, 6, 4)
    no_hooks_left(network.module)


def test_edits_of_a_part_and_of_its_ports_act_in_order() -> None:
    network = residual()
    x = network.example()[0]
    b = network.module[1]
    with torch.no_grad():
        stream = network.module[0](x) * 2
        middle = stream + b.a(b.n(stream)) + 1
        with network.editing({"1.in": lambda t, s: t * 2}), network.editing({"1#mid": Steer(torch.ones(4))}):
            assert_close(network(x), middle + b.f(b.m(middle)))
        with network.editing({"1#mid": Steer(torch.ones(4))}), network.editing({"1.in": lambda t, s: t * 2}):
            assert_close(network(x), middle + b.f(b.m(middle)))


def test_a_part_that_cannot_be_put_back_says_so() -> None:
    part = Part(Site("first", part="twice"), ("batch", "feature"), "doubled", (Site("first"),), lambda t: t * 2)
    network = Network(mlp().module, input=ArrayInput(shape=(5,)), parts=[part])
    x = network.example()[0]
    with network.watching("first#twice") as watched:
        network(x)
    assert torch.equal(watched["first#twice"], network.module.first(x.double()) * 2)
    with pytest.raises(BadInput, match="can be watched but not edited"), network.editing({"first#twice": Ablate()}):
        pass
    no_hooks_left(network.module)


def test_globs_edit_every_site_that_fits() -> None:
    network = mlp()
    x = network.example()[0]
    with torch.no_grad(), network.editing({"*": Ablate()}):
        assert not network(x).any()
    with torch.no_grad(), network.editing({Site("first"): Ablate([0]), "act": Clamp(high=0.1)}):
        hidden = network.module.first(x.double()).relu()
        hidden[:, 0] = 0
        assert_close(network(x), network.module.second(hidden.clamp(max=0.1)))
