"""A finished run as large as pages are asked to be: an audit of 10,000 units, each with examples and what it drives.

    python benchmarks/page_subjects.py FOLDER [--units 10000] [--pictures 1000] [--examples 10]

No network made it. Names, numbers and pictures are drawn by a seed; what a page has to hold, find and draw is as much
as of a real run: every unit has a card, in every card examples are shown, and all pictures are different.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mulligan.records import (
    Behaviour,
    ClassBehaviour,
    DataRecord,
    Description,
    Drive,
    ExampleRef,
    Findings,
    NetworkRecord,
    OutputCard,
    Quantity,
    SiteInventory,
    UnitCard,
)

SITES, CLASSES, DRIVES, SIDE = 10, 100, 3, 40


def write_audit(
    folder: Path, *, units: int = 10_000, pictures: int = 1_000, examples: int = 10, seed: int = 0
) -> Path:  # fmt: skip
    """Write the run and return its folder.

    Args:
        units: how many units have a card, spread evenly over ten sites.
        pictures: how many example pictures there are, of 40 x 40 pixels. examples: how many of them each card shows.
    """
    drawn = np.random.default_rng(seed)
    classes = tuple(f"class {number:03d}" for number in range(CLASSES))
    refs = _examples(folder, pictures, classes, drawn)
    each = units // SITES
    inventory = tuple(_site(f"blocks.{k}", each, examples, refs, classes, drawn) for k in range(SITES))
    _table(folder, inventory)
    network = NetworkRecord(name="ten thousand units", identity="sha256:" + "5e" * 32, parameters=units * 900,
                            classes=classes)  # fmt: skip
    recalls = [_share(float(value), 10) for value in drawn.uniform(0.5, 1, CLASSES)]
    behaviour = Behaviour(
        task="classification", n=pictures, figures={"accuracy": _share(0.9, pictures)},
        twin={"accuracy": _share(0.01, pictures)}, preparation=("resize to 40 x 40",),
        classes=tuple(
            ClassBehaviour(name=name, n=pictures // CLASSES, recall=recall, answered=10)
            for name, recall in zip(classes, recalls, strict=True)
        ),
    )  # fmt: skip
    every = [unit for site in inventory for unit in site.cards]
    cards = tuple(
        OutputCard(
            output=name, n=10, figure=None, drives=tuple(d for u in every[k::CLASSES][:12] for d in u.drives[:1])
        )
        for k, name in enumerate(classes)
    )
    findings = Findings(
        created="2026-01-01T00:00:00Z", mulligan="0", seed=seed, seconds=0.0, network=network, verdict="pass",
        checks=(), data=DataRecord(source="drawn by a seed", identity="sha256:" + "da" * 32, n=pictures),
    )  # fmt: skip
    description = Description(title="A page's load", behaviour=behaviour, inventory=inventory, cards=cards)
    for name, document in (("findings", findings), ("description", description)):
        (folder / f"{name}.json").write_bytes(msgspec.json.encode(document))
    manifest = {"schema": "mulligan/run/1", "procedure": "audit", "command": ["mulligan", "audit", "drawn"]}
    (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    return folder


def _examples(folder: Path, n: int, classes: tuple[str, ...], drawn: np.random.Generator) -> list[ExampleRef]:
    """Pictures with structure, so that they compress as photographs do and not as noise."""
    (folder / "artifacts/examples").mkdir(parents=True, exist_ok=True)
    refs: list[ExampleRef] = []
    for number in range(n):
        coarse = drawn.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        path = f"artifacts/examples/{number:016x}.png"
        Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / path)
        name = classes[number % len(classes)]
        refs.append(ExampleRef(id=f"{number:016x}", label=name, answer=name, image=path))
    return refs


def _site(
    site: str, units: int, examples: int, refs: list[ExampleRef], classes: tuple[str, ...], drawn: np.random.Generator
) -> SiteInventory:  # fmt: skip
    cards = tuple(_unit(site, unit, examples, refs, classes, drawn) for unit in range(units))
    return SiteInventory(
        site=site, meaning=f"the output of {site}, after a ReLU", axes=("batch", "channel", "height", "width"),
        shape=(2, units, 8, 8), pool="mean", n=len(refs), units=units, dead=(), saturated=(), duplicates=(),
        selectivity=_auc(0.7), twin=_auc(0.55), twin_dead=0, cards=cards,
    )  # fmt: skip


def _unit(
    site: str, unit: int, examples: int, refs: list[ExampleRef], classes: tuple[str, ...], drawn: np.random.Generator
) -> UnitCard:  # fmt: skip
    values = np.sort(drawn.gamma(2.0, 1.0, examples))[::-1]
    chosen = drawn.choice(len(refs), examples, replace=False)
    shown = [dataclasses.replace(refs[i], activation=float(v)) for i, v in zip(chosen, values, strict=True)]
    drives = tuple(
        Drive(
            site=site, unit=unit, output=classes[int(drawn.integers(len(classes)))],
            confirmed=bool(drawn.random() < 0.8), attribution=_logit(float(drawn.normal())),
            ablation=_logit(float(drawn.normal())), control=_logit(0.01),
        )
        for _ in range(DRIVES)
    )  # fmt: skip
    top = max(1, round(0.6 * examples))
    return UnitCard(
        unit=unit, mean=float(values.mean()), low=0.0, high=float(values[0]), active=_share(0.4, len(refs)),
        selectivity=_auc(float(drawn.uniform(0.5, 1))), selective_for=classes[int(drawn.integers(len(classes)))],
        top=tuple(shown[:top]), stratified=tuple(shown[top:]), drives=drives,
    )  # fmt: skip


def _table(folder: Path, inventory: tuple[SiteInventory, ...]) -> None:
    """tables/units.parquet, as an audit writes it."""
    rows = [
        {"site": site.site, "unit": card.unit, "mean": card.mean, "low": card.low, "high": card.high,
         "active": card.active.value, "selective_for": card.selective_for, "auc": card.selectivity.value,
         "auc_low": card.selectivity.low, "auc_high": card.selectivity.high, "dead": False, "saturated": False}
        for site in inventory for card in site.cards if card.selectivity is not None
    ]  # fmt: skip
    (folder / "tables").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "tables/units.parquet")


def _share(value: float, n: int) -> Quantity:
    half = 1.96 * (max(value * (1 - value), 0.002) / n) ** 0.5
    return Quantity(
        value=value, unit="fraction of examples", low=max(0.0, value - half), high=min(1.0, value + half), n=n
    )  # fmt: skip


def _auc(value: float) -> Quantity:
    return Quantity(
        value=value, unit="AUC on held-out examples", low=value - 0.05, high=min(1.0, value + 0.05), n=100
    )  # fmt: skip


def _logit(value: float) -> Quantity:
    return Quantity(value=value, unit="change of the logit", low=value - 0.2, high=value + 0.2, n=12)


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    for name, default in (("units", 10_000), ("pictures", 1_000), ("examples", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    print(write_audit(given.folder, units=given.units, pictures=given.pictures, examples=given.examples))


if __name__ == "__main__":
    _main()
