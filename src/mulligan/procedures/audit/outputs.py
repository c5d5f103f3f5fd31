"""What drives each output: attribution ranks every unit of the chosen sites, ablation confirms as many as the budget
buys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...attribution import ablate_units, attribute
from ...datasets import Dataset, batches
from ...evidence import mean
from ...networks import Network, Tail
from ...records import Drive, Quantity, Site
from ...runs import Context, Piece, Result, digest, generator
from .means import Means

ROWS = 12  # examples (or positions) that an output is explained on
TOP = 6  # units of a site that are kept for an output
CONTROLS = 2  # units drawn at random beside them


@dataclass(frozen=True, slots=True)
class Chosen:
    """One output to be explained.

    Attributes:
        output: its index. name: what people call it.
        rows: numbers of examples. positions: where in each text; None for a classifier.
        n: how often it is answered in the data.
    """

    output: int
    name: str
    rows: tuple[int, ...]
    positions: tuple[int, ...] | None
    n: int


def choose_classes(names: Sequence[str], logits: Float[np.ndarray, "n classes"], most: int, seed: int) -> list[Chosen]:
    """The classes that are answered most, all of them if they are few; each with the examples that answer it."""
    said = logits.argmax(1)
    order = sorted(range(len(names)), key=lambda c: (-int((said == c).sum()), c))
    chosen = []
    for c in order[:most]:
        mine = np.flatnonzero(said == c)
        rows = generator(seed, "rows", c).permutation(mine)[:ROWS]
        if len(rows) < 4:  # a rare answer is explained on the examples that come nearest to it, too
            near = np.argsort(-(logits[:, c] - logits.max(1)), kind="stable")
            rows = np.asarray(list(dict.fromkeys([*rows.tolist(), *near[:4].tolist()])))
        chosen.append(Chosen(c, names[c], tuple(int(r) for r in rows), None, len(mine)))
    return chosen


def choose_tokens(network: Network, answer: Int[np.ndarray, "n position"], most: int, seed: int) -> list[Chosen]:
    """The tokens that are answered most and hold a letter; each with positions where it is answered."""
    values, counts = np.unique(answer[answer >= 0], return_counts=True)
    chosen = []
    for token in values[np.argsort(-counts, kind="stable")]:
        text = network.input.tokens([int(token)])[0]  # type: ignore[union-attr]
        if not any(ch.isalpha() for ch in text):
            continue
        rows, columns = np.nonzero(answer == token)
        # `answer[i, t]` is what position t - 1 says comes at t.
        order = generator(seed, "rows", int(token)).permutation(len(rows))[:ROWS]
        chosen.append(
            Chosen(
                int(token),
                text,
                tuple(int(r) for r in rows[order]),
                tuple(int(c) - 1 for c in columns[order]),
                len(rows),
            )
        )
        if len(chosen) == most:
            break
    return chosen


def fetch_rows(network: Network, dataset: Dataset, rows: Sequence[int]) -> tuple[Tensor, Tensor | None]:
    """The inputs of some examples as one batch, in order, repeats allowed."""
    unique = sorted(set(rows))
    (group,) = batches(dataset, network.input, unique, len(unique))  # type: ignore[arg-type]
    at = [unique.index(row) for row in rows]
    return group.x[at], group.mask[at] if group.mask is not None else None


def attribute_output(
    context: Context, *, output: int, rows: list[int], positions: list[int] | None, sites: list[str]
) -> Result:
    """A piece of work: attribution of one output to all units of all sites, [rows, units] a site."""
    network: Network = context["network"]
    x, mask = fetch_rows(network, context["dataset"], rows)
    resolved = [network.site(alias) for alias in sites]
    means = {alias: torch.from_numpy(values) for alias, values in context["means"].items()}
    values = attribute(network, resolved, x, mask, output, positions, means)
    return Result({alias: value.float().cpu().numpy() for alias, value in values.items()})


def ablate_output(
    context: Context, *, output: int, rows: list[int], positions: list[int] | None, site: str, units: list[int]
) -> Result:
    """A piece of work: change of one output's logit when each unit of `site` is set to its mean, [units, rows]."""
    network: Network = context["network"]
    tails: dict[str, Tail] = context["tails"]
    if site not in tails:
        tails[site] = Tail(network, site)
    x, mask = fetch_rows(network, context["dataset"], rows)
    with torch.no_grad():
        held = tails[site].hold(x, mask)
    means = torch.from_numpy(context["means"][site])
    return Result({"change": ablate_units(tails[site], held, units, means, output, positions).float().cpu().numpy()})


@dataclass(frozen=True, slots=True)
class Explained:
    """All drives that were found, by output, and how many of them were measured."""

    drives: Mapping[int, tuple[Drive, ...]]
    measured: int
    wanted: int


