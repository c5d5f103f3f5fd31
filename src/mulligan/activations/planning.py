"""How a recording is run: which engine, how many examples at a time. Decided from one measured batch, with reasons.

Compiling pays only where much is left to do: a few seconds to a minute, less where the same pass was compiled before.
A compiled pass must agree with the eager one on the measured batch, and be faster; else the eager one is taken.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from ..datasets import Batch, Dataset, batches
from ..networks import ImageInput, Network, NetworkInput, TokenInput
from ..networks.compiled import EngineName, NotCompiled, engines, expected_seconds, forget
from ..records import BadInput
from .passes import CompiledPass, EagerPass, Pass, Wanted, compiled_pass, finished, not_for_graphs

Fast = Literal["auto", "always", "never"]

_FIRST = 16  # examples in the measured batch, before anything is known
_MOST = 256  # examples in a batch
_LONG_ENOUGH = 0.05  # seconds of a batch, below which a larger one would lose less to calls
_SHARE = 0.25  # of the free memory, for what passes through the network
_USUAL_GAIN = 2.0  # times that compiling is at least expected to be faster, before it is measured
#: max|a - b| / max|a| between compiled and eager, by precision.
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}
_SAME_PLACES = 0.99  # of whole numbers (where a maximum is), which near ties may move


@dataclass(frozen=True, slots=True)
class Planned:
    """What was decided.

    Attributes:
        run: the pass. batch: examples at a time. why: a sentence on the engine, with the seconds that it goes by.
        seconds: an example took so long when it was measured; 0 if nothing was.
        tokens: of texts, at most so many places at a time, padding included; None if that is no matter.
    """

    run: Pass
    batch: int
    why: str
    seconds: float = 0.0
    tokens: int | None = None

    def text(self) -> str:
        """One line for a person."""
        threads = getattr(self.run, "threads", None)
        how = f", {threads} thread" if threads == 1 else ""
        return f"recording with {self.run.engine}, {self.batch} examples at a time{how}: {self.why}"


def plan_pass(
    network: Network,
    dataset: Dataset,
    input: NetworkInput,
    wanted: Wanted,
    rows: Sequence[int] | np.ndarray,
    *,
    fast: Fast = "auto",
    batch: int | None = None,
) -> Planned:
    """Decide how `rows` of the data are to be run.

    Args:
        rows: numbers of the examples that are still to be done; one batch of them is run here, a few times.
        fast: "auto" weighs; "never" is eager; "always" compiles whatever it costs.
        batch: examples at a time; None: as many as suit the network and the memory.

    Raises:
        BadInput: if `fast` is "always" and the pass cannot be compiled, naming the reason; or if the network or the
            data do.
    """
    if fast not in get_args(Fast):
        raise BadInput(f"{fast!r} is not known", where="fast", fix="give auto, always or never")
    eager = EagerPass(network, wanted)
    size = batch or _fitting(network, dataset, rows, input)
    tokens = size * _longest(dataset, rows, input) if isinstance(input, TokenInput) else None
    first = _first_batch(dataset, input, rows, size, tokens)
    once = _timed(network, eager, first, wanted)
    if once < 1.0:
        once = _timed(network, eager, first, wanted)  # the first of all also paid for what is made lazily
    while batch is None and once < _LONG_ENOUGH and size < min(_MOST, len(rows)):
        grown = min(4 * size, _MOST, len(rows), _fitting(network, dataset, rows, input, _MOST))
        if grown <= size:
            break
        size, tokens = grown, tokens and tokens * grown // size
        first = _first_batch(dataset, input, rows, size, tokens)
        once = _timed(network, eager, first, wanted)
    each = once / len(first.x)
    if fast == "never":
        return Planned(eager, size, "compiling was not asked for", each, tokens)
    left = each * len(rows)
    if fast == "auto" and left < 1:
        return Planned(eager, size, f"all of it takes {_said(left)}", each, tokens)
    if network.device.type == "cpu" and once < _LONG_ENOUGH and torch.get_num_threads() > 1:
        # Small layers lose more to handing work between threads than they gain.
        alone = EagerPass(network, wanted, threads=1)
        quick = min(_timed(network, alone, first, wanted) for _ in range(2))
        if quick < once:
            eager, once, each = alone, quick, quick / len(first.x)
            left = each * len(rows)
    if _of_pictures(network, input) and left > 4 * once:
        # What CPUs convolve fastest, for free: only the order of axes in memory.
        turned = EagerPass(network, wanted, channels_last=True, threads=eager.threads)
        _timed(network, turned, first, wanted)
        quick = _timed(network, turned, first, wanted)
        if quick < once:
            eager, each, left = turned, quick / len(first.x), quick / len(first.x) * len(rows)
    refused = _reason_against(network, wanted, left, fast)
    if refused:
        if fast == "always":
            raise BadInput(
                f"this pass cannot be compiled: {refused}", where=network.name, fix="leave it to --fast auto"
            )
        return Planned(eager, size, refused, each, tokens)
    try:
        compiled = checked_pass(network, wanted, first)
    except NotCompiled as error:
        if fast == "always":
            raise BadInput(
                f"this pass cannot be compiled: {error}", where=network.name, fix="leave it to --fast auto"
            ) from error
        return Planned(eager, size, f"it cannot be compiled: {error}", each, tokens)
    quick = _timed(network, compiled, first, wanted) / len(first.x)
    if quick >= each and fast == "auto":
        why = f"{compiled.engine} takes {_said(quick)} an example and eager {_said(each)}"
        return Planned(eager, size, why, each, tokens)
    how = "read from the cache" if compiled.compiled.cached else "compiled"
    gain = f"{each / quick:.1f} times as fast as eager, {_said(left)} become {_said(quick * len(rows))}"
    return Planned(compiled, size, f"{how} in {_said(compiled.compiled.seconds)}; {gain}", quick, tokens)


def checked_pass(network: Network, wanted: Wanted, batch: Batch, engine: EngineName | None = None) -> CompiledPass:
    """A compiled pass that gives what the eager one does on `batch`.

    What was read from the cache and does not agree is compiled once more: the network's own code may have changed.

    Raises:
        NotCompiled: if there is none, with the reason.
    """
    expected = _kept(network, EagerPass(network, wanted), batch, wanted)
    while True:
        compiled = compiled_pass(network, wanted, engine)
        # Not through the pass itself, which would answer a refusal by running eagerly.
        found = finished(network, compiled.compiled(batch.x, batch.mask), batch.x, batch.mask, wanted.answers)
        wrong = disagreement(expected, found, wanted.precision)
        if wrong is None:
            return compiled
        if not compiled.compiled.cached:
            raise NotCompiled(f"what was compiled does not agree with the eager pass ({wrong})")
        forget(network, wanted.text(), compiled.compiled.engine)


def disagreement(one: dict[str, Tensor], other: dict[str, Tensor], precision: str = "float32") -> str | None:
    """Where two passes over the same batch differ by more than rounding; None if nowhere.

    Numbers agree if `max|a - b| / max|a|` is at most 1e-4 (5e-2 in bfloat16), with NaN at the same places, where
    max|a| is over all that is kept of the site (means over normed units are zero up to rounding); whole numbers (the
    place of a maximum, a token) if 99 % are the same.
    """
    scales: dict[str, float] = {}
    for name, a in one.items():
        if a.is_floating_point() and a.numel():
            site = name.partition("|")[0]
            scales[site] = max(scales.get(site, 0.0), float(a.nan_to_num(0, 0, 0).abs().max()))
    if set(one) != set(other):
        return f"the passes give {len(one)} and {len(other)} arrays"
    for name, a in one.items():
        b = other[name]
        if a.shape != b.shape:
            return f"{name} has shape {tuple(a.shape)} and {tuple(b.shape)}"
        if a.dtype != b.dtype:
            return f"{name} is {a.dtype} and {b.dtype}"
        if not a.numel():
            continue
        if not a.is_floating_point():
            if float((a == b).float().mean()) < _SAME_PLACES:
                return f"{name} differs in more than 1 % of its numbers"
            continue
        if not torch.equal(a.isnan(), b.isnan()) or not torch.equal(a.isinf(), b.isinf()):
            return f"{name} has NaN or infinity at other places"
        gap, scale = float((a - b).nan_to_num(0, 0, 0).abs().max()), scales[name.partition("|")[0]]
        if gap > TOLERANCE[precision] * scale:
            return f"{name} differs by {gap / scale if scale else gap:.1e} of its largest value"
    return None


def _reason_against(network: Network, wanted: Wanted, left: float, fast: Fast) -> str | None:
    """Why compiling is not even tried."""
    refused = not_for_graphs(wanted)
    if refused:
        return refused
    usable, why = engines(network)
    if not usable:
        return why
    seconds, built = expected_seconds(network, wanted.text(), usable[0])
    if fast == "auto" and left * (1 - 1 / _USUAL_GAIN) < seconds:
        act = "reading what was compiled" if built else "compiling"
        return f"{_said(left)} of work are left, and {act} takes about {_said(seconds)}"
    return None


def cut(lengths: Sequence[int], size: int, tokens: int | None) -> list[slice]:
    """Batches of texts that stand in this order: at most `size` texts, and at most `tokens` places, padding included.

    A text that is longer is a batch of its own.
    """
    slices, start, longest = [], 0, 0
    for at, length in enumerate(lengths):
        longest = max(longest, length)
        if at > start and (at - start == size or (tokens is not None and (at + 1 - start) * longest > tokens)):
            slices.append(slice(start, at))
            start, longest = at, length
    return [*slices, slice(start, len(lengths))]


def _first_batch(
    dataset: Dataset, input: NetworkInput, rows: Sequence[int] | np.ndarray, size: int, tokens: int | None
) -> Batch:
    some = rows[:size]
    if isinstance(input, TokenInput):
        lengths = input.encode(dataset.gather(np.asarray(some)))[1].sum(1).tolist()
        some = some[cut(lengths, size, tokens)[0]]
    return next(batches(dataset, input, some, len(some)))


def _longest(dataset: Dataset, rows: Sequence[int] | np.ndarray, input: TokenInput) -> int:
    """Tokens of the longest of some texts."""
    some = [int(rows[at]) for at in np.linspace(0, len(rows) - 1, min(len(rows), 16)).astype(int)]
    return input.encode(dataset.gather(np.asarray(some)))[0].shape[1]


def _timed(network: Network, run: Pass, batch: Batch, wanted: Wanted) -> float:
    """Seconds of one batch."""
    began = time.perf_counter()
    _kept(network, run, batch, wanted)  # on the CPU: a GPU has then done its work
    return time.perf_counter() - began


def _kept(network: Network, run: Pass, batch: Batch, wanted: Wanted) -> dict[str, Tensor]:
    """What one batch gives, as it is stored."""
    found = run(batch.x, batch.mask, [int(row) for row in batch.indices])
    kept = finished(network, found, batch.x, batch.mask, wanted.answers)
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in kept.items()}


def _fitting(
    network: Network, dataset: Dataset, rows: Sequence[int] | np.ndarray, input: NetworkInput, most: int = _FIRST
) -> int:
    """As many examples as a share of the free memory holds, at most `most`; a power of two."""
    run = network.dry_run
    size = len(run.x)
    # While a module runs, its input, its output and something beside are there.
    an_example = 3 * 4 * max((int(np.prod(shape)) for shape in run.ports.values()), default=1) / size
    if isinstance(input, TokenInput):
        an_example *= max(_longest(dataset, rows, input) / run.x.shape[1], 1) ** (2 if _quadratic(network) else 1)
    free = psutil.virtual_memory().available
    if network.device.type == "cuda":
        free = torch.cuda.mem_get_info(network.device)[0]
    fit = int(_SHARE * free / max(an_example, 1))
    return max(1, min(most, len(rows), 1 << max(fit.bit_length() - 1, 0)))


def _quadratic(network: Network) -> bool:
    """Whether what passes grows with the square of a text's length: where a site has queries and keys."""
    return any({"query", "key"} <= set(axes) for axes in network.dry_run.axes.values())


def _of_pictures(network: Network, input: NetworkInput) -> bool:
    return (
        isinstance(input, ImageInput)
        and network.device.type == "cpu"
        and any(isinstance(module, nn.Conv2d) for module in network.module.modules())
    )


def _said(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds / 60:.3g} min"
