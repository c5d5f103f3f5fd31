"""What all benchmarks share: where they run, a ledger of rows that can be resumed, repeats side by side, peak memory.

A ledger is a JSONL file under `results/`. A row is one measurement of one variant in one repeat, appended as soon as it
is made; a rerun skips the rows that are there, and `write_results.py` makes medians and intervals of them.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("mulligan", "torch", "numpy", "transformers", "safetensors", "pyarrow", "nnsight")


def machine() -> dict[str, Any]:
    """The processor and the system; nothing that names the machine or its owner."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        model = next((line.partition(":")[2].strip() for line in info.open() if line.startswith("model name")), model)
    memory = round(psutil.virtual_memory().total / 2**30)
    return {"cpu": model, "cores": os.cpu_count(), "memory_gib": memory, "system": platform.system()}


def versions() -> dict[str, str]:
    """Of Python and of what is measured."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def peak_memory() -> float:
    """The most memory that this process ever held, in MiB; Linux only."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise OSError("this system does not tell a process's peak of memory")


@dataclass(frozen=True)
class Case:
    """One comparison: what is the same for all its variants.

    Attributes:
        name: what is done, on what, in words. base: the variant that the others are held against.
        repeats: how many are planned. goals: variant to (measure, the most that its ratio to the base should be).
    """

    name: str
    base: str
    repeats: int
    goals: Mapping[str, tuple[str, float]]


class Ledger:
    """Rows of one benchmark.

    Args:
        benchmark: the name of its file. command: how a reader repeats it.
        again: measure what is there, too; the newer row counts.
    """

    def __init__(self, benchmark: str, command: str, again: bool = False) -> None:
        self.path, self.command = RESULTS / f"{benchmark}.jsonl", command
        self._fixed = {"benchmark": benchmark, "command": command, "machine": machine(), "versions": versions()}
        rows = [] if again or not self.path.exists() else map(json.loads, self.path.open())
        self._there = {(row["case"], row["variant"], row["repeat"]) for row in rows if row["value"] is not None}

    def has(self, case: Case, variant: str, repeat: int) -> bool:
        """Whether this was measured."""
        return (case.name, variant, repeat) in self._there

    def add(
        self, case: Case, variant: str, repeat: int, values: Mapping[str, tuple[float | None, str]], note: str = ""
    ) -> None:
        """Append one row a measure: {measure: (value, unit)}."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            for measure, (value, unit) in values.items():
                goal = case.goals.get(variant)
                row = {
                    **self._fixed,
                    "case": case.name,
                    "variant": variant,
                    "measure": measure,
                    "value": value,
                    "unit": unit,
                    "repeat": repeat,
                    "of": case.repeats,
                    "base": case.base,
                    "goal": goal[1] if goal and goal[0] == measure else None,
                    "note": note,
                    "load": round(os.getloadavg()[0], 1),
                    "created": datetime.now(UTC).isoformat(timespec="seconds"),
                }
                file.write(json.dumps(row, sort_keys=True) + "\n")
        self._there.add((case.name, variant, repeat))


def side_by_side(ledger: Ledger, case: Case, variants: Mapping[str, Callable[[], object]]) -> None:
    """Time each variant once a repeat, next to the others; who begins moves on by one from repeat to repeat.

    Wall time is what a person waits; processor time, of all threads, is what a busy machine disturbs less.
    """
    names = list(variants)
    if all(ledger.has(case, name, repeat) for repeat in range(case.repeats) for name in names):
        return
    for run in variants.values():  # the first run pays for caches and lazy imports
        run()
    for repeat in range(case.repeats):
        for name in _turned(names, repeat):
            if ledger.has(case, name, repeat):
                continue
            wall, processor = time.perf_counter(), time.process_time()
            variants[name]()
            processor, wall = time.process_time() - processor, time.perf_counter() - wall
            ledger.add(case, name, repeat, {"wall time": (wall, "s"), "processor time": (processor, "s")})
        print(f"{case.name}: repeat {repeat + 1} of {case.repeats}", flush=True)


def _turned(names: Sequence[str], by: int) -> list[str]:
    by %= len(names)
    return [*names[by:], *names[:by]]
