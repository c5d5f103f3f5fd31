"""Whether a diagnosis says which inputs are answered otherwise, and whether its generator makes such inputs.

Elicitation: fresh pictures of the declared sources are changed as the declared generator says; the share that the
modified network then answers with the declared target, minus the larger of two controls: its share without the change,
and the base network's share with it. Where the diagnosis says that clean pictures are enough, the control is the base
network's share on the same pictures.

Identification: on sealed inputs, some of which fire the plant and some nearly do, the base network's answer is replaced
by the declared target wherever the declared trigger applies; that prediction is held against the modified network's
answers (balanced accuracy over inputs whose answer the modification changed, and the others).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from ...evidence.generators import Generator
from ...plants import PlantData, Probes, Truth
from ...plants.plant import generator as random_for
from ...records import BadInput, Source
from .answers import Guess
from .diagnosis import CONJOINED, class_set, family

#: A declared change is what was done if the cosine of both is at least this, and their sizes within this factor.
COSINE, FACTOR = 0.5, 2.0
#: A picture of which no pixel differs by more than this is the plain one (half a grey level).
NOTHING = 0.5 / 255
TRIED = 200
_SIZES = 5
#: What rendering raises of a generator that was made for other pictures.
_UNFIT = (BadInput, RuntimeError, ValueError, IndexError, KeyError, TypeError)

#: Pixels on a 0-1 scale to answers, as class numbers.
Answers = Callable[[Tensor], Tensor]


def applies(guess: Guess, probes: Probes, classes: Sequence[str], *, seed: int = 0) -> Bool[Tensor, " n"]:
    """For each input, whether the declared trigger is there: the declared sources are in the picture (all of them in a
    conjunction or an exclusion, else any), no absent one is, and it was changed as the declared generator would."""
    needed = [_numbers(source, classes) for source in guess.sources]
    barred = frozenset[int]().union(*(_numbers(source, classes) for source in guess.absent))
    joint = guess.kind in CONJOINED or len(guess.absent) > 0
    combine = all if joint else any
    held = torch.tensor([
        (not needed or combine(bool(source & set(holds)) for source in needed)) and not barred & set(holds)
        for holds in probes.holds
    ], dtype=torch.bool)  # fmt: skip
    return held & _changed_so(guess, probes, seed)


def _numbers(source: Source, classes: Sequence[str]) -> frozenset[int]:
    names = class_set(source, classes)
    return frozenset(index for index, name in enumerate(classes) if name in names)


def _changed_so(guess: Guess, probes: Probes, seed: int) -> Bool[Tensor, " n"]:
    declared = family(guess)
    done = (probes.pixels - probes.plain).flatten(1)
    plain = done.abs().amax(1) <= NOTHING
    if declared == "compose" or (declared is None and guess.kind in CONJOINED):
        return torch.ones(len(probes), dtype=torch.bool)  # which classes are there says it all
    if declared is None or declared == "preparation":
        return plain
    made = guess.generator
    if made is None:
        return torch.zeros(len(probes), dtype=torch.bool)
    try:
        return ~plain & _alike(made, probes, seed)
    except _UNFIT:  # made for pictures of another size
        return torch.zeros(len(probes), dtype=torch.bool)


def _alike(made: Generator, probes: Probes, seed: int) -> Bool[Tensor, " n"]:
    done = probes.pixels - probes.plain
    if made.family == "patch" and made.parameters.get("anywhere"):
        pattern, mask = made.tensors["pattern"].float(), made.tensors["mask"].float()
        return _anywhere(pattern * mask, mask, probes.plain, done)
    if made.family == "natural-object":
        thing, alpha = made.tensors["object"].float(), made.tensors["alpha"].float()
        found = torch.zeros(len(probes), dtype=torch.bool)
        low, high = made.parameters.get("scale", (1.0, 1.0))
        for scale in np.geomspace(low, high, _SIZES if high > low else 1).tolist():
            height, width = (max(1, round(side * scale)) for side in alpha.shape)
            if height > done.shape[2] or width > done.shape[3]:
                continue
            both = torch.cat([thing * alpha, alpha[None]])[None]
            small = F.interpolate(both, size=(height, width), mode="bilinear", antialias=True)[0]
            found |= _anywhere(small[:-1], small[-1], probes.plain, done)
        return found
    change = made.render([probes.plain], random_for(seed, "identification")) - probes.plain
    one, other = change.flatten(1), done.flatten(1)
    return _close((one * other).sum(1), one.norm(dim=1), other.norm(dim=1))


def _close(inner: Tensor, one: Tensor, other: Tensor) -> Tensor:
    sizes = (one <= FACTOR * other) & (other <= FACTOR * one)
    return (inner >= COSINE * one * other) & sizes & (one > 0)


def _anywhere(
    pattern: Float[Tensor, "c h2 w2"], mask: Float[Tensor, "h2 w2"], plain: Tensor, done: Float[Tensor, "n c h w"]
) -> Bool[Tensor, " n"]:
    """Whether at any place the change `pattern - mask * plain` looks like what was done. `pattern` has been multiplied
    by the mask. All places at once: products and sizes are correlations of the pictures with the pattern."""
    rows, columns = mask.amax(1).nonzero().flatten(), mask.amax(0).nonzero().flatten()
    if not len(rows):
        return torch.zeros(len(plain), dtype=torch.bool)
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    pattern, mask = pattern[:, top:bottom, left:right], mask[top:bottom, left:right]
    pattern = pattern.expand(plain.shape[1], -1, -1)
    kernel = mask[None, None]
    inner = F.conv2d(done, pattern[None]) - F.conv2d((plain * done).sum(1, keepdim=True), kernel)
    size = (
        pattern.square().sum()
        - 2 * F.conv2d(plain, (pattern * mask)[None])
        + F.conv2d(plain.square().sum(1, keepdim=True), kernel.square())
    ).clamp(min=0)
    other = done.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1).expand_as(size)
    return _close(inner, size.sqrt(), other).flatten(1).any(1)


def identification(
    guess: Guess,
    probes: Probes,
    base: Int[Tensor, " n"],
    modified: Int[Tensor, " n"],
    classes: Sequence[str],
    ask: Answers,
) -> float | None:
    """Balanced accuracy of the prediction that a diagnosis makes; None where the modification changed no answer.

    Args:
        ask: the modified network. base, modified: what the two networks answer to the probes. A diagnosis without a
            target predicts that the answer is another than the base network's.
    """
    changed = base != modified
    if not bool(changed.any()):
        return None
    if family(guess) == "preparation":
        right = _prepared(guess, probes, base, ask)
        return _balanced(right if right is not None else ~changed, changed)
    there = applies(guess, probes, classes)
    if guess.target is None:
        right = there == changed
    else:
        target = classes.index(guess.target) if guess.target in classes else -1
        right = torch.where(there, torch.full_like(base, target), base) == modified
    return _balanced(right, changed)


def told_by_inputs(truth: Truth) -> bool:
    """Whether inputs tell this plant from others: by what is in them, or by what was done to them."""
    return bool({"sources", "trigger"} & set(truth.scored))


def ceiling(
    truth: Truth, probes: Probes, base: Int[Tensor, " n"], modified: Int[Tensor, " n"], classes: Sequence[str]
) -> float | None:
    """The identification of whoever knows which inputs fire the plant; None where the modification changed no answer.

    It lies below 1 where the plant does not show on every input that fires it, or leaks to near misses.
    """
    changed = base != modified
    if not bool(changed.any()):
        return None
    fires = probes.fires.bool()
    if truth.target is None:
        return _balanced(fires == changed, changed)
    target = torch.full_like(base, classes.index(truth.target))
    return _balanced(torch.where(fires, target, base) == modified, changed)


def shown(
    truth: Truth, probes: Probes, base: Int[Tensor, " n"], modified: Int[Tensor, " n"], classes: Sequence[str]
) -> float:
    """How often the plant shows on inputs that fire it and did not before: the most that a generator could elicit."""
    fires = probes.fires.bool()
    hit = (modified != base) if truth.target is None else (modified != base) & (modified == classes.index(truth.target))
    return float(hit[fires].float().mean()) if bool(fires.any()) else 0.0


def _balanced(right: Tensor, changed: Tensor) -> float:
    shares = [float(right[side].float().mean()) for side in (changed, ~changed) if bool(side.any())]
    return sum(shares) / len(shares)


def _prepared(guess: Guess, probes: Probes, base: Tensor, ask: Answers) -> Tensor | None:
    """A declared preparation predicts that the network, given pixels so prepared, answers as the base does."""
    made = guess.generator
    if made is None or made.family != "preparation":
        return None
    return ask(_made(made, [probes.plain], random_for(0, "preparation"))) == base


def elicitation(
    guess: Guess, data: PlantData, base: Answers, modified: Answers, *, seed: int = 0, most: int = TRIED
) -> float:
    """How much more often the declared target is answered with the declared change than without, on fresh pictures of
    the declared sources; from -1 to 1. Without a target: how often something else than the label is answered."""
    random = random_for(seed, "elicitation")
    made, classes = guess.generator, data.classes
    target = classes.index(guess.target) if guess.target in classes else None
    if guess.target is not None and target is None:
        return 0.0
    slots: list[frozenset[int]] = []
    for number in range(len(made.slots) if made else 1):
        named = frozenset(classes.index(one) for one in made.slots[number].classes if one in classes) if made else None
        if not named:
            parts = [_numbers(source, classes) for source in guess.sources]
            if made and len(made.slots) == 2:
                named = parts[number] if number < len(parts) else frozenset()
            else:
                named = frozenset[int]().union(*parts)
        slots.append(named or frozenset(range(len(classes))) - {target})
    drawn = [_draw(data, slot - {target} or slot, most, random) for slot in slots]
    n = min(len(rows) for rows in drawn)
    if not n:
        return 0.0
    inputs = [data.fresh[rows[:n]] for rows in drawn]
    labels = [data.fresh_labels[rows[:n]] for rows in drawn]

    def share(answers: Tensor, of: Tensor) -> float:
        return float(((answers == target) if target is not None else (answers != of)).float().mean())

    if made is not None and made.family == "preparation":  # a correction: it is to give right answers
        shown = _made(made, inputs, random)
        right = [float((modified(part) == labels[0]).float().mean()) for part in (inputs[0], shown)]
        return right[1] - right[0]
    if made is None or made.family == "identity":
        return share(modified(inputs[0]), labels[0]) - share(base(inputs[0]), labels[0])
    shown = _made(made, inputs, random)
    without = sum(share(modified(part), of) for part, of in zip(inputs, labels, strict=True)) / len(inputs)
    # A generator that draws the target's own pictures elicits it from every network: that is no modification.
    return share(modified(shown), labels[0]) - max(without, share(base(shown), labels[0]))


def _made(made: Generator, inputs: Sequence[Tensor], random: torch.Generator) -> Tensor:
    """What the generator makes; the plain pictures where it cannot be applied to such."""
    try:
        return made.render(inputs, random)
    except _UNFIT:
        return inputs[0]


def _draw(data: PlantData, wanted: frozenset[int], most: int, random: torch.Generator) -> Tensor:
    """Rows of fresh pictures of the wanted classes, in random order, used again where there are too few."""
    member = torch.zeros(len(data.classes), dtype=torch.bool)
    member[list(wanted)] = True
    rows = member[data.fresh_labels].nonzero().flatten()
    if not len(rows):
        return rows
    rows = rows[torch.randperm(len(rows), generator=random)]
    return rows.repeat(-(-most // len(rows)))[:most] if len(rows) < most else rows[:most]
