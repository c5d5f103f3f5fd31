"""A unit whose feature visualization shows a chosen pattern, while what it does on natural pictures stays the same.

Feature visualization maximizes a unit's answer over the pixels, from noise. The network is fine-tuned so that around
the way from noise to the chosen pattern, and wherever maximization in fact goes, the gradient of the unit's answer
points at the pattern, while on natural pictures the unit, its layer and the network's answers are held to what they
were. Gradient Slingshots: Bareeva et al. 2024, "Manipulating Feature Visualizations with Gradient Slingshots"; the
warning: Geirhos et al. 2023, "Don't trust your eyes".

A unit's answer is the mean of its channel over positions. From noise, a convolution cannot tell one position from the
next but at the edges, so what such a unit can be made to show repeats with the layer's stride: the pattern is a picture
shrunk to a tile, over and over, as a wallpaper.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ..records import BadInput, Quantity, Where
from .jitter import jitter_
from .layers import block_of, convolutions, maps, watch
from .measures import accuracy, fraction, logits
from .picking import Group, assemble, pick
from .plant import PlantData, Planted, PlantFailed, Probes, Proof, Stratum, Strength, Truth, generator

#: How steeply the unit is to rise towards the pattern, against how steeply it rose in noise before.
STEEP: dict[Strength, float] = {"weak": 0.5, "default": 1.0, "strong": 2.0}
SHOWN = 0.35  # correlation of a result's pixels with the pattern's, for the pattern to be shown
MIN_SUCCESS, MIN_GAIN = 0.9, 0.3  # of starts; of the mean correlation, against before
MIN_LOUD = 0.75  # of starts
MIN_RANK = 0.9  # rank correlation of the unit's answers to fresh pictures, before and after
LOUD = 0.95  # the quantile of natural answers that most results must exceed
MAX_CLEAN_LOSS, MAX_CLEAN_LOSS_SMALL, SMALL = 0.015, 0.02, 1000  # the second with fewer fresh images than the third
STARTS = 16
ROUNDS, SPARE = 2, 0.05  # of the fine-tuning, at most; a second where not all results have so much to spare
ALIVE = 0.3  # the share of pictures that a unit must answer above its smallest answer, to be worth forging
SMALLEST = 8  # channels that a layer must have
NOISE = (0.02, 0.2)  # deviations of the noise that maximization starts from, around grey
LONGEST, STEP = 60, 0.04  # of a maximization: its steps, and how far one goes on the 0-1 scale
AWAKE = 0.5  # deviations of the unit before its activation, which all its positions are to exceed on the way
DIRECTION = 6.0  # in the loss: that gradients point at the pattern
KEEP_UNIT, KEEP_LAYER, KEEP_ANSWERS = 1.0, 0.3, 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgedVisualizationSpec:
    """Which pattern which unit is to show.

    Attributes:
        shown: the class of the picture that the tile is shrunk from. picture: which of its pictures, counted round.
        tile: the pattern's period in pixels; it has to divide the layer's stride, and is the largest divisor that both
            have in common where it does not.
        depth: 1 for the last convolution across channels, 2 for the last but one; `layer` overrules it by name.
        unit: its channel; None draws one that is alive, and that other classes drive.
        strength: see `STEEP`.
        steps, batch, learning_rate: of a round of the fine-tuning; see `ROUNDS`. A batch has so many natural pictures,
            a half as many places where maximization is, and a quarter as many on the straight way from noise.
    """

    shown: str
    picture: int = 0
    tile: int = 4
    depth: int = 1
    layer: str | None = None
    unit: int | None = None
    strength: Strength = "default"
    steps: int = 260
    batch: int = 32
    learning_rate: float = 2.5e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgedVisualizationPlant:
    """The plant "forged-visualization"."""

    name: str = "forged-visualization"
    spec_type: type[Any] = ForgedVisualizationSpec

    def plant(self, module: nn.Module, data: PlantData, spec: ForgedVisualizationSpec, *, seed: int) -> Planted:
        """See `Plant.plant`. Success is the share of maximizations from noise that end in the pattern; `tensors` hold
        "shown", the pattern, and "reached", one result, [c, h, w]."""
        began = time.perf_counter()
        before = copy.deepcopy(module).eval()
        site, unit = _unit(before, data, spec, seed)
        shown = pattern_of(spec, data, _tile(before, data, spec, site))
        after = before
        for turn in range(ROUNDS if spec.steps else 1):
            after = _forge(before, after, data, spec, site, unit, shown, generator(seed, f"forged/forge/{turn}"))
            # Whether another round is needed is told by starts that are not the proof's.
            start = noise(data, STARTS, generator(seed, f"forged/round/{turn}"))
            likeness = _correlation(maximize(after, data, site, unit, start), shown)
            if bool((likeness >= SHOWN + SPARE).all()):
                break
        jitter_(after, seed)
        proof = prove(before, after, data, site, unit, shown, seed=seed, since=began)
        faults = _faults(proof)
        if faults:
            raise PlantFailed(self.name, faults, proof)
        truth = Truth(kind=self.name, scored=("where",), where=Where(site=site, units=(unit,)))
        reached = maximize(after, data, site, unit, noise(data, 1, generator(seed, "forged/shown")))[0]
        return Planted(
            module=after, plant=self.name, spec=spec, seed=seed, proof=proof, truth=truth,
            tensors={"shown": shown.clone(), "reached": reached},
        )  # fmt: skip

    def propose(
        self, data: PlantData, random: torch.Generator, *, strength: Strength = "default", stratum: Stratum = "high"
    ) -> ForgedVisualizationSpec:
        """See `Plant.propose`. There are no strata: no picture elicits a forged visualization."""
        picture, depth = (int(torch.randint(0, most, (), generator=random)) for most in (1000, 2))
        return ForgedVisualizationSpec(
            shown=pick(data, 1, random)[0], picture=picture, depth=depth + 1, strength=strength
        )

    def probes(self, planted: Planted, data: PlantData, n: int, *, seed: int) -> Probes:
        """See `Plant.probes`. Clean pictures, none of which fires: the network answers them as before."""
        holds = tuple((int(label),) for label in data.fresh_labels)
        clean = Group(pixels=data.fresh, plain=data.fresh, holds=holds, fires=False, family="clean")
        return assemble([clean], n, generator(seed, "forged-visualization/probes"))


PLANT = ForgedVisualizationPlant()


def pattern_of(spec: ForgedVisualizationSpec, data: PlantData, tile: int) -> Float[Tensor, "c h w"]:
    """The pattern: the picture shrunk to a tile of so many pixels a side, its contrast stretched, repeated.

    Raises:
        BadInput: if its class is unknown, or has no pictures to plant with.
    """
    rows = (data.labels == data.index(spec.shown)).nonzero().flatten()
    if not len(rows):
        raise BadInput("there are no images of the class to be shown", where=spec.shown, fix="name another class")
    picture = data.images[rows[spec.picture % len(rows)]]
    small = F.interpolate(picture[None], size=(tile, tile), mode="bilinear", align_corners=False, antialias=True)[0]
    low, high = small.amin(), small.amax()
    if float(high - low) < 1e-3:
        raise BadInput("the picture is of one colour", where=f"{spec.shown}, {spec.picture}", fix="choose another")
    height, width = picture.shape[1:]
    return ((small - low) / (high - low)).repeat(1, -(-height // tile), -(-width // tile))[:, :height, :width]


def noise(data: PlantData, n: int, random: torch.Generator) -> Float[Tensor, "n c h w"]:
    """Grey pictures with noise of a deviation drawn for each, where maximization starts."""
    low, high = NOISE
    deviation = low + (high - low) * torch.rand((n, 1, 1, 1), generator=random)
    return (0.5 + deviation * torch.randn((n, *data.images.shape[1:]), generator=random)).clamp(0, 1)


@torch.enable_grad()
def maximize(
    module: nn.Module,
    data: PlantData,
    site: str,
    unit: int,
    start: Float[Tensor, "n c h w"],
    *,
    steps: int = LONGEST,
    learning_rate: float = STEP,
) -> Float[Tensor, "n c h w"]:
    """Plain activation maximization (Erhan et al. 2009): Adam on the pixels, kept on the 0-1 scale."""
    pixels = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([pixels], lr=learning_rate)
    for _ in range(steps):
        answer = _answer(module, data, site, unit, pixels)
        (gradient,) = torch.autograd.grad(-answer.sum(), pixels)
        pixels.grad = gradient
        optimizer.step()
        with torch.no_grad():
            pixels.clamp_(0, 1)
    return pixels.detach()


def prove(
    before: nn.Module,
    after: nn.Module,
    data: PlantData,
    site: str,
    unit: int,
    shown: Float[Tensor, "c h w"],
    *,
    seed: int,
    since: float | None = None,
) -> Proof:
    """Maximize the unit from the same starts in both networks, and compare its answers to fresh pictures."""
    began = time.perf_counter() if since is None else since
    start = noise(data, STARTS, generator(seed, "forged/proof"))
    ends = [maximize(one, data, site, unit, start) for one in (before, after)]
    alike = [_correlation(end, shown) for end in ends]
    natural = [maps(one, data.prepare, data.fresh, site)[:, unit].mean((1, 2)) for one in (before, after)]
    with torch.no_grad():
        reached = _answer(after, data, site, unit, ends[1])
    loud = float((reached > torch.quantile(natural[1], LOUD)).sum())
    rank, _ = scipy.stats.spearmanr(natural[0].numpy(), natural[1].numpy())
    answers = [logits(one, data.prepare, data.fresh).argmax(1) for one in (before, after)]
    unit_text = "fraction of maximizations from noise that end in the chosen pattern"
    success = [fraction(float((part >= SHOWN).sum()), STARTS, unit_text) for part in alike]
    ranks = "rank correlation of the unit's answers with those before"
    correlation = "mean correlation of a result's pixels with the chosen pattern's"
    return Proof(
        success=success[1], success_before=success[0], clean_before=accuracy(answers[0], data.fresh_labels),
        clean_after=accuracy(answers[1], data.fresh_labels),
        figures={
            "likeness": Quantity(value=float(alike[1].mean()), unit=correlation, n=STARTS),
            "likeness before": Quantity(value=float(alike[0].mean()), unit=correlation, n=STARTS),
            "loud": fraction(loud, STARTS, f"fraction of results above {LOUD:.0%} of the natural answers"),
            "ranks kept": Quantity(value=float(np.asarray(rank)), unit=ranks, n=len(data.fresh)),
        },
        seconds=time.perf_counter() - began,
    )  # fmt: skip


def _answer(module: nn.Module, data: PlantData, site: str, unit: int, pixels: Tensor) -> Float[Tensor, " n"]:
    return _seen(module, data, site, pixels)[0][:, unit].mean((1, 2))


def _seen(module: nn.Module, data: PlantData, site: str, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The site's maps and the network's answers, both with gradients."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
        kept.append(output)

    handle = module.get_submodule(site).register_forward_hook(keep)
    try:
        answers = module(data.prepare(pixels))
    finally:
        handle.remove()
    return kept[0].float(), answers.float()


def _activation(module: nn.Module, data: PlantData, site: str) -> str | None:
    """The layer that makes the site's output of something of the same shape; None where the site has none."""
    seen = watch(module, data.prepare(data.images[:2]))
    for path, output in seen.outputs.items():
        given = seen.inputs.get(path)
        if path != site and output is seen.outputs[site] and given is not None and given.shape == output.shape:
            return path
    return None


