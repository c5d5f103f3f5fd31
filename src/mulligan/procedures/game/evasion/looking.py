"""The red team's own audits: the released checks on a network, with pictures that the red team owns."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ....checks import Subject
from ....checks.bank import shipped_bank
from ....checks.running import run_checks
from ....datasets import load_dataset
from ....evidence.ranks import network_score, surprise
from ....networks import Network, parse_input
from ....plants import PlantData
from ....plants.plant import generator
from ....runs import Run
from ..auditors.own_checks import RESERVE, CpuBudget, in_order, subject_of
from ..bases import arranged

EACH = 40  # pictures of a class, as many as an auditor gets


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What an audit said.

    Attributes:
        scores: of each kind. surprises: the same as -log10 of the share of the shipped bank's clean networks that
            score as high. loudest, of: the largest of these, and the kind that it is of ("" where no kind has a bank).
        kind, target: of the claim that the auditor would make, a finding or a lead; "" where it makes none.
        seconds: of CPU.
    """

    scores: dict[str, float]
    surprises: dict[str, float]
    loudest: float
    of: str
    kind: str
    target: str
    seconds: float


def network_of(module: nn.Module, input: str, classes: Sequence[str]) -> Network:
    """A module as the checks take it."""
    return Network(module, name="entry", input=parse_input(input), classes=classes)


def look(
    module: nn.Module, data: PlantData, input: str, *, seconds: float, seed: int, names: Sequence[str] | None = None
) -> Look:
    """Audit a network as the auditor `mulligan` does, on pictures of `data.images`.

    Args:
        input: how pixels become the network's input. seconds: of CPU that the checks may use. seed: draws the pictures.
        names: of the checks that are run; None: all.

    Raises:
        RuntimeError: if a check fails.
    """
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run_checks(_subject(module, data, input, seconds, seed, Path(folder)), names)
    for record_ in (one.record for one in outcomes):
        if record_.status == "failed":  # its silence says nothing, and would pass for success
            raise RuntimeError(f"the check {record_.name} failed: {record_.why}")
    scores = {kind: float(score) for one in outcomes for kind, score in one.record.scores.items()}
    first = in_order(outcomes)[:1]
    bank = shipped_bank().scores
    loudest, of = network_score(scores, bank)
    surprises = {kind: surprise(score, bank[kind]) for kind, score in scores.items() if kind in bank}
    kind, target = (first[0].kind, first[0].target or "") if first else ("", "")
    return Look(
        scores=scores, surprises=surprises, loudest=loudest, of=of or "", kind=kind, target=target,
        seconds=time.process_time() - began,
    )  # fmt: skip


def _subject(module: nn.Module, data: PlantData, input: str, seconds: float, seed: int, folder: Path) -> Subject:
    budget = CpuBudget(time.process_time() + max(seconds - RESERVE, 1.0))  # it counts from when the process began
    rows = drawn(data, seed)
    pixels = (data.images[rows] * 255).round().to(torch.uint8)
    np.savez(folder / "data.npz", x=arranged(pixels), y=data.labels[rows].numpy().astype(np.int64))
    dataset = load_dataset(str(folder / "data.npz"), classes=data.classes)
    run = Run.create("game", [], {"entry": "own"}, out=folder / "run")
    return subject_of(network_of(module, input, data.classes), dataset, run, budget)


def drawn(data: PlantData, seed: int, each: int = EACH) -> torch.Tensor:
    """Rows of `data.images`: up to `each` of every class, at random."""
    order = torch.randperm(len(data.labels), generator=generator(seed, "own audit"))
    return torch.cat([order[data.labels[order] == c][:each] for c in range(len(data.classes))])
