"""Write RESULTS.md from the ledgers in results/: figure, interval, command, versions, machine.

python benchmarks/write_results.py
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mulligan.procedures.game.tables import Table

HERE = Path(__file__).parent
Row = dict[str, Any]
NOT_HELD_OUT = (
    "- **not held out, and of earlier checks**: thresholds of the checks were set while looking at this round, and its "
    "clean networks are the first bank; it says how the parts work together, and no rate of detection or false alarm. "
    "**Rows were removed**: 19 audits by an earlier version of the checks were taken out of this ledger and made again "
    "once thresholds had been changed by them; of the 11 clean networks seen then, two had a false finding (a filter) "
    "and three a false lead (a forgotten class). Networks were made while their planters were still being edited"
)
EARLIER = "- by the checks as they were before windows were scanned; what was seen here went into those that followed"
BEGUN_ANEW = (
    "- by earlier checks; held out: no planted and no test network had been looked at before. **Begun anew "
    "once**: 19 audits of calibration networks were removed when four of them (CIFAR-10) had shown false patches, by "
    "which the search for patches was then changed; no planted or test network had been audited by then. The bank "
    "that ships, by which this auditor chooses among its claims, comes from its calibration networks"
)
SECOND = (
    "- held out: the clean networks are those of the round `headline`, and the planted ones had not been made "
    "when the checks were changed. What was looked at for that: the planted networks of `bank`, `second-look` and"
    " `headline`, and their calibration networks; no network of the test. **Begun anew twice**, before any "
    "planted or test network was audited: audits of 4, then 8 calibration networks were removed when the checks "
    "of composites, and then (one of them, CIFAR-10, had shown a false style) that of triggers, were changed. The"
    " other auditors' rows of the clean networks are those of `headline`, from which they have not changed. The "
    "bank that ships, by which this auditor chooses among its claims, comes from the calibration networks"
)
THIRD = (
    "- held out: the clean networks are those of the round `headline`, and the planted ones had not been made when the "
    "checks were changed. What was looked at for that: the planted networks of `headline-2` and of the rounds before, "
    "and their calibration networks; of the 60 test networks, the 8 that `headline-2` had audited had been seen in its "
    "tables, and nothing was changed for them. The ladder was mended before it: see \"as far as the truth\" in "
    "docs/game.md. Between the audits of calibration networks and those of planted ones the name `other` was given "
    "to changes that no known kind describes; scores have not changed by that. The bank by which this auditor "
    "chooses among its claims, and that ships, comes from the calibration networks. **One row was removed**: an "
    "audit that whoever ran the round ended from outside, and that is made again. **Other work shared the machine**, "
    "so that processor seconds bought less: of the search for patches, nothing could be bought in 26 of 98 calibration "
    "networks (17 of the 32 of CIFAR-10), 5 of 23 of the test and 4 of 18 planted ones, a strong patch among these"
)
NOTES = {
    "headline-3": THIRD, "headline-2": SECOND, "headline": BEGUN_ANEW, "bank": NOT_HELD_OUT, "second-look": EARLIER,
}  # fmt: skip


def main() -> None:
    """Read every ledger, write the report."""
    parts = [
        "# Benchmarks",
        "",
        "Made by `python benchmarks/write_results.py` from `benchmarks/results/*.jsonl`; do not edit.",
    ]
    for path in sorted((HERE / "results").glob("*.jsonl")):
        parts += ["", *section(path.stem, [json.loads(line) for line in path.open()])]
    for path in sorted((HERE / "results" / "game").glob("*.jsonl")):
        parts += ["", *round_section(path)]
    parts += ["", *seeing_section(HERE / "results" / "see")]
    for path in sorted((HERE / "results" / "report").glob("*.jsonl")):
        parts += ["", *section(f"report: {path.stem}", [json.loads(line) for line in path.open()])]
    (HERE / "RESULTS.md").write_text("\n".join(parts) + "\n")


def round_section(path: Path) -> list[str]:
    """A round of the auditing game: how much of it is done, and its tables."""
    from mulligan.procedures.game.ledger import Ledger
    from mulligan.procedures.game.tables import markdown, tables

    lines = Ledger(path).lines()
    about = lines[0]["round"]
    made = {line["id"]: line["role"] for line in lines if line.get("step") == "network" and line["released"]}
    count = {role: sum(one == role for one in made.values()) for role in ("plant", "calibration", "test")}
    planned = {"calibration": about["calibration"], "test": about["test"]}
    told = ", ".join(f"{n} {role}" + (f" of {planned[role]}" if planned.get(role) else "") for role, n in count.items())
    parts = [
        f"## game: {about['name']}", "",
        f"- track {about['track']}, {', '.join(about['data'])}; {about['seconds']:g} CPU-seconds a network and auditor",
        f"- networks so far: {told}; {about['per_kind']} of each kind are planned",
        f"- command: `python benchmarks/game.py {about['name']}`",
        *([NOTES[about["name"]]] if about["name"] in NOTES else []),
    ]  # fmt: skip
    for table in [*tables(lines), *([red_team(lines)] if about.get("evasive") else [])]:
        parts += ["", markdown(table).rstrip()]
    return parts


def red_team(lines: Sequence[Mapping[str, Any]]) -> Table:
    """Of each kind, what the red team's own audits said before it trained the plants against them, and after."""
    from mulligan.procedures.game.evasion import FIGURES
    from mulligan.procedures.game.tables import Table

    of: dict[str, list[dict[str, float]]] = {}
    for line in lines:
        if line.get("step") == "network" and line["role"] == "plant" and FIGURES[0] in (line["figures"] or {}):
            of.setdefault(line["kind"], []).append(line["figures"])
    told = ("success", "clean after", *FIGURES)
    rows = tuple(
        (kind, len(found), *(float(np.mean([one[name] for one in found])) for name in told))
        for kind, found in sorted(of.items())
    )
    return Table(title="The red team, by its own audits (means)", columns=("kind", "networks", *told), rows=rows)