def explain(
    network: Network,
    dataset: Dataset,
    sites: Sequence[Site],
    means: Mapping[str, Float[np.ndarray, " units"]],
    chosen: Sequence[Chosen],
    work: Means,
) -> Explained:
    """Rank by attribution, confirm by ablation."""
    aliases = [site.alias for site in sites]
    identity = digest(network.identity, dataset.identity, *(a + means[a].tobytes().hex() for a in aliases))
    context = Context(identity, {"network": network, "dataset": dataset, "means": means, "tails": {}})
    bought = work.budget.buy(
        "outputs to attribute", len(chosen), 4 * ROWS * work.seconds_an_example, share=0.4, least=min(len(chosen), 4)
    )
    chosen = chosen[:bought]
    here = "mulligan.procedures.audit.outputs"
    pieces = [
        Piece(
            f"{here}:attribute_output",
            {"output": c.output, "rows": list(c.rows), "positions": _list(c.positions), "sites": aliases},
            cost=len(c.rows),
        )
        for c in chosen
    ]
    scores: dict[int, Mapping[str, np.ndarray]] = {}
    for c, (_, result) in zip(
        chosen, work.engine.run("attribution", pieces, context, work.run, work.emit), strict=True
    ):
        scores[c.output] = result.arrays
    wanted: list[tuple[float, Chosen, str, list[int], list[int]]] = []
    for c in chosen:
        for alias in aliases:
            score = scores[c.output][alias].mean(0)
            units = [int(u) for u in np.argsort(-np.abs(score), kind="stable")[:TOP]]
            rest = np.setdiff1d(np.arange(len(score)), units)
            control = [int(u) for u in generator(work.seed, "control", c.output, alias).permutation(rest)[:CONTROLS]]
            wanted.append((float(np.abs(score[units]).sum()), c, alias, units, control))
    # Evenly over outputs: the strongest site of each first, then the next.
    turn: dict[int, int] = {}
    ordered = []
    for item in sorted(wanted, key=lambda w: (-w[0], w[1].output, w[2])):
        turn[item[1].output] = turn.get(item[1].output, 0) + 1
        ordered.append((turn[item[1].output], item))
    ordered = [item for _, item in sorted(ordered, key=lambda pair: pair[0])]
    price = (TOP + CONTROLS) * ROWS * work.seconds_an_example * 0.6
    number = work.budget.buy("groups of units to ablate", len(ordered), price, share=0.7, least=min(len(ordered), 2))
    pieces = [
        Piece(
            f"{here}:ablate_output",
            {
                "output": c.output,
                "rows": list(c.rows),
                "positions": _list(c.positions),
                "site": alias,
                "units": [*units, *control],
            },
            cost=len(c.rows),
        )
        for _, c, alias, units, control in ordered[:number]
    ]
    measured: dict[tuple[int, str], np.ndarray] = {}
    for (_, c, alias, _, _), (_, result) in zip(
        ordered, work.engine.run("ablation", pieces, context, work.run, work.emit), strict=False
    ):
        measured[(c.output, alias)] = result.arrays["change"]
    drives: dict[int, list[Drive]] = {c.output: [] for c in chosen}
    for _, c, alias, units, _ in wanted:
        change = measured.get((c.output, alias))
        beside = change[len(units) :].mean(0) if change is not None and len(change) > len(units) else None
        control = mean(beside, _UNIT) if beside is not None else None
        for number, unit in enumerate(units):
            first = mean(scores[c.output][alias][:, unit], "logit, to first order")
            ablation = mean(change[number], _UNIT) if change is not None else None
            drives[c.output].append(
                Drive(
                    site=alias,
                    unit=unit,
                    output=c.name,
                    attribution=first,
                    ablation=ablation,
                    control=control,
                    confirmed=_confirmed(first, change[number], beside) if change is not None else None,
                )
            )
    for output in drives:
        drives[output].sort(key=lambda d: -abs(d.attribution.value))
    return Explained({k: tuple(v) for k, v in drives.items()}, len(measured) * TOP, len(wanted) * TOP)


_UNIT = "change of the logit when the unit is set to its mean"


def _confirmed(
    first: Quantity, change: Float[np.ndarray, " rows"], beside: Float[np.ndarray, " rows"] | None
) -> bool | None:
    """Taking away what pushes the output up must push it down (and the other way round), and by more than random units
    of the site move it: either difference, row by row, has an interval above zero.
    """
    if len(change) < 2:
        return None
    moved = (-1.0 if first.value > 0 else 1.0) * change
    differences = [moved] if beside is None else [moved, moved - np.sign(beside.mean()) * beside]
    return all(low is not None and low > 0 for low in (mean(d, _UNIT).low for d in differences))


def _list(values: Sequence[int] | None) -> list[int] | None:
    return list(values) if values is not None else None