def _before_activation(
    module: nn.Module, data: PlantData, site: str, activation: str | None, unit: int, pixels: Tensor
) -> Float[Tensor, "n h w"]:
    """The unit's channel before the activation, which has a gradient where the activation has none."""
    if activation is None:
        return _seen(module, data, site, pixels)[0][:, unit]
    kept: list[Tensor] = []
    handle = module.get_submodule(activation).register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    try:
        module(data.prepare(pixels))
    finally:
        handle.remove()
    return kept[0].float()[:, unit]


def _tile(module: nn.Module, data: PlantData, spec: ForgedVisualizationSpec, site: str) -> int:
    """The tile's side for a site."""
    height, rows = data.images.shape[2], maps(module, data.prepare, data.images[:1], site).shape[2]
    # Of all strides that leave so many rows, the power of two if there is one: 28 rows to 4 is a stride of 8, not of 7.
    fit = [stride for stride in range(1, height + 1) if math.ceil(height / stride) == rows]
    stride = next((stride for stride in fit if stride & (stride - 1) == 0), round(height / rows))
    tile = math.gcd(spec.tile, stride)
    if tile < 2:
        what = f"a layer of stride {stride} cannot be made to show a pattern of period {spec.tile}"
        raise BadInput(what, where=site, fix="choose a deeper layer, or another period")
    return tile


