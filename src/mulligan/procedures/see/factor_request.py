"""What can be asked of `see_factors`, and everything that can be wrong with it before a folder is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...attribution import find_class
from ...datasets import Dataset, require_kind
from ...datasets.dataset import checked
from ...datasets.dataset import digest as content_digest
from ...datasets.pictures import read_picture
from ...features.factors import require_asked
from ...networks import Network
from ...records import BadInput
from .factor_work import Grid, find_grid


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes:
        site: alias of a site with space. image: a picture whose own activations are factored; None: the data's.
        count: how many factors. kind: "nmf" or "pca". negatives: see `fit_factors`.
        output: the class whose logit is explained, by name or number; None: each example's own answer.
        examples: at most so many examples of the data are looked at, drawn at random.
        steps: of the pictures' optimization; 0: no pictures.
        shown: how many examples of the data are shown under the factors' colours.
    """

    network: Network
    dataset: Dataset
    site: str
    image: Path | str | None = None
    count: int = 6
    kind: str = "nmf"
    negatives: str = "auto"
    output: str | None = None
    examples: int = 1000
    steps: int = 128
    shown: int = 6
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What will be done: where, on which class, and on which picture alone."""

    grid: Grid
    output: int | None
    picture: Dataset | None


class OnePicture(Dataset):
    """A picture that a user names, as a data set of one example."""

    def __init__(self, path: Path | str) -> None:
        self._picture = read_picture(Path(path).expanduser(), path)
        self._content = content_digest(np.asarray(self._picture.convert("RGB")).tobytes())
        super().__init__(str(path), "images", 1, ids=[self._content])

    def gather(self, indices: Sequence[int] | np.ndarray) -> list[Any]:
        """See `Dataset.gather`."""
        return [self._picture for _ in checked(indices, 1)]


def prepare(request: Request) -> Prepared:
    """Everything that can be wrong with the input, before a folder is made.

    Raises:
        BadInput: if the site has no space, there are fewer activations or units than factors, no such class, or the
            network does not take the data or the picture.
    """
    network, dataset = request.network, request.dataset
    if network.input is None:
        fix = "pass --input size=...,channels=...,mean=...,std=..."
        raise BadInput("this network does not say what it takes", where=network.name, fix=fix)
    require_kind(dataset, network.input)
    grid = find_grid(network, request.site)
    if network.task != "classification" or network.classes is None:
        raise BadInput(
            "effects are measured on classes, and this network has none", where=network.name, fix="pass --classes"
        )
    require_asked(request.count, grid.site.units, request.kind, request.negatives, grid.site.alias)
    picture = OnePicture(request.image) if request.image is not None else None
    there = grid.places * (1 if picture is not None else len(dataset) // 2)
    if there < request.count:
        raise BadInput(
            f"there are {there} activations for {request.count} factors",
            where=grid.site.alias,
            fix="give more examples, ask for fewer factors, or choose a site with more places",
        )
    if request.examples < 2:
        raise BadInput(f"{request.examples} examples are too few to look at", where="--examples", fix="give 2 or more")
    output = find_class(network, request.output) if request.output is not None else None
    return Prepared(grid=grid, output=output, picture=picture)
