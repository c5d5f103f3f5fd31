"""The pieces of work of `see_factors`: sampling, fitting, scanning, effects, pictures. Each stands alone and resumes.

Their context holds a network, a data set and, where it is known by then, what the pieces before them found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...activations import Pool
from ...activations.passes import EagerPass, Pass, Wanted, finished
from ...activations.pools import WALKED
from ...attribution import attributions, own_logits, take_out
from ...datasets import Batch, Dataset, batches
from ...features import Factors, explained_shares, find_elbow, fit_factors
from ...features.factors import shuffled
from ...networks import ImageInput, Network, Tail
from ...records import BadInput, Site
from ...runs import Context, Result, generator
from ...visualization.climbing import visualize
from ...visualization.objectives import direction
from ...visualization.receptive import token_grid
from ...visualization.statistics import ImageStatistics

STEPS = 16  # of the path of integrated gradients
CONTROLS = 4  # shuffled directions beside each factor
SHARE = "share of the squared activation"

Grids = Float[Tensor, "batch rows columns units"]


@dataclass(frozen=True, slots=True)
class Grid:
    """The places of a site as rows and columns over the picture.

    Attributes:
        site: batch first. prefix: tokens that stand before those of the picture, and have no place.
    """

    site: Site
    prefix: int
    rows: int
    columns: int

    @property
    def places(self) -> int:
        """How many there are."""
        return self.rows * self.columns

    def values(self, tensor: Tensor) -> Grids:
        """What passes the site, place by place."""
        last = tensor.movedim(self.site.unit_axis, -1)
        return last.flatten(1, -2)[:, self.prefix :].unflatten(1, (self.rows, self.columns))

    def at_site(self, sizes: Float[np.ndarray, "batch rows columns factor"]) -> Float[Tensor, "batch ..."]:
        """Sizes in the site's own places; 0 at tokens that have no place."""
        flat = torch.from_numpy(np.ascontiguousarray(sizes, np.float32)).flatten(1, 2)
        flat = torch.nn.functional.pad(flat, (0, 0, self.prefix, 0))
        walked = [size for name, size in zip(self.site.axes, self.site.shape, strict=True) if name in WALKED]
        return flat.unflatten(1, walked)


def find_grid(network: Network, alias: str) -> Grid:
    """The places of a site.

    Raises:
        BadInput: if the site does not exist, has no space, or has axes beside batch, units and space.
    """
    site, taken = network.site(alias), network.input
    if not isinstance(taken, ImageInput):
        raise BadInput("factors need a network that takes pictures", where=network.name, fix="give one")
    unit = site.unit_axis
    walked = [(n, size) for n, size in zip(site.axes, site.shape, strict=True) if n in WALKED]
    if site.axes[:1] == ("batch",) and len(site.axes) == 2 + len(walked) and unit:
        names = tuple(name for name, _ in walked)
        if names == ("height", "width") and math.prod(size for _, size in walked) > 1:
            return Grid(site, 0, walked[0][1], walked[1][1])
        if names == ("position",):
            found = token_grid(walked[0][1], taken.size)
            if found is not None:
                return Grid(site, *found)
    spatial = [other.alias for other in network.sites("*") if _has_space(other) and other.path.count(".") < 3]
    some = ", ".join(spatial[-6:]) or "see `mulligan sites`"
    raise BadInput(
        f"this site has no space: its axes are {', '.join(site.axes)} ({' x '.join(map(str, site.shape))})",
        where=site.alias,
        fix=f"choose one with height and width, such as {some}",
    )


def _has_space(site: Site) -> bool:
    if site.axes != ("batch", "channel", "height", "width"):
        return False
    return site.shape[2] * site.shape[3] > 1


def wanted_of(site: Site) -> Wanted:
    """What passes keep: all that passes the site, and the answers."""
    return Wanted(sites=(site,), pools=(Pool("full"),), answers=True)


def _walk(context: Context, grid: Grid, rows: list[int]) -> Iterator[tuple[Batch, Tensor, np.ndarray, Tensor]]:
    """Batches of these examples: the batch, activations [batch, rows, columns, units], their means over all that passes
    [batch, units] (tokens without a place, too: what is visualized means these), answers [batch, classes].
    """
    network: Network = context["network"]
    wanted = wanted_of(grid.site)
    run: Pass = context.objects.get("pass") or EagerPass(network, wanted)
    size = context.objects.get("batch") or 16
    for group in batches(context["dataset"], network.input, rows, size):  # type: ignore[arg-type]
        found = finished(network, run(group.x, group.mask, ()), group.x, group.mask, answers=True)
        passed = found[f"{grid.site.alias}|full"].float()
        means = passed.movedim(grid.site.unit_axis, -1).flatten(1, -2).mean(1, dtype=torch.float64).float().numpy()
        yield group, grid.values(passed), means, found["answers"].float()


