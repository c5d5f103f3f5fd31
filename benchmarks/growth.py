"""Recording 1,000 to 100,000 pictures: whether time grows as they do, memory stays flat, and each is found at once.

    python benchmarks/growth.py [--repeats 3] [--most 100000] [--again]
    python benchmarks/write_results.py

CIFAR-10, taken as often as needed, in a Parquet file of each size; a small seeded network at 32 px; means and maxima of
three sites. Each size is recorded in a process of its own, after a warm-up over 4,000 pictures of another file, which
pays for imports, caches and the allocators' pools. Then the recording is opened, and 1,000 random examples are looked
up by their ids.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from measuring import Case, Ledger, peak_memory
from PIL import Image
from torch import nn

from mulligan.activations import Plan, Recording, record
from mulligan.datasets import load_dataset
from mulligan.networks import ImageInput, Network
from mulligan.runs import Run

CIFAR = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "cifar10"
COMMAND = "python benchmarks/growth.py"
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
LOOKS, WARM = 1_000, 4_000


def main() -> None:
    """Measure what is not in the ledger yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--most", type=int, default=SIZES[-1], help="leave larger sizes out")
    parser.add_argument("--again", action="store_true", help="measure what is in the ledger, too")
    parser.add_argument("--of", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.of is not None:
        print(json.dumps(_measured(given.of)))
        return
    ledger = Ledger("growth", COMMAND, given.again)
    sizes = [size for size in SIZES if size <= given.most]
    what = "CIFAR-10" if CIFAR.is_dir() else "random pictures"
    how = f"a small network, 32 px, {what}, means and maxima of 3 sites, 1 thread"
    last = _name(SIZES[-1])
    cases = {
        ("processor time an example", "wall time an example"): Case(
            f"{how}: time", _name(SIZES[0]), given.repeats, {last: ("processor time an example", 1.05)}
        ),
        ("peak memory",): Case(f"{how}: memory", _name(SIZES[0]), given.repeats, {last: ("peak memory", 1.05)}),
        ("opening", "first look", "random look, median", "random look, 99 %"): Case(
            f"{how}: looking an example up by its id", last, given.repeats, {last: ("random look, 99 %", 5.0)}
        ),
    }
    for repeat in range(given.repeats):
        for size in sizes:
            if all(ledger.has(case, _name(size), repeat) for case in cases.values()):
                continue
            with tempfile.TemporaryDirectory() as folder:
                _write(Path(folder) / "warm.parquet", WARM)
                _write(Path(folder) / "data.parquet", size)
                command = [sys.executable, __file__, "--of", folder]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            measured = json.loads(done.stdout)
            for measures, case in cases.items():
                ledger.add(case, _name(size), repeat, {name: tuple(measured[name]) for name in measures})
            print(f"repeat {repeat + 1}, {_name(size)}: {measured}", flush=True)


def _name(size: int) -> str:
    return f"{size:,} examples"


def _write(file: Path, n: int) -> None:
    """A Parquet file of n pictures, row group by row group."""
    table = pq.ParquetFile(CIFAR / "train.parquet").read() if CIFAR.is_dir() else _random()
    with pq.ParquetWriter(file, table.schema) as writer:
        for start in range(0, n, 1_000):
            rows = np.arange(start, min(start + 1_000, n)) % len(table)
            writer.write_table(table.take(rows), row_group_size=1_000)


def _random() -> pa.Table:
    rng, pictures = np.random.default_rng(0), []
    for _ in range(1_000):
        content = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(content, "JPEG")
        pictures.append({"bytes": content.getvalue(), "path": None})
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.table({"image": pa.array(pictures, kind), "label": [i % 10 for i in range(1_000)]})


def _measured(folder: Path) -> dict[str, tuple[float, str]]:
    """Record what lies in `folder`, and look examples up."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip
    taken = ImageInput(size=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    network = Network(module, name="small", input=taken, classes=tuple("0123456789"))
    plan = Plan(("0", "2", "4"), ("mean", "max"), batch=64, fast="never")
    warm = load_dataset(folder / "warm.parquet")
    record(network, warm, plan, Run.create("record", [], {}, out=folder / "warm"))
    # As it is in a process that has recorded nothing: ids and identity, which read all examples once, are counted, too.
    dataset = load_dataset(folder / "data.parquet")
    wall, processor = time.perf_counter(), time.process_time()
    recording = record(network, dataset, plan, Run.create("record", [], {}, out=folder / "run"))
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    n, memory = len(recording), peak_memory()
    rng = np.random.default_rng(0)
    ids = [recording.ids[int(i)] for i in rng.integers(0, n, LOOKS + 1)]
    began = time.perf_counter()
    opened = Recording(Run.open(folder / "run"))
    opening = time.perf_counter() - began
    looks = [_look(opened, id) for id in ids]
    return {
        "processor time an example": (1e3 * processor / n, "ms"),
        "wall time an example": (1e3 * wall / n, "ms"),
        "peak memory": (memory, "MiB"),
        "opening": (1e3 * opening, "ms"),
        "first look": (1e3 * looks[0], "ms"),
        "random look, median": (1e3 * float(np.median(looks[1:])), "ms"),
        "random look, 99 %": (1e3 * float(np.quantile(looks[1:], 0.99)), "ms"),
    }


def _look(recording: Recording, id: str) -> float:
    began = time.perf_counter()
    recording.example(id, "2|mean")
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