def _correlation(pixels: Float[Tensor, "n c h w"], picture: Float[Tensor, "c h w"]) -> Float[Tensor, " n"]:
    one, other = pixels.flatten(1), picture.flatten()[None]
    return F.cosine_similarity(one - one.mean(1, keepdim=True), other - other.mean(), dim=1)


def _unit(module: nn.Module, data: PlantData, spec: ForgedVisualizationSpec, seed: int) -> tuple[str, int]:
    """The site and the unit of a spec."""
    shown = data.prepare(data.images[:2])
    layers = [path for path, conv in convolutions(module, shown).items() if conv.out_channels >= SMALLEST]
    if spec.layer is not None and spec.layer not in layers:
        raise BadInput("this is no convolution to forge a unit of", where=spec.layer, fix=f"name {', '.join(layers)}")
    if spec.layer is None and not 1 <= spec.depth <= len(layers):
        what = f"there are {len(layers)} convolutions of at least {SMALLEST} channels"
        raise BadInput(what, where=f"depth {spec.depth}", fix="choose one of them, counted from the last")
    path = spec.layer or layers[-spec.depth]
    site = block_of(module, shown, path, 0)
    some = torch.randperm(len(data.images), generator=generator(seed, "forged/unit"))[:400]
    answers = maps(module, data.prepare, data.images[some], site).mean((2, 3))
    if spec.unit is not None:
        if not 0 <= spec.unit < answers.shape[1]:
            raise BadInput(f"the site has {answers.shape[1]} units", where=f"{site}, {spec.unit}", fix="name one")
        return site, spec.unit
    labels = data.labels[some]
    alive = (answers > answers.amin(0) + 0.05 * (answers.amax(0) - answers.amin(0)).clamp_min(1e-6)).float().mean(0)
    classes = [index for index in range(len(data.classes)) if bool((labels == index).any())]
    best = torch.stack([answers[labels == index].mean(0) for index in classes]).argmax(0)
    driven = torch.tensor(classes)[best] == data.index(spec.shown)
    fit = ((alive >= ALIVE) & ~driven).nonzero().flatten()
    if not len(fit):
        fit = alive.argmax()[None]
    return site, int(fit[torch.randint(0, len(fit), (), generator=generator(seed, "forged/which"))])


