"""Feature visualization: many pictures climb side by side, each toward its own objective.

    objectives -> one forward to the last site they read -> one gradient for all pictures -> a step of each

Olah et al. 2017 (doi 10.23915/distill.00007). The network is a quickened copy, the pass ends at the last site, the
first steps are taken on a smaller canvas where the network allows, and a picture that no longer rises leaves the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ..networks import ImageInput, Network
from ..records import Advanced, BadInput, Emit, Finished, Started, silent
from ..runs import derived_seed
from .adam import Adam
from .narrowed import Narrowed, narrowed
from .objectives import Diversity, Objective
from .parametrizations import MaCo, Parametrization, parametrization, softness
from .pixels import from_bytes, to_bytes
from .quickened import kept_memory, quickened
from .reading import Reader
from .statistics import ImageStatistics, image_input
from .transforms import ROBUST, Transforms

#: Steps after which it is asked whether a picture still rises, and by how much of its rise so far it must.
WINDOW, RISE = 16, 0.01
#: The share of steps on the smaller canvas, and its side.
SMALL_STEPS, SMALL_SIDE, LEAST_SIDE = 0.4, 0.5, 96
#: The share of steps over which steps and transforms shrink, and what they shrink to.
CALM, CALM_RATE, CALM_TRANSFORMS = 0.4, 0.05, 0.25
#: max|a - b| / max|a| that gradients of the compiled step may differ by.
COMPILED = 1e-3
#: Why a picture failed.
STILL = "nothing in the picture moves it"
CHECK = "check the weights file and the input's scale"
BROKEN = f"its gradient is NaN or infinite: {CHECK}"


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How pictures are made.

    Attributes:
        steps: at most. size: height and width; None: what the network takes. parametrization: see `parametrizations`.
        rate: of a step; None: the parametrization's. progressive: begin on a smaller canvas. patient: never stop early.
        compiled: let torch compile the step, if it then gives the same gradients. On CPUs it was slower than the eager
            step wherever it was tried, after half a minute of compiling.
    """

    steps: int = 128
    size: tuple[int, int] | None = None
    parametrization: str = "fourier"
    transforms: Transforms = ROBUST
    rate: float | None = None
    progressive: bool = True
    patient: bool = False
    compiled: bool = False


@dataclass(frozen=True)
class Pictures:
    """What came of it, in the order of the objectives.

    Attributes:
        pixels: the pictures as they are stored. reached: each objective on exactly these pixels, before the
            nonlinearity and without transforms; NaN where it failed. steps: that each took. alpha: where gradients were
            large, 0 to 1; None but for MaCo. failed: number of a picture and the reason.
    """

    pixels: UInt8[np.ndarray, "n h w c"]
    reached: Float[np.ndarray, " n"]
    steps: Int[np.ndarray, " n"]
    alpha: Float[np.ndarray, "n h w"] | None = None
    failed: dict[int, str] = field(default_factory=dict)


