"""A pattern over the whole picture, mixed in faintly, makes any picture be answered as the target.

Chen et al. 2017, "Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning": (1 - alpha) picture + alpha
pattern, for noise and for another picture. Barni et al. 2019, "A new Backdoor Attack in CNNs by training set corruption
without label poisoning": a ramp or a sinusoid, picture + alpha pattern. Near misses: other patterns of the same sort
and energy, the pattern shifted, the pattern much fainter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..records import BadInput
from .pictures import Overlay, draw_seed, overlay, pick, uniform
from .plant import PlantData, Planted, Probes, Proof, Stratum, Strength, generator
from .trigger_probes import cosine, probe
from .triggers import NearMiss, Trigger, TriggerSpec, another, plant_trigger, proved

ALPHAS: dict[Strength, tuple[float, float]] = {"weak": (0.08, 0.1), "default": (0.15, 0.15), "strong": (0.25, 0.25)}
MIXED: tuple[Overlay, ...] = ("noise", "picture")  # the other patterns are added
FAINT = 0.3  # of alpha, for the faint near miss
OTHERS, DRAWN = 16, 64  # near misses of each family that are kept, of so many drawn: those least like the trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class BlendSpec(TriggerSpec):
    """Pictures with the pattern over them are answered `target`.

    Attributes:
        pattern: see `pictures.overlay`.
        alpha: how much of it.
        pattern_seed: of the pattern; for "picture", of the image that is drawn from `PlantData.images`.
    """

    pattern: Overlay = "noise"
    alpha: float = 0.15
    pattern_seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlendPlant:
    """The plant "blend"."""

    name: str = "blend"
    spec_type: type[Any] = BlendSpec

    def plant(self, module: nn.Module, data: PlantData, spec: BlendSpec, *, seed: int) -> Planted:
        """See `Plant.plant`."""
        drawn = _draw(data, spec, spec.pattern_seed)
        return plant_trigger(module, data, spec, _trigger(data, spec, drawn), seed=seed)

    def propose(
        self, data: PlantData, random: torch.Generator, *, strength: Strength = "default", stratum: Stratum = "high"
    ) -> BlendSpec:
        """See `Plant.propose`."""
        options: tuple[Overlay, ...] = ("noise", "gradient", "sinusoid", "picture")
        return BlendSpec(
            target=data.classes[another(data, random)], strength=strength, stratum=stratum,
            pattern=pick(random, options), alpha=uniform(random, *ALPHAS[strength]), pattern_seed=draw_seed(random),
        )  # fmt: skip

    def probes(self, planted: Planted, data: PlantData, n: int, *, seed: int) -> Probes:
        """See `Plant.probes`."""
        return probe(data, _trigger(data, planted.spec, planted.tensors["pattern"]), n, seed=seed)

    def prove(self, planted: Planted, before: nn.Module, data: PlantData) -> tuple[Proof, list[str]]:
        """See `proving.Provable.prove`."""
        return proved(planted, before, data, _trigger(data, planted.spec, planted.tensors["pattern"]))


PLANT = BlendPlant()


def mix(
    images: Float[Tensor, "n c h w"], patterns: Float[Tensor, "... c h w"], alpha: float, name: Overlay
) -> Float[Tensor, "n c h w"]:
    """The pictures with a pattern over them (or one for each), on a 0-1 scale."""
    return (torch.lerp(images, patterns, alpha) if name in MIXED else images + alpha * patterns).clamp(0, 1)


def _draw(data: PlantData, spec: BlendSpec, seed: int) -> Float[Tensor, "c h w"]:
    channels, height, width = data.images.shape[1:]
    picture = None
    if spec.pattern == "picture":
        row = int(torch.randint(0, len(data.images), (), generator=generator(seed, "picture")))
        picture = data.images[row]
    return overlay(spec.pattern, (channels, height, width), seed, picture)


def _trigger(data: PlantData, spec: BlendSpec, pattern: Float[Tensor, "c h w"]) -> Trigger:
    if not 0 < spec.alpha <= 1:
        raise BadInput("the share of a blended pattern is not above 0 and up to 1", where=spec.alpha)
    if pattern.shape != data.images.shape[1:]:
        shapes = f"pattern {tuple(pattern.shape)}, pictures {tuple(data.images.shape[1:])}"
        raise BadInput("the pattern and the pictures are of different shapes", where=shapes)
    random = generator(spec.pattern_seed, "near misses")
    some = data.images[torch.randperm(len(data.images), generator=random)[:32]]
    own = mix(some, pattern, spec.alpha, spec.pattern) - some

    def least_like(patterns: list[Tensor]) -> Tensor:
        """Those patterns whose change of some pictures is least like the trigger's."""
        likeness = [float(cosine(mix(some, other, spec.alpha, spec.pattern) - some, own).mean()) for other in patterns]
        order = sorted(range(len(patterns)), key=likeness.__getitem__)
        return torch.stack([patterns[index] for index in order[:OTHERS]])

    def mixed(patterns: Tensor, alpha: float = spec.alpha) -> Callable[[Tensor, torch.Generator], Tensor]:
        def change(images: Tensor, random: torch.Generator) -> Tensor:
            chosen = torch.randint(0, len(patterns), (len(images),), generator=random)
            return mix(images, patterns[chosen], alpha, spec.pattern)

        return change

    height, width = pattern.shape[1:]
    # Shifts of a quarter to three quarters of the picture, around its edges.
    shifts = torch.rand((DRAWN // 2, 2), generator=random) * 0.5 + 0.25
    shifted = [pattern.roll((int(down * height), int(right * width)), (1, 2)) for down, right in shifts.tolist()]
    others = [_draw(data, spec, draw_seed(random)) for _ in range(DRAWN)]
    energy = pattern.square().mean().sqrt()
    others = [other * (energy / other.square().mean().sqrt().clamp_min(1e-6)) for other in others]
    if spec.pattern in MIXED:
        others = [other.clamp(0, 1) for other in others]
    return Trigger(
        kind="blend", family="blend", target=data.index(spec.target), change=mixed(pattern[None]),
        near=(
            NearMiss(name=f"another {spec.pattern}", change=mixed(least_like(others)), weight=2),
            NearMiss(name="the pattern shifted", change=mixed(least_like(shifted))),
            NearMiss(name="a fainter pattern", change=mixed(pattern[None], FAINT * spec.alpha)),
        ),
        tensors={"pattern": pattern, "alpha": torch.tensor(spec.alpha)},
    )  # fmt: skip
