"""Examples to batches, as a network takes them. The next batch is made while this one is used; nothing else is held."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor

from ..networks.inputs import ArrayInput, ImageInput, NetworkInput, TokenInput
from ..records import BadInput
from .dataset import Dataset, checked

_AHEAD = 1  # batches that are made ahead


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some examples as the network takes them.

    Attributes:
        indices: their numbers in the data set.
        x: images [batch, channel, height, width] or arrays [batch, ...] in float32, or token ids [batch, position].
        mask: for texts, which positions hold a token that is not padding; else None.
        labels: their classes, -1 where unknown; None where the data have no labels.
    """

    indices: Int64[np.ndarray, " batch"]
    x: Shaped[Tensor, "batch ..."]
    mask: Bool[Tensor, "batch position"] | None
    labels: Int64[np.ndarray, " batch"] | None


def batches(
    dataset: Dataset, input: NetworkInput, indices: Sequence[int] | np.ndarray | None, size: int
) -> Iterator[Batch]:
    """The examples at `indices` (None: all) in their order, `size` at a time; the last batch may be smaller.

    Memory holds a few batches, however many examples there are. Closing the iterator early stops the reading ahead.

    Raises:
        BadInput: at once, if the network does not take what the data hold; later, if an example cannot be read.
        IndexError: if there is no such example.
    """
    require_kind(dataset, input)
    if size < 1:
        raise BadInput(f"batches of {size} cannot be", where="batch size", fix="give 1 or more")
    rows = np.arange(len(dataset), dtype=np.int64) if indices is None else checked(indices, len(dataset))
    parts = (rows[start : start + size] for start in range(0, len(rows), size))
    if isinstance(input, ImageInput):
        return _images(dataset, input, parts)
    return _others(dataset, input, parts)


def require_kind(dataset: Dataset, input: NetworkInput) -> None:
    """Refuse data that the network does not take.

    Raises:
        BadInput: if the network takes images, texts or arrays, and the data are another.
    """
    takes = "images" if isinstance(input, ImageInput) else "texts" if isinstance(input, TokenInput) else "arrays"
    # Pictures in an .npz file are arrays too, for a network that takes those.
    if dataset.kind == takes or (takes == "arrays" and dataset.holds_arrays):
        return
    fix = {
        "images": "give a folder of images, a Parquet file with images, or an .npz file of pixels (uint8, or 0 to 1)",
        "texts": "give a .txt, .jsonl or Parquet file with texts",
        "arrays": "give an .npz file",
    }[takes]
    raise BadInput(f"this network takes {takes}, and these data are {dataset.kind}", where=dataset.source, fix=fix)


def _images(dataset: Dataset, input: ImageInput, parts: Iterator[np.ndarray]) -> Iterator[Batch]:
    """Decoding and resizing release Python's lock, so that threads do them side by side."""

    def crop(gathered: Any) -> np.ndarray:
        return input.crop(cast("Any", dataset.decode(gathered)))

    made: deque[tuple[np.ndarray, list[Future[np.ndarray]]]] = deque()
    pool = ThreadPoolExecutor(max_workers=min(8, (os.cpu_count() or 1) + 1), thread_name_prefix="mulligan-images")
    try:
        while True:
            for rows in islice(parts, _AHEAD + 1 - len(made)):
                made.append((rows, [pool.submit(crop, gathered) for gathered in dataset.gather(rows)]))
            if not made:
                return
            rows, futures = made.popleft()
            yield _batch(dataset, rows, input.stack([future.result() for future in futures]))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _others(dataset: Dataset, input: TokenInput | ArrayInput, parts: Iterator[np.ndarray]) -> Iterator[Batch]:
    for rows in parts:
        gathered = dataset.gather(rows)
        if isinstance(input, TokenInput):
            ids, mask = input.encode(gathered)
            yield _batch(dataset, rows, ids, mask)
        else:
            yield _batch(dataset, rows, torch.stack([input.prepare(array) for array in gathered]))


def _batch(dataset: Dataset, rows: np.ndarray, x: Tensor, mask: Tensor | None = None) -> Batch:
    labels = None if dataset.labels is None else dataset.labels[rows]
    return Batch(indices=rows, x=x, mask=mask, labels=labels)
