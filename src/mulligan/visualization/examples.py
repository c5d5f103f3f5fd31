"""Examples of a feature from the data: the strongest, the weakest, and some of every level between.

Two passes: one over all the data keeps each example's largest activation (`strengths`), one over the few that are
shown finds where in them the feature fires (`receptive.look`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import hypergeom

from ..activations import Plan, Recording, pool_name, record, stratified, top
from ..activations.pools import WALKED
from ..datasets import Dataset
from ..features import dead_units
from ..networks import Network
from ..records import BadInput, Emit, Quantity, Site, parse_feature, silent
from ..runs import Engine, Run
from .duplicates import distinct

#: Of the strongest examples so many, but no more than a tenth of all, are looked at for near-duplicates and counted by
#: class.
STRONGEST = 100
#: How an output is written: "class" and the class's name.
CLASS = "class "
INDEX = "tables/examples.parquet"


@dataclass(frozen=True, slots=True)
class Sought:
    """A feature whose examples are sought.

    Attributes:
        alias: as people write it: "blocks.5:12", "class tabby".
        site: where it is read, with axes and shape; None: it is an output.
        unit: which unit of the site, or which output.
    """

    alias: str
    site: Site | None
    unit: int


def count_units(site: Site) -> int:
    """How many units a site has, counted as they are pooled: every feature of every head is one.

    Raises:
        BadInput: if it has no axis of units.
    """
    site.unit_axis  # noqa: B018, raises
    kept = zip(site.axes, site.shape, strict=True)
    return math.prod(size for axis, size in kept if axis != "batch" and axis not in WALKED)


def seek(network: Network, text: str) -> Sought:
    """The feature that a person names: SITE:UNIT, or "class NAME" for an output.

    Raises:
        BadInput: if there is no such site, unit or class; says how many there are.
    """
    if text.startswith(CLASS):
        name = text.removeprefix(CLASS)
        names = network.classes or ()
        if name not in names:
            some = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            what = f"this network has no such class; it has {some or 'no class names'}"
            raise BadInput(what, where=text, fix="write 'class NAME' with one of its names")
        return Sought(text, None, names.index(name))
    feature = parse_feature(text)
    if feature.dictionary:
        raise BadInput(
            "a latent of a dictionary is no unit of the network", where=text, fix="write SITE:UNIT without @NAME"
        )
    site = network.site(feature.reads[0])
    units = count_units(site)
    if feature.index >= units:
        raise BadInput(
            f"there is no unit {feature.index}: {site.alias} has {units}, numbered from 0 to {units - 1}",
            where=text,
            fix="choose one of these",
        )
    return Sought(f"{site.alias}:{feature.index}", site, feature.index)


def strengths(
    network: Network,
    dataset: Dataset,
    sought: Sequence[Sought],
    run: Run,
    *,
    engine: Engine | None = None,
    emit: Emit = silent,
    batch: int | None = None,
    seed: int = 0,
) -> dict[str, Float[np.ndarray, " n"]]:
    """The largest activation of each feature in each example, over all its places: one pass, kept in the run.

    Of an output: its logit. Memory holds a number a feature and example, and one shard.

    Raises:
        BadInput: as `record` does.
    """
    sites = tuple(dict.fromkeys(item.site.alias for item in sought if item.site is not None))
    outputs = any(item.site is None for item in sought)
    plan = Plan(sites, ("max",), answers=outputs, batch=batch, seed=seed)
    recording = record(network, dataset, plan, run, engine=engine, emit=emit, job="all examples", index=INDEX)
    found: dict[str, Float[np.ndarray, " n"]] = {}
    for alias in (*sites, None):
        mine = [item for item in sought if (item.site.alias if item.site else None) == alias]
        if mine:
            name = "answers" if alias is None else pool_name(alias, "max")
            found |= _columns(recording, name, mine)
    return found


def _columns(recording: Recording, name: str, sought: Sequence[Sought]) -> dict[str, Float[np.ndarray, " n"]]:
    columns = [item.unit for item in sought]
    parts = [shard[:, columns] for shard in recording.shards(name)]
    values = np.concatenate(parts).astype(np.float32)
    return {item.alias: values[:, at] for at, item in enumerate(sought)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which examples are shown for a feature, by their numbers; strongest first in each.

    Attributes:
        top: the strongest. levels: drawn from every level between the weakest and the strongest. bottom: the weakest,
            weakest first.
        strongest: more of the strongest, without near-duplicates: what is counted by class.
        duplicates: how many near-duplicates there were among those.
        broken: examples whose activation is NaN or infinite; they are not chosen.
        never: why nothing is shown; "" where something is.
    """

    top: tuple[int, ...] = ()
    levels: tuple[int, ...] = ()
    bottom: tuple[int, ...] = ()
    strongest: tuple[int, ...] = ()
    duplicates: int = 0
    broken: int = 0
    never: str = ""

    @property
    def rows(self) -> list[int]:
        """All that are shown, each once."""
        return list(dict.fromkeys((*self.top, *self.levels, *self.bottom)))


