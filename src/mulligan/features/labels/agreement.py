"""A person judges a few of an overseer's labels; the agreement becomes an interval on all of them.

Labels are sorted by score and cut into as many strata as are to be judged; one is drawn at random from each. The share
of labels that the person would accept is then estimated as the mean of a prediction over all labels plus the mean of
what the person said beyond the prediction (prediction-powered inference, Angelopoulos et al. 2023, Science 382:669).
Each stratum's part is an independent value in known bounds whose average is what is sought, so that the interval of
`bounded_mean` holds for any number of judged labels, and however bad the predictions are.
"""

from __future__ import annotations

import csv
import io
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ...evidence import bounded_mean
from ...records import BadInput, Quantity
from ...runs import generator, write_bytes

#: What a person may say of a label.
VERDICTS = {"yes": 1.0, "partly": 0.5, "no": 0.0}
UNIT = "share of this overseer's labels that a person accepts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One label put before a person. `verdict`: a word of `VERDICTS`, or ""; `better`: what they would say instead."""

    feature: str
    label: str
    examples: tuple[str, ...] = ()
    verdict: str = ""
    better: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """The labels that one person judges."""

    author: str
    rows: tuple[Judged, ...]


def strata(scores: Float[np.ndarray, " labels"], sample: int) -> list[Int[np.ndarray, " k"]]:
    """Labels sorted by score and cut into `sample` parts of nearly equal size; each at least one label."""
    order = np.argsort(scores, kind="stable")
    return [part for part in np.array_split(order, min(sample, len(scores))) if len(part)]


def draw_sample(scores: Float[np.ndarray, " labels"], sample: int, seed: int) -> Int[np.ndarray, " k"]:
    """One label of each stratum, drawn at random, lowest scores first."""
    rng = generator(seed, "sample of labels", sample)
    return np.array([int(rng.choice(part)) for part in strata(scores, sample)], dtype=np.int64)


def agreement(
    predicted: Float[np.ndarray, " labels"],
    scores: Float[np.ndarray, " labels"],
    sampled: Int[np.ndarray, " k"],
    verdicts: Float[np.ndarray, " k"],
    *,
    level: float = 0.95,
) -> Quantity:
    """The share of all labels that the person would accept.

    Args:
        predicted: for each label a guess from 0 to 1; any, so long as it was made before the person spoke. scores: what
            the sample was stratified by. sampled, verdicts: as `draw_sample` gave them, in its order.

    Raises:
        ValueError: if the sample is not one of each stratum.
    """
    parts = strata(scores, len(sampled))
    if len(parts) != len(sampled) or any(int(s) not in part for s, part in zip(sampled, parts, strict=True)):
        raise ValueError("the sample holds one label of each stratum")
    # A stratum that is larger than the average counts for more: its value is scaled so, and the bounds with it.
    weight = np.array([len(part) for part in parts]) * len(parts) / len(scores)
    beyond = weight * (verdicts - predicted[sampled])
    bound = float(weight.max())
    found = bounded_mean(beyond, UNIT, -bound, bound, level=level)
    centre = float(predicted.mean())
    value = float(np.clip(centre + found.value, 0, 1))
    low, high = (float(np.clip(centre + end, 0, 1)) for end in (found.low or 0.0, found.high or 0.0))
    return Quantity(value=value, unit=UNIT, low=min(low, value), high=max(high, value), level=level, n=len(sampled))


# The sheet that a person fills in
def write_sheet(path: Path | str, sheet: Sheet) -> None:
    """Write a sheet as TOML, or as CSV where the name ends in .csv; in one step.

    Raises:
        BadInput: if it may not be written.
    """
    path = Path(path)
    text = _as_csv(sheet) if path.suffix.lower() == ".csv" else _as_toml(sheet)
    write_bytes(path, text.encode("utf-8", "replace"))


def _as_toml(sheet: Sheet) -> str:
    lines = [
        "# Look at each feature's examples (their pictures are in the run's folder, and on its page), then say whether",
        '# the label is right: verdict = "yes", "partly" or "no". If you know a better one, write it.',
        f"author = {json.dumps(sheet.author, ensure_ascii=False)}",
    ]
    for row in sheet.rows:
        lines += ["", "[[judge]]", f"feature = {json.dumps(row.feature)}",
                  f"label = {json.dumps(row.label, ensure_ascii=False)}",
                  f"examples = {json.dumps(list(row.examples), ensure_ascii=False)}",
                  f"verdict = {json.dumps(row.verdict)}",
                  f"better = {json.dumps(row.better, ensure_ascii=False)}"]  # fmt: skip
    return "\n".join(lines).replace("\x7f", "\\u007f") + "\n"


def _as_csv(sheet: Sheet) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["author", "feature", "label", "examples", "verdict", "better"])
    for row in sheet.rows:
        cells = [sheet.author, row.feature, row.label, " ".join(row.examples), row.verdict, row.better]
        # A spreadsheet would take these for formulas.
        writer.writerow([f"'{cell}" if cell[:1] in ("=", "+", "-", "@") else cell for cell in cells])
    return out.getvalue()


def read_sheet(path: Path | str) -> Sheet:
    """Read a sheet that a person filled in; rows without a verdict are there, with "".

    Raises:
        BadInput: if it cannot be read, has no author, or a verdict is none; the row is named.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".csv":
            table = list(csv.DictReader(io.StringIO(text)))
            author = next((str(row["author"]) for row in table if row.get("author")), "")
        else:
            document = tomllib.loads(text)
            table, author = document.get("judge", []), document.get("author", "")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, csv.Error) as error:
        raise BadInput(
            f"the sheet cannot be read: {error}", where=path, fix="give the sheet that --sample wrote"
        ) from error
    if not isinstance(table, list) or not all(isinstance(row, Mapping) for row in table) or not table:
        raise BadInput("the sheet holds no labels to judge", where=path, fix="give the sheet that --sample wrote")
    if not isinstance(author, str) or not author.strip():
        raise BadInput("the sheet does not say who judged", where=path, fix='write author = "your name"')
    rows = tuple(_row(row, f"{path}, row {number}") for number, row in enumerate(table, 1))
    features = [row.feature for row in rows]
    twice = next((feature for feature in features if features.count(feature) > 1), None)
    if twice is not None:
        raise BadInput("a feature stands twice in the sheet", where=f"{path}, {twice}", fix="keep one of the two rows")
    return Sheet(author=author.strip(), rows=rows)


def _row(row: Mapping[str, Any], where: str) -> Judged:
    words = {key: str(row.get(key) or "").strip() for key in ("feature", "label", "verdict", "better")}
    words = {key: word[1:] if word[:2] in ("'=", "'+", "'-", "'@") else word for key, word in words.items()}
    if not words["feature"]:
        raise BadInput("this row names no feature", where=where, fix="give the sheet that --sample wrote")
    words["verdict"] = words["verdict"].casefold()
    if words["verdict"] and words["verdict"] not in VERDICTS:
        raise BadInput(
            f"{words['verdict']!r} is no verdict", where=where, fix=f"write {', '.join(VERDICTS)} or nothing"
        )
    return Judged(feature=words["feature"], label=words["label"], verdict=words["verdict"], better=words["better"])