def sample(context: Context, *, site: str, rows: list[int], number: int, seed: int) -> Result:
    """Activations at `number` random places of each example: "values" [n, units], "owner" [n]; and each example's mean
    over all places, "means" [example, units].
    """
    grid = find_grid(context["network"], site)
    dataset: Dataset = context["dataset"]
    values, owner, means = [], [], []
    for group, found, mean, _ in _walk(context, grid, rows):
        flat = found.flatten(1, 2).numpy()
        means.append(mean)
        for row, one in zip(group.indices.tolist(), flat, strict=True):
            draw = generator(seed, "places", dataset.ids[row]).permutation(grid.places)[:number]
            values.append(one[np.sort(draw)])
            owner.append(np.full(len(draw), row, np.int64))
    return Result({"values": np.concatenate(values), "owner": np.concatenate(owner), "means": np.concatenate(means)})


def fit(context: Context, *, count: int, kind: str, negatives: str, seed: int, shuffle: bool, apart: bool) -> Result:
    """Factors of the context's "values" and "owner", and what they explain.

    Args:
        shuffle: whether each unit's activations are shuffled first.
        apart: whether half of the examples are held out of the fit, and the shares are of these.
    """
    values, owner = context["values"], context["owner"]
    if shuffle:
        values = shuffled(values, seed)
    inside = _fitted(owner, seed) if apart else np.ones(len(owner), dtype=bool)
    factors = fit_factors(values[inside], count, kind=kind, negatives=negatives, seed=seed, site=context["site"])  # type: ignore[arg-type]
    held, whose = (values[~inside], owner[~inside]) if apart else (values, np.arange(len(owner)))
    # Their order is that of the fit; what is quoted is of the activations held out.
    said = explained_shares(factors, held, whose, seed, SHARE if apart else f"{SHARE}, over this picture's places")
    quoted = [[q.value, q.low, q.high, q.n] for q in (said.together, *said.each)]
    told = {"quoted": quoted, "unit": said.together.unit, "negatives": factors.negatives, "lost": factors.lost}
    return Result({"directions": factors.directions, "centre": factors.centre}, told)


def elbow(context: Context, *, kind: str, negatives: str, seed: int, most: int) -> Result:
    """What 1, 2, 3... factors fitted on half of the examples (of the places, if there is one) explain of the rest."""
    values, owner = context["values"], context["owner"]
    if len(np.unique(owner)) < 2:
        owner = np.arange(len(owner))
    inside = _fitted(owner, seed)
    # A curve needs no more than this to show where it bends.
    first, second = (_some(values[part], 3000, seed) for part in (inside, ~inside))
    found = find_elbow(first, second, kind=kind, negatives=negatives, seed=seed, most=most)  # type: ignore[arg-type]
    return Result({}, {"counts": found.counts, "explained": found.explained, "suggested": found.suggested})


