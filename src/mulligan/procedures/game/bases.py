"""Where the game's networks come from, as the referee sees it: a base, and what planting, auditing and judging need."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ...plants import PlantData
from ...records import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A clean network, and data in parts that never meet.

    Attributes:
        data: to plant with, and fresh individuals to prove plants on.
        sealed: the same with the referee's own individuals as the fresh ones: for probes and for trying generators.
        images, labels: what auditors get: uint8 [n, height, width] or [n, height, width, channel], and int64 [n].
        input: how pixels become the network's input, as `--input` takes it.
        files: what an entry holds beside weights and data: "model.py" (with `factory`), "config.json".
    """

    module: nn.Module
    data: PlantData
    sealed: PlantData
    images: np.ndarray
    labels: np.ndarray
    input: str
    files: dict[str, str] = field(default_factory=dict)


class Source(Protocol):
    """Makes bases. A recipe is plain JSON."""

    def draw(self, random: torch.Generator, data: str) -> Any:
        """A recipe for a data set.

        Raises:
            BadInput: if the data set is not known or not there.
        """
        ...

    def base(self, recipe: Any, seed: int) -> Base:
        """The network of a recipe and a seed."""
        ...

    def siblings(self, recipe: Any, seeds: Sequence[int]) -> list[nn.Module]:
        """Clean networks of the same recipe."""
        ...

    def with_input(self, base: Base, input: str) -> dict[str, str]:
        """The files of an entry whose network declares this input."""
        ...


class Recipes:
    """The recipes of `plants.recipes`."""

    def draw(self, random: torch.Generator, data: str) -> Any:
        """See `Source.draw`."""
        import msgspec

        from ...plants.recipes import CORPORA, draw_recipe, load_corpus

        if data not in CORPORA:
            raise BadInput("there is no such data set", where=data, fix=f"choose among {', '.join(CORPORA)}")
        load_corpus(data)  # refused now if its files are missing
        return msgspec.to_builtins(draw_recipe(random, data))

    def base(self, recipe: Any, seed: int) -> Base:
        """See `Source.base`."""
        from ...plants.recipes import part, plant_data, sealed_data, train

        known = self._recipe(recipe)
        images, labels = part(known.data, "audit")
        return Base(
            module=train(known, seed), data=plant_data(known), sealed=sealed_data(known), images=arranged(images),
            labels=labels.numpy().astype(np.int64), input=known.input, files=self._files(known, known.input),
        )  # fmt: skip

    def siblings(self, recipe: Any, seeds: Sequence[int]) -> list[nn.Module]:
        """See `Source.siblings`."""
        from ...plants.recipes import train

        return [train(self._recipe(recipe), seed) for seed in seeds]

    def with_input(self, base: Base, input: str) -> dict[str, str]:
        """See `Source.with_input`."""
        import json

        config = json.loads(base.files["config.json"]) | {"input": input}
        return base.files | {"config.json": json.dumps(config, indent=2, sort_keys=True) + "\n"}

    def _recipe(self, recipe: Any) -> Any:
        import msgspec

        from ...plants.recipes import Recipe

        return msgspec.convert(recipe, Recipe)

    def _files(self, recipe: Any, input: str) -> dict[str, str]:
        from ...plants.recipes import entry_config, entry_source, load_corpus

        classes = load_corpus(recipe.data).classes
        return {"model.py": entry_source(), "config.json": entry_config(recipe.architecture, input, classes)}


def arranged(images: Tensor) -> np.ndarray:
    """Bytes [n, c, h, w] as a picture file's rows: [n, h, w] of one channel, else [n, h, w, c]."""
    array = images.cpu().numpy()
    return np.ascontiguousarray(array[:, 0] if array.shape[1] == 1 else array.transpose(0, 2, 3, 1))


def source(name: str) -> Source:
    """A source of bases by name: "recipes", or "package.module:ATTRIBUTE" for another.

    Raises:
        BadInput: if there is none.
    """
    if name == "recipes":
        return Recipes()
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        fix = 'use "recipes", or package.module:ATTRIBUTE'
        raise BadInput("there is no such source of networks", where=name, fix=fix) from error
