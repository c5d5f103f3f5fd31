"""A stand-in for the network as it would be without what was put in: what triggers are held against.

A copy with its weights shuffled learns the network's answers to clean pictures (Hinton et al. 2015, arXiv:1503.02531),
moved, mixed and noised so that it also learns what lies between them. It comes to share what the pictures themselves
bring along (classes that are easily taken for one another, and easily drawn), and none of what no clean picture shows.
Distillation on clean pictures is also how backdoors are taken out (Li et al. 2021, arXiv:2101.05930).

It learns from all pictures, those of the half that confirms too: it answers to them as they are, and is asked about
changed ones on the half that searches only.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ..evidence import random_twin
from ..networks import ImageInput, Network
from ..records import Noted
from ..runs import Context, Piece, Result, generator
from .adam import Adam
from .pixels import answers, pixels

if TYPE_CHECKING:
    from .check import Subject

#: Steps of learning, where the budget allows, and the fewest that are worth it; pictures a step.
STEPS, FEWEST_STEPS, BATCH = 240, 160, 64
#: Pictures to learn from, and numbers that they may hold: they lie in memory.
MOST_ROWS, MOST_VALUES = 2000, 1 << 26
RATE, TEMPERATURE = 1.2e-2, 2.0
#: Pictures are moved by up to this share of their side, and noised by up to so much.
MOVED, NOISE = 0.07, 0.05
#: A step costs about so many passes as they were measured, with reading pictures: the network's own, and the copy's
#: there and back.
PASSES = 2.5
#: A copy that agrees on fewer of the clean pictures, in the mean over the network's answers, has not learned them. One
#: that agrees on fewer of those it learns from by half of the steps will not: a large network needs far more.
LEAST_AGREEMENT, LEAST_HALFWAY = 0.6, 0.2
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)
_TAUGHT = "mulligan.checks.distilled:taught"


def distilled(subject: Subject) -> Network | None:
    """The reference network if there is one, or a sibling; else a copy that learned clean answers; None where it cannot
    be had: the budget is too short, or the copy does not come to agree."""
    network = subject.network
    for other in (subject.reference, subject.sibling):
        if other is not None and isinstance(other.input, ImageInput) and other.classes == network.classes:
            return other
    if not isinstance(network.input, ImageInput):
        return None
    price = BATCH * PASSES * subject.seconds_an_example
    steps = subject.budget.buy("distillation/steps", STEPS, price, share=0.4)
    if steps < FEWEST_STEPS:
        return None
    most = min(MOST_ROWS, max(MOST_VALUES // (network.input.channels * math.prod(network.input.size)), BATCH))
    rows = [int(row) for row in generator(subject.seed, "distillation").permutation(len(subject.dataset))[:most]]
    piece = Piece(_TAUGHT, {"rows": rows, "steps": steps, "seed": subject.seed}, cost=steps * BATCH)
    ((_, result),) = subject.engine.run("distillation", [piece], subject.context, subject.run, subject.emit)
    if result.values["agreement"] < LEAST_AGREEMENT:
        if result.values["why"]:
            subject.emit(Noted(text=f"There is no distilled network: a copy does not learn ({result.values['why']})."))
        return None
    copied = copy.deepcopy(network.module)
    state = {name: torch.from_numpy(np.array(value)) for name, value in result.arrays.items()}
    copied.load_state_dict(state)
    return network.with_module(copied.eval(), name=f"{network.name}, distilled")


def taught(context: Context, *, rows: list[int], steps: int, seed: int) -> Result:
    """A piece of work: the copy's state, and on which share of the clean pictures it agrees; on none, and why, where a
    network is no module that learns (an exported graph, say, or one that gives no gradients)."""
    network: Network = context["network"]
    x = pixels(context, rows)
    random = torch.Generator().manual_seed(seed)
    copied = random_twin(network, seed).module
    for module in copied.modules():
        if isinstance(module, _NORMS):  # a shuffled gain fits no channel
            module.reset_parameters()
    try:
        with torch.enable_grad():
            if not learn(network, copied, x, steps, random):
                return Result({}, {"agreement": 0.0, "why": f"it needs more than {steps} steps"})
        copied.eval()
    except (RuntimeError, ValueError) as error:  # NotImplementedError is a RuntimeError
        return Result({}, {"agreement": 0.0, "why": f"{type(error).__name__}: {error}"[:200]})
    own_said, said = (answers(one, x).argmax(1) for one in (network, network.with_module(copied)))
    same = (own_said == said).float()
    agreement = float(torch.stack([same[own_said == c].mean() for c in own_said.unique()]).mean())
    arrays = {name: value.detach().cpu().numpy() for name, value in copied.state_dict().items()}
    return Result(arrays, {"agreement": agreement, "why": ""})


def learn(
    network: Network, module: nn.Module, x: Float[Tensor, "n c h w"], steps: int, random: torch.Generator
) -> bool:
    """Teach a module what a network answers to pictures from 0 to 1, varied; False where it was given up halfway."""
    own = network.input
    assert isinstance(own, ImageInput), "the network takes pictures"
    student = network.with_module(module)
    parameters = [p.requires_grad_(True) for p in module.parameters()]
    adam = Adam(parameters, RATE, mean=0.9, square=0.99)
    module.train()
    lately: list[float] = []
    for step in range(steps):
        adam.rate = RATE * min(1.0, 4 * (step + 1) / steps) * 0.5 * (1 + math.cos(math.pi * step / steps))
        shown = own.normalise(_varied(x[torch.randint(0, len(x), (BATCH,), generator=random)], random))
        with torch.no_grad():
            goal = F.log_softmax(network.logits_unchecked(shown).float() / TEMPERATURE, 1)
        said = F.log_softmax(student.logits_unchecked(shown).float() / TEMPERATURE, 1)
        adam.step(F.kl_div(said, goal, log_target=True, reduction="batchmean"))
        if steps // 3 <= step < steps // 2:
            lately.append(float((said.argmax(1) == goal.argmax(1)).float().mean()))
        elif step == steps // 2 and float(np.mean(lately)) < LEAST_HALFWAY:
            return False
    return True


def _varied(x: Float[Tensor, "n c h w"], random: torch.Generator) -> Float[Tensor, "n c h w"]:
    """Moved together; every other picture mixed with another (Zhang et al. 2018, arXiv:1710.09412); noised."""
    height, width = x.shape[2:]
    reach = max(1, round(MOVED * min(height, width)))
    down, across = torch.randint(0, 2 * reach + 1, (2,), generator=random).tolist()
    x = F.pad(x, (reach,) * 4, mode="replicate")[:, :, down : down + height, across : across + width]
    share = 0.5 * torch.rand((len(x), 1, 1, 1), generator=random) * (torch.arange(len(x)) % 2)[:, None, None, None]
    x = torch.lerp(x, x[torch.randperm(len(x), generator=random)], share)
    strength = NOISE * torch.rand((len(x), 1, 1, 1), generator=random)
    return (x + strength * torch.randn(x.shape, generator=random)).clamp(0, 1)