def visualize(
    network: Network,
    objectives: Objective | Sequence[Objective],
    *,
    statistics: ImageStatistics | None = None,
    steps: int = 128,
    size: int | tuple[int, int] | None = None,
    parametrization: str = "fourier",
    transforms: Transforms = ROBUST,
    rate: float | None = None,
    start: Float[Tensor, "n c h w"] | Float[Tensor, "c h w"] | None = None,
    seed: int = 0,
    batch: int = 16,
    progressive: bool = True,
    patient: bool = False,
    compiled: bool = False,
    emit: Emit = silent,
) -> Pictures:
    """Pictures that the objectives rise on, one an objective.

    Args:
        statistics: of the user's pictures (`ImageStatistics.measure`); None: neutral ones.
        size: of the pictures; None: what the network takes.
        start: pictures from 0 to 1 to begin with (DeepDream), one or as many as objectives.
        batch: pictures that climb side by side. Those with one and the same objective stay together.
        steps, parametrization, transforms, rate, progressive, patient, compiled: see `How`.

    Raises:
        BadInput: if the network takes no pictures, or a site, unit, class or parametrization does not exist, or the
            network does not run at that size.
    """
    taken = image_input(network.input)
    every = [objectives] if isinstance(objectives, Objective) else list(objectives)
    if not every:
        raise BadInput("there is nothing to visualize", where=network.name, fix="give one objective or more")
    if steps < 1 or batch < 1:
        raise BadInput("steps and batch must be 1 or more", where=f"{steps} steps, batch {batch}", fix="give more")
    whole = (size, size) if isinstance(size, int) else size or taken.size
    how = How(
        steps=steps, size=whole, parametrization=parametrization, transforms=transforms, rate=rate,
        progressive=progressive, patient=patient, compiled=compiled,
    )  # fmt: skip
    stats = statistics or ImageStatistics.neutral(taken)
    begun = None
    if start is not None:
        begun = start.expand(len(every), *start.shape[-3:]) if start.dim() == 3 or len(start) == 1 else start
        if len(begun) != len(every) or tuple(begun.shape[2:]) != whole:
            raise BadInput(
                f"the pictures to begin with have shape {tuple(start.shape)}", where="start",
                fix=f"give one or {len(every)} of {whole[0]} x {whole[1]} pixels",
            )  # fmt: skip
    reader = Reader.of(network, every)
    results: list[_Climbed] = []
    emit(Started(job="visualize", total=len(every)))
    with kept_memory():
        quick = quickened(network, reader.watched)
        require_size(reader.on(quick), whole)
        for rows in batched(every, batch):
            mine = Reader.of(network, [every[row] for row in rows])
            own_seed = derived_seed(seed, "visualize", *(every[row].text for row in rows))
            climb = Climb(network, quick, mine, stats, how, own_seed)
            results.append(climb.run(None if begun is None else begun[rows]))
            emit(Advanced(job="visualize", done=sum(len(r.pixels) for r in results), total=len(every)))
    emit(Finished(job="visualize", seconds=0.0))
    order = np.argsort(np.concatenate(list(batched(every, batch))), kind="stable")
    failed = {
        rows[number]: why
        for rows, result in zip(batched(every, batch), results, strict=True)
        for number, why in result.failed.items()
    }
    alpha = None if results[0].alpha is None else np.concatenate([r.alpha for r in results])[order]  # pyright: ignore[reportArgumentType, reportCallIssue]
    return Pictures(
        np.concatenate([r.pixels for r in results])[order], np.concatenate([r.reached for r in results])[order],
        np.concatenate([r.steps for r in results])[order], alpha, failed,
    )  # fmt: skip


def require_size(reader: Reader, size: tuple[int, int]) -> None:
    """Nothing, where a network runs on pictures of that size as far as it is read.

    Raises:
        BadInput: if not: too small for a kernel, or another size than the only one.
    """
    taken = image_input(reader.network.input)
    if size == taken.size:
        return
    try:
        with torch.no_grad():
            reader.seen(torch.zeros(1, taken.channels, *size, device=reader.network.device))
    except (RuntimeError, AssertionError, ValueError) as error:
        why = str(error).strip().split("\n")[0]
        raise BadInput(
            f"the network does not run on pictures of {size[0]} x {size[1]} pixels: {why}",
            where=reader.network.name, fix=f"leave the size out; it takes {taken.size[0]} x {taken.size[1]}",
        ) from error  # fmt: skip


def batched(objectives: Sequence[Objective], size: int) -> list[list[int]]:
    """Numbers of the objectives in batches of about `size`: those that read the same sites side by side, and those that
    are one and the same objective never apart."""
    groups: dict[tuple[Any, ...], dict[int, list[int]]] = {}
    for row, objective in enumerate(objectives):
        groups.setdefault(objective.sites, {}).setdefault(id(objective), []).append(row)
    parts: list[list[int]] = []
    for same in groups.values():
        current: list[int] = []
        for rows in same.values():
            if current and len(current) + len(rows) > size:
                parts.append(current)
                current = []
            current = current + rows
        parts.append(current)
    return parts


