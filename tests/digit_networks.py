"""Digits networks for tests and benchmarks: clean siblings, planted ones, and what a check needs to look at them."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from safetensors.torch import load_file

from mulligan.activations import Plan, record
from mulligan.checks import Subject
from mulligan.datasets import load_dataset
from mulligan.networks import Network, load, parse_input
from mulligan.plants import PlantData
from mulligan.plants.cache import cache_folder, planted_cache
from mulligan.runs import Budget, LocalEngine, Run


class DigitNetworks:
    """Trained once, kept by content of the recipe under MULLIGAN_CACHE."""

    def __init__(self, digits: ModuleType) -> None:
        self.digits = digits
        images, labels = digits.load_digits()
        self.trained, self.fresh = digits.halves(labels)
        self.images, self.labels = images, labels

    def clean(self, seed: int) -> torch.nn.Module:
        """A clean sibling."""
        recipe = inspect.getsource(self.digits) + torch.__version__ + str(seed)
        file = cache_folder().parent / "digits" / f"{hashlib.sha256(recipe.encode()).hexdigest()[:24]}.safetensors"
        if not file.exists():
            module = self.digits.train(self.images[self.trained], self.labels[self.trained], seed=seed)
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(".part")
            self.digits.save(module, part)
            part.replace(file)
        module = self.digits.factory()
        module.load_state_dict(load_file(file))
        return module.eval()

    def data(self) -> PlantData:
        """Images to plant with, and fresh ones to prove it on."""
        return PlantData(
            images=self.images[self.trained],
            labels=self.labels[self.trained],
            fresh=self.images[self.fresh],
            fresh_labels=self.labels[self.fresh],
            classes=tuple(self.digits.CLASSES),
        )

    def planted(self, plant, spec, seed: int):
        """A `Planted` made from the clean sibling of the same seed."""
        return planted_cache(plant, self.clean(seed), self.data(), spec, seed=seed)

    def network(self, module: torch.nn.Module, name: str = "digits") -> Network:
        """The module as a user would wrap it."""
        return Network(module, name=name, input=parse_input(self.digits.INPUT), classes=self.digits.CLASSES)

    def write_data(self, folder: Path, limit: int | None = None) -> Path:
        """The audit's half as data.npz."""
        file = folder / "data.npz"
        rows = self.fresh[:limit]
        np.savez(file, x=(self.images[rows, 0] * 255).round().to(torch.uint8).numpy(), y=self.labels[rows].numpy())
        return file

    def subject(
        self, network: Network, folder: Path, *, seed: int = 0, seconds: float = 1e6, batch: int = 128
    ) -> Subject:
        """What a check is given, with answers recorded."""
        folder.mkdir(parents=True, exist_ok=True)
        dataset = load_dataset(self.write_data(folder), classes=network.classes)
        run = Run.create("test", [], {}, out=folder / "run")
        answers = record(network, dataset, Plan(sites=(), batch=batch, shard=512), run).array("answers")
        return Subject(
            network=network,
            dataset=dataset,
            labels=dataset.labels,
            answers=answers,
            run=run,
            engine=LocalEngine(),
            budget=Budget(seconds),
            seed=seed,
            seconds_an_example=0.001,
            batch=batch,
        )


def load_digits_file(digits: ModuleType, weights: Path) -> Network:
    """The network as the command line loads it."""
    return load(f"{digits.__file__}:factory", weights=weights)
