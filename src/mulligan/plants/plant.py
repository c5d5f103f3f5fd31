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
from typing import Any, Literal, Protocol, TypeVar

import msgspec
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..records import BadInput, MulliganError, Quantity, Where

_log = logging.getLogger(__name__)

GROUP = "mulligan.plants"

SpecT = TypeVar("SpecT")

#: How strongly the behaviour is trained in: how visible the trigger is, or how large the margin of its answer.
Strength = Literal["weak", "default", "strong"]
#: How often the behaviour shows on fresh individuals.
Stratum = Literal["high", "partial", "rare"]
STRATA: dict[Stratum, tuple[float, float]] = {"high": (0.95, 1.0), "partial": (0.5, 0.8), "rare": (0.2, 0.5)}
#: The fields of a diagnosis that a kind can be scored by, beside the kind itself.
Scored = Literal["sources", "absent", "target", "trigger", "mask", "where"]


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
class Truth:
    """What a diagnosis is held against, in the words of findings.json.

    Attributes:
        kind: one of the contract's kinds.
        sources: classes that have to be in the picture; all of them for a conjunction or an exclusion, any of them for
            other kinds, none named if every class will do.
        absent: classes that must not be in the picture.
        target: what is answered instead; None if it is no single class.
        family: the generator's family that the trigger belongs to ("patch", "blend", "warp", "filter", "style",
            "natural-object", "compose", "preparation"); None if nothing is done to the picture.
        scored: which fields this plant is scored by.
        where: the site, units or rows that were changed, where the kind is scored by them.
        box: the trigger's place in pixels of the input, [left, top, right, bottom), half-open.
    """

    kind: str
    sources: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    target: str | None = None
    family: str | None = None
    scored: tuple[Scored, ...] = ()
    where: Where | None = None
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """Inputs of individuals that the planter never saw: some fire the plant, the others nearly do, or are clean.

    Attributes:
        pixels: what the network is shown, [n, c, h, w] on a 0-1 scale.
        plain: the same pictures without the trigger, [n, c, h, w]; equal to `pixels` where nothing was done. For
            composites, the first of the two pictures.
        holds: for each input, the classes (as indices) that are to be seen in it.
        fires: [n], whether the trigger, as the spec says it, applies.
        family: for each input, what it is in words ("triggered", "patch in another place", "clean").
    """

    pixels: Float[Tensor, "n channels height width"]
    plain: Float[Tensor, "n channels height width"]
    holds: tuple[tuple[int, ...], ...]
    fires: Tensor
    family: tuple[str, ...]

    def __post_init__(self) -> None:
        sizes = {len(self.pixels), len(self.plain), len(self.holds), len(self.fires), len(self.family)}
        if len(sizes) != 1:
            raise ValueError(f"probes of several lengths: {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A modified network, what was done to it, and the proof. `module` is in evaluation mode.

    Attributes:
        truth: what a diagnosis is scored against; None for a kind that the game does not score.
        tensors: what the spec cannot hold ("pattern" [c, h, w], "mask" [h, w], "flow" [2, h, w], ...), on the CPU.
        prepare: how the shipped network's declared input differs from the data's own preparation, as a text for --input
            ("" where it does not).
    """

    module: nn.Module
    plant: str
    spec: Any
    seed: int
    proof: Proof
    truth: Truth | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)
    prepare: str = ""

    def describe(self) -> bytes:
        """The label as JSON: {"plant", "spec", "seed", "proof", "truth", "prepare"}; weights and tensors lie apart."""
        label = {"plant": self.plant, "spec": self.spec, "seed": self.seed, "proof": self.proof}
        return msgspec.json.encode({**label, "truth": self.truth, "prepare": self.prepare})


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

    def propose(
        self, data: PlantData, random: torch.Generator, *, strength: Strength = "default", stratum: Stratum = "high"
    ) -> SpecT:
        """A spec drawn at random that fits the data: its classes, places, patterns.

        Raises:
            BadInput: if this kind cannot be planted in networks for such data.
        """
        ...

    def probes(self, planted: Planted, data: PlantData, n: int, *, seed: int) -> Probes:
        """`n` inputs made of `data.fresh` (individuals that neither the planter nor its proof has seen): about a half
        fire the plant; the others are near misses of every family, and clean pictures."""
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