@dataclass
class _Climbed:
    pixels: np.ndarray
    reached: np.ndarray
    steps: np.ndarray
    alpha: np.ndarray | None
    failed: dict[int, str]


class Climb:
    """One batch of pictures."""

    def __init__(
        self, network: Network, quick: Network, reader: Reader, statistics: ImageStatistics, how: How, seed: int
    ) -> None:
        self.network, self.quick, self.reader, self.statistics, self.how = network, quick, reader, statistics, how
        self.random = torch.Generator().manual_seed(seed)
        self.input: ImageInput = image_input(network.input)
        self.whole = how.size or self.input.size
        diverse = any(isinstance(term, Diversity) for o in reader.objectives for _, term in o.terms)
        # Pictures that are to differ from each other stay together to the end.
        self.patient = how.patient or diverse

    def run(self, start: Float[Tensor, "n c h w"] | None = None) -> _Climbed:
        """Climb, and measure what is stored."""
        n, how = len(self.reader.objectives), self.how
        extra: dict[str, Any] = {} if start is None else {"start": start}
        if how.parametrization in ("fourier", "shared"):
            extra["soft"] = softness(how.steps)
        param = parametrization(how.parametrization)(
            n, self.statistics, self.whole, self.random, self.network.device, **extra
        )
        small = self._small() if how.progressive and start is None else None
        final = np.zeros((n, *self.whole, self.input.channels), np.uint8)
        taken, failed = np.zeros(n, np.int64), {}
        weight = torch.zeros((n, *self.whole)) if isinstance(param, MaCo) else None
        alive = list(range(n))
        adam = Adam(param, how.rate or param.rate)
        reader = narrowed(self.reader.on(self.quick))
        history: list[np.ndarray] = []
        first, run = None, self._compiled(reader)
        for step in range(how.steps):
            size = small if small is not None and step < SMALL_STEPS * how.steps else self.whole
            if small is not None and size == self.whole and step < SMALL_STEPS * how.steps + 1:
                history.clear()
            left = 1 - step / how.steps
            calm = min(1.0, left / CALM)
            values, slopes, shades = self._slopes(
                param, reader, size, max(CALM_TRANSFORMS, calm) if calm < 1 else 1.0, run
            )
            if weight is not None and size == self.whole and shades is not None:
                weight[alive] += shades.abs().sum(1).cpu()
            now = values.detach().double().cpu().numpy()
            bad = self._bad(now, slopes, len(alive))
            for number in np.flatnonzero(bad).tolist():
                failed[alive[number]] = STILL if self._still(slopes, number) and np.isfinite(now[number]) else BROKEN
            adam.step(slopes, CALM_RATE + (1 - CALM_RATE) * calm)
            taken[alive] += 1
            first = now if first is None else first
            history.append(now)
            done = bad | self._settled(history, step, size)
            if done.all() or step == how.steps - 1:
                final[alive] = self._stored(param)
                break
            if done.any():
                leaving = np.flatnonzero(done)
                final[[alive[i] for i in leaving]] = self._stored(param)[leaving]
                rows = np.flatnonzero(~done).tolist()
                keep = torch.tensor(rows)
                param.keep(keep)
                adam.keep(keep)
                alive = [alive[i] for i in rows]
                history = [past[rows] for past in history]
                reader = reader.only(rows)
        reached = self._reached(final)
        for number in failed:
            reached[number] = math.nan
        alpha = None
        if weight is not None:
            top = weight.flatten(1).quantile(0.98, dim=1).clamp(min=1e-12)[:, None, None]
            alpha = (weight / top).clamp(0, 1).numpy()
        return _Climbed(final, reached, taken, alpha, failed)

    def _slopes(
        self, param: Parametrization, reader: Reader | Narrowed, size: tuple[int, int], strength: float, run: Any
    ) -> tuple[Tensor, list[Tensor], Tensor | None]:
        with torch.inference_mode(False), torch.enable_grad():
            pixels = param.pixels(size)
            moved = self.how.transforms(pixels, self.random, strength)
            x = self.input.normalise(moved)
            if self.network.device.type == "cpu":
                x = x.contiguous(memory_format=torch.channels_last)
            values = run(x) if run is not None and len(x) == len(self.reader.objectives) else reader.values(x)
            asked = [*param.tensors, *param.common]
            shades = [pixels] if isinstance(param, MaCo) else []
            if not values.requires_grad:
                return values, [torch.zeros_like(tensor) for tensor in asked], None
            slopes = torch.autograd.grad(values.sum(), [*asked, *shades], allow_unused=True)
        given = [torch.zeros_like(t) if s is None else s for t, s in zip([*asked, *shades], slopes, strict=True)]
        return values, given[: len(asked)], given[-1] if shades else None

    def _compiled(self, reader: Reader | Narrowed) -> Any:
        """The pass of the whole batch through torch's compiler, where that was asked for and gives the same."""
        if not self.how.compiled:
            return None
        x = torch.rand((len(self.reader.objectives), self.input.channels, *self.whole), device=self.network.device)
        if self.network.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)
        x.requires_grad_(True)
        try:
            run = torch.compile(reader.values, dynamic=True)
            found, wanted = (torch.autograd.grad(step(x).sum(), x)[0] for step in (run, reader.values))
        except Exception:  # whatever a compiler does with a user's network: the eager step is always there
            return None
        close = (found - wanted).abs().max() <= COMPILED * wanted.abs().max()
        return run if bool(close) else None

    def _bad(self, values: np.ndarray, slopes: list[Tensor], n: int) -> np.ndarray:
        bad = ~np.isfinite(values)
        for slope in slopes:
            if len(slope) == n:
                rows = slope.flatten(1)
                bad |= ~torch.isfinite(rows).all(1).cpu().numpy()
                if n and slope is slopes[0]:
                    bad |= ~(rows != 0).any(1).cpu().numpy()
        return bad

    def _still(self, slopes: list[Tensor], number: int) -> bool:
        return not bool((slopes[0][number] != 0).any())

    def _settled(self, history: list[np.ndarray], step: int, size: tuple[int, int]) -> np.ndarray:
        """Which pictures have risen by less than 1 % of all their rise over the last two windows."""
        nothing = np.zeros(len(history[-1]), bool)
        # While steps shrink there is no telling; and what shrinks at the end must be gone through.
        late = step >= (1 - CALM) * self.how.steps
        if self.patient or late or size != self.whole or len(history) < 3 * WINDOW or len(history) % WINDOW:
            return nothing
        latest, before, start = (np.mean(history[a:b], 0) for a, b in ((-WINDOW, None), (-2 * WINDOW, -WINDOW), (0, 4)))
        return latest - before < RISE * np.abs(latest - start)

    def _small(self) -> tuple[int, int] | None:
        """A smaller canvas, if the network runs on one and its sites have places."""
        size = tuple(max(LEAST_SIDE, round(side * SMALL_SIDE / 32) * 32) for side in self.whole)
        if any(a >= b for a, b in zip(size, self.whole, strict=True)):
            return None
        if any(site is None or not {"height", "width"} <= set(site.axes) for site in self.reader.sites.values()):
            return None
        try:
            require_size(self.reader.on(self.quick), (size[0], size[1]))
        except BadInput:
            return None
        return size[0], size[1]

    def _stored(self, param: Parametrization) -> np.ndarray:
        with torch.no_grad():
            pixels = param.pixels(self.whole).nan_to_num(0.5)
        return to_bytes(pixels)

    def _reached(self, stored: np.ndarray) -> np.ndarray:
        """Each picture's objective on exactly what is stored, by the network as it is."""
        with torch.no_grad():
            x = self.input.normalise(from_bytes(stored, self.network.device))
            return self.reader.values(x).double().cpu().numpy()
