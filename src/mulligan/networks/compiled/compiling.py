"""Compile a pass with an engine, keep what was compiled between runs, and run it batch by batch."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import logging
import os
import platform
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

from ...runs import canonical, code_digest, digest, library_versions, write_bytes
from ...runs.caches import cache_folder, trim
from ..inputs import TokenInput
from ..network import Network
from . import inductor_engine, openvino_engine
from .shapes import ShapeRules
from .tracing import Compute, NotCompiled, trace

_log = logging.getLogger(__name__)

EngineName = Literal["openvino", "inductor"]
_ENGINES: dict[str, ModuleType] = {"openvino": openvino_engine, "inductor": inductor_engine}

#: Seconds that building takes: a base, and some for each module that runs, more where a text's length is free. Measured
#: on EfficientNet-lite0 (200 modules that run) and SmolLM2-135M (396), on 2 cores.
_PRICES = {"openvino": (1.5, 0.03, 0.07), "inductor": (20.0, 0.15, 0.3)}
_READING = 1e9  # bytes of weights a second, from the cache


@dataclass
class Compiled:
    """A compiled pass: (x, mask) to named tensors, as the `Compute` that it was made of.

    Attributes:
        engine: who runs it. seconds: what building and reading it took. cached: whether it had been built before.
    """

    engine: EngineName
    seconds: float
    cached: bool
    _run: Any = field(repr=False)
    _names: tuple[str, ...] = field(repr=False)
    _fixed_batch: int | None = field(repr=False)
    _rules: ShapeRules = field(repr=False)
    _texts: bool = field(repr=False)

    def __call__(self, x: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Run a batch of any size.

        A graph that takes one batch size only is given the batch in parts, the last one filled up with its last row.

        Raises:
            NotCompiled: if the engine refuses this very batch.
        """
        try:
            return self._parts(x, mask)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError, ValueError) as error:
            told = [line.strip() for line in str(error).splitlines() if line.strip()]
            reason = next((line for line in told if not line.startswith("Exception from")), "it says nothing")
            raise NotCompiled(f"{self.engine} refuses it ({reason[:200].rstrip('.')})") from error

    def _parts(self, x: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
        inputs = [x]
        if self._texts:
            inputs.append(mask if mask is not None else torch.ones_like(x, dtype=torch.bool))
        if self._fixed_batch is None:
            return dict(zip(self._names, self._allowed(inputs), strict=False))
        size, parts = self._fixed_batch, []
        for start in range(0, len(x), size):
            here = [tensor[start : start + size] for tensor in inputs]
            count = len(here[0])
            full = [torch.cat([t, t[-1:].expand(size - count, *t.shape[1:])]) if count < size else t for t in here]
            parts.append([out[:count] for out in self._allowed(full)])
        return {name: torch.cat(column) for name, column in zip(self._names, zip(*parts, strict=True), strict=False)}

    def _allowed(self, inputs: list[Tensor]) -> tuple[Tensor, ...]:
        sizes = {name: tensor.shape for name, tensor in zip(("x", "mask"), inputs, strict=False)}
        if not self._rules.allow(sizes):
            raise NotCompiled(f"the graph was made for other shapes than {tuple(inputs[0].shape)}")
        return self._run(*inputs)


def engines(network: Network) -> tuple[list[EngineName], str]:
    """The engines that can be used where the network is, the fastest first; and why the others, or none, cannot."""
    usable: list[EngineName] = []
    reasons = []
    names: tuple[EngineName, ...] = ("openvino", "inductor")
    for name in names:
        reason = _ENGINES[name].missing(network.device)
        if reason is None:
            usable.append(name)
        else:
            reasons.append(reason)
    return usable, "; ".join(reasons)


def compile_pass(
    network: Network, compute: Compute, *, what: str, engine: EngineName | None = None, wide: bool = True
) -> Compiled:
    """`compute` compiled, from the cache where it was built before.

    Args:
        what: text that stands for what `compute` does; equal texts share a cache entry.
        engine: who is to run it; None: the fastest that is there and can.
        wide: whether numbers are kept in 32 bits; else bfloat16 where the engine likes.

    Raises:
        NotCompiled: if no engine can.
    """
    usable, why = engines(network)
    wanted: list[EngineName] = [engine] if engine is not None else usable
    reasons = [why] if why and not wanted else []
    for name in wanted:
        absent = _ENGINES[name].missing(network.device)
        if absent is not None:
            raise NotCompiled(absent)
        try:
            return _compiled(network, compute, what, name, wide)
        except NotCompiled as error:
            reasons.append(str(error))
    raise NotCompiled("; ".join(dict.fromkeys(reasons)))


def expected_seconds(network: Network, what: str, engine: EngineName) -> tuple[float, bool]:
    """About how long `compile_pass` will take, and whether it was built before."""
    stem = _stem(network, what, engine)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in network.module.state_dict().values())
    reading = 0.5 + weights / _READING
    if stem.with_suffix(".json").exists():
        return reading, True
    base, each, each_of_text = _PRICES[engine]
    ran = sum(step.leaving for step in network.dry_run.order)
    return base + (each_of_text if isinstance(network.input, TokenInput) else each) * ran + reading, False


