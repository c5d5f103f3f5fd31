"""The page of a run that named units: a table of units with label, score beside its controls, and examples."""

from __future__ import annotations

from pathlib import Path

from ...records import FeatureCard, Label, Quantity
from ...records.seeing import NO_LABEL
from ...runs import Run
from ..pages import environment
from ..phrases import LIMITS, captions, command_of, shades
from ..pictures import Pictures
from ..remote import copied, is_remote
from ..writing import write_atomically
from .cards import PAGE, StoredSeen, read_seen

_LIMITS = LIMITS | {"cards": 400, "top": 6, "labels": 12, "left_out": 200, "examples": 6}
#: What figures of all units are drawn with: what was proposed, and the controls beside it.
_ROLES = {"labels proposed": "main"}
_NOTHING_KNOWN = {"overseer": None, "twins": None, "rate": None, "sent": {}}


def write_labels_page(run: Path | str) -> Path | str:
    """Render a run of labels as RUN/report.html; returns its path, or its URL if the run lies elsewhere.

    Raises:
        BadInput: if the run cannot be read, or its folder cannot be written to.
    """
    if not is_remote(run):
        stored = read_seen(run)
        return write_atomically(stored.folder / PAGE, render_labels(stored))
    opened = Run.open(run)
    with copied(opened) as folder:
        opened.write_bytes(PAGE, render_labels(read_seen(folder)).encode("utf-8"))
    return opened.store.where(PAGE)


def render_labels(stored: StoredSeen) -> str:
    """The page of a run that was read."""
    seen = stored.seen
    figures = seen.figures or {}
    return environment().get_template("seeing/labels.html.j2").render(
        seen=seen,
        cards=sorted(seen.cards, key=_rank),
        job=_NOTHING_KNOWN | (stored.manifest.get("labels") or {}),
        medians=[(name, _ROLES.get(name, "control"), q) for name, q in figures.items() if _is_median(q)],
        others={name: q for name, q in figures.items() if not _is_median(q)},
        pictures=Pictures(stored),
        captions=captions,
        shades=shades,
        command=command_of(stored.manifest),
        no_label=NO_LABEL,
        limit=_LIMITS,
    )  # fmt: skip


def _is_median(quantity: Quantity) -> bool:
    return quantity.unit.startswith("AUC")


def _rank(card: FeatureCard) -> tuple[bool, bool, float]:
    """People's labels first, then those that beat chance, the best scored first."""
    label: Label = card.labels[0]
    auc = label.auc.value if label.auc is not None else 0.0
    return label.author is None, label.text == NO_LABEL, -auc