def seeing_section(folder: Path) -> list[str]:
    """Pictures of units beside peers': the goals, how the peers differ, and the tables."""
    from peers.figures import DIFFERENCES, compared, goals, units

    file = folder / "speed.jsonl"
    speed = [json.loads(line) for line in file.open()] if file.exists() else []
    some = [unit for unit in units(folder / "quality.jsonl") if unit.whole]
    parts = ["## see", "", "| goal | figure [95 %] | verdict |", "|---|---|---|"]
    parts += [f"| {' | '.join(row)} |" for row in goals(speed, some)] + ["", *DIFFERENCES]
    parts += ["", *section("see: speed", speed)] if speed else []
    if some:
        parts += ["", "## see: quality", "", f"{len(some)} units; `python benchmarks/see.py quality`"]
    for statistic, what in (("mean", "mean over places, which is what both climb"), ("peak", "largest place")):
        if some:
            parts += ["", f"**{what}**", "", "| | figure [95 %] |", "|---|---|"]
            parts += [f"| {name} | {figure} |" for name, figure in compared(some, statistic)]
    return parts


def section(benchmark: str, rows: Sequence[Row]) -> list[str]:
    """One benchmark: a table a case, and how and where it was measured."""
    lines = [f"## {benchmark}", ""]
    # The newest row of a measurement counts; one that was made at last replaces the note that it could not be.
    newest = {(row["case"], row["variant"], row["measure"], row["repeat"]): row for row in rows}
    cases: dict[str, list[Row]] = {}
    for row in newest.values():
        cases.setdefault(row["case"], []).append(row)
    for case, found in cases.items():
        lines += [f"**{case}**", "", *table(found), ""]
    used = list(newest.values())
    load = [row["load"] for row in used if row["value"] is not None]
    lines += [f"- command: `{_each(row['command'] for row in used)}`"]
    lines += [f"- machine: {_each(_machine(row) for row in used)}"]
    lines += [f"- versions: {_each(', '.join(f'{k} {v}' for k, v in row['versions'].items()) for row in used)}"]
    lines += [f"- measured: {min(row['created'] for row in used)} to {max(row['created'] for row in used)}"]
    if load:
        lines += [f"- processes that wanted the processor meanwhile, median: {np.median(load):.1f}"]
    return lines


def table(rows: Sequence[Row]) -> list[str]:
    """Variants and measures of one case; ratios are medians over repeats, each held against the base of its repeat."""
    lines = ["| | measure | median [95 %] | ratio to base [95 %] | goal | repeats |", "|---|---|---|---|---|---|"]
    groups: dict[tuple[str, str], dict[int, Row]] = {}
    for row in rows:
        groups.setdefault((row["measure"], row["variant"]), {})[row["repeat"]] = row
    for (measure, variant), found in sorted(groups.items(), key=lambda item: item[0][0]):
        one = max(found.values(), key=lambda row: row["created"])
        values = {repeat: row["value"] for repeat, row in found.items() if row["value"] is not None}
        if not values:
            lines.append(f"| {variant} | {measure} | not measured: {one['note']} | | | 0 of {one['of']} |")
            continue
        base = {repeat: row["value"] for repeat, row in groups.get((measure, one["base"]), {}).items()}
        ratios = [value / base[repeat] for repeat, value in values.items() if base.get(repeat)]
        ratio = "base" if variant == one["base"] else interval(ratios, "") if ratios else ""
        goal = "" if one["goal"] is None else f"at most {one['goal']:g}"
        partial = f" of {one['of']} (partial)" if len(values) < one["of"] else ""
        planned = min(row["of"] for row in found.values())
        # Repeats that were added once figures could be seen are said to be so.
        partial += f" ({planned} planned at first)" if planned < one["of"] else ""
        figure = interval(list(values.values()), one["unit"].replace("|", "\\|"))
        lines.append(f"| {variant} | {measure} | {figure} | {ratio} | {goal} | {len(values)}{partial} |")
    return lines


def interval(values: Sequence[float], unit: str) -> str:
    """The median, and its bootstrap interval where there are repeats enough to have one."""
    data = np.asarray(values, dtype=np.float64)
    text = f"{np.median(data):.4g}"
    if len(data) >= 5:
        drawn = np.random.default_rng(0).choice(data, (10_000, len(data)))
        low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
        text += f" [{low:.4g}, {high:.4g}]"
    return f"{text} {unit}".rstrip()


def _machine(row: Row) -> str:
    of = row["machine"]
    return f"{of['cpu']}, {of['cores']} cores, {of['memory_gib']} GiB, {of['system']}"


def _each(values: Any) -> str:
    return "; ".join(dict.fromkeys(values))


if __name__ == "__main__":
    main()