def choose(
    values: Float[np.ndarray, " n"], n: int, alike: Callable[[int, int], bool], rng: np.random.Generator
) -> Choice:
    """Choose `n` examples of each kind by their largest activations.

    Args:
        alike: whether two examples are near-duplicates.
        rng: draws within a level, and among the equally weak (a ReLU leaves many at zero).
    """
    sound = np.flatnonzero(np.isfinite(values))
    broken = len(values) - len(sound)
    if not len(sound):
        return Choice(broken=broken, never="Its activation is NaN or infinite on every example.")
    kept = values[sound]
    if len(sound) > 1 and dead_units(kept[:, None]):
        what = f"It never fires on these data: its largest activation is {kept[0]:.3g} in every example."
        return Choice(broken=broken, never=what)
    most = max(n, min(STRONGEST, len(sound) // 10))
    # What near-duplicates take away is made up for from further below.
    order = [int(row) for row in sound[top(kept, max(most, 2 * n))]]
    strongest, left_out = distinct(order, alike)
    gone = np.setdiff1d(order, strongest)
    rest = np.setdiff1d(sound, gone)
    shuffled = rest[rng.permutation(len(rest))]
    return Choice(
        top=tuple(strongest[:n]),
        levels=tuple(int(row) for row in rest[stratified(values[rest], n, rng)]),
        bottom=tuple(int(row) for row in shuffled[top(-values[shuffled], n)]),
        strongest=tuple(strongest[:most]),
        duplicates=left_out,
        broken=broken,
    )


def spread_over_classes(
    rows: Sequence[int], labels: Int[np.ndarray, " n"], names: Sequence[str]
) -> tuple[tuple[tuple[str, int], ...], tuple[Quantity, ...], int]:
    """How the strongest examples spread over classes, beside what chance gives.

    Returns:
        Name and count of each class among `rows`, commonest first; for each, how many as many examples hold that are
        drawn at random from all labelled ones (hypergeometric: mean, and the range of 95 % of draws); and how many rows
        have a label.
    """
    known = labels[labels >= 0]
    mine = [int(labels[row]) for row in rows if labels[row] >= 0]
    counts = sorted(Counter(mine).items(), key=lambda pair: (-pair[1], pair[0]))
    chance = []
    for label, _ in counts:
        there = int((known == label).sum())
        low, high = hypergeom(len(known), there, len(mine)).ppf([0.025, 0.975])
        chance.append(
            Quantity(
                value=len(mine) * there / len(known),
                unit=f"of {len(mine)} drawn at random",
                low=float(low),
                high=float(high),
                n=len(mine),
            )
        )
    return tuple((names[label], count) for label, count in counts), tuple(chance), len(mine)


def names_of(network: Network, dataset: Dataset) -> Sequence[str]:
    """What the labels of the data are called: the network's classes, else the data's own names, else numbers."""
    most = int(dataset.labels.max(initial=-1)) + 1 if dataset.labels is not None else 0
    for names in (network.classes, dataset.label_names):
        if names is not None and len(names) >= most:
            return names
    return [str(number) for number in range(most)]


def around(tokens: Sequence[str], values: Sequence[float], peak: int, before: int = 14, after: int = 7) -> Mapping:
    """The tokens around a peak with their values, as `ExampleRef` has them: {"tokens": ..., "weights": ...}."""
    begin, end = max(0, peak - before), min(len(tokens), peak + after + 1)
    return {"tokens": tuple(tokens[begin:end]), "weights": tuple(float(value) for value in values[begin:end])}
