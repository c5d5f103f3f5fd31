"""Each pool is written again, slow and obvious, and the two must agree."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from activations_small import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mulligan.activations import Pool
from mulligan.activations.pools import WALKED, pooled_size
from mulligan.records import BadInput, Site
from mulligan.runs import derived_seed

IMAGE = ("batch", "channel", "height", "width")
AXES = [
    IMAGE,
    ("batch", "height", "width", "channel"),
    ("batch", "channel", "depth", "height", "width"),
    ("batch", "position", "feature"),
    ("position", "batch", "feature"),
    ("batch", "channel", "position"),
    ("batch", "head", "position", "feature"),
    ("batch", "position", "head", "feature"),
    ("batch", "feature"),
    ("batch", "head", "feature"),
]
SIZES = {"batch": 3, "channel": 4, "height": 2, "width": 3, "depth": 2, "position": 5, "feature": 4, "head": 2}
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]], dtype=torch.bool)
POOLS = ["mean", "max", "argmax", "position:0", "position:2", "position:-1", "position:-3", "position:9", "sample:4"]


def slow(text: str, tensor: Tensor, axes: tuple[str, ...], mask: Tensor | None, keys: list[object]) -> np.ndarray:
    """One example and one unit at a time, places walked in a loop."""
    sizes = dict(zip(axes, tensor.shape, strict=True))
    walked = [name for name in axes if name in WALKED]
    # Heads before features: every feature of every head is a unit.
    others = [name for name in axes if name not in (*walked, "batch", "channel", "feature")]
    others.append("channel" if "channel" in axes else "feature")
    kind, _, number = text.partition(":")
    rows = []
    for example in range(sizes["batch"]):
        places = []
        for place in itertools.product(*(range(sizes[name]) for name in walked)):
            where = dict(zip(walked, place, strict=True))
            if mask is None or "position" not in where or mask[example, where["position"]]:
                places.append(where)
        columns = []
        for unit in itertools.product(*(range(sizes[name]) for name in others)):
            fixed = {"batch": example, **dict(zip(others, unit, strict=True))}
            values = [float(tensor[tuple({**fixed, **where}[name] for name in axes)]) for where in places]
            match kind:
                case "mean":
                    columns.append(sum(values) / len(values) if values else 0.0)
                case "max":
                    columns.append(max(values) if values else 0.0)
                case "argmax":
                    columns.append(values.index(max(values)) if values else 0)
                case "position":
                    at = int(number) if int(number) >= 0 else len(values) + int(number)
                    columns.append(values[min(max(at, 0), len(values) - 1)] if values else 0.0)
                case "sample":
                    draw = torch.Generator().manual_seed(derived_seed(7, "sample", "x", keys[example]))
                    drawn = torch.randint(max(len(values), 1), (int(number),), generator=draw)
                    columns.append([values[i] if values else 0.0 for i in drawn.tolist()])
        rows.append(np.asarray(columns).T)
    return np.stack(rows)


def tensor_of(axes: tuple[str, ...], seed: int = 0) -> Tensor:
    return torch.randn([SIZES[name] for name in axes], generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("text", POOLS)
@pytest.mark.parametrize("axes", AXES, ids="-".join)
@pytest.mark.parametrize("masked", [False, True])
def test_a_pool_is_what_a_loop_makes(text: str, axes: tuple[str, ...], masked: bool) -> None:
    tensor, mask = tensor_of(axes), MASK if masked else None
    if masked and "position" in axes and text != "argmax":
        # Whatever stands in the padding.
        shape = [SIZES[name] if name in ("batch", "position") else 1 for name in axes]
        dead = ~(MASK if axes.index("batch") < axes.index("position") else MASK.T).reshape(shape)
        tensor = tensor.masked_fill(dead, math.nan)
    keys: list[object] = [3, 4, 5]
    found = Pool(text)(tensor, Site("x", axes=axes, shape=tuple(tensor.shape)), mask, 7, 3)
    assert_close(found.numpy(), slow(text, tensor, axes, mask, keys))
    assert (found.dtype == torch.int32) == (text == "argmax")


@pytest.mark.parametrize("text", ["mean", "max", "argmax", "position:1", "sample:2"])
def test_the_memory_format_does_not_count(text: str) -> None:
    tensor = tensor_of(IMAGE)
    other = tensor.to(memory_format=torch.channels_last)
    assert other.stride() != tensor.stride()
    site = Site("x", axes=IMAGE, shape=tuple(tensor.shape))
    pool = Pool(text)
    assert_close(pool(other, site, None, 0, 0).numpy(), pool(tensor, site, None, 0, 0).numpy())


@pytest.mark.parametrize("text", POOLS)
def test_padding_may_stand_on_the_left_and_a_text_may_be_all_padding(text: str) -> None:
    mask = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    axes = ("batch", "position", "feature")
    tensor = tensor_of(axes)
    if text == "argmax":  # the loop counts places that are left, the pool counts all
        found = Pool(text)(tensor, Site("x", axes=axes, shape=tuple(tensor.shape)), mask, 7, 0)
        assert bool(mask[:2].gather(1, found[:2].long()).all())
        assert not found[2].any()
        return
    found = Pool(text)(tensor, Site("x", axes=axes, shape=tuple(tensor.shape)), mask, 7, ["a", "b", "c"])
    assert_close(found.numpy(), slow(text, tensor, axes, mask, ["a", "b", "c"]))


@pytest.mark.parametrize("axes", AXES, ids="-".join)
def test_full_is_everything_with_padding_blanked(axes: tuple[str, ...]) -> None:
    tensor = tensor_of(axes)
    site = Site("x", axes=axes, shape=tuple(tensor.shape))
    first = tensor.movedim(axes.index("batch"), 0)
    np.testing.assert_array_equal(Pool("full")(tensor, site, None, 0, 0).numpy(), first.numpy())
    blanked = Pool("full")(tensor, site, MASK, 0, 0).numpy()
    if "position" not in axes:
        np.testing.assert_array_equal(blanked, first.numpy())
        return
    at = ["batch", *(name for name in axes if name != "batch")].index("position")
    for example, length in enumerate(MASK.sum(1).tolist()):
        one = np.moveaxis(blanked[example], at - 1, 0)
        assert np.isnan(one[length:]).all()
        np.testing.assert_array_equal(one[:length], np.moveaxis(first[example].numpy(), at - 1, 0)[:length])


def test_padding_of_whole_numbers_is_minus_one_and_patterns_have_two_axes_of_it() -> None:
    site = Site("x", axes=("batch", "head", "query", "key"), shape=(3, 2, 5, 5))
    found = Pool("full")(torch.ones(3, 2, 5, 5, dtype=torch.int64), site, MASK, 0, 0)
    real = MASK[:, None, :, None] & MASK[:, None, None, :]
    assert torch.equal(found, torch.where(real.expand(3, 2, 5, 5), 1, -1))


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_sampled_places_hang_on_the_example_alone(data: st.DataObject) -> None:
    n, places = 7, 6
    axes = ("batch", "position", "feature")
    tensor = torch.randn(n, places, 2, generator=torch.Generator().manual_seed(0))
    lengths = data.draw(st.lists(st.integers(1, places), min_size=n, max_size=n))
    mask = torch.arange(places) < torch.tensor(lengths)[:, None]
    site, pool = Site("x", axes=axes, shape=tuple(tensor.shape)), Pool("sample:3")
    whole = pool(tensor, site, mask, 1, 0)
    size = data.draw(st.integers(1, n))
    parts = []
    for start in range(0, n, size):
        width = max(lengths[start : start + size])
        rows = slice(start, start + size)
        parts.append(pool(tensor[rows, :width], site, mask[rows, :width], 1, start))
    assert torch.equal(torch.cat(parts), whole)
    order = data.draw(st.permutations(range(n)))
    assert torch.equal(pool(tensor[order], site, mask[order], 1, list(order)), whole[order])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_mean_of_many_small_numbers_is_exact_enough(dtype: torch.dtype) -> None:
    tensor = torch.full((2, 3, 100, 100), 0.1, dtype=dtype)
    site = Site("x", axes=IMAGE, shape=tuple(tensor.shape))
    assert_close(Pool("mean")(tensor, site, None, 0, 0).double().numpy(), tensor[:, :, 0, 0].double().numpy(), 1e-4)


@pytest.mark.parametrize(
    "text",
    ["", "median", "Mean", "mean ", "sample:0", "sample", "position", "position:x", "sample:-1", "mean\n", "sample:²"],
)
def test_what_is_no_way_of_pooling(text: str) -> None:
    with pytest.raises(BadInput, match="this is not a way of pooling"):
        Pool(text)


def test_sites_that_cannot_be_pooled_are_named() -> None:
    pattern = Site("attn#pattern", axes=("batch", "head", "query", "key"), shape=(3, 2, 5, 5))
    with pytest.raises(BadInput, match="no axis of units"):
        Pool("mean")(torch.zeros(3, 2, 5, 5), pattern, None, 0, 0)
    table = Site("positions", axes=("axis0", "feature"), shape=(5, 4))
    for pool in (Pool("mean"), Pool("full")):
        with pytest.raises(BadInput, match="no batch axis"):
            pool(torch.zeros(5, 4), table, None, 0, 0)
        with pytest.raises(BadInput, match="no batch axis"):
            pooled_size(pool, table, None)


def test_positions_that_are_not_the_texts_are_refused_only_where_there_is_padding() -> None:
    site = Site("x", axes=("batch", "position", "feature"), shape=(3, 4, 2))
    tensor = torch.ones(3, 4, 2)
    assert Pool("mean")(tensor, site, torch.ones_like(MASK), 0, 0).shape == (3, 2)
    with pytest.raises(BadInput, match="4 positions pass here for 5 tokens"):
        Pool("mean")(tensor, site, MASK, 0, 0)


@pytest.mark.parametrize("text", [*POOLS, "full"])
@pytest.mark.parametrize("axes", AXES, ids="-".join)
def test_the_size_is_known_before(text: str, axes: tuple[str, ...]) -> None:
    tensor = tensor_of(axes)
    site = Site("x", axes=axes, shape=tuple(tensor.shape))
    found = Pool(text)(tensor, site, None, 0, 0)
    assert pooled_size(Pool(text), site, None) * SIZES["batch"] == found.numel()
    longer = pooled_size(Pool(text), site, 50)
    assert longer == (10 if text == "full" and "position" in axes else 1) * pooled_size(Pool(text), site, None)
