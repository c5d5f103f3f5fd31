"""What an activation atlas costs: a million activations of CIFAR-10 to a whole pyramid, before its cells are drawn.

    MULLIGAN_DATA=... python benchmarks/atlas.py [--part pyramid|placing] [--activations 1000000] [--again]

"pyramid": all 60,000 pictures (train.parquet, test.parquet under MULLIGAN_DATA/cifar10) through a small convolutional
network that is trained first and not counted, at `blocks.1` (96 units at 8 x 8 places), to atlas.json and all tiles of
four zooms: recording, moments, UMAP of 100,000, the rest placed, levels, controls, effects. Each stage's wall and
processor time, and the peak of resident memory until its end. Goals: 600 s and 4 GiB, on 2 cores.

"placing": how good it is to put a row at the mean of its nearest fitted ones, beside UMAP's own `transform`: both for
the same rows held out of the same layout, by trustworthiness and time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from measuring import Case, Ledger, peak_memory

from mulligan.activations import Recording
from mulligan.datasets import load_dataset
from mulligan.networks import Network, parse_input
from mulligan.plants.recipes import Architecture, Recipe, train
from mulligan.plants.recipes.data import CIFAR, corpus_folder
from mulligan.procedures.see.atlas import make_atlas
from mulligan.procedures.see.atlas_work import Request
from mulligan.records import Event, Finished, Started
from mulligan.runs import Run
from mulligan.visualization.atlas import layout
from mulligan.visualization.atlas.moments import Moments, Projection
from mulligan.visualization.atlas.trust import trust_of_each

COMMAND = "python benchmarks/atlas.py"
RECIPE = Recipe(
    data="cifar-10",
    architecture=Architecture(
        channels=3, size=32, classes=10, widths=(32, 64, 96), strides=(2, 2, 1), kernel=3, norm="batch", head="flat"
    ),
    epochs=1, train_size=48_000, batch=64, learning_rate=8e-3, weight_decay=0.02, augment="none",
    mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616),
)  # fmt: skip
SITE = "blocks.1"
PYRAMID = Case(
    "CIFAR-10, 60,000 pictures, small CNN, blocks.1, pyramid before drawing, 1 thread of torch", "all", 1,
    {"all": ("wall time", 600.0)},
)  # fmt: skip
PLACING = Case("rows held out of a layout, CIFAR-10, blocks.1, 2 threads", "umap transform", 1, {})


def network() -> Network:
    """The small network, trained once and kept."""
    return Network(train(RECIPE, 0), name="small-cnn", input=parse_input(RECIPE.input), classes=CIFAR)


def pictures() -> Path:
    """All 60,000 pictures as one Parquet file in the cache."""
    file = corpus_folder() / "cifar-10-all.parquet"
    if not file.exists():
        folder = Path(os.environ["MULLIGAN_DATA"]) / "cifar10"
        tables = [pq.read_table(folder / name) for name in ("train.parquet", "test.parquet")]
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.concat_tables(tables), file.with_suffix(".part"))
        file.with_suffix(".part").replace(file)
    return file


class Stages:
    """Wall time, processor time and peak memory of each job, as its events come."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, float]] = {}
        self._began: dict[str, tuple[float, float]] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self._began[event.job] = (time.monotonic(), time.process_time())
        if isinstance(event, Finished) and event.job in self._began:
            wall, cpu = self._began[event.job]
            self.rows[event.job] = {
                "wall": time.monotonic() - wall, "cpu": time.process_time() - cpu, "memory": peak_memory(),
            }  # fmt: skip
            print(event.job, self.rows[event.job], file=sys.stderr, flush=True)


def pyramid(activations: int, folder: Path) -> None:
    """The child: makes the atlas, and prints what each stage took as JSON."""
    # On a busy machine two threads wait for each other: with two, recording took seven times as much processor time.
    torch.set_num_threads(1)
    net, data = network(), load_dataset(pictures(), classes=CIFAR)
    stages = Stages()
    run = Run.create("see", [], {}, out=folder / "run")
    wall, cpu = time.monotonic(), time.process_time()
    made = make_atlas(Request(network=net, dataset=data, site=SITE, wanted=activations, draw=0), run, emit=stages)
    total = {"wall": time.monotonic() - wall, "cpu": time.process_time() - cpu, "memory": peak_memory()}
    figures = {figure.name: str(figure.shown) for figure in made.figures}
    cells = {f"{level.side}": level.kept for level in made.levels}
    stages.rows["all"] = total
    print(json.dumps({"stages": stages.rows, "activations": made.activations, "figures": figures, "cells": cells}))


