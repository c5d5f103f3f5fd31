"""What activations at a place do to the answers: to first order for one class, and measured for all classes.

For one class, gradient times how far the activation is from the mean (`mulligan.attribution`, place by place): one pass
back a picture tells all its places, so that a million are affordable. For the classes that a cell pushes, some of its
activations are each set to the mean at their own place and the network's tail is run again: that is measured, for every
class at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from ...activations.pools import WALKED
from ...datasets import Dataset, batches
from ...evidence import fraction, mean
from ...networks import Network, Tail
from ...records import BadInput, Quantity, Site
from ...runs import Context, Result

BATCH = 32
MEMBERS = 12  # activations of a cell whose effect is measured
EFFECT = "logit, taken away when the activation is set to the mean at its own place"


def by_place(tensor: Tensor, site: Site) -> Float[Tensor, "batch place unit"]:
    """What passed the site with its places in one axis, in the order in which they are sampled."""
    walked = [number for number, axis in enumerate(site.axes) if axis in WALKED]
    batch, unit = site.axes.index("batch"), site.unit_axis
    turned = tensor.permute(batch, *walked, unit)
    return turned.reshape(turned.shape[0], -1, turned.shape[-1])


def push(
    network: Network, site: Site, x: Tensor, output: int, mean: Float[Tensor, " unit"]
) -> Float[Tensor, "batch place"]:
    """To first order, what each place adds to logit `output`, beside a place with the mean activation there."""
    kept: list[Tensor] = []

    def probe(tensor: Tensor, site: Site) -> Tensor:
        # What flows on is a copy, so that an in-place ReLU overwrites that.
        kept.append(tensor.detach().requires_grad_(True))
        return kept[-1].clone()

    flags = [(parameter, parameter.requires_grad) for parameter in network.module.parameters()]
    with torch.inference_mode(False), torch.enable_grad():
        try:
            for parameter, _ in flags:
                parameter.requires_grad_(False)
            with network.editing(dict.fromkeys([site], probe)):
                chosen = network.logits(x.clone())[:, output].sum()
            gradient = torch.autograd.grad(chosen, kept[-1], allow_unused=True)[0] if chosen.requires_grad else None
        finally:
            for parameter, needed in flags:
                parameter.requires_grad_(needed)
    values = by_place(kept[-1].detach(), site)
    if gradient is None:  # nothing flows from here to the answers
        return torch.zeros(values.shape[:2])
    return ((values - mean.to(values)) * by_place(gradient, site)).sum(2)


def push_of(context: Context, *, start: int, stop: int, output: int) -> Result:
    """A piece of work: `push` at the sampled places of pictures `start` to `stop`, [picture, draw] float32."""
    network: Network = context["network"]
    dataset: Dataset = context["dataset"]
    sample, centre = context["sample"], torch.as_tensor(context["moments"].mean, dtype=torch.float32)
    rows = sample.recording.examples[start:stop]
    found = [
        push(network, sample.site, group.x, output, centre).cpu().numpy()
        for group in batches(dataset, network.input, rows, BATCH)  # type: ignore[arg-type]  # pictures: it was looked
    ]
    pushed = np.take_along_axis(np.concatenate(found), sample.places[start:stop], 1)
    return Result({"push": pushed.astype(np.float32)})


def pushing(pushes: Float32[np.ndarray, "picture draw"], share: float, known: np.ndarray) -> np.ndarray:
    """Which activations push to the class: the strongest `share` of those `known`, as far as they push at all."""
    if not known.any():
        return known
    bound = float(np.quantile(pushes[known], 1 - share))
    return known & (pushes >= bound) & (pushes > 0)


def effects_of(context: Context, *, pictures: list[int], draws: list[int]) -> Result:
    """A piece of work: what each of some activations does to every logit, [activation, class] float32.

    Args:
        pictures: rows of the recording, together where they are the same. draws: which of the picture's draws.
    """
    network: Network = context["network"]
    sample, tail, centre = context["sample"], context["tail"], context["moments"].mean
    site: Site = sample.site
    places = sample.places[pictures, draws]
    needed, at, counts = np.unique(pictures, return_inverse=True, return_counts=True)
    # Pictures with as many activations stand together: the tail runs whole batches, once for each turn.
    order = np.argsort(-counts, kind="stable")
    needed, at = needed[order], np.argsort(order)[at]
    found = np.empty((len(pictures), context["classes"]), np.float32)
    mean_vector = torch.as_tensor(centre, dtype=network.dtype, device=network.device)
    with torch.no_grad():
        for begin in range(0, len(needed), BATCH):
            wanted = np.flatnonzero((at >= begin) & (at < begin + BATCH))
            rows = sample.recording.examples[needed[begin : begin + BATCH]]
            (group,) = batches(context["dataset"], network.input, rows, BATCH)  # type: ignore[arg-type]
            held = tail.hold(group.x)
            for turn in _turns(at[wanted] - begin):
                values = held.value.clone()
                for one in turn:
                    _set_place(values, site, int(at[wanted[one]]) - begin, int(places[wanted[one]]), mean_vector)
                gone = (held.logits - tail(held, values)).float().cpu().numpy()
                for one in turn:
                    found[wanted[one]] = gone[at[wanted[one]] - begin]
    return Result({"effects": found})


def _turns(pictures: Int64[np.ndarray, " activation"]) -> Iterable[list[int]]:
    """Activations dealt into turns in which each picture is there once."""
    seen: dict[int, int] = {}
    turns: list[list[int]] = []
    for number, picture in enumerate(pictures.tolist()):
        turn = seen.get(picture, 0)
        seen[picture] = turn + 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(number)
    return turns


def _set_place(values: Tensor, site: Site, row: int, place: int, vector: Tensor) -> None:
    sizes = tuple(size for axis, size in zip(site.axes, values.shape, strict=True) if axis in WALKED)
    at = iter(np.unravel_index(place, sizes) if sizes else ())
    index: list[int | slice] = []
    for axis in site.axes:
        index.append(row if axis == "batch" else int(next(at)) if axis in WALKED else slice(None))
    values[tuple(index)] = vector


def tail_of(network: Network, site: Site) -> Tail | None:
    """The network after the site, if that can be run alone and starts with the batch; None if not."""
    if site.axes[:1] != ("batch",):
        return None
    try:
        return Tail(network, site)
    except BadInput:
        return None


def choose_members(
    cells: Int64[np.ndarray, " row"], wanted: Sequence[int], random: np.random.Generator, most: int = MEMBERS
) -> dict[int, Int64[np.ndarray, " row"]]:
    """For each wanted cell, at most `most` of its rows, at random, in ascending order."""
    order = np.argsort(random.permutation(len(cells)), kind="stable")
    order = order[np.argsort(cells[order], kind="stable")]
    ranked = cells[order]
    low, high = np.searchsorted(ranked, wanted, "left"), np.searchsorted(ranked, wanted, "right")
    return {cell: np.sort(order[a : min(b, a + most)]) for cell, a, b in zip(wanted, low, high, strict=True)}


def strongest(effects: Float32[np.ndarray, "member class"], most: int = 3) -> list[tuple[int, Quantity]]:
    """The classes that a cell pushes most, with the mean effect on each; only those surely above zero.

    They are chosen by every other member, and measured on the rest, so that the largest of many is not too large.
    """
    if len(effects) < 2:
        return []
    chosen, rest = effects[0::2].mean(0), effects[1::2]
    order = np.argsort(-chosen, kind="stable")[:most]
    found = [(int(c), mean(rest[:, c], EFFECT)) for c in order]
    return [(number, effect) for number, effect in found if effect.low is not None and effect.low > 0]


def agreement(
    effects: Sequence[Float32[np.ndarray, "member class"]], random: np.random.Generator
) -> tuple[Quantity, Quantity]:
    """In how many cells two halves of the members name the same class as pushed most; and halves of different cells."""
    halves = [(e[0::2].mean(0).argmax(), e[1::2].mean(0).argmax()) for e in effects if len(e) >= 2]
    first = np.array([a for a, _ in halves], dtype=np.int64)
    second = np.array([b for _, b in halves], dtype=np.int64)
    unit = "share of cells in which two halves of the measured activations push most to the same class"
    apart = np.roll(second, 1 + int(random.integers(max(len(second) - 1, 1)))) if len(second) > 1 else second
    return (
        fraction(int((first == second).sum()), len(first), unit),
        fraction(int((first == apart).sum()), len(first), unit),
    )
