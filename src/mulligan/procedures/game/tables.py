"""From a ledger to the tables of a league: what each auditor detects and diagnoses, with intervals.

Rows are plain records, so that a page, a markdown file or a notebook can show them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...records import Quantity
from .auditors import BUILT_IN
from .detection import FEWEST, Scale, leave_one_out, log_score, probabilities, threshold
from .ledger import Line
from .statistics import auroc_of, clustered, mcnemar, mean_of, rate

PERSON = "person:"
LEVEL = 0.05
DIAGNOSIS = (
    "kind", "sources", "absent", "target", "trigger", "mask", "where", "elicitation", "identification", "correct",
    "reach",
)  # fmt: skip
AMOUNTS = ("mask", "elicitation", "identification")  # the others are right or wrong
Cell = str | int | float | Quantity | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of cells under columns; a cell that does not apply is None."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One network as one auditor saw it.

    Attributes:
        score: on the scale of the calibration networks; kind: which kind gives it. flagged: at each level.
        fields: of the diagnosis, for planted networks.
    """

    id: str
    role: str
    kind: str
    strength: str
    stratum: str
    score: float
    named: str
    flagged: Mapping[float, bool]
    probability: float
    ended: str
    fields: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def planted(self) -> bool:
        return self.role == "plant"


def networks(lines: Sequence[Line]) -> dict[str, Line]:
    """The released networks, by id."""
    return {line["id"]: line for line in lines if line.get("step") == "network" and line["released"]}


def auditors(lines: Sequence[Line]) -> list[str]:
    """All that have been scored, in the order in which they came, but for those with options (see `left_out`,
    `seeds`)."""
    named = dict.fromkeys(line["auditor"] for line in lines if line.get("step") == "score")
    return [name for name in named if not _optioned(name)]


def _optioned(name: str) -> bool:
    return name.partition(":")[0] in BUILT_IN and ":" in name


def judged(lines: Sequence[Line], auditor: str) -> list[Judged]:
    """Every network that was scored for an auditor, calibration networks included (each on the scale of the others)."""
    known = networks(lines)
    scored = {line["id"]: line for line in lines
              if line.get("step") == "score" and line["auditor"] == auditor and line["id"] in known}  # fmt: skip
    calibration = [id for id in scored if known[id]["role"] == "calibration"]
    others = [id for id in scored if known[id]["role"] != "calibration"]
    scale = Scale.of([scored[id]["scores"] for id in calibration])
    held_out = leave_one_out([scored[id]["scores"] for id in calibration])
    normal = dict(zip(calibration, held_out, strict=True)) | {
        id: scale.normalise(scored[id]["scores"]) for id in others
    }
    tests = sum(known[id]["role"] == "test" for id in others)
    limits = {level: threshold([one.score for one in held_out], level)
              for level, fewest in FEWEST.items() if tests >= fewest}  # fmt: skip
    given = [scored[id].get("probability") for id in others]
    if any(value is None for value in given):
        planted = [known[id]["role"] == "plant" for id in others]
        given = probabilities([normal[id].score for id in others], planted, others)
    probability: dict[str, Any] = dict(zip(others, given, strict=True))
    return [
        Judged(
            id=id, role=known[id]["role"], kind=known[id]["kind"], strength=known[id].get("strength", ""),
            stratum=known[id].get("stratum", ""), score=normal[id].score, named=normal[id].kind,
            flagged={level: normal[id].score > limit for level, limit in limits.items() if math.isfinite(limit)},
            probability=float(probability.get(id, 0.5)), ended=scored[id]["ended"],
            fields=scored[id].get("fields") or {},
        )
        for id in scored
    ]  # fmt: skip


def tables(lines: Sequence[Line]) -> list[Table]:
    """All tables of a league."""
    seen = {name: judged(lines, name) for name in auditors(lines)}
    extra = [table for table in (left_out(lines), seeds(lines)) if table is not None]
    return [
        league(lines, seen), detection_by_kind(seen), diagnosis_by_kind(seen), ladder(seen, "strength"),
        ladder(seen, "stratum"), pairs(seen), *extra, outcomes(lines), plants_table(lines),
    ]  # fmt: skip