def placing(run: Run, fitted: int = 20_000, held: int = 1_500) -> dict[str, dict[str, float]]:
    """Rows held out of a layout, placed in two ways."""
    recording = Recording(run, "tables/activations.parquet")
    (name,) = recording.names
    random = np.random.default_rng(0)
    numbers = np.sort(random.permutation(len(recording))[: fitted + held])
    rows = np.stack([recording.block(name, int(n), int(n) + 1)[0, 0] for n in numbers])
    rows = rows[random.permutation(len(rows))]
    points = Projection.of(Moments.of(rows[:fitted]))(rows)
    neighbours = layout.Neighbours(points[:fitted], 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import umap

        model = umap.UMAP(
            n_neighbors=layout.NEIGHBOURS, min_dist=layout.MIN_DIST, init=layout._start(points[:fitted]),
            random_state=0, n_jobs=1, precomputed_knn=(*neighbours.graph(), neighbours._index),
        )  # fmt: skip
        plane = np.asarray(model.fit_transform(points[:fitted]))
        neighbours.nearest(points[fitted : fitted + 10], 15)  # compiled before it is timed
        model.transform(points[fitted : fitted + 10])
        found = {}
        for name, place in (
            ("nearest fitted rows", lambda: neighbours.place(points[fitted:], plane)),
            ("5 nearest fitted rows", lambda: neighbours.place(points[fitted:], plane, 5)),
            ("umap transform", lambda: np.asarray(model.transform(points[fitted:]))),
        ):
            wall, cpu = time.monotonic(), time.process_time()
            made = place()
            spent = {"wall": time.monotonic() - wall, "cpu": time.process_time() - cpu}
            # Among the held-out rows, and how near each lies to its nearest fitted rows in the plane.
            near = neighbours.nearest(points[fitted:], 10)[0]
            apart = np.linalg.norm(plane[near] - made[:, None], axis=2).mean(1)
            spread = float(np.sqrt(plane.var(0).sum()))
            found[name] = {
                **spent, "trust": float(trust_of_each(rows[fitted:], made).mean()),
                "apart": float(np.median(apart)) / spread,
            }  # fmt: skip
    found["the layout itself"] = {"trust": float(trust_of_each(rows[:held], plane[:held]).mean())}
    return found


def main() -> None:
    """Measure what is not in the ledger yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["pyramid", "placing"])
    parser.add_argument("--activations", type=int, default=1_000_000)
    parser.add_argument("--again", action="store_true", help="measure what is in the ledger, too")
    parser.add_argument("--keep", type=Path, help="a folder for the atlas (default: a temporary one)")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        pyramid(given.activations, given.child)
        return
    ledger = Ledger("atlas", COMMAND, given.again)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        network()
        pictures()
        if given.part != "placing" and not ledger.has(PYRAMID, "all", 0):
            command = [sys.executable, __file__, "--child", str(folder), "--activations", str(given.activations)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            note = f"{found['activations']:,} activations; cells {found['cells']}; {found['figures']}"
            for stage, spent in found["stages"].items():
                values = {
                    "wall time": (spent["wall"], "s"), "processor time": (spent["cpu"], "s"),
                    "peak of resident memory until its end": (spent["memory"], "MiB"),
                }  # fmt: skip
                ledger.add(PYRAMID, stage, 0, values, note if stage == "all" else "")
        if given.part != "pyramid" and not ledger.has(PLACING, "umap transform", 0):
            torch.set_num_threads(2)
            for variant, values in placing(Run.open(folder / "run")).items():
                units = {"wall": "s", "cpu": "s", "trust": "trustworthiness", "apart": "share of the layout's spread"}
                names = {"wall": "wall time", "cpu": "processor time", "apart": "distance to its nearest fitted rows"}
                ledger.add(PLACING, variant, 0, {names.get(k, k): (v, units[k]) for k, v in values.items()})


if __name__ == "__main__":
    main()
