"""torch's own compiler (AOTInductor) runs the graph: needs a C++ compiler on a CPU, Triton on a GPU.

Weights are frozen in (batch norms folded, matrices packed). The file holds machine code that was compiled here; it is
read from our own cache folder only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .tracing import NotCompiled, Traced

NAME = "inductor"
SUFFIXES = (".pt2",)
_REPLAYS = 8  # shapes that are kept as CUDA graphs
_PATIENCE = 120.0
# Seen on an H100 with torch 2.11: a segmentation fault while the package was being read.
_READ = (
    "import sys; from torch._inductor import aoti_load_package; "
    "aoti_load_package(sys.argv[1], run_single_threaded=True, device_index=int(sys.argv[2]))"
)


def missing(device: torch.device) -> str | None:
    """Why this engine cannot be used on `device`; None if it can."""
    if device.type == "cuda":
        return None
    if device.type != "cpu":
        return f"torch's compiler is used on CPU and CUDA only, and the network is on {device.type}"
    if shutil.which(os.environ.get("CXX", "g++")) is None and shutil.which("clang++") is None:
        return "torch's compiler needs a C++ compiler, and there is none"
    return None


def build(traced: Traced, stem: Path) -> None:
    """Write the graph as `stem`.pt2.

    Raises:
        NotCompiled: if the compiler cannot.
    """
    from torch._inductor import aoti_compile_and_package

    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            aoti_compile_and_package(
                traced.program, package_path=str(stem.with_suffix(".pt2")), inductor_configs={"freezing": True}
            )
    except Exception as error:
        first = (str(error).strip().split("\n")[0].rstrip(".:") or type(error).__name__)[:200]
        raise NotCompiled(f"torch's compiler cannot take this network's graph ({first})") from error
    devices = {tensor.device for tensor in traced.program.state_dict.values()}
    if any(device.type == "cuda" for device in devices):
        prove(stem, max(device.index or 0 for device in devices))


def prove(stem: Path, index: int, command: Sequence[str] = (sys.executable, "-c", _READ)) -> None:
    """Read what was built for a GPU in a process of its own: on some machines reading it ends the process that does.

    Raises:
        NotCompiled: if that process dies, or takes longer than `_PATIENCE` seconds.
    """
    try:
        ended = subprocess.run(
            [*command, str(stem.with_suffix(".pt2")), str(index)], capture_output=True, timeout=_PATIENCE, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        ended = None
    if ended != 0:
        how = "did not end" if ended is None else f"ended with {ended}"
        raise NotCompiled(f"what torch's compiler built cannot be read on this GPU (a process that tried {how})")


class Runner:
    """A graph read from its file, ready to run; on CUDA, replayed as one graph for each shape that comes often.

    Args:
        stem: as `build` wrote it. device: where it runs.
    """

    def __init__(self, stem: Path, device: torch.device) -> None:
        from torch._inductor import aoti_load_package

        cuda = device.type == "cuda"
        # One thread, since a run that looks after several cannot be captured as a CUDA graph.
        where = (device.index or 0) if cuda else -1
        self._run: Any = aoti_load_package(str(stem.with_suffix(".pt2")), run_single_threaded=cuda, device_index=where)
        self._device = device
        self._replays: dict[tuple[torch.Size, ...], _Replay | None] = {}

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            if self._device.type != "cuda":
                return tuple(self._run(*inputs))
            # From pinned memory, so that the copy runs beside the work on the batch before.
            there = [
                (tensor.pin_memory() if tensor.device.type == "cpu" else tensor).to(self._device, non_blocking=True)
                for tensor in inputs
            ]
            shapes = tuple(tensor.shape for tensor in there)
            if shapes not in self._replays and len(self._replays) >= _REPLAYS:
                return tuple(self._run(*there))  # each graph holds memory of its own
            if shapes not in self._replays:
                # The first pass of a shape is plain; a shape that comes again is worth recording.
                self._replays[shapes] = None
                return tuple(self._run(*there))
            if self._replays[shapes] is None:
                self._replays[shapes] = _Replay(self._run, there)
            replay = self._replays[shapes]
            assert replay is not None
            return replay(there)


class _Replay:
    """A CUDA graph: all kernels of a pass launched at once, from fixed places in memory."""

    def __init__(self, run: Any, inputs: list[Tensor]) -> None:
        self._inputs = [tensor.clone() for tensor in inputs]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            run(*self._inputs)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._outputs = run(*self._inputs)

    def __call__(self, inputs: list[Tensor]) -> tuple[Tensor, ...]:
        for place, tensor in zip(self._inputs, inputs, strict=True):
            place.copy_(tensor)
        self._graph.replay()
        return tuple(tensor.clone() for tensor in self._outputs)
