"""Draw cells: pictures of their whitened mean directions, a batch a piece of work, so that any part of them is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8

from ...networks import ImageInput, Network
from ...records import Emit, Interrupted, LeftOut, MulliganError, silent
from ...runs import Context, Engine, LocalEngine, Piece, Result, Run, derived_seed, digest
from ..climbing import visualize
from ..objectives import direction
from ..statistics import ImageStatistics

BATCH = 16
STEPS = 128
# How much the angle between activation and direction counts beside the size, as in the paper.
COSINE = 1.0


@dataclass(frozen=True)
class Drawn:
    """One cell's picture, [height, width, channel], and what it reaches; None where it failed, and `why`."""

    level: int
    cell: int
    pixels: UInt8[np.ndarray, "height width channel"] | None
    reached: float | None
    why: str = ""


@dataclass(frozen=True)
class Wanted:
    """Some cells of one level, and their directions, [cell, unit]."""

    level: int
    cells: Sequence[int]
    directions: Float64[np.ndarray, "cell unit"]
    size: int | None


def draw_size(input: ImageInput, pixels: int) -> int | None:
    """At how many pixels a cell is drawn: no more than the network takes (None: as many as it takes)."""
    return None if max(input.size) <= pixels else pixels


def draw_cells(
    network: Network,
    site: str,
    wanted: Sequence[Wanted],
    statistics: ImageStatistics,
    run: Run,
    *,
    seed: int = 0,
    steps: int = STEPS,
    engine: Engine | None = None,
    emit: Emit = silent,
    job: str = "cells",
) -> Iterator[list[Drawn]]:
    """Draw cells in the order given; yields a batch as soon as it is there. A cell that fails is said so."""
    pieces: list[Piece] = []
    batches: list[tuple[int, list[int]]] = []
    directions: list[np.ndarray] = []
    for group in wanted:
        for begin in range(0, len(group.cells), BATCH):
            vectors = group.directions[begin : begin + BATCH]
            arguments = {
                "number": len(pieces), "site": site, "size": group.size, "steps": steps,
                "seed": derived_seed(seed, "cells", group.level, begin),
                # The directions themselves: a picture is of nothing else.
                "directions": hashlib.sha256(np.ascontiguousarray(vectors).tobytes()).hexdigest(),
            }  # fmt: skip
            pieces.append(Piece(f"{__name__}:draw_batch", arguments, cost=len(vectors)))
            batches.append((group.level, list(group.cells[begin : begin + BATCH])))
            directions.append(vectors)
    taken = network.input.steps() if network.input else ()
    identity = digest("cells", network.identity, *taken, statistics_text(statistics))
    context = Context(identity, {"network": network, "statistics": statistics, "directions": directions})
    for (_, result), (level, cells) in zip(
        (engine or LocalEngine()).run(job, pieces, context, run, emit), batches, strict=True
    ):
        failed: dict[str, str] = result.values["failed"]
        pixels = result.arrays.get("pixels")
        reached = result.arrays.get("reached")
        yield [
            Drawn(level, cell, None, None, failed[str(number)])
            if str(number) in failed or pixels is None or reached is None
            else Drawn(level, cell, pixels[number], float(reached[number]))
            for number, cell in enumerate(cells)
        ]


def draw_batch(
    context: Context, *, number: int, site: str, size: int | None, steps: int, seed: int, directions: str
) -> Result:
    """A piece of work: pictures of one batch of directions, uint8 [cell, height, width, channel]."""
    vectors = context["directions"][number]
    objectives = [direction(site, vector.astype(np.float32), cosine=COSINE) for vector in vectors]
    try:
        made = visualize(
            context["network"], objectives, statistics=context["statistics"], size=size, steps=steps, seed=seed,
            batch=len(objectives),
        )  # fmt: skip
    except Interrupted:
        raise
    except MulliganError as error:
        return Result(values={"failed": {str(k): str(error) for k in range(len(vectors))}})
    failed = {str(k): why for k, why in made.failed.items()}
    return Result({"pixels": np.asarray(made.pixels), "reached": np.asarray(made.reached)}, {"failed": failed})


def statistics_text(statistics: ImageStatistics) -> str:
    """What stands for the statistics in an address."""
    parts = [f"{name}={value!r}" for name, value in sorted(_fields(statistics).items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _fields(statistics: object) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in getattr(statistics, "__dataclass_fields__", {}):
        value = getattr(statistics, name)
        array = value.detach().cpu().numpy() if hasattr(value, "detach") else value
        found[name] = hashlib.sha256(array.tobytes()).hexdigest() if isinstance(array, np.ndarray) else array
    return found


def left_out(drawn: Drawn, side: int) -> LeftOut:
    """What is written of a cell that could not be drawn."""
    row, column = divmod(drawn.cell, side)
    return LeftOut(what=f"cell {row}, {column} of the {side} x {side} grid", why=drawn.why)
