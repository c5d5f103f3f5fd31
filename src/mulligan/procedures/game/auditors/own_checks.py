"""The auditor `mulligan`: every installed check on the entry, as `mulligan audit` runs them, without its descriptions.

It commits itself to one answer: of what each check claims first, that whose kind's score lies furthest beyond the clean
networks of the shipped bank, where there is one. The budget is in CPU-seconds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ....activations import Plan, record
from ....checks import Outcome, Subject
from ....checks.bank import shipped_bank
from ....checks.running import run_checks
from ....datasets import Dataset, batches, load_dataset
from ....evidence.ranks import surprise
from ....networks import ImageInput, Network, load
from ....records import Finding, Findings
from ....runs import Budget, LocalEngine, Run
from ..entries import Entry, load_entry, read_entry
from . import parts
from .answering import write_findings

#: CPU-seconds that are kept for writing the answer.
RESERVE = 3.0
BATCH = 128


class CpuBudget(Budget):
    """Counts this process's CPU-seconds, since it began, instead of the clock on the wall."""

    @property
    def left(self) -> float:
        """See `Budget.left`."""
        return self.seconds - time.process_time()


def audit(name: str, folder: Path, out: Path) -> Findings:
    """Write the answer to the entry in `folder`; artifacts of checks lie in `out`."""
    options = parts(name)[1]
    entry = read_entry(folder)
    network = load_entry(folder)
    run = Run.create("game", [], {"entry": entry.id}, out=out)
    dataset = _data(entry, folder, network, out)
    reference, sibling = _given(entry, folder)
    subject = replace(
        subject_of(network, dataset, run, CpuBudget(max(entry.seconds - RESERVE, 1.0))),
        reference=reference, sibling=sibling, seed=int(options.get("seed", 0)),
        without=frozenset(kind for option, kind in options.items() if option == "without"),
    )  # fmt: skip
    outcomes = run_checks(subject)
    records = [outcome.record for outcome in outcomes]
    ordered = in_order(outcomes)
    first = ordered[:1]
    confirmed = any(first == [finding] for outcome in outcomes for finding in outcome.findings)
    return write_findings(
        out, entry, checks=records, findings=first if confirmed else [], leads=[] if confirmed else first,
        network=network, n=len(dataset), seconds=time.process_time(),
        coverage={"other claims": [f.claim for f in ordered[1:20]]},
    )  # fmt: skip


def _data(entry: Entry, folder: Path, network: Network, out: Path) -> Dataset:
    """The entry's images; on track A, noise without labels, which is all that weights alone give."""
    if entry.data is not None:
        return load_dataset(str(folder / entry.data), classes=entry.classes)
    taken = network.input
    assert isinstance(taken, ImageInput), "entries take pictures"
    shape = (4 * len(entry.classes), *taken.size, *((taken.channels,) if taken.channels == 3 else ()))
    np.savez(out / "noise.npz", x=np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    return load_dataset(str(out / "noise.npz"), classes=entry.classes)


def _given(entry: Entry, folder: Path) -> tuple[Network | None, Network | None]:
    """The reference network and a sibling, where the track gives them."""
    siblings = sorted((folder / entry.siblings).glob("*.safetensors")) if entry.siblings is not None else []

    def loaded(file: Path | None) -> Network | None:
        spec = f"{folder / 'model.py'}:factory"
        return load(spec, weights=file, input=entry.input, classes=entry.classes) if file is not None else None

    return loaded(folder / entry.reference if entry.reference is not None else None), loaded(next(iter(siblings), None))


def subject_of(network: Network, dataset: Dataset, run: Run, budget: Budget) -> Subject:
    """A network and data to be checked in this process, with what an example costs measured."""
    taken = network.input
    assert taken is not None, "entries say what they take"
    rows = list(range(min(BATCH, len(dataset))))
    with torch.no_grad():
        group = next(iter(batches(dataset, taken, rows, BATCH)))
        network.logits(group.x, group.mask)
        start = time.process_time()
        network.logits(group.x, group.mask)
        each = (time.process_time() - start) / len(rows)
    answers = record(network, dataset, Plan(sites=(), batch=BATCH, shard=4 * BATCH), run).array("answers")
    labels = dataset.labels if dataset.labels is not None else np.full(len(dataset), -1, dtype=np.int64)
    return Subject(
        network=network, dataset=dataset, labels=labels, answers=answers, run=run, engine=LocalEngine(),
        budget=budget, seconds_an_example=each, batch=BATCH,
    )  # fmt: skip


def in_order(outcomes: Sequence[Outcome]) -> list[Finding]:
    """All claims, that first by which the auditor stands.

    A check has looked closer at its own claims than their scores say: only the first of each competes with those of
    others. Of claims that are as far out and as sure, a finding comes before a lead.
    """
    scores = {kind: score for outcome in outcomes for kind, score in outcome.record.scores.items()}
    told = [(not outcome.findings, [*outcome.findings, *outcome.leads]) for outcome in outcomes]
    heads = [claims[0] for _, claims in sorted(told, key=lambda one: one[0]) if claims]
    rest = [claim for _, claims in told for claim in claims[1:]]
    return [*by_excess(heads, scores), *by_excess(rest, scores)]


def by_excess(findings: Sequence[Finding], scores: Mapping[str, float]) -> list[Finding]:
    """Sorted by how improbable the score of each one's kind is among clean networks, then by confidence."""
    bank = shipped_bank().scores

    def support(finding: Finding) -> tuple[float, float]:
        # What no kind describes well was found, and is scored, as the family that describes it best.
        kind = finding.trigger.family if finding.kind == "other" and finding.trigger else finding.kind
        beyond = surprise(scores[kind], bank[kind]) if bank.get(kind) and kind in scores else 0.0
        return (-round(beyond, 2), -(finding.confidence or 0.0))

    return sorted(findings, key=support)
