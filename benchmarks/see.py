"""Pictures of units by DreamLens, by torch-lucent and by Mulligan: same network, size, threads, units and steps.

    python benchmarks/see.py speed [--only efficientnet|vit] [--again]
    python benchmarks/see.py quality [--only photographs|dreamlens|mulligan]
    python benchmarks/see.py gallery
    python benchmarks/report.py

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
import fcntl
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import RESULTS, Case, Ledger
from peers.environments import FOLDER, Failed, Runner
from peers.subjects import EFFICIENTNET, SIZE, VIT
from PIL import Image

from mulligan.datasets import load_dataset
from mulligan.networks import ImageInput, Network, load

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
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
# What quality is measured on: site and its units, of which `EACH` are drawn by `DRAWN`. Fixed before any picture was.
SITES, EACH, DRAWN = {"_blocks.8": 112, "_blocks.15": 320}, 16, 5
DREAMLENS_STEPS = 120  # its own default
PICTURES = FOLDER / "see"
PHOTOGRAPHS = "photographs"


def main() -> None:
    """Measure what is not in the ledger yet, or draw the gallery."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "quality", "gallery"])
    parser.add_argument(
        "--only", help="one network, or one side", choices=[*SPEED, PHOTOGRAPHS, "dreamlens", "mulligan"]
    )
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
        from peers.gallery import write

        write(drawn(), PICTURES, RESULTS / "see")


def drawn() -> list[tuple[str, int]]:
    """The units whose pictures are judged: (site, unit)."""
    rng = np.random.default_rng(DRAWN)
    return [
        (site, int(unit)) for site, units in SITES.items() for unit in sorted(rng.choice(units, EACH, replace=False))
    ]


# Speed
def speed(network: str, site: str, units: int, given: argparse.Namespace) -> None:
    """All variants on one network, in turn."""
    threads, size = given.threads, SIZE[network]
    how = f"{threads} thread{'s' if threads > 1 else ''}"
    name = f"{network}, {site}, {UNITS} units, {STEPS} steps, {size} px, {how}"
    case = Case(name, SINGLE, given.repeats, {OURS: ("wall time", 0.3333)})
    ledger = Ledger("see/speed", f"{COMMAND} speed", given.again)
    wanted = [int(unit) for unit in np.random.default_rng(DRAWN).choice(units, UNITS, replace=False)]
    if all(ledger.has(case, variant, repeat) for variant in VARIANTS for repeat in range(given.repeats)):
        return
    runners = _runners(sorted({peer for peer, _ in VARIANTS.values()}), network, threads)
    asked = {"do": "climb", "site": site, "units": wanted, "size": size, "seed": 0}
    warm: set[str] = set()
    for repeat in range(given.repeats):
        turned = [*VARIANTS][repeat % len(VARIANTS) :] + [*VARIANTS][: repeat % len(VARIANTS)]
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