def _fitted(owner: np.ndarray, seed: int) -> np.ndarray:
    """Which activations are fitted on: those of a random half of the examples."""
    names, at = np.unique(owner, return_inverse=True)
    order = generator(seed, "halves").permutation(len(names))
    return (order < (len(names) + 1) // 2)[at]


def _some(values: np.ndarray, most: int, seed: int) -> np.ndarray:
    return values[np.sort(generator(seed, "some").permutation(len(values))[:most])]


def scan(context: Context, *, site: str, rows: list[int], output: int | None) -> Result:
    """How much of each factor is in some examples, one row an example.

    Returns:
        "largest" and "peak" (size and number of the place where it is largest), "mean" (size over all places),
        "reading" (mean of the activation along the direction), all [n, factor]; "answer", and the logit of `output`
        (None: of the answer), "logit".
    """
    factors: Factors = context["factors"]
    grid = find_grid(context["network"], site)
    parts: dict[str, list[np.ndarray]] = {}
    for _, found, mean, answers in _walk(context, grid, rows):
        flat = found.flatten(1, 2).numpy()
        sizes = factors.sizes(flat)
        told = answers.argmax(1)
        chosen = told if output is None else torch.full_like(told, output)
        for name, array in {
            "largest": sizes.max(1),
            "peak": sizes.argmax(1).astype(np.int32),
            "mean": sizes.mean(1),
            "reading": (mean @ factors.directions.T).astype(np.float32),
            "answer": told.numpy().astype(np.int32),
            "logit": answers.gather(1, chosen[:, None])[:, 0].numpy(),
        }.items():
            parts.setdefault(name, []).append(array)
    return Result({name: np.concatenate(arrays) for name, arrays in parts.items()})


def place(context: Context, *, site: str, rows: list[int]) -> Result:
    """Where each factor is in some examples: "sizes" [n, rows, columns, factor]; "shares" of each example's squared
    activation [n, factor]; "answer" [n].
    """
    factors: Factors = context["factors"]
    grid = find_grid(context["network"], site)
    sizes, shares, answer = [], [], []
    for _, found, _, answers in _walk(context, grid, rows):
        sizes.append(factors.sizes(found.numpy()))
        for one in found.flatten(1, 2).numpy():
            parts, whole = factors.explains(one)
            shares.append(parts.sum(0) / max(whole.sum(), 1e-300))
        answer.append(answers.argmax(1).numpy().astype(np.int32))
    return Result({"sizes": np.concatenate(sizes), "shares": np.stack(shares), "answer": np.concatenate(answer)})


def _held(context: Context, grid: Grid, rows: list[int]) -> tuple[Tail, Batch, Any, np.ndarray]:
    network: Network = context["network"]
    tails: dict[str, Tail] = context["tails"]
    if grid.site.alias not in tails:
        tails[grid.site.alias] = Tail(network, grid.site)
    tail = tails[grid.site.alias]
    (group,) = batches(context["dataset"], network.input, rows, len(rows))  # type: ignore[arg-type]
    with torch.no_grad():
        held = tail.hold(group.x, group.mask)
    sizes = context["factors"].sizes(grid.values(held.value).float().cpu().numpy())
    return tail, group, held, sizes


def _turned(factors: Factors, seed: int, *, times: int) -> list[np.ndarray]:
    """The directions with their units shuffled, `times` times."""
    random = generator(seed, "turned directions")
    return [np.stack([row[random.permutation(len(row))] for row in factors.directions]) for _ in range(times)]


def effects(context: Context, *, site: str, rows: list[int], output: int | None, seed: int) -> Result:
    """What each factor does to the logit of `output` (None: of each example's own answer), an example a row.

    Returns:
        "attribution", "taken" and "control", [n, factor]; "change" [n], of the logit from zero activation to what
        passes, and "gap" [n], by how much the path's integral is off.
    """
    network: Network = context["network"]
    factors: Factors = context["factors"]
    grid = find_grid(network, site)
    tail, group, held, sizes = _held(context, grid, rows)
    outputs = held.logits.argmax(1) if output is None else torch.full((len(rows),), output, device=held.logits.device)
    target = own_logits(outputs.tolist())
    found = attributions(
        network, [grid.site], group.x, group.mask, target, "integrated gradients", steps=STEPS,
        tails={grid.site.alias: tail},
    )[grid.site.alias]  # fmt: skip
    there = grid.at_site(sizes)
    directions = torch.from_numpy(factors.directions.astype(np.float32))

    def change(vectors: Tensor) -> Tensor:
        return take_out(tail, held, vectors, there).gather(2, outputs[None, :, None].expand(len(vectors), -1, 1))[
            ..., 0
        ]

    turned = [change(torch.from_numpy(t.astype(np.float32))) for t in _turned(factors, seed, times=CONTROLS)]
    gap = found.gap()
    assert gap is not None, "a path has an integral"
    return Result(
        {
            "attribution": found.by_direction(directions, there).cpu().numpy(),
            "taken": change(directions).T.contiguous().cpu().numpy(),
            "control": torch.stack(turned).mean(0).T.contiguous().cpu().numpy(),
            "change": (found.total() - gap).cpu().numpy(),
            "gap": gap.cpu().numpy(),
        }
    )


def speaks_for(context: Context, *, site: str, rows: list[int], factor: int, seed: int) -> Result:
    """Change of all logits when one factor is taken out of some examples: "taken" and "control", [n, classes]."""
    factors: Factors = context["factors"]
    grid = find_grid(context["network"], site)
    tail, _, held, sizes = _held(context, grid, rows)
    there = grid.at_site(sizes[..., factor : factor + 1])
    vectors = [factors.directions[factor], *(t[factor] for t in _turned(factors, seed, times=CONTROLS))]
    changes = []
    for vector in vectors:
        changes.append(take_out(tail, held, torch.from_numpy(vector.astype(np.float32))[None], there)[0].cpu().numpy())
    return Result({"taken": changes[0], "control": np.mean(changes[1:], axis=0)})


def draw(context: Context, *, site: str, steps: int, seed: int) -> Result:
    """A picture of each factor's direction: "pixels" [factor, height, width, channel], "reached" [factor]; what failed
    by number.

    What a picture reaches is measured at the site itself, as examples are ("reading" of `scan`). It climbs before the
    nonlinearity, which is another quantity: a unit that a ReLU silences has no gradient after it.
    """
    network: Network = context["network"]
    factors: Factors = context["factors"]
    vectors = factors.directions.astype(np.float32)
    made = visualize(
        network, [direction(site, vector) for vector in vectors],
        statistics=ImageStatistics.measure(network.input, context["dataset"]), steps=steps, seed=seed,
    )  # fmt: skip
    grid, taken = find_grid(network, site), network.input
    assert isinstance(taken, ImageInput), "prepare() looked"
    with torch.no_grad(), network.watching(grid.site, stop=True) as watched:
        network(taken.stack(list(made.pixels)))
        passed = watched[grid.site].float().cpu()
    means = passed.movedim(grid.site.unit_axis, -1).flatten(1, -2).mean(1).numpy()
    failed = {str(number): why for number, why in made.failed.items()}
    arrays = {"pixels": made.pixels, "reached": (means * vectors).sum(1), "steps": made.steps}
    return Result(arrays, {"failed": failed})
