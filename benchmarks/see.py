"""Pictures of units by DreamLens, by torch-lucent and by Mulligan: same network, size, threads, units and steps.

    python benchmarks/see.py speed [--only efficientnet|vit] [--again]
    python benchmarks/see.py quality [--only photographs|dreamlens|mulligan]
    python benchmarks/see.py gallery
    python benchmarks/write_results.py

Each peer works in its own process and environment (`peers/`, made by the first call). Speed: one warm-up, then
repeats in turn; the seconds are of climbing alone, from the call to finished 8-bit pictures. The first climb of a
process, which pays for what is compiled or planned once, and the process's start are rows of their own.

Quality: units that were drawn by a seed before anyone looked; DreamLens works for its own 120 steps, one unit at a
time, and Mulligan for as many steps as take as long (of processor time: with one thread it is the wall time of an idle
machine). One referee, the unchanged network, reads the unit on the finished 8-bit pictures, without augmentation,
before any nonlinearity: the mean over places, which is what both climb, and the largest place. So it reads 1,000
photographs.

`--lock FILE` is held during each timed run, for machines that others use too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measuring import RESULTS, Case, Ledger
from peers import figures, gallery
from peers.environments import FOLDER, Failed, Runner, Turn
from peers.quality import DRAWN, PICTURES, drawn, quality
from peers.subjects import EFFICIENTNET, SIZE, VIT

COMMAND = "python benchmarks/see.py"
OURS, WHOLE = "Mulligan", "Mulligan, every step at full size"
SINGLE, BATCH = "DreamLens, unit after unit", "DreamLens, one batch"
FROZEN, LUCENT = "DreamLens, unit after unit, weights frozen by hand", "torch-lucent, one batch"
# Variant to (peer, how its runner is asked to do it).
VARIANTS = {
    OURS: ("mulligan", ""), WHOLE: ("mulligan", "whole"),
    SINGLE: ("dreamlens", "single"), BATCH: ("dreamlens", "batch"), FROZEN: ("dreamlens", "single-frozen"),
    LUCENT: ("lucent", "batch"),
}  # fmt: skip
STEPS, UNITS, REPEATS = 64, 8, 5
SPEED = {"efficientnet": (EFFICIENTNET, "_blocks.15", 320), "vit": (VIT, "blocks.3.up", 768)}
_SIDES = (figures.PHOTOGRAPHS, figures.THEIRS, figures.OURS)


def main() -> None:
    """Measure what is not in the ledger yet, or draw the gallery."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "quality", "gallery"])
    parser.add_argument("--only", help="one network, or one side", choices=[*SPEED, *_SIDES])
    parser.add_argument("--variant", action="append", choices=VARIANTS, help="of speed; may be given again")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--threads", type=int, default=1, help="torch's; one is disturbed least on a busy machine")
    parser.add_argument("--again", action="store_true", help="measure what is in the ledger, too")
    parser.add_argument("--lock", type=Path, help="a file to be locked during each timed run")
    given = parser.parse_args()
    given.turn = Turn(given.lock)
    try:
        _do(given)
    finally:
        given.turn.end()


def _do(given: argparse.Namespace) -> None:
    if given.what == "speed":
        for name, (network, site, units) in SPEED.items():
            if given.only in (None, name):
                speed(network, site, units, given)
    elif given.what == "quality":
        quality(given)
    else:
        gallery.write(drawn(), PICTURES, RESULTS / "see")


# Speed
def speed(network: str, site: str, units: int, given: argparse.Namespace) -> None:
    """All variants on one network, in turn."""
    threads, size = given.threads, SIZE[network]
    how = f"{threads} thread{'s' if threads > 1 else ''}"
    name = f"{network}, {site}, {UNITS} units, {STEPS} steps, {size} px, {how}"
    case = Case(name, SINGLE, given.repeats, {OURS: ("wall time", 0.3333)})
    ledger = Ledger("see/speed", f"{COMMAND} speed", given.again)
    wanted = [int(unit) for unit in np.random.default_rng(DRAWN).choice(units, UNITS, replace=False)]
    variants = [variant for variant in VARIANTS if not given.variant or variant in given.variant]
    if all(ledger.has(case, variant, repeat) for variant in variants for repeat in range(given.repeats)):
        return
    runners = _runners(sorted({VARIANTS[variant][0] for variant in variants}), network, threads)
    asked = {"do": "climb", "site": site, "units": wanted, "size": size, "seed": 0}
    warm: set[str] = set()
    for repeat in range(given.repeats):
        turned = variants[repeat % len(variants) :] + variants[: repeat % len(variants)]
        for variant in (one for one in turned if not ledger.has(case, one, repeat)):
            peer, way = VARIANTS[variant]
            with given.turn():
                try:
                    if variant not in warm:
                        first = runners[peer].ask(**asked, how=way, steps=STEPS if peer == "mulligan" else 2)
                        warm.add(variant)
                        _about(ledger, case, variant, runners[peer], first)
                    found = runners[peer].ask(**asked, how=way, steps=STEPS)
                except Failed as error:
                    ledger.add(case, variant, repeat, {"wall time": (None, "s")}, str(error))
                    continue
            rate = sum(found["steps"]) / found["wall"]  # of steps that were taken: who stops early has made fewer
            values = {
                "wall time": (found["wall"], "s"), "processor time": (found["processor"], "s"),
                "unit-steps": (float(sum(found["steps"])), ""), "unit-steps a second": (rate, "1/s"),
                "unit-steps a processor-second": (sum(found["steps"]) / found["processor"], "1/s"),
            }  # fmt: skip
            ledger.add(case, variant, repeat, values)
            print(f"{name}: {variant}, repeat {repeat + 1}: {rate:.2f} unit-steps a second", flush=True)
    for runner in runners.values():
        runner.close()


def _about(ledger: Ledger, case: Case, variant: str, runner: Runner, first: dict[str, Any]) -> None:
    """What is paid once: a case of its own, so that no ratio is made of it."""
    versions = ", ".join(f"{name} {version}" for name, version in runner.about["versions"].items())
    once = Case(f"{case.name}: paid once a process", case.base, 1, {})
    steps = STEPS if runner.peer == "mulligan" else 2
    values = {
        "start, imports and loading": (runner.about["seconds"], "s"),
        f"first climb, {steps} steps, processor time": (first["processor"], "s"),
    }
    ledger.add(once, variant, 0, values, versions)


def _runners(peers: Sequence[str], network: str, threads: int) -> dict[str, Runner]:
    weights = small_vit() if network == VIT else None
    runners = {peer: Runner(peer, network, weights, threads) for peer in peers}
    prints = [runner.about["fingerprint"] for runner in runners.values()]
    assert np.allclose(prints, prints[0], atol=1e-4), f"the peers' networks differ: {prints}"
    return runners


def small_vit() -> Path:
    """The weights of the vision transformer, which are trained if they are not in the cache."""
    file = FOLDER / "small-vit.safetensors"
    if not file.exists():
        print("training the small vision transformer", flush=True)
        script = Path(__file__).parent / "networks" / "small_vit.py"
        subprocess.run([sys.executable, str(script), "--out", str(file)], check=True)
    return file


if __name__ == "__main__":
    main()
