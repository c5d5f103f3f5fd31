"""The inventory: for each site its units, what they answer to, which are dead, saturated or duplicates, beside a
random twin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ...activations import Recording, pool_name, stratified, top
from ...datasets import Dataset
from ...evidence import fraction
from ...features import ClassGroup, Selectivity, dead_units, duplicates, saturated_units, selectivity, token_selectivity
from ...networks import Network, TokenInput
from ...records import Drive, Site, SiteInventory, UnitCard
from ...runs import Context, Piece, Result, digest, generator
from .examples import Gallery, traces_of
from .means import Means

CARDS = 8  # units of a site that are shown
SHOWN_TOP, SHOWN_STRATIFIED = 4, 4
POOL = "max"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A network's recording on data: the audited one's, or its random twin's.

    Attributes:
        groups: [n], what each example's unit activations may be selective for; -1 where unknown.
    """

    dataset: Dataset
    recording: Recording
    groups: Int[np.ndarray, " n"]


@dataclass(frozen=True, slots=True)
class _Described:
    """One site's figures, before examples are shown."""

    site: Site
    values: Float[np.ndarray, "n units"]
    chosen: Selectivity
    cards: tuple[int, ...]
    top: Mapping[int, Int[np.ndarray, " k"]]
    stratified: Mapping[int, Int[np.ndarray, " k"]]


def take_inventory(
    network: Network,
    sites: Sequence[Site],
    own: Recorded,
    twin: Recorded,
    named: Callable[[int], str],
    drives: Sequence[Drive],
    gallery: Gallery,
    work: Means,
) -> tuple[SiteInventory, ...]:
    """Describe every unit of every site; show a few. All units' figures go to tables/units.parquet."""
    described: list[_Described] = []
    table: dict[str, list[object]] = {
        name: []
        for name in (
            "site",
            "unit",
            "mean",
            "low",
            "high",
            "active",
            "selective_for",
            "auc",
            "auc_low",
            "auc_high",
            "auc_n",
            "measure",
            "dead",
            "saturated",
        )
    }
    finished: list[tuple[_Described, dict[str, Any]]] = []
    for site in sites:
        values = own.recording.array(pool_name(site, POOL))
        spread = own.recording.array(pool_name(site, "mean"))
        chosen = _selective(network, own, site, values, work.seed)
        dead, full = dead_units(values), saturated_units(values)
        picked = _units_to_show(site, values, chosen, dead, drives)
        rng = generator(work.seed, "strata", site.alias)
        item = _Described(
            site,
            values,
            chosen,
            tuple(picked),
            {u: top(values[:, u], SHOWN_TOP) for u in picked},
            {u: stratified(values[:, u], SHOWN_STRATIFIED, rng) for u in picked},
        )
        described.append(item)
        other = twin.recording.array(pool_name(site, POOL))
        finished.append(
            (
                item,
                {
                    "dead": dead,
                    "saturated": full,
                    "duplicates": duplicates(spread),
                    "twin": _selective(network, twin, site, other, work.seed).median(work.seed),
                    "twin_dead": len(dead_units(other)),
                },
            )
        )
        for unit in range(values.shape[1]):
            column = values[:, unit]
            known = chosen.group[unit] >= 0
            row = (
                site.alias,
                unit,
                float(column.mean()),
                float(column.min()),
                float(column.max()),
                float((column > 0).mean()),
                named(int(chosen.group[unit])) if known else None,
                *(float(v[unit]) if known else None for v in (chosen.auc, chosen.low, chosen.high)),
                int(chosen.n[unit]) if known else None,
                chosen.unit,
                unit in set(dead),
                unit in set(full),
            )
            for name, value in zip(table, row, strict=True):
                table[name].append(value)
    work.run.write_table("tables/units.parquet", table)
    traces = _trace_texts(network, own.dataset, described, work)
    by_unit: dict[tuple[str, int], list[Drive]] = {}
    for drive in drives:
        by_unit.setdefault((drive.site, drive.unit), []).append(drive)
    return tuple(
        SiteInventory(
            site=item.site.alias,
            meaning=network.meaning(item.site),
            axes=item.site.axes,
            shape=item.site.shape,
            pool=POOL,
            n=len(item.values),
            units=item.values.shape[1],
            dead=tuple(extra["dead"]),
            saturated=tuple(extra["saturated"]),
            duplicates=tuple(extra["duplicates"]),
            selectivity=item.chosen.median(work.seed),  # type: ignore[arg-type]
            twin=extra["twin"],
            twin_dead=extra["twin_dead"],  # type: ignore[arg-type]
            cards=tuple(
                _card(item, unit, named, by_unit.get((item.site.alias, unit), ()), gallery, traces)
                for unit in item.cards
            ),
        )
        for item, extra in finished
    )


