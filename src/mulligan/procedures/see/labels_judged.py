"""People judge a sample of a run's labels, and what they say becomes an interval on all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...evidence import fraction
from ...features.labels import PersonLabel, Sheet, add_label, agreement, draw_sample, read_sheet, write_sheet
from ...features.labels.agreement import VERDICTS, Judged
from ...features.labels.person import today
from ...records import BadInput, FeatureCard, Label, Quantity, Seen
from ...records.seeing import NO_LABEL
from ...runs import Run

SAMPLE = "sample.json"


def ask(run: Run, sample: int, path: Path | None, seed: int) -> tuple[Path, int]:
    """Write a sheet with labels for a person to judge: drawn at random, one of each stratum of scores.

    Returns:
        Where it lies, and how many labels it has: fewer than asked for where the run has fewer.

    Raises:
        BadInput: if the run holds no labels that could be judged, or another sample was drawn already: choosing anew
            after seeing verdicts would spoil the interval.
    """
    seen = _read(run)
    found = _judgeable(seen)
    if not found:
        raise BadInput("this run has no label to judge", where=run.location, fix="name units with --overseer first")
    chosen = draw_sample(_scores(found), sample, seed)
    features = [found[k][0].feature for k in chosen]
    if run.has(SAMPLE) and run.read_json(SAMPLE)["features"] != features:
        there = run.read_json(SAMPLE)
        raise BadInput(
            f"a sample of {len(there['features'])} labels was drawn already",
            where=run.location,
            fix=f"draw the same again with --sample {there['sample']} --seed {there['seed']}",
        )
    run.write_json(SAMPLE, {"sample": sample, "seed": seed, "features": features})
    rows = tuple(
        Judged(feature=card.feature, label=label.text, examples=_examples(card))
        for card, label in (found[k] for k in chosen)
    )
    place = path if path is not None else run.path / "sheet.toml"
    if place.exists():
        raise BadInput("there is a sheet already", where=place, fix="judge that, or name another with --sheet")
    write_sheet(place, Sheet(author="", rows=rows))
    return place, len(rows)


def hear(run: Run, sheets: Sequence[Path], labels: Path | None) -> Seen:
    """Read what people said of the sample, and write the agreement into the run's cards.

    Args:
        labels: where the better labels that people wrote are added; None: they stay in their sheets.

    Raises:
        BadInput: if a sheet is none of this run's sample, or a label in it was left without a verdict.
    """
    seen = _read(run)
    if not run.has(SAMPLE):
        fix = f"draw one with mulligan see labels {run.location} --sample 20"
        raise BadInput("no sample of this run's labels was drawn", where=run.location, fix=fix)
    sampled: list[str] = run.read_json(SAMPLE)["features"]
    found = _judgeable(seen)
    places = {card.feature: k for k, (card, _) in enumerate(found)}
    scores = _scores(found)
    verdicts: dict[str, list[float]] = {feature: [] for feature in sampled}
    figures = {name: value for name, value in (seen.figures or {}).items() if not name.startswith("agreement")}
    chosen = np.array([places[feature] for feature in sampled])
    for path in sheets:
        sheet = _checked(read_sheet(path), sampled, path)
        said = {row.feature: VERDICTS[row.verdict] for row in sheet.rows}
        for feature in sampled:
            verdicts[feature].append(said[feature])
        given = np.array([said[feature] for feature in sampled])
        figures[f"agreement of {sheet.author}"] = agreement(_predicted(found), scores, chosen, given)
        for row in sheet.rows:
            if row.better and labels is not None:
                better = PersonLabel(
                    feature=row.feature, text=row.better, author=sheet.author, date=today(),
                    note=f"instead of {row.label!r}", network=seen.network.identity,
                )  # fmt: skip
                add_label(labels, better)
    means = np.array([np.mean(verdicts[feature]) for feature in sampled])
    every = agreement(_predicted(found), scores, chosen, means)
    if len(sheets) > 1:
        figures["agreement of all who judged, mean"] = every
        differ = sum(len(set(said)) > 1 for said in verdicts.values())
        figures["agreement between them: labels judged differently"] = _share(differ, len(sampled))
    seen = replace(seen, cards=tuple(_with(card, every, verdicts) for card in seen.cards), figures=figures)
    run.write_json("seen.json", seen)
    return seen


def _read(run: Run) -> Seen:
    if run.manifest.get("procedure") != "see-labels" or not run.has("seen.json"):
        raise BadInput("this is no finished run of labels", where=run.location, fix="give what see labels wrote")
    return run.read_json("seen.json", Seen)


def _judgeable(seen: Seen) -> list[tuple[FeatureCard, Label]]:
    """The overseer's labels that are shown, each with its card."""
    return [
        (card, label) for card in seen.cards for label in card.labels
        if label.author is None and label.text != NO_LABEL and label.auc is not None
    ]  # fmt: skip


def _scores(found: Sequence[tuple[FeatureCard, Label]]) -> np.ndarray:
    return np.array([label.auc.value for _, label in found if label.auc is not None])


def _predicted(found: Sequence[tuple[FeatureCard, Label]]) -> np.ndarray:
    """A guess at each label's verdict, made from its score alone: 0 at chance, 1 where it predicts without fail."""
    return np.clip(2 * _scores(found) - 1, 0, 1)


def _examples(card: FeatureCard) -> tuple[str, ...]:
    shown = []
    for sighting in (*card.top, *card.levels):
        example = sighting.example
        shown.append(example.image or ("".join(example.tokens) if example.tokens else example.id))
    return tuple(dict.fromkeys(shown))


def _checked(sheet: Sheet, sampled: Sequence[str], path: Path) -> Sheet:
    if {row.feature for row in sheet.rows} != set(sampled):
        raise BadInput("this sheet is not of this run's sample", where=path, fix="judge the sheet that --sample wrote")
    open_ = [row.feature for row in sheet.rows if not row.verdict]
    if open_:
        some = ", ".join(open_[:3]) + (", ..." if len(open_) > 3 else "")
        raise BadInput(
            f"{len(open_)} labels were left without a verdict ({some})", where=path,
            fix="judge every one: leaving hard ones out would spoil the interval",
        )  # fmt: skip
    return sheet


def _with(card: FeatureCard, every: Quantity, verdicts: dict[str, list[float]]) -> FeatureCard:
    said = verdicts.get(card.feature)
    return replace(
        card,
        labels=tuple(
            replace(label, agreement=every, judged=float(np.mean(said)) if said else None)
            if label.author is None and label.text != NO_LABEL
            else label
            for label in card.labels
        ),
    )


def _share(k: int, n: int) -> Quantity:
    return fraction(k, n, "fraction of the labels judged")