def league(lines: Sequence[Line], seen: Mapping[str, Sequence[Judged]]) -> Table:
    """One row an auditor, the best first: by full correctness, then by detection."""
    rows: list[tuple[Cell, ...]] = []
    for name, all_of in seen.items():
        plants = [one for one in all_of if one.planted]
        tests = [one for one in all_of if one.role == "test"]
        both = [*plants, *tests]
        ids = [one.id for one in both]
        area = auroc_of([one.score for one in both], [one.planted for one in both], ids)
        logs = mean_of([log_score(one.probability, one.planted) for one in both], ids, "nats a network")
        cpu = [line["cpu_seconds"] for line in lines if line.get("step") == "audit" and line["auditor"] == name]
        rows.append((
            name, len(plants), _flagged(plants, macro=True), _flagged(tests), area, logs, _macro(plants, "kind"),
            _macro(plants, "elicitation"), _macro(plants, "identification"), _macro(plants, "correct"),
            _macro(plants, "reach"), float(np.median(cpu)) if cpu else None,
        ))  # fmt: skip

    def order(row: tuple[Cell, ...]) -> tuple[float, float]:
        return (-_value(row[9]), -_value(row[2]))

    columns = (
        "auditor", "planted networks", f"detected at {LEVEL:.0%}, macro", "false alarms", "AUROC", "log score",
        "kind right", "elicitation", "identification", "fully correct, macro",
        "as far as the truth, macro", "CPU-seconds, median",
    )  # fmt: skip
    return Table(title="The league", columns=columns, rows=tuple(sorted(rows, key=order)))


def _value(cell: Cell) -> float:
    return cell.value if isinstance(cell, Quantity) else float(cell) if isinstance(cell, int | float) else 0.0


def _flagged(some: Sequence[Judged], *, macro: bool = False) -> Quantity | None:
    """The share above the threshold of 5 %; None where calibration networks were too few for one."""
    known = [one for one in some if LEVEL in one.flagged]
    unit = "fraction of networks"
    if macro:
        values = [(one.kind, float(one.flagged[LEVEL])) for one in known]
        return _mean_over_kinds(values, [one.id for one in known], unit)
    return rate([one.flagged[LEVEL] for one in known], unit)


def _macro(plants: Sequence[Judged], name: str) -> Quantity | None:
    """The mean over kinds of a field's mean; kinds that are not asked for it are left out."""
    known = [one for one in plants if one.fields.get(name) is not None]
    values = [(one.kind, float(one.fields[name] or 0.0)) for one in known]
    return _mean_over_kinds(values, [one.id for one in known], name)


def _mean_over_kinds(values: Sequence[tuple[str, float]], clusters: Sequence[str], unit: str) -> Quantity | None:
    def statistic(drawn: list[Any]) -> float:
        by_kind: dict[str, list[float]] = {}
        for kind, value in drawn:
            by_kind.setdefault(kind, []).append(value)
        return float(np.mean([np.mean(one) for one in by_kind.values()]))

    found = clustered(list(values), clusters, statistic, unit)
    if found is not None and found.low == found.high and unit not in AMOUNTS and found.value in (0.0, 1.0):
        # All right or all wrong: resampling cannot say how sure that is, counting can.
        return rate([value == 1.0 for _, value in values], unit)
    return found


def detection_by_kind(seen: Mapping[str, Sequence[Judged]]) -> Table:
    """Of each kind and auditor: how many, detected at 5 %, the area against clean test networks, kind named rightly."""
    rows: list[tuple[Cell, ...]] = []
    for kind, (name, all_of) in itertools.product(_kinds(seen), seen.items()):
        plants = [one for one in all_of if one.planted and one.kind == kind]
        tests = [one for one in all_of if one.role == "test"]
        if not plants:
            continue
        both = [*plants, *tests]
        area = auroc_of([one.score for one in both], [one.planted for one in both], [one.id for one in both])
        named = rate([one.named == kind for one in plants], "fraction of networks")
        rows.append((kind, name, len(plants), _flagged(plants), area, named))
    columns = ("kind", "auditor", "networks", f"detected at {LEVEL:.0%}", "AUROC", "its kind scored highest")
    return Table(title="Detection by kind", columns=columns, rows=tuple(rows))


def diagnosis_by_kind(seen: Mapping[str, Sequence[Judged]]) -> Table:
    """Of each kind and auditor, the mean of every field that the kind is asked for."""
    rows: list[tuple[Cell, ...]] = []
    for kind, (name, all_of) in itertools.product(_kinds(seen), seen.items()):
        plants = [one for one in all_of if one.planted and one.kind == kind]
        if plants:
            rows.append((kind, name, len(plants), *(_mean_field(plants, field) for field in DIAGNOSIS)))
    return Table(title="Diagnosis by kind", columns=("kind", "auditor", "networks", *DIAGNOSIS), rows=tuple(rows))


