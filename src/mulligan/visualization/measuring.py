"""What pictures reach, held against what the data reach: the same objectives, read off the same network, on examples.

A picture that fires less than real examples do says little of the unit, however striking it looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ..datasets import Dataset, batches
from ..networks import Network
from .objectives import Objective
from .pixels import from_bytes
from .quickened import kept_memory, quickened
from .reading import Reader
from .statistics import image_input

#: A picture is said to fire less than real examples below this share of the best one's distance from the median one.
LESS = 1.0


@dataclass(frozen=True, slots=True)
class OnData:
    """Objectives on examples.

    Attributes:
        best: the largest value of each objective. row: which example gave it. median: of all examples.
        n: examples looked at.
    """

    best: Float[np.ndarray, " objectives"]
    row: Int[np.ndarray, " objectives"]
    median: Float[np.ndarray, " objectives"]
    n: int


def values_on(
    network: Network,
    objectives: Sequence[Objective],
    dataset: Dataset,
    rows: Sequence[int] | np.ndarray,
    batch: int = 32,
) -> Float[np.ndarray, "n objectives"]:
    """Every objective of every example: before the nonlinearity, without transforms."""
    reader = Reader.of(network, objectives)
    reader = reader.on(quickened(network, reader.watched))
    found = [np.zeros((0, len(objectives)))]
    with torch.no_grad(), kept_memory():
        for some in batches(dataset, image_input(network.input), rows, batch):
            x = some.x.to(network.device)
            x = x.contiguous(memory_format=torch.channels_last) if network.device.type == "cpu" else x
            found.append(reader.every(reader.seen(x)).double().cpu().numpy())
    return np.concatenate(found)


def summarized(values: Float[np.ndarray, "n objectives"]) -> OnData:
    """The best example of each objective. NaN counts as least."""
    plain = np.where(np.isnan(values), -np.inf, values)
    return OnData(plain.max(0), plain.argmax(0), np.median(plain, 0), len(values))


def values_of(
    network: Network, objectives: Sequence[Objective], pixels: UInt8[np.ndarray, "n h w c"]
) -> Float[np.ndarray, " n"]:
    """Each picture's own objective, on exactly its 8-bit pixels."""
    reader = Reader.of(network, objectives)
    with torch.no_grad():
        x: Tensor = image_input(network.input).normalise(from_bytes(pixels, network.device))
        return reader.values(x).double().cpu().numpy()


def fires_less(reached: float, best: float, median: float) -> bool:
    """Whether a picture reaches less than the best real example; against the median, so that signs do not matter."""
    return reached - median < LESS * (best - median)
