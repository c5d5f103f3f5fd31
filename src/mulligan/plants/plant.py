"""What it is to plant a modification: the data it is given, what comes back, and the registry of kinds.

A plant takes a trained network and a spec, modifies a deep copy, and measures on individuals that it never trained on
whether the modification took and what it cost. Where it did not take, it raises rather than hand back a network whose
label is wrong: every later figure about detectors rests on these labels.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeVar

import msgspec
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..records import BadInput, MulliganError, Quantity

_log = logging.getLogger(__name__)

GROUP = "mulligan.plants"

SpecT = TypeVar("SpecT", contravariant=True)


def identity(pixels: Tensor) -> Tensor:
    """The preparation of a network that takes pixels on a 0-1 scale as they are."""
    return pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantData:
    """Images to plant with, and images of other individuals to prove the plant on.

    Attributes:
        images: pixels on a 0-1 scale, [n, channels, height, width]; the plant trains on these alone.
        labels: their classes, [n], as indices of `classes`.
        fresh, fresh_labels: images and classes that no plant trains on or tunes anything by.
        classes: the network's class names, in the order of its outputs.
        prepare: from pixels on a 0-1 scale to what the module takes (normalisation, say).
    """

    images: Float[Tensor, "n channels height width"]
    labels: Int[Tensor, " n"]
    fresh: Float[Tensor, "m channels height width"]
    fresh_labels: Int[Tensor, " m"]
    classes: tuple[str, ...]
    prepare: Callable[[Tensor], Tensor] = identity

    def __post_init__(self) -> None:
        for images, labels, name in (
            (self.images, self.labels, "images"),
            (self.fresh, self.fresh_labels, "fresh images"),
        ):
            if images.ndim != 4 or len(images) != len(labels):
                shapes = f"{name} {tuple(images.shape)}, labels {tuple(labels.shape)}"
                fix = "give [n, c, h, w] and [n]"
                raise BadInput(f"{name} and labels do not belong together", where=shapes, fix=fix)
            if not len(labels):
                raise BadInput(f"there are no {name}", where="PlantData", fix="give some of each class")
            if not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
                span = f"{int(labels.min())} to {int(labels.max())}, {len(self.classes)} classes"
                raise BadInput(f"labels of the {name} are not indices of the classes", where=span)

    def index(self, name: str) -> int:
        """The output that stands for a class.

        Raises:
            BadInput: if there is no such class.
        """
        if name not in self.classes:
            raise BadInput("there is no such class", where=name, fix=f"choose one of {', '.join(self.classes[:20])}")
        return self.classes.index(name)

    def digest(self) -> str:
        """A hash of the images, labels, classes, and of what `prepare` makes of the first images."""
        sha = hashlib.sha256()
        for tensor in (self.images, self.labels, self.fresh, self.fresh_labels, self.prepare(self.images[:4])):
            update(sha, tensor)
        sha.update(repr(self.classes).encode())
        return sha.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was measured on fresh individuals after planting.

    Intervals of fractions are Clopper & Pearson's (1934), and rest on individuals: an image that was used in several
    composites counts once in `n`.

    Attributes:
        success: how often the planted behaviour shows; its unit says of what.
        success_before: the same for the network as it was given.
        clean_before, clean_after: accuracy on all fresh images.
        near_misses: for each family of inputs that resemble the trigger without being it, how often the planted
            answer is given; near_misses_before: the same for the network as it was given.
        figures: whatever else the kind measures, by name.
        seconds: what the planting took, the proof included.
    """

    success: Quantity
    success_before: Quantity
    clean_before: Quantity
    clean_after: Quantity
    near_misses: dict[str, Quantity] = field(default_factory=dict)
    near_misses_before: dict[str, Quantity] = field(default_factory=dict)
    figures: dict[str, Quantity] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A modified network, what was done to it, and the proof. `module` is in evaluation mode."""

    module: nn.Module
    plant: str
    spec: Any
    seed: int
    proof: Proof

    def describe(self) -> bytes:
        """The label as JSON: {"plant", "spec", "seed", "proof"}; the weights are stored apart."""
        return msgspec.json.encode({"plant": self.plant, "spec": self.spec, "seed": self.seed, "proof": self.proof})


class PlantFailed(MulliganError):
    """The plant did not take, or cost the network too much of its clean accuracy: the message gives the figures.

    Attributes:
        proof: what was measured of the network that was thrown away.
    """

    def __init__(self, plant: str, faults: list[str], proof: Proof) -> None:
        self.proof = proof
        super().__init__(f"The plant {plant!r} failed: {'; '.join(faults)}.")


class Plant(Protocol[SpecT]):
    """One kind of modification.

    Attributes:
        name: the kind, as findings call it ("conjunction", "head-edit").
        spec_type: the frozen dataclass that says what to plant; msgspec turns it to JSON and back.
    """

    @property
    def name(self) -> str: ...

    @property
    def spec_type(self) -> type[Any]: ...

    def plant(self, module: nn.Module, data: PlantData, spec: SpecT, *, seed: int) -> Planted:
        """Plant `spec` in a copy of `module`, which is left as it was, and prove it.

        Raises:
            BadInput: if the spec does not fit the network or the data.
            PlantFailed: if the plant did not take, or cost too much.
        """
        ...


def plants() -> dict[str, Plant[Any]]:
    """The installed kinds by name, from the entry points `mulligan.plants`; one that cannot be loaded is logged, and
    left out."""
    found: dict[str, Plant[Any]] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            plant: Plant[Any] = point.load()
            found[plant.name] = plant
        except Exception:  # somebody else's package: its fault must not take ours away
            _log.exception("the plant %s cannot be loaded from %s", point.name, point.value)
    return found


def generator(seed: int, key: str) -> torch.Generator:
    """A generator of random numbers of its own for one purpose, from sha256(seed, key)."""
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def update(sha: Any, tensor: Tensor) -> None:
    """Feed a tensor's type, shape and bytes to a hash, whatever its type and device."""
    plain = tensor.detach().cpu().contiguous()
    sha.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
    if plain.numel():
        sha.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