class Turn:
    """A lock on a file that is kept over several short runs and given up between two of them after `HOLD` seconds."""

    HOLD = 200.0

    def __init__(self, lock: Path | None) -> None:
        self._file = lock.open("a") if lock else None
        self._since: float | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Within the block the lock is held."""
        if self._file and self._since is None:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._since = time.monotonic()
        yield
        if self._file and self._since is not None and time.monotonic() - self._since > self.HOLD:
            self.end()

    def end(self) -> None:
        """Give it up."""
        if self._file and self._since is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._since = None


# Quality
def quality(given: argparse.Namespace) -> None:
    """The referee's figures of photographs, of DreamLens's pictures, and of ours in the same time."""
    torch.set_num_threads(given.threads)
    ledger = Ledger("see/quality", f"{COMMAND} quality", given.again)
    referee = Referee(load(EFFICIENTNET))
    if given.only in (None, PHOTOGRAPHS):
        _photographs(ledger, referee)
    if given.only in (None, "dreamlens"):
        _theirs(ledger, referee, given)
    if given.only in (None, "mulligan"):
        _ours(ledger, referee, given)


class Referee:
    """Reads units on 8-bit pictures by the network as it was loaded."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def __call__(self, pictures: np.ndarray, sites: Sequence[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """{site: (mean over places, largest place)}, each [picture, unit], of uint8 [picture, height, width, 3]."""
        assert isinstance(self.network.input, ImageInput)
        means: dict[str, list[torch.Tensor]] = {site: [] for site in sites}
        peaks: dict[str, list[torch.Tensor]] = {site: [] for site in sites}
        for start in range(0, len(pictures), 16):
            x = self.network.input.stack(list(pictures[start : start + 16]))
            with torch.no_grad(), self.network.watching(list(sites), stop=True) as watched:
                self.network(x)
                for site in sites:
                    places = watched[site].flatten(2)
                    means[site].append(places.mean(2))
                    peaks[site].append(places.amax(2))
        return {site: (torch.cat(means[site]).numpy(), torch.cat(peaks[site]).numpy()) for site in sites}


def _case(site: str, unit: int) -> Case:
    return Case(f"{site}:{unit}", "dreamlens", 1, {})


def _photographs(ledger: Ledger, referee: Referee) -> None:
    units = [(site, unit) for site, unit in drawn() if not ledger.has(_case(site, unit), PHOTOGRAPHS, 0)]
    if not units:
        return
    network, dataset = referee.network, load_dataset(DATA / "imagenet-samples")
    assert isinstance(network.input, ImageInput)
    found: list[dict[str, tuple[np.ndarray, np.ndarray]]] = []
    for start in range(0, len(dataset), 100):
        some = dataset.subset(range(start, min(start + 100, len(dataset))))
        crops = np.stack([network.input.crop(some.decode(item)) for item in some.gather(range(len(some)))])  # type: ignore[arg-type]
        found.append(referee(crops, list(SITES)))
    for site, unit in units:
        mean, peak = (np.concatenate([part[site][at][:, unit] for part in found]) for at in (0, 1))
        values = {
            "best mean": (float(mean.max()), ""), "best peak": (float(peak.max()), ""),
            "deviation of means": (float(mean.std()), ""), "average of means": (float(mean.mean()), ""),
            "photographs": (float(len(mean)), ""),
        }  # fmt: skip
        ledger.add(_case(site, unit), PHOTOGRAPHS, 0, values)


def _theirs(ledger: Ledger, referee: Referee, given: argparse.Namespace) -> None:
    left = [(site, unit) for site, unit in drawn() if not ledger.has(_case(site, unit), "dreamlens", 0)]
    if not left:
        return
    runner = _runners(["dreamlens"], EFFICIENTNET, given.threads)["dreamlens"]
    runner.ask(do="climb", site=left[0][0], units=[0], size=224, seed=0, how="single", steps=2)
    for site, unit in left:
        with given.turn():
            found, pictures = _climbed(runner, site, [unit], DREAMLENS_STEPS, "single")
        _judged(ledger, referee, "dreamlens", site, [unit], pictures, found)
        print(f"dreamlens, {site}:{unit}: {found['wall']:.0f} s", flush=True)
    runner.close()


def _ours(ledger: Ledger, referee: Referee, given: argparse.Namespace) -> None:
    """As many steps as take DreamLens's time: guessed from a run of fewer, and made fewer if that was too many."""
    for site in SITES:
        units = [unit for other, unit in drawn() if other == site]
        if all(ledger.has(_case(site, unit), "mulligan", 0) for unit in units):
            continue
        allowed = sum(spent(RESULTS / "see" / "quality.jsonl", site, unit, "dreamlens") for unit in units)
        runner = _runners(["mulligan"], EFFICIENTNET, given.threads)["mulligan"]
        with given.turn():
            runner.ask(do="climb", site=site, units=units, size=224, seed=1, how="", steps=STEPS)
            took = runner.ask(do="climb", site=site, units=units, size=224, seed=1, how="", steps=STEPS)["processor"]
        steps = int(STEPS * allowed / took)
        while True:
            with given.turn():
                found, pictures = _climbed(runner, site, units, steps, "")
            print(f"mulligan, {site}: {steps} steps in {found['processor']:.0f} s of {allowed:.0f}", flush=True)
            if found["processor"] <= allowed:
                break
            steps = int(steps * 0.98 * allowed / found["processor"])
        _judged(ledger, referee, "mulligan", site, units, pictures, found)
        runner.close()


def spent(file: Path, site: str, unit: int, variant: str) -> float:
    """The processor time that a variant took for a unit, from the ledger."""
    rows = [json.loads(line) for line in file.open()]
    return next(
        row["value"]
        for row in reversed(rows)
        if (row["case"], row["variant"], row["measure"]) == (f"{site}:{unit}", variant, "processor time")
    )


def _climbed(runner: Runner, site: str, units: list[int], steps: int, how: str) -> tuple[dict[str, Any], np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "pictures.npy")
        found = runner.ask(do="climb", site=site, units=units, size=224, seed=0, how=how, steps=steps, out=file)
        return found, np.load(file)


def _judged(
    ledger: Ledger, referee: Referee, variant: str, site: str, units: list[int], pictures: np.ndarray,
    found: dict[str, Any],
) -> None:  # fmt: skip
    means, peaks = referee(pictures, [site])[site]
    for at, unit in enumerate(units):
        file = PICTURES / variant / f"{site}-{unit}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures[at]).save(file)
        values = {
            "mean": (float(means[at, unit]), ""), "peak": (float(peaks[at, unit]), ""),
            "wall time": (found["wall"] / len(units), "s"), "processor time": (found["processor"] / len(units), "s"),
            "steps": (float(found["steps"][at]), ""),
        }  # fmt: skip
        ledger.add(_case(site, unit), variant, 0, values)


if __name__ == "__main__":
    main()
