"""Recordings in processes of their own: killed at any moment, and watched for the memory that they take."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import activations_small
import numpy as np
import pytest
from activations_small import Made, a_run, conv

from mulligan.activations import Plan, Recording, record
from mulligan.runs import Run

# Forked recorders are killed 15 times; then one is left to finish. Forks share the parent's modules: no second is lost.
KILLER = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from activations_small import Made, conv
from mulligan.activations import Plan, record
from mulligan.runs import Run
torch.set_num_threads(1)
run, rng, done = Run.open(Path(sys.argv[1])), random.Random(0), 0
network, dataset = conv(seconds=0.002), Made(600)
network.dry_run, network.identity, dataset.identity
plan = Plan(("first", "second"), ("mean", "full"), batch=3, shard=3)
def shards():
    return {path.name: path.stat().st_mtime_ns for path in run.path.glob("pieces/*/[!.]*.safetensors")}
before, kills = {}, 0
while True:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            record(network, dataset, plan, run)
            status = 0
        finally:
            os._exit(status)
    if kills < 15:
        patience = time.monotonic() + 20
        while len(shards()) == len(before) and time.monotonic() < patience:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        kills += 1
    _, status = os.waitpid(child, 0)
    after = shards()
    # No finished shard is lost, or done again.
    assert before.items() <= after.items(), "lost or done again"
    before = after
    if status == 0:
        break
    assert kills <= 15 and os.WIFSIGNALED(status), status
    assert not (run.path / "tables/recording.parquet").exists(), "an index of what is not there"
print(kills, len(before))
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.path.dirname(activations_small.__file__)}


def test_a_recording_that_is_killed_again_and_again_is_the_same_in_the_end(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    command = [sys.executable, "-c", KILLER, os.fspath(run.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment())
    assert done.stderr == ""
    kills, shards = map(int, done.stdout.split())
    assert kills == 15
    assert shards == 200
    # Nothing of the killed ones is left.
    left = [path.name for path in run.path.rglob("*") if path.is_file() and path.suffix != ".safetensors"]
    assert sorted(left) == ["manifest.json", "recording.parquet"]
    whole = record(
        conv(), Made(600), Plan(("first", "second"), ("mean", "full"), batch=3, shard=3), a_run(tmp_path / "whole")
    )
    found = Recording(Run.open(run.path))
    assert found.ids == whole.ids
    assert found.names == whole.names
    for name in whole.names:
        np.testing.assert_allclose(found.array(name), whole.array(name), rtol=1e-5, atol=1e-6)


# The peak since the process began; the first recording is the warm-up.
WATCHED = """
import sys
from pathlib import Path
from activations_small import Made, a_run, conv
from mulligan.activations import Plan, record
plan = Plan(("first", "act", "second", "head"), ("mean", "max", "full"), batch=16, shard=64)
for n in (128, int(sys.argv[2])):
    record(conv(), Made(n), plan, a_run(Path(sys.argv[1]) / f"{n}"))
    (peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(peak)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="only Linux tells a process's peak of memory")
def test_memory_does_not_grow_with_the_number_of_examples(tmp_path: Path) -> None:
    peaks = []
    for n in (200, 2000):
        command = [sys.executable, "-c", WATCHED, os.fspath(tmp_path / f"of {n}"), str(n)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment(), check=True)
        peaks.append(int(done.stdout))
    assert peaks[1] <= 1.05 * peaks[0], peaks
