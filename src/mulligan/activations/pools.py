"""What is kept of an activation tensor: a number a unit (mean, maximum, one position), some random places, or all."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor

from ..records import BadInput, Site
from ..runs import derived_seed

#: Axes along which a tensor is walked to pool it; on the others, save the batch axis, every place is a unit.
WALKED = ("position", "depth", "height", "width", "query", "key")
_OF_TEXT = ("position", "query", "key")


@dataclass(frozen=True, slots=True)
class Pool:
    """One way of pooling, by its text.

    "mean", "max", "argmax" (which place has the maximum, places counted in the order of the tensor's axes),
    "position:K" (the text's token K; from its end if negative; the nearest one if the text is shorter), "sample:K" (K
    random places an example, with replacement) and "full".

    Padding never counts: a text of padding alone gives zeros, and in "full" padding is NaN (-1 for whole numbers).

    Raises:
        BadInput: if the text is none of these.
    """

    text: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"mean|max|argmax|full|position:-?[0-9]{1,9}|sample:[1-9][0-9]{0,8}", self.text):
            raise BadInput(
                "this is not a way of pooling",
                where=self.text,
                fix="write mean, max, argmax, full, position:K or sample:K",
            )

    @property
    def kind(self) -> str:
        """The text without its number."""
        return self.text.partition(":")[0]

    @property
    def number(self) -> int:
        """K, or 1 where there is none."""
        return int(self.text.partition(":")[2] or 1)

    def __call__(
        self,
        tensor: Shaped[Tensor, "*axes"],
        site: Site,
        mask: Bool[Tensor, "batch position"] | None,
        seed: int,
        start: int | Sequence[object],
    ) -> Tensor:
        """Pool one batch of what passed at `site`.

        Args:
            mask: for texts, which positions hold a token that is not padding.
            seed, start: for "sample", the number of the batch's first example, or a key for each (such as its id): an
                example's places hang on these alone, and not on how examples fell into batches.

        Returns:
            [batch, units] for mean, max, argmax and position; [batch, K, units] for sample; for full the tensor, its
            batch axis first. Every feature of every head is a unit.

        Raises:
            BadInput: if the site has no batch axis, no units, or positions that are not the text's.
        """
        tensor, axes = _batch_first(tensor, site)
        walked = [axis for axis, name in enumerate(axes) if name in WALKED]
        if self.kind == "full":
            return _without_padding(tensor, axes, _live(tensor, axes, mask, site))
        unit = _unit_axis(axes, site)
        live = _live(tensor, axes, mask, site)
        # Sums over many numbers of 16 bits need more.
        wide = torch.promote_types(tensor.dtype, torch.float32)
        if self.kind in ("mean", "max") and live is None and walked and len(walked) == tensor.dim() - 2:
            # No reshaping: whatever the memory format, one pass over the tensor.
            return tensor.mean(walked, dtype=wide) if self.kind == "mean" else tensor.amax(walked)
        flat = _flatten(tensor, walked, unit)
        match self.kind:
            case "mean" if live is None:
                return flat.mean(1, dtype=wide)
            case "mean" if live is not None:
                # Not a product with the mask: padding may hold NaN.
                total = flat.masked_fill(~live[..., None], 0).sum(1, dtype=wide)
                return total / live.sum(1, keepdim=True).clamp(min=1)
            case "max" | "argmax":
                if live is not None:
                    flat = flat.masked_fill(~live[..., None], -torch.inf)
                    flat = flat.where(live.any(1)[:, None, None], 0)
                return flat.amax(1) if self.kind == "max" else flat.argmax(1).to(torch.int32)
            case "position":
                return _at(flat, live, self.number)
        keys = range(start, start + len(flat)) if isinstance(start, int) else start
        return _sample(flat, live, self.number, [derived_seed(seed, "sample", site.alias, key) for key in keys])


def sampled_places(
    places: int, number: int, seed: int, site: Site, keys: Sequence[object]
) -> Int64[Tensor, "example draw"]:
    """Which places "sample:NUMBER" takes of each example where nothing is padding, in the order of the tensor's axes.

    Args:
        places: how many an example has. keys: one an example, as `Pool` is given them (the examples' ids).
    """
    draws = (torch.Generator().manual_seed(derived_seed(seed, "sample", site.alias, key)) for key in keys)
    rows = [torch.randint(places, (number,), generator=draw) for draw in draws]
    return torch.stack(rows) if rows else torch.empty(0, number, dtype=torch.long)


def pooled_size(pool: Pool, site: Site, length: int | None) -> int:
    """How many numbers an example gives.

    Args:
        length: how many tokens a text has; None where the network takes no texts, and the dry run's shape holds.

    Raises:
        BadInput: as `Pool` does.
    """
    if "batch" not in site.axes:
        raise _no_batch(site)
    size = 1
    for name, there in zip(site.axes, site.shape, strict=True):
        if name == "batch" or (name in WALKED and pool.kind != "full"):
            continue
        size *= length if length is not None and name in _OF_TEXT else there
    if pool.kind != "full":
        _unit_axis(site.axes, site)
    return size * (pool.number if pool.kind == "sample" else 1)


def _no_batch(site: Site) -> BadInput:
    return BadInput(
        "what passes here has no batch axis, so that examples cannot be told apart",
        where=site.alias,
        fix="choose another site",
    )


def _batch_first(tensor: Tensor, site: Site) -> tuple[Tensor, tuple[str, ...]]:
    if "batch" not in site.axes:
        raise _no_batch(site)
    at = site.axes.index("batch")
    return tensor.movedim(at, 0), ("batch", *site.axes[:at], *site.axes[at + 1 :])


def _unit_axis(axes: Sequence[str], site: Site) -> int:
    for name in ("channel", "feature"):
        if name in axes:
            return list(axes).index(name)
    raise BadInput(
        "this site has no axis of units", where=site.alias, fix="choose a site with a channel or feature axis, or full"
    )


def _live(tensor: Tensor, axes: Sequence[str], mask: Tensor | None, site: Site) -> Tensor | None:
    """Which positions are not padding, [batch, position]; None if all."""
    # A list: in a graph that holds for every length, a length is a symbol and has no hash.
    lengths = [tensor.shape[axis] for axis, name in enumerate(axes) if name in _OF_TEXT]
    if mask is None or not lengths:
        return None
    # A graph must hold for every mask, and may not look at this one.
    if not torch.compiler.is_exporting() and bool(mask.all()):
        return None
    if any(length != mask.shape[1] for length in lengths):
        raise BadInput(
            f"{' and '.join(sorted({str(length) for length in lengths}))} positions pass here for {mask.shape[1]} "
            "tokens, so that padding cannot be told apart",
            where=site.alias,
            fix="record one text at a time, with a batch of 1",
        )
    return mask.bool().to(tensor.device)


def _without_padding(tensor: Tensor, axes: Sequence[str], live: Tensor | None) -> Tensor:
    if live is None or tensor.dtype == torch.bool:
        return tensor
    fill = torch.nan if tensor.is_floating_point() or tensor.is_complex() else -1
    for axis, name in enumerate(axes):
        if name in _OF_TEXT:
            shape = [1] * tensor.dim()
            shape[0], shape[axis] = live.shape
            tensor = tensor.masked_fill(~live.reshape(shape), fill)
    return tensor


def _flatten(tensor: Tensor, walked: list[int], unit: int) -> Tensor:
    """[batch, place, unit]; a tensor without places has one."""
    others = [axis for axis in range(1, tensor.dim()) if axis not in walked and axis != unit]
    units = math.prod(tensor.shape[axis] for axis in (*others, unit))
    places = math.prod(tensor.shape[axis] for axis in walked)
    return tensor.permute([0, *walked, *others, unit]).reshape(tensor.shape[0], places, units)


def _at(flat: Tensor, live: Tensor | None, number: int) -> Tensor:
    if live is None:
        live = torch.ones(flat.shape[:2], dtype=torch.bool, device=flat.device)
    ends = live.sum(1)
    wanted = torch.full_like(ends, number) if number >= 0 else ends + number
    # The places that count, in their order, before those that do not.
    order = (~live).to(torch.int8).argsort(dim=1, stable=True)
    at = order.gather(1, wanted.minimum(ends - 1).clamp(min=0)[:, None])[:, 0]
    found = flat[torch.arange(flat.shape[0], device=flat.device), at]
    return found.where(ends[:, None] > 0, 0)


def _sample(flat: Tensor, live: Tensor | None, number: int, seeds: Sequence[int]) -> Tensor:
    rows = []
    for index, seed in enumerate(seeds):
        draw = torch.Generator().manual_seed(seed)
        allowed = torch.arange(flat.shape[1]) if live is None else live[index].cpu().nonzero().flatten()
        if len(allowed):
            rows.append(allowed[torch.randint(len(allowed), (number,), generator=draw)])
        else:
            rows.append(torch.zeros(number, dtype=torch.long))
    found = flat.gather(1, torch.stack(rows).to(flat.device)[..., None].expand(-1, -1, flat.shape[2]))
    return found if live is None else found.where(live.any(1)[:, None, None], 0)
