"""The page of a run that holds factors (factors.json): a row a factor, pictures under their colours. No script."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...records import (
    FACTOR_HATCHES,
    BadInput,
    ElbowCurve,
    FactorCard,
    Factored,
    FactoredPicture,
    FactorEffect,
    Quantity,
)
from ...records.factors import SCHEMA
from ...runs import Run
from ..charts import nice_ticks
from ..pages import environment
from ..phrases import LIMITS, captions, command_of
from ..pictures import Pictures
from ..reading import decode, inside, references
from ..remote import copied, is_remote
from ..text import number
from ..writing import write_atomically

FACTORS = "factors.json"
PAGE = "report.html"
_LIMITS = LIMITS | {"cards": 12, "pictures": 24, "sightings": 12, "left_out": 60, "classes": 6}
_COLOUR = re.compile(r"#[0-9a-f]{6}")
_PLAIN = "#808080"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFactors:
    """A run of `mulligan see factors` as read from its folder."""

    folder: Path
    factored: Factored
    manifest: dict[str, Any]

    def inside(self, relative: str) -> Path:
        """The path of a file that the run refers to. Raises BadInput if it would leave the run's folder."""
        return inside(self.folder, relative)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swatch:
    """How a factor is drawn beside its words: its number on its colour and hatching."""

    number: int
    colour: str
    hatch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The elbow's drawing in a box 300 wide and 110 high: points (x, y, count, share), and ticks (y, label)."""

    points: tuple[tuple[float, float, int, str], ...]
    ticks: tuple[tuple[float, str], ...]

    @property
    def path(self) -> str:
        """The line through the points."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in self.points)


def read_factors(path: Path | str) -> StoredFactors:
    """Read the factors of a run.

    Raises:
        BadInput: if the folder or a file is missing, broken or of a newer Mulligan, or a path in it leads out of it.
    """
    folder = Path(path)
    if not folder.is_dir():
        fix = "give the folder that `mulligan see factors` wrote"
        raise BadInput("there is no run's folder here", where=folder, fix=fix)
    factored = decode(folder / FACTORS, Factored, SCHEMA)
    for reference in sorted(set(references(factored))):
        inside(folder, reference)
    return StoredFactors(
        folder=folder, factored=factored, manifest=decode(folder / "manifest.json", dict[str, Any], None)
    )


def write_factors(run: Path | str) -> Path | str:
    """Render the factors of a run as RUN/report.html; returns its path, or its URL if the run lies elsewhere.

    Raises:
        BadInput: if the run cannot be read, or its folder cannot be written to.
    """
    if not is_remote(run):
        stored = read_factors(run)
        return write_atomically(stored.folder / PAGE, render_factors(stored))
    opened = Run.open(run)
    with copied(opened) as folder:
        opened.write_bytes(PAGE, render_factors(read_factors(folder)).encode("utf-8"))
    return opened.store.where(PAGE)


def render_factors(stored: StoredFactors) -> str:
    """The page of a run that was read."""
    factored = stored.factored
    return environment().get_template("seeing/factors.html.j2").render(
        f=factored,
        swatches=tuple(swatch(card) for card in factored.cards),
        pictures=Pictures(stored),
        captions=captions,
        command=command_of(stored.manifest),
        curve=curve(factored.elbow) if factored.elbow is not None else None,
        together=[
            ("All factors", "main", factored.explained),
            ("On a random twin", "control", factored.twin),
            ("Of shuffled units", "baseline", factored.shuffled),
        ],
        parts=parts,
        share_rows=share_rows,
        effect_rows=effect_rows,
        percent=percent,
        limit=_LIMITS,
    )  # fmt: skip


def swatch(card: FactorCard) -> Swatch:
    """A factor's swatch; what is no colour or hatching of ours is drawn plainly, whatever the file says."""
    colour = card.colour if _COLOUR.fullmatch(card.colour) else _PLAIN
    return Swatch(number=card.number, colour=colour, hatch=card.hatch if card.hatch in FACTOR_HATCHES else "level")


def parts(picture: FactoredPicture, swatches: Sequence[Swatch]) -> list[tuple[str, Swatch, float]]:
    """Of a picture that was asked about: each factor's own picture, swatch and share."""
    return list(zip(picture.alone, swatches, picture.shares, strict=False))


def share_rows(card: FactorCard) -> list[tuple[str, str, Quantity | None]]:
    """A factor's share beside its controls, as rows of a chart."""
    return [
        ("This factor", "main", card.share),
        ("Same rank, random twin", "control", card.twin),
        ("Same rank, units shuffled", "baseline", card.shuffled),
    ]


def effect_rows(effect: FactorEffect) -> list[tuple[str, str, Quantity | None]]:
    """The edit's effect beside its control, as rows of a chart."""
    return [
        ("Taken out", "main", effect.taken_out),
        ("As much of a shuffled direction", "control", effect.control),
    ]


def percent(share: float) -> str:
    """A share of a whole in whole per cent."""
    return f"{number(100 * share, 0)} %"


def curve(elbow: ElbowCurve) -> Curve:
    """The elbow's curve as a drawing."""
    shares = [min(max(value, 0.0), 1.0) for value in elbow.explained]
    ticks = nice_ticks(0.0, max(shares, default=1.0) or 1.0, 3)
    top = ticks[-1]
    step = 260 / max(len(shares) - 1, 1)
    points = tuple(
        (34 + k * step, 92 - 84 * value / top, count, percent(value))
        for k, (count, value) in enumerate(zip(elbow.counts, shares, strict=False))
    )
    return Curve(points=points, ticks=tuple((92 - 84 * tick / top, percent(tick)) for tick in ticks))