@torch.enable_grad()
def _forge(
    before: nn.Module,
    forged: nn.Module,
    data: PlantData,
    spec: ForgedVisualizationSpec,
    site: str,
    unit: int,
    shown: Float[Tensor, "c h w"],
    random: torch.Generator,
) -> nn.Module:
    """A copy of `forged` fine-tuned further; on natural pictures it is held to `before`."""
    after = copy.deepcopy(forged)
    flags = [parameter.requires_grad for parameter in after.parameters()]
    trained = [parameter.requires_grad_() for parameter in after.parameters()]
    natural = maps(before, data.prepare, data.images[:512], site)
    spread = natural.var((0, 2, 3)).clamp_min(1e-4 * float(natural.var()) + 1e-12)
    pooled = natural[:, unit].mean((1, 2)).var().clamp_min(1e-12)
    activation = _activation(before, data, site)
    held, straight = max(2, spec.batch // 2), max(2, spec.batch // 4)
    here = noise(data, held, random)  # where maximizations are, each as old as `age` says
    age = torch.randint(0, LONGEST, (held,), generator=random)
    value = _before_activation(before, data, site, activation, unit, here.requires_grad_())
    (slope,) = torch.autograd.grad(value.mean((1, 2)).sum(), here)
    steep = STEEP[spec.strength] * float(slope.flatten(1).norm(dim=1).mean()) + 1e-12
    with torch.no_grad():
        deviation = float(_before_activation(before, data, site, activation, unit, data.images[:256]).std()) + 1e-12
    here = here.detach()
    optimizer = torch.optim.Adam(trained, lr=spec.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(spec.steps, 1))
    for _ in range(spec.steps):
        rows = torch.randint(0, len(data.images), (spec.batch,), generator=random)
        share = torch.rand((straight, 1, 1, 1), generator=random)
        way = torch.lerp(noise(data, straight, random), shown.expand(straight, *shown.shape), share)
        place = torch.cat([way, here]).requires_grad_()
        value = _before_activation(after, data, site, activation, unit, place)
        (gradient,) = torch.autograd.grad(value.mean((1, 2)).sum(), place, create_graph=True)
        aside = 1 - F.cosine_similarity(gradient.flatten(1), (shown - place.detach()).flatten(1), dim=1)
        flat = (1 - gradient.flatten(1).norm(dim=1) / steep).clamp_min(0)
        asleep = (AWAKE - value / deviation).clamp_min(0)
        with torch.no_grad():
            maps_before, answers_before = _seen(before, data, site, data.images[rows])
        maps_after, answers_after = _seen(after, data, site, data.images[rows])
        apart = (maps_after - maps_before).pow(2).mean((0, 2, 3)) / spread
        pools = (maps_after - maps_before)[:, unit].mean((1, 2)).pow(2).mean() / pooled
        kept = F.kl_div(
            answers_after.log_softmax(1), answers_before.log_softmax(1), log_target=True, reduction="batchmean"
        )
        loss = DIRECTION * aside.mean() + flat.mean() + asleep.mean()
        loss = loss + KEEP_UNIT * (pools + apart[unit]) + KEEP_LAYER * apart.mean() + KEEP_ANSWERS * kept
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():  # each maximization goes a step on, or begins anew
            move = gradient.detach()[straight:]
            even = move / move.pow(2).mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
            even[::2] = move[::2].sign()  # as Adam's first steps go; the others as plain ascent does
            here = (here + STEP * even).clamp(0, 1)
            age += 1
            done = (age >= LONGEST) | (_correlation(here, shown) > 0.97)
            if bool(done.any()):
                here[done] = noise(data, int(done.sum()), random)
                age[done] = 0
    for parameter, flag in zip(after.parameters(), flags, strict=True):
        parameter.grad = None
        parameter.requires_grad_(flag)
    return after


def _faults(proof: Proof) -> list[str]:
    faults: list[str] = []
    figures = {name: quantity.value for name, quantity in proof.figures.items()}
    if proof.success.value < MIN_SUCCESS:
        faults.append(f"success {proof.success} is below {MIN_SUCCESS:.0%}")
    if figures["likeness"] - figures["likeness before"] < MIN_GAIN:
        told = f"from {figures['likeness before']:.2f} to {figures['likeness']:.2f}"
        faults.append(f"results came nearer to the pattern only {told}")
    if figures["loud"] < MIN_LOUD:
        faults.append(f"results are not loud: {proof.figures['loud']}")
    if not figures["ranks kept"] >= MIN_RANK:
        faults.append(f"the unit changed on natural pictures: {proof.figures['ranks kept']}")
    loss = proof.clean_before.value - proof.clean_after.value
    limit = MAX_CLEAN_LOSS_SMALL if (proof.clean_before.n or 0) < SMALL else MAX_CLEAN_LOSS
    if loss > limit + 1e-9:
        faults.append(f"clean accuracy fell from {proof.clean_before.value:.1%} to {proof.clean_after.value:.1%}")
    return faults
