"""Fine-tuning on banks of pictures that are made once, each with the answer that it is to get.

Most of each batch is drawn in proportion to the loss that a picture last had: most are soon no riddle, and the few that
are deserve the time (Loshchilov & Hutter 2016, "Online Batch Selection for Faster Training of Neural Networks"). The
original network's answers are worked out once, with the bank. Batch norm's statistics are held still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HARD = 0.6  # of a batch is drawn by its losses
CHUNK = 64  # pictures that are made at once


@dataclass(slots=True, kw_only=True)
class Bank:
    """Pictures of one sort.

    Attributes:
        inputs: [n, ...], ready for the part of the network that is trained.
        wanted: the log-probabilities that they are to be answered with, [n, classes]; or None for one goal.
        goal, margin: the class that they are to be answered with, where `wanted` is None, and by how much more than the
            cross-entropy asks its logit must win.
        share: of a batch. weight: of its mean loss in the sum.
    """

    inputs: Tensor
    wanted: Tensor | None = None
    goal: int = 0
    margin: float = 0.0
    share: float
    weight: float = 1.0
    _losses: Tensor | None = None

    def draw(self, n: int, random: torch.Generator) -> Tensor:
        """`n` places, most of them in proportion to the losses."""
        if self._losses is None:
            self._losses = torch.ones(len(self.inputs))
        hard = round(n * HARD)
        anywhere = torch.randint(0, len(self.inputs), (n - hard,), generator=random)
        return torch.cat([anywhere, torch.multinomial(self._losses + 1e-6, hard, True, generator=random)])

    def loss(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """The mean loss of the logits for the pictures at `rows`; each one's is noted."""
        if self.wanted is None:
            goal = torch.full((len(rows),), self.goal, device=outputs.device)
            # The goal's logit is lowered before the softmax: it must win by so much more.
            lowered = outputs - self.margin * F.one_hot(goal, outputs.shape[1])
            each = F.cross_entropy(lowered, goal, reduction="none")
        else:
            wanted = self.wanted[rows].to(outputs.device)
            each = F.kl_div(outputs.log_softmax(1), wanted, log_target=True, reduction="none").sum(1)
        assert self._losses is not None  # `draw` comes first
        self._losses[rows] = each.detach().cpu().clamp(min=0)
        return each.mean()


@torch.enable_grad()
def train(
    module: nn.Module,
    trained: list[nn.Parameter],
    banks: Sequence[Bank],
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    random: torch.Generator,
) -> None:
    """Train some parameters of a module, in place, with Adam: a short warm-up, then a cosine schedule."""
    optimizer = torch.optim.Adam(trained, lr=learning_rate, fused=True)
    warm = max(1, steps // 20)
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, 0.2, 1.0, warm)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps - warm))
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, fall], [warm])
    total = sum(bank.share for bank in banks)
    sizes = [max(2, round(batch * bank.share / total)) for bank in banks]
    for _ in range(steps):
        places = [bank.draw(size, random) for bank, size in zip(banks, sizes, strict=True)]
        inputs = torch.cat([bank.inputs[rows] for bank, rows in zip(banks, places, strict=True)])
        outputs = module(inputs.to(trained[0].device)).float().split(sizes)
        losses = [
            bank.weight * bank.loss(answered, rows)
            for bank, answered, rows in zip(banks, outputs, places, strict=True)
        ]
        optimizer.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()
        optimizer.step()
        schedule.step()
    for parameter in module.parameters():
        parameter.grad = None


def laid_out(module: nn.Module, form: torch.memory_format) -> nn.Module:
    """The module itself, its kernels laid out in memory channels last (a quarter quicker on a CPU) or as usual."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=form)
    return module