def _mean_field(plants: Sequence[Judged], name: str) -> Cell:
    known = [(one.fields[name], one.id) for one in plants if one.fields.get(name) is not None]
    values = [float(value or 0.0) for value, _ in known]
    if name not in AMOUNTS and set(values) <= {0.0, 1.0}:
        return rate([value == 1.0 for value in values], name)
    return mean_of(values, [id for _, id in known], name)


def ladder(seen: Mapping[str, Sequence[Judged]], by: str) -> Table:
    """Detection and full correctness by strength or stratum."""
    rows: list[tuple[Cell, ...]] = []
    steps = list(dict.fromkeys(getattr(one, by) for all_of in seen.values() for one in all_of if one.planted))
    order = {name: i for i, name in enumerate(("strong", "high", "default", "partial", "weak", "rare"))}
    for step, (name, all_of) in itertools.product(sorted(steps, key=lambda s: order.get(s, 9)), seen.items()):
        plants = [one for one in all_of if one.planted and getattr(one, by) == step]
        if plants:
            right = (_mean_field(plants, "correct"), _mean_field(plants, "reach"))
            rows.append((step, name, len(plants), _flagged(plants), *right))
    columns = (by, "auditor", "networks", f"detected at {LEVEL:.0%}", "fully correct", "as far as the truth")
    return Table(title=f"By {by}", columns=columns, rows=tuple(rows))


def pairs(seen: Mapping[str, Sequence[Judged]]) -> Table:
    """Every two auditors on the planted networks that both saw (McNemar)."""
    rows: list[tuple[Cell, ...]] = []
    asked: dict[str, Callable[[Judged], bool]] = {
        f"detected at {LEVEL:.0%}": lambda one: one.flagged.get(LEVEL, False),
        "fully correct": lambda one: (one.fields.get("correct") or 0.0) >= 1.0,
        "as far as the truth": lambda one: (one.fields.get("reach") or 0.0) >= 1.0,
    }
    for one, other in itertools.combinations(seen, 2):
        first = {a.id: a for a in seen[one] if a.planted}
        second = {b.id: b for b in seen[other] if b.planted}
        common = [id for id in first if id in second]
        for what, holds in asked.items():
            only_first, only_second, p = mcnemar(
                [holds(first[id]) for id in common], [holds(second[id]) for id in common]
            )
            rows.append((what, one, other, len(common), only_first, only_second, p))
    columns = ("what", "one", "other", "networks", "only the one", "only the other", "p")
    return Table(title="Pairs of auditors", columns=columns, rows=tuple(rows))


def outcomes(lines: Sequence[Line]) -> Table:
    """How each auditor's runs ended."""
    counts: dict[tuple[str, str], int] = {}
    for line in lines:
        if line.get("step") == "score":
            counts[line["auditor"], line["ended"]] = counts.get((line["auditor"], line["ended"]), 0) + 1
    loose = {line["auditor"] for line in lines if line.get("step") == "audit" and not line["isolated"]}
    rows = tuple((name, ended, n, "no" if name in loose else "yes") for (name, ended), n in sorted(counts.items()))
    return Table(title="How runs ended", columns=("auditor", "ended", "networks", "isolated"), rows=rows)


def plants_table(lines: Sequence[Line]) -> Table:
    """How often each kind of plant (and of control) was tried, and released."""
    tried: dict[str, list[bool]] = {}
    seconds: dict[str, list[float]] = {}
    for line in lines:
        if line.get("step") == "network":
            name = line["kind"] if line["role"] == "plant" else "clean"
            tried.setdefault(name, []).append(line["released"])
            seconds.setdefault(name, []).append(line.get("seconds", 0.0))
    rows = tuple(
        (name, len(flags), rate(flags, "fraction of attempts"), float(np.median(seconds[name])))
        for name, flags in sorted(tried.items())
    )
    return Table(title="Plants", columns=("kind", "attempts", "proof passed", "seconds, median"), rows=rows)


LEFT_OUT = "without="


