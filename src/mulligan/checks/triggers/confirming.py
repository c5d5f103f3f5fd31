"""The test half, opened once: each frozen generator against its placebos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...evidence import Generator, excess_p, holm
from ...runs import derived_seed, generator
from ..check import Subject
from ..pixels import pictures
from .refining import Candidate
from .survey import Grounds, frozen

#: At most so many test pictures a claim, and the least clarity of a defect (contract, step 2).
MOST_PICTURES, DEFECT_MARGIN = 100, 0.4
PLACEBOS = ("the picture as it is", "the change in disorder", "the change mirrored or moved")
KNOWN_PLACEBOS = (PLACEBOS[0], "another change of its kind and size", "a second change of its kind and size")


@dataclass(frozen=True, slots=True)
class Tested:
    """A frozen claim with what the test half said.

    Attributes:
        rows: test examples. triggered, placebo: whether each is answered as the target, [n] of 0 and 1; the placebo is
            the family that explains most. margins: leads of the target on the triggered pictures, in genuine margins.
        shown: the triggered pictures. worst: which placebo. claims: how many Holm's correction was over.
    """

    candidate: Candidate
    rows: list[int]
    clean: Float[Tensor, "n c h w"]
    shown: Float[Tensor, "n c h w"]
    triggered: Float[np.ndarray, " n"]
    placebo: Float[np.ndarray, " n"]
    margins: Float[np.ndarray, " n"]
    worst: str
    p: float
    p_adjusted: float
    claims: int

    @property
    def survives(self) -> bool:
        """By the contract's test and margin."""
        return self.p_adjusted <= 0.05 and float(np.median(self.margins)) >= DEFECT_MARGIN


def confirm(subject: Subject, grounds: Grounds, candidates: Sequence[Candidate]) -> list[Tested]:
    """Open the test half for the frozen candidates."""
    measured = [_measure(subject, grounds, candidate) for candidate in candidates]
    ps = [excess_p(item[3], item[4]) for item in measured]
    return [
        Tested(candidate, *item, p, adjusted, len(ps))
        for candidate, item, p, adjusted in zip(candidates, measured, ps, holm(ps), strict=True)
    ]


def rows_to_test(subject: Subject, grounds: Grounds, candidate: Candidate) -> list[int]:
    """Test examples of the claim's sources, at most `MOST_PICTURES`, the same share of each class."""
    every = [c for c in grounds.classes if c != candidate.target]
    names = every if candidate.source is None else [candidate.source]
    each = max(1, MOST_PICTURES // len(names))
    rows: list[int] = []
    for c in names:
        mine = subject.split.test[subject.groups[subject.split.test] == c]
        rows += [int(i) for i in generator(subject.seed, "triggers-test", c).permutation(mine)[:each]]
    return rows


def _measure(
    subject: Subject, grounds: Grounds, candidate: Candidate
) -> tuple[list[int], Tensor, Tensor, np.ndarray, np.ndarray, np.ndarray, str]:
    rows = rows_to_test(subject, grounds, candidate)
    clean = pictures(subject, rows)
    random = torch.Generator().manual_seed(derived_seed(subject.seed, "triggers-confirm", candidate.kind))
    shown = candidate.generator.render([clean], random)
    held = candidate.placebos if candidate.known else disordered(candidate.generator, random)
    placebos = [clean, *(one.render([clean], random) for one in held)]
    genuine = grounds.genuine[candidate.target]
    with frozen(subject.network) as logits, torch.no_grad():
        lead = _lead(logits, shown, candidate.target) / genuine
        answered = [(_lead(logits, one, candidate.target) > 0).astype(np.float64) for one in placebos]
    worst = int(np.argmax([one.mean() for one in answered]))
    words = KNOWN_PLACEBOS if candidate.known else PLACEBOS
    return rows, clean, shown, (lead > 0).astype(np.float64), answered[worst], lead, words[worst]


def _lead(logits, x: Tensor, target: int) -> Float[np.ndarray, " n"]:
    out = torch.cat([logits(part) for part in x.split(128)])
    own = out[:, target].clone()
    out[:, target] = float("-inf")
    return (own - out.amax(1)).cpu().numpy().astype(np.float64)


def disordered(made: Generator, random: torch.Generator) -> tuple[Generator, Generator]:
    """Two placebos of the same family and energy: with its parts shuffled, and turned or moved."""
    tensors, parameters = dict(made.tensors), dict(made.parameters)
    if "atoms" in parameters:
        names, values = list(parameters["atoms"]), torch.tensor(list(parameters["atoms"].values()))
        signs = (torch.rand(len(values), generator=random) < 0.5).float() * 2 - 1
        return tuple(
            Generator(family=made.family, parameters={"atoms": dict(zip(names, changed.tolist(), strict=True))})
            for changed in (values * signs, -values)
        )  # type: ignore[return-value]
    if "flow" in tensors:
        flow = tensors["flow"]
        turned = (flow.flip(0), -flow)
        return tuple(Generator(family="warp", tensors={"flow": one}) for one in turned)  # type: ignore[return-value]
    name = "object" if "object" in tensors else "pattern"
    pattern = tensors[name]
    order = torch.randperm(pattern[0].numel(), generator=random)
    if "mask" in tensors:
        inside = torch.nonzero(tensors["mask"].flatten() > 0.5 * tensors["mask"].max())[:, 0]
        order = torch.arange(pattern[0].numel())
        order[inside] = inside[torch.randperm(len(inside), generator=random)]
        moved = {"pattern": pattern.flip(1, 2), "mask": tensors["mask"].flip(0, 1)}
    elif name == "object":
        moved = {"object": 1 - pattern, "alpha": tensors["alpha"]}
    else:
        moved = {"pattern": pattern.flip(1, 2)}
    shuffled = {**tensors, name: pattern.flatten(1)[:, order].reshape(pattern.shape)}
    return (
        Generator(family=made.family, parameters=parameters, tensors=shuffled),
        Generator(family=made.family, parameters=parameters, tensors=moved),
    )
