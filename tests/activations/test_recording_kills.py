"""A few of the kills that `benchmarks/kills.py` makes by the thousand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = Path(__file__).resolve().parents[2] / "benchmarks" / "kills.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_recorders_killed_at_random_moments_lose_double_and_tear_nothing() -> None:
    command = [sys.executable, os.fspath(KILLS), "--once", "12", "--seed", "7"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts.pop("kills") == 12
    assert counts.pop("recordings finished") >= 1
    assert counts.pop("kills amid a shard's write") >= 1
    assert counts == dict.fromkeys(counts, 0)
    assert len(counts) == 3