def _compiled(network: Network, compute: Compute, what: str, name: EngineName, wide: bool) -> Compiled:
    began = time.perf_counter()
    stem = _stem(network, what, name)
    label = stem.with_suffix(".json")
    for attempt in ("cached", "built"):
        known = _read(label)
        cached = attempt == "cached" and known is not None
        if attempt == "built":
            try:
                known = _build(network, compute, stem, _ENGINES[name])
            except OSError as error:
                raise NotCompiled(f"the cache cannot be written ({error})") from error
        if known is None:
            continue
        try:
            if name == "openvino":
                run: Any = openvino_engine.Runner(stem, torch.get_num_threads(), wide)
            else:
                run = inductor_engine.Runner(stem, network.device)
        except Exception as error:
            if attempt == "built":
                raise NotCompiled(f"{name} cannot read what it wrote ({str(error)[:200]})") from error
            _log.warning("the compiled pass %s cannot be read and is built anew: %s", stem, error)
            continue
        texts = isinstance(network.input, TokenInput)
        seconds = time.perf_counter() - began
        return Compiled(name, seconds, cached, run, tuple(known["names"]), known["fixed_batch"], known["rules"], texts)
    raise NotCompiled(f"{name} gave nothing")


def _build(network: Network, compute: Compute, stem: Path, engine: ModuleType) -> dict[str, Any]:
    """Trace, build and put into the cache; the label comes last, so that an entry without it does not exist."""
    traced = trace(network, compute)
    known = {"names": list(traced.names), "fixed_batch": traced.fixed_batch, "rules": list(traced.rules.texts)}
    stem.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=stem.parent) as folder:
        fresh = Path(folder) / stem.name
        engine.build(traced, fresh)
        for suffix in engine.SUFFIXES:
            os.replace(fresh.with_suffix(suffix), stem.with_suffix(suffix))
    write_bytes(stem.with_suffix(".json"), json.dumps(known).encode())
    trim(stem.parent)
    return {**known, "rules": traced.rules}


def _read(label: Path) -> dict[str, Any] | None:
    try:
        known = json.loads(label.read_bytes())
        names, rules = [str(name) for name in known["names"]], ShapeRules(known["rules"])
        found = {"names": names, "fixed_batch": known["fixed_batch"], "rules": rules}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    with suppress(OSError):
        label.touch()  # the least used go first when the cache is full
    return found


def _stem(network: Network, what: str, engine: str) -> Path:
    """Where a compiled pass lies in the cache, without a suffix."""
    versions = canonical(dict(library_versions()))
    made = (engine, _version(engine), _processor(engine, network.device), code_digest(), versions)
    key = digest(network.identity, network.task, _sources(network), what, *made)
    return cache_folder("compiled") / key[:40]


def _sources(network: Network) -> str:
    """A hash of the code that runs: two classes of one name and the same weights may compute other things."""
    kinds: dict[Any, None] = dict.fromkeys(type(module) for module in network.module.modules())
    texts = []
    code: tuple[Any, ...] = (*kinds, network._call, network._answer)
    for kind in code:
        try:
            texts.append(inspect.getsource(kind))
        except (OSError, TypeError):  # built in, made on the fly, or none
            texts.append(getattr(kind, "__qualname__", type(kind).__qualname__))
    return digest(*texts)


def _processor(engine: str, device: torch.device) -> str:
    """For which processor machine code was made."""
    if engine != "inductor":
        return ""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def forget(network: Network, what: str, engine: EngineName) -> None:
    """Drop a cache entry that turned out wrong."""
    _stem(network, what, engine).with_suffix(".json").unlink(missing_ok=True)


def _version(engine: str) -> str:
    try:
        return importlib.metadata.version("openvino") if engine == "openvino" else torch.__version__
    except importlib.metadata.PackageNotFoundError:
        return "none"
