"""Which activation pictures reach, in equal time, as one referee reads it."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import RESULTS, Case, Ledger
from PIL import Image

from mulligan.datasets import load_dataset
from mulligan.networks import ImageInput, Network, load

from .environments import FOLDER, Runner
from .figures import OURS, PHOTOGRAPHS, THEIRS
from .subjects import EFFICIENTNET, SIZE

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "imagenet-samples"
# Site and how many units it has, of which `EACH` are drawn by `DRAWN`. Fixed before any picture was made.
SITES, EACH, DRAWN = {"_blocks.8": 112, "_blocks.15": 320}, 16, 5
DREAMLENS_STEPS = 120  # its own default
GUESS = 64  # steps by which it is guessed how long ours take
PICTURES = FOLDER / "see"


def drawn() -> list[tuple[str, int]]:
    """The units whose pictures are judged: (site, unit)."""
    rng = np.random.default_rng(DRAWN)
    return [
        (site, int(unit)) for site, units in SITES.items() for unit in sorted(rng.choice(units, EACH, replace=False))
    ]


def quality(given: argparse.Namespace) -> None:
    """The referee's figures of photographs, of DreamLens's pictures, and of ours in the same time."""
    torch.set_num_threads(given.threads)
    ledger = Ledger("see/quality", "python benchmarks/see.py quality", given.again)
    referee = Referee(load(EFFICIENTNET))
    if given.only in (None, PHOTOGRAPHS):
        _photographs(ledger, referee)
    if given.only in (None, THEIRS):
        _theirs(ledger, referee, given)
    if given.only in (None, OURS):
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
    return Case(f"{site}:{unit}", THEIRS, 1, {})


def _photographs(ledger: Ledger, referee: Referee) -> None:
    units = [(site, unit) for site, unit in drawn() if not ledger.has(_case(site, unit), PHOTOGRAPHS, 0)]
    if not units:
        return
    network, dataset = referee.network, load_dataset(DATA)
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
    left = [(site, unit) for site, unit in drawn() if not ledger.has(_case(site, unit), THEIRS, 0)]
    if not left:
        return
    runner = Runner(THEIRS, EFFICIENTNET, None, given.threads)
    runner.ask(do="climb", site=left[0][0], units=[0], size=SIZE[EFFICIENTNET], seed=0, how="single", steps=2)
    for site, unit in left:
        with given.turn():
            found, pictures = _climbed(runner, site, [unit], DREAMLENS_STEPS, "single")
        _judged(ledger, referee, THEIRS, site, [unit], pictures, found)
        print(f"dreamlens, {site}:{unit}: {found['wall']:.0f} s", flush=True)
    runner.close()


def _ours(ledger: Ledger, referee: Referee, given: argparse.Namespace) -> None:
    """As many steps as take DreamLens's time: guessed from a run of fewer, and made fewer if that was too many."""
    for site in SITES:
        units = [unit for other, unit in drawn() if other == site]
        if all(ledger.has(_case(site, unit), OURS, 0) for unit in units):
            continue
        allowed = sum(spent(RESULTS / "see" / "quality.jsonl", site, unit, THEIRS) for unit in units)
        runner = Runner(OURS, EFFICIENTNET, None, given.threads)
        with given.turn():
            runner.ask(do="climb", site=site, units=units, size=SIZE[EFFICIENTNET], seed=1, how="", steps=GUESS)
            took = runner.ask(do="climb", site=site, units=units, size=SIZE[EFFICIENTNET], seed=1, how="", steps=GUESS)[
                "processor"
            ]
        steps = int(GUESS * allowed / took)
        while True:
            with given.turn():
                found, pictures = _climbed(runner, site, units, steps, "")
            print(f"mulligan, {site}: {steps} steps in {found['processor']:.0f} s of {allowed:.0f}", flush=True)
            if found["processor"] <= allowed:
                break
            steps = int(steps * 0.98 * allowed / found["processor"])
        _judged(ledger, referee, OURS, site, units, pictures, found)
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
        found = runner.ask(
            do="climb", site=site, units=units, size=SIZE[EFFICIENTNET], seed=0, how=how, steps=steps, out=file
        )
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
