"""A recording whose process is killed 1,000 times at random moments: nothing is lost, done twice, torn or left behind.

    python benchmarks/kills.py [--kills 1000] [--again]
    python benchmarks/write_results.py

One repeat is 50 kills. This process imports everything once and forks the recorders, so that a kill costs a part of a
second. A recorder lives for a random time of the life of a whole recording, or of that of its next ten shards, or until
a random moment after it has begun to write one of them, and is killed with SIGKILL wherever it then is: starting,
computing, writing, renaming, writing the index. The next one goes on in the same run. A run that is finished is held
against one that was never killed, and a new one is begun.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Case, Ledger
from torch import nn

from mulligan.activations import Plan, Recording, record
from mulligan.datasets import load_dataset
from mulligan.networks import ImageInput, Network
from mulligan.runs import Run

COMMAND = "python benchmarks/kills.py"
EACH = 50  # kills in a repeat
EXAMPLES, SHARD = 480, 4
PLAN = Plan(("0", "2"), ("mean", "full"), batch=2, shard=SHARD, fast="never")
WRONG = ("shards lost or done again", "arrays or index unlike the whole recording's", "files left behind")


def main() -> None:
    """Make the repeats that are not in the ledger yet; the exit status is 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--again", action="store_true", help="measure what is in the ledger, too")
    parser.add_argument("--once", type=int, metavar="KILLS", help="print the counts of so many kills; no ledger")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.once is not None:
        print(json.dumps(_counted(given.once, given.seed)))
        return
    repeats = max(1, given.kills // EACH)
    name = f"{EACH} kills -9 of recorders, {EXAMPLES // SHARD} shards a recording"
    case = Case(name, "killed", repeats, {})
    ledger, wrong = Ledger("kills", COMMAND, given.again), 0
    for repeat in range(repeats):
        if ledger.has(case, "killed", repeat):
            continue
        began = time.perf_counter()
        counts = _counted(EACH, given.seed + repeat)
        values: dict[str, tuple[float | None, str]] = {measure: (count, "") for measure, count in counts.items()}
        ledger.add(case, "killed", repeat, {**values, "wall time": (time.perf_counter() - began, "s")})
        wrong += sum(counts[measure] for measure in WRONG)
        print(f"repeat {repeat + 1} of {repeats}: {dict(counts)}", flush=True)
    sys.exit(wrong > 0)


def _counted(kills: int, seed: int) -> dict[str, int]:
    """Kill so many recorders; how many recordings were finished in between, and what was wrong with them."""
    with tempfile.TemporaryDirectory() as folder:
        home, rng = Path(folder), random.Random(seed)
        recorder = _recorder(home)
        start, whole = _life(home, recorder)
        shard = (whole - start) / (EXAMPLES // SHARD)
        counts = Counter(dict.fromkeys(("kills", "kills amid a shard's write", "recordings finished", *WRONG), 0))
        while counts["kills"] < kills:
            run = Run.create("record", [], {}, out=home / "killed")
            kept: dict[str, tuple[int, int]] = {}
            torn: set[Path] = set()
            while True:
                if counts["kills"] == kills:
                    status = _ended(_fork(partial(recorder, run)))
                elif rng.random() < 0.5:
                    status = _killed_in_a_write(recorder, run, rng.randrange(1, 11), rng.uniform(0, shard))
                else:
                    # Some die anywhere in a whole life, so also in the index; the others in their first ten shards.
                    life = rng.uniform(0, whole if rng.random() < 0.4 else start + 10 * shard)
                    status = _killed_after(life, _fork(partial(recorder, run)))
                now = _shards(run)
                counts[WRONG[0]] += sum(now.get(name) != told for name, told in kept.items())
                kept = now
                if os.WIFSIGNALED(status):
                    counts["kills"] += 1
                    before, torn = torn, set(run.path.glob("pieces/*/.*.part"))
                    counts["kills amid a shard's write"] += bool(torn - before)
                elif status:
                    raise SystemExit("a recorder failed by itself: see above")
                else:
                    break
            run.update(status="finished")
            counts["recordings finished"] += 1
            counts.update(_told(home, partial(_compared, run, Run.open(home / "whole"))))
            shutil.rmtree(run.path)
        return dict(counts)


def _recorder(home: Path) -> Callable[[Run], object]:
    """Records a small seeded network over random pictures; what a fork need not find out again is known here."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(1152, 4))
    taken = ImageInput(size=(16, 16), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    network = Network(module, name="small", input=taken, classes=tuple("abcd"))
    pixels = np.random.default_rng(0).integers(0, 256, (EXAMPLES, 16, 16, 3), dtype=np.uint8)
    np.savez(home / "data.npz", x=pixels)
    dataset = load_dataset(home / "data.npz")
    assert network.dry_run
    assert network.identity
    assert dataset.identity
    return lambda run: record(network, dataset, PLAN, run)


def _life(home: Path, recorder: Callable[[Run], object]) -> tuple[float, float]:
    """How long a recording that nobody kills takes, to its first shard and in all; it is kept as `whole`."""
    run, began = Run.create("record", [], {}, out=home / "whole"), time.monotonic()
    child = _fork(lambda: recorder(run))
    while not _shards(run) and time.monotonic() - began < 60:
        time.sleep(0.001)
    start = time.monotonic() - began
    if _ended(child):
        raise SystemExit("the recording fails without any kill: see above")
    return start, time.monotonic() - began


def _fork(work: Callable[[], object]) -> int:
    """Do it in a fork, whose exit status says whether it ended well."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return child


def _ended(child: int) -> int:
    """Its wait status."""
    return os.waitpid(child, 0)[1]


def _killed_after(life: float, child: int) -> int:
    """Kill it after so many seconds, unless it is done; its wait status."""
    time.sleep(life)
    os.kill(child, signal.SIGKILL)  # one that is done stays a zombie until it is waited for: no other is hit
    return _ended(child)


def _killed_in_a_write(recorder: Callable[[Run], object], run: Run, number: int, later: float) -> int:
    """Fork a recorder, and kill it so many seconds after it has begun to write its next shard but `number`."""
    reader, writer = os.pipe()
    real = Run.write_arrays

    def tell(self: Run, *arguments: Any, **named: Any) -> None:
        os.write(writer, b".")
        real(self, *arguments, **named)

    def work() -> None:
        os.close(reader)
        Run.write_arrays = tell  # in the fork alone
        recorder(run)

    child = _fork(work)
    os.close(writer)
    for _ in range(number):
        if not os.read(reader, 1):  # it has ended
            break
    status = _killed_after(later, child)
    os.close(reader)
    return status


def _told(home: Path, work: Callable[[], Any]) -> Any:
    """What a function gives, found in a fork: reading tables starts threads, and this process must have one alone."""
    answer = home / "answer.json"
    if _ended(_fork(lambda: answer.write_text(json.dumps(work())))):
        raise SystemExit("the recording cannot be read: see above")
    return json.loads(answer.read_text())


def _shards(run: Run) -> dict[str, tuple[int, int]]:
    """The finished shards: one that is written again has another time."""
    found = {}
    for path in run.path.glob("pieces/*/[!.]*.safetensors"):
        stat = path.stat()
        found[path.name] = (stat.st_size, stat.st_mtime_ns)
    return found


def _compared(run: Run, whole: Run) -> dict[str, int]:
    """What is wrong with a finished run, held against one that was never killed."""
    ours, theirs = Recording(run), Recording(whole)
    unlike = [ours.ids != theirs.ids, ours.examples.tolist() != theirs.examples.tolist(), ours.names != theirs.names]
    for name in theirs.names:
        unlike.append(ours.array(name).tobytes() != theirs.array(name).tobytes())
        some = theirs.ids[:: EXAMPLES // 8]
        unlike += [ours.example(id, name).tobytes() != theirs.example(id, name).tobytes() for id in some]
    files = [{str(path.relative_to(of.path)) for path in of.path.rglob("*") if path.is_file()} for of in (run, whole)]
    return {WRONG[1]: sum(unlike), WRONG[2]: len(files[0] - files[1]), WRONG[0]: len(files[1] - files[0])}


if __name__ == "__main__":
    main()