def _selective(
    network: Network, seen: Recorded, site: Site, values: Float[np.ndarray, "n units"], seed: int
) -> Selectivity:
    """For texts, which token a unit peaks on; else which class (or group of classes) it tells apart."""
    dataset = seen.dataset
    if dataset.kind != "texts" or not isinstance(network.input, TokenInput):
        return selectivity(values, seen.groups, seed)
    places = seen.recording.array(pool_name(site, "argmax"))
    ids = [network.input.encode([str(dataset.raw(row))])[0][0].numpy() for row in range(len(dataset))]
    peaks = np.stack([text[np.clip(place, 0, len(text) - 1)] for text, place in zip(ids, places, strict=True)])
    return token_selectivity(values, peaks, seed)


def _units_to_show(
    site: Site, values: np.ndarray, chosen: Selectivity, dead: Sequence[int], drives: Sequence[Drive]
) -> list[int]:
    """Half of them those that drive an output most, the rest the most selective (or, without groups, the most
    peaked).
    """
    strongest = [d.unit for d in sorted(drives, key=lambda d: -abs(d.attribution.value)) if d.site == site.alias]
    if (chosen.group >= 0).any():
        rank = np.argsort(-np.nan_to_num(chosen.auc, nan=-1.0), kind="stable")
    else:
        rank = np.argsort(-(values.max(0) - values.mean(0)) / (values.std(0) + 1e-12), kind="stable")
    order = [*list(dict.fromkeys(strongest))[: CARDS // 2], *(int(u) for u in rank if int(u) not in set(dead))]
    return list(dict.fromkeys(order))[:CARDS]


def _trace_texts(network: Network, dataset: Dataset, described: Sequence[_Described], work: Means) -> dict[int, Result]:
    """For texts: the shown units' activations at every token of the examples to be shown."""
    if dataset.kind != "texts":
        return {}
    rows = list(
        dict.fromkeys(
            int(r) for item in described for unit in item.cards for r in (*item.top[unit], *item.stratified[unit])
        )
    )
    number = work.budget.buy(
        "texts shown with their tokens", len(rows), work.seconds_an_example, share=0.5, least=min(len(rows), 8)
    )
    aliases = [item.site.alias for item in described]
    units = [list(item.cards) for item in described]
    context = Context(digest(network.identity, dataset.identity), {"network": network, "dataset": dataset})
    pieces = [
        Piece("mulligan.procedures.audit.examples:unit_traces", {"row": row, "sites": aliases, "units": units})
        for row in rows[:number]
    ]
    return {
        row: result
        for row, (_, result) in zip(rows, work.engine.run("tokens", pieces, context, work.run, work.emit), strict=False)
    }


def _card(
    item: _Described,
    unit: int,
    named: Callable[[int], str],
    drives: Sequence[Drive],
    gallery: Gallery,
    traces: Mapping[int, Result],
) -> UnitCard:
    column = item.values[:, unit]
    known = item.chosen.group[unit] >= 0
    place = item.cards.index(unit)

    def shown(rows: Int[np.ndarray, " k"]) -> tuple:
        return tuple(
            gallery.show(int(r), float(column[r]), traces_of(traces, int(r), item.site.alias, place)) for r in rows
        )  # type: ignore[arg-type]

    return UnitCard(
        unit=unit,
        mean=float(column.mean()),
        low=float(column.min()),
        high=float(column.max()),
        active=fraction(int((column > 0).sum()), len(column), "fraction of examples with an activation above zero"),
        selectivity=item.chosen.quantity(unit),
        selective_for=named(int(item.chosen.group[unit])) if known else None,
        top=shown(item.top[unit]),
        stratified=shown(item.stratified[unit]),
        drives=tuple(sorted(drives, key=lambda d: -abs(d.attribution.value))[:4]),
    )


def grouping(
    names: Sequence[str] | None, labels: Int[np.ndarray, " n"], groups: Sequence[ClassGroup] | None
) -> tuple[Int[np.ndarray, " n"], list[str]]:
    """What units may be selective for: classes, or groups of classes where each class has too few examples."""
    if names is None:
        return np.full(len(labels), -1), []
    if groups is None:
        return labels, list(names)
    of = np.full(len(names), -1)
    for number, group in enumerate(groups):
        of[list(group.classes)] = number
    return np.where(labels >= 0, of[np.maximum(labels, 0)], -1), [group.name for group in groups]