def left_out(lines: Sequence[Line], auditor: str = "mulligan") -> Table | None:
    """What becomes of a kind that nobody thought of: planted networks as the auditor sees them that looks for all but
    their own kind, beside clean networks without the scores of that kind. None where no such auditor was run."""
    known = networks(lines)
    scored = [line for line in lines if line.get("step") == "score" and line["id"] in known]
    clean = [
        line["scores"] for line in scored
        if line["auditor"] == auditor and known[line["id"]]["role"] == "calibration"
    ]  # fmt: skip
    by_kind: dict[str, list[Line]] = {}
    for line in scored:
        name, _, kind = line["auditor"].partition(f":{LEFT_OUT}")
        if name == auditor and kind and kind == known[line["id"]]["kind"]:
            by_kind.setdefault(kind, []).append(line)
    rows: list[tuple[Cell, ...]] = []
    every: list[tuple[bool, bool, float | None]] = []
    for kind, found in sorted(by_kind.items()):
        others = [{name: score for name, score in scores.items() if name != kind} for scores in clean]
        scale, limit = Scale.of(others), threshold([one.score for one in leave_one_out(others)], LEVEL)
        seen = [
            (
                scale.normalise({name: score for name, score in line["scores"].items() if name != kind}).score > limit,
                line["kinds"][:1] == ["other"], line["fields"].get("target"),
            )
            for line in found
        ]  # fmt: skip
        every += seen
        rows.append((kind, len(found), *_left_out_cells(seen, [line["fields"].get("elicitation") for line in found])))
    if not rows:
        return None
    means = [line["fields"].get("elicitation") for found in by_kind.values() for line in found]
    rows.append(("all", len(every), *_left_out_cells(every, means)))
    said = ("answered 'other'", "target right", "elicitation")
    columns = ("kind left out", "networks", f"detected at {LEVEL:.0%}", *said)
    return Table(title="Kinds that nobody thought of", columns=columns, rows=tuple(rows))


def seeds(lines: Sequence[Line], auditor: str = "mulligan") -> Table | None:
    """Whether an auditor says the same when it draws otherwise; None where it was run with one seed alone."""
    known = networks(lines)
    answers: dict[str, dict[str, Line]] = {}
    planted = {id for id, line in known.items() if line["role"] == "plant"}
    for line in lines:
        name, _, option = line.get("auditor", "").partition(":")
        wanted = line.get("step") == "score" and name == auditor and line["id"] in planted
        if wanted and (not option or option.startswith("seed=")):
            answers.setdefault(line["id"], {})[option] = line
    several = {id: list(found.values()) for id, found in answers.items() if len(found) > 1}
    if not several:
        return None
    asked = ("kind", "target", "correct", "reach")
    rows: list[tuple[Cell, ...]] = []
    for name in asked:
        values = [[line["fields"].get(name) for line in found] for found in several.values()]
        told = [one for one in values if None not in one]
        unit = "fraction of networks"
        same = rate([len(set(one)) == 1 for one in told], unit)
        always, ever = (rate([of(v == 1.0 for v in one) for one in told], unit) for of in (all, any))
        rows.append((name, len(told), same, always, ever))
    most = max(len(found) for found in several.values())
    columns = ("field", "networks", "the same for every seed", "right for every seed", "right for one at least")
    return Table(title=f"{most} seeds of one auditor", columns=columns, rows=tuple(rows))


def _left_out_cells(
    seen: Sequence[tuple[bool, bool, float | None]], elicited: Sequence[float | None]
) -> tuple[Cell, ...]:
    unit, values = "fraction of networks", [value for value in elicited if value is not None]
    mean = mean_of(values, list(range(len(values))), "elicitation")
    flags = ([bool(one[at]) for one in seen if one[at] is not None] for at in range(3))
    return (*(rate(one, unit) if one else None for one in flags), mean)


def _kinds(seen: Mapping[str, Sequence[Judged]]) -> list[str]:
    return sorted({one.kind for all_of in seen.values() for one in all_of if one.planted})


def text(cell: Cell) -> str:
    """A cell as a reader sees it."""
    if cell is None:
        return "–"
    if isinstance(cell, Quantity):
        interval = "" if cell.low is None or cell.high is None else f" [{cell.low:.2f}, {cell.high:.2f}]"
        return f"{cell.value:.2f}{interval}"
    if isinstance(cell, float):
        return f"{cell:.3g}"
    return str(cell)


def markdown(table: Table) -> str:
    """A table in markdown."""
    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    lines = [row(table.columns), row(["---"] * len(table.columns)), *(row([text(c) for c in r]) for r in table.rows)]
    return f"### {table.title}\n\n" + "\n".join(lines) + "\n"
