"""The audit: what did this network learn, and is any of it wrong?

    identity -> recording -> behaviour -> checks -> what drives each output -> inventory -> coverage -> findings

Every step hands pieces of work to an engine and reads its budget; what was granted is recorded, and a replay repeats
it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...activations import Plan, Recording, record
from ...checks import SEVERITIES, Outcome, Subject, numbered, ranks, run_checks
from ...datasets import Dataset, batches, require_classes, require_kind
from ...evidence import random_twin
from ...features import class_groups
from ...networks import Network, TokenInput, neurons, spread, trunk
from ...records import (
    BadInput,
    Behaviour,
    CoverageLine,
    DataRecord,
    Description,
    Emit,
    ExampleRef,
    Findings,
    Modified,
    Noted,
    OutputCard,
    Site,
    Verdict,
    silent,
)
from ...runs import Budget, Engine, LocalEngine, Run, derived_seed, mulligan_version
from . import behaviour as behaviours
from .examples import Gallery
from .inventory import Recorded, grouping, take_inventory
from .means import Means
from .outputs import Chosen, choose_classes, choose_tokens, explain
from .pictures import Seen, illustrate
from .siblings import check_siblings, find_siblings, stand_among

#: Classes with fewer examples than this on average are described by groups.
FEW_PER_CLASS = 12
MOST_OUTPUTS = 24
TWIN_EXAMPLES = 256
MOST_TOKENS = 128
GRANTS = "grants.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes:
        reference: a network that this one is said to be equal to, for the checks that can make use of it.
        siblings: a folder of weights of clean networks of the same recipe, 19 at least.
        seconds: the budget, wall time. names: which checks; None: all that apply.
        sites: which sites to take an inventory of; None: six blocks, spread evenly.
        recorded: grants of an earlier run, to be repeated. reproduce: the command that repeats this audit.
    """

    network: Network
    dataset: Dataset
    reference: Network | None = None
    siblings: Path | None = None
    seconds: float = 600.0
    names: tuple[str, ...] | None = None
    sites: tuple[str, ...] | None = None
    seed: int = 0
    batch: int = 32
    recorded: dict[str, int] | None = None
    reproduce: str = ""


@dataclass
class _State:
    """What the steps share."""

    request: Request
    run: Run
    engine: Engine
    emit: Emit
    budget: Budget
    sites: list[Site] = field(default_factory=list)
    seconds_an_example: float = 0.01
    dataset: Dataset = field(init=False)
    twin_dataset: Dataset = field(init=False)
    coverage: list[CoverageLine] = field(default_factory=list)


def shortened(network: Network) -> Network:
    """The network as the audit gives it texts: their first 128 tokens, so that a batch's cost does not hang on its
    longest text."""
    taken = network.input
    if not isinstance(taken, TokenInput) or taken.context <= MOST_TOKENS:
        return network
    return network.with_input(replace(taken, context=MOST_TOKENS))


def prepare(request: Request) -> list[Site]:
    """Everything that can be wrong with the input, before a folder is made: returns the sites.

    Raises:
        BadInput: if network and data do not fit, or the network answers with NaN.
    """
    network, dataset = request.network, request.dataset
    if network.input is None:
        raise BadInput(
            "this network does not say what it takes",
            where=network.name,
            fix="pass --input size=...,channels=...,mean=...,std=...",
        )
    require_kind(dataset, network.input)
    if network.task == "classification":
        if dataset.labels is not None and (dataset.labels >= 0).any():
            require_classes(dataset, 2)
        if (
            dataset.labels is not None
            and network.classes is not None
            and int(dataset.labels.max(initial=-1)) >= len(network.classes)
        ):
            raise BadInput(
                f"the data have class number {int(dataset.labels.max())} and the network {len(network.classes)} "
                "classes",
                where=dataset.source,
                fix="pass the right list with --classes",
            )
    with torch.no_grad():
        first = next(iter(batches(dataset, network.input, [0], 1)))
        network.logits(first.x, first.mask)
    if request.reference is not None:
        _require_alike(network, request.reference)
    if request.siblings is not None:
        check_siblings(network, find_siblings(request.siblings))
    if request.sites is not None:
        return network.sites(request.sites)
    blocks = neurons(network) or trunk(network)
    return spread(blocks, 6 if network.task == "classification" else 4)


def _require_alike(network: Network, reference: Network) -> None:
    """Refuse a reference that takes or answers something else."""
    if type(reference.input) is not type(network.input) or reference.task != network.task:
        what = f"the reference is for {reference.task} and this network for {network.task}"
        raise BadInput(what, where=reference.name, fix="give a --reference of the same kind")
    if reference.classes != network.classes:
        what = "the reference has other classes than this network"
        raise BadInput(what, where=reference.name, fix="give a --reference with the same classes in the same order")


def audit(
    request: Request, run: Run, sites: Sequence[Site], *, engine: Engine | None = None, emit: Emit = silent
) -> Findings:
    """Run the audit into `run`; returns what findings.json says.

    Raises:
        Interrupted: after Ctrl-C; the same call goes on. BadInput, DiskFull: see their messages.
    """
    began = time.monotonic()
    state = _State(
        request, run, engine or LocalEngine(), emit, _RememberingBudget(request.seconds, run, request.recorded)
    )
    state.sites = list(sites)
    _choose_examples(state)
    recording = _record(state)
    labels = (
        state.dataset.labels if state.dataset.labels is not None else np.full(len(state.dataset), -1, dtype=np.int64)
    )
    answers = _answers(request.network, recording)
    twin, twin_recording = _record_twin(state)
    gallery = Gallery(
        request.network, state.dataset, run, labels, answers.logits.argmax(1) if answers.logits is not None else None
    )
    behaviour = _behave(state, answers, twin_recording, labels, gallery)
    outcomes, modified = _check(state, labels, answers)
    description = _describe(state, recording, twin, twin_recording, labels, answers, behaviour, gallery, outcomes)
    run.write_json(
        "pieces.json",
        {
            "schema": "mulligan/pieces/1",
            "granted": state.budget.granted,
            "wanted": state.budget.wanted,
            "seconds": request.seconds,
        },
    )
    document = _conclude(state, outcomes, description, modified, time.monotonic() - began)
    run.write_json("description.json", description)
    run.write_json("findings.json", document)
    run.update(status="finished")
    return document


class _RememberingBudget(Budget):
    """Writes each grant into the run at once, so that a resumed audit asks for the very pieces that it has."""

    def __init__(self, seconds: float, run: Run, recorded: dict[str, int] | None) -> None:
        before = run.read_json(GRANTS, dict[str, int]) if run.has(GRANTS) else {}
        super().__init__(seconds, {**(recorded or {}), **before} or None)
        self.run = run

    def buy(self, what: str, wanted: int, each: float, *, share: float = 1.0, least: int = 0) -> int:
        """See `Budget.buy`."""
        granted = super().buy(what, wanted, each, share=share, least=least)
        self.run.write_json(GRANTS, self.granted)
        return granted


# Steps
def _choose_examples(state: _State) -> None:
    """How many examples the budget buys: time one batch, then take all or a random part."""
    request = state.request
    dataset, network = request.dataset, request.network
    taken = network.input
    assert taken is not None, "prepare() looked"
    probe = [
        int(i)
        for i in np.random.default_rng(derived_seed(request.seed, "probe")).permutation(len(dataset))[
            : min(request.batch, len(dataset))
        ]
    ]
    with torch.no_grad():
        for group in batches(dataset, taken, probe[:2], 2):
            network.logits(group.x, group.mask)
        start = time.monotonic()
        for group in batches(dataset, taken, probe, request.batch):
            network.logits(group.x, group.mask)
        state.seconds_an_example = (time.monotonic() - start) / len(probe)
    least = min(len(dataset), 64)
    number = state.budget.buy("examples", len(dataset), 1.2 * state.seconds_an_example, share=0.3, least=least)
    if number < len(dataset):
        rows = np.sort(np.random.default_rng(derived_seed(request.seed, "examples")).permutation(len(dataset))[:number])
        state.dataset = dataset.subset(rows)
    else:
        state.dataset = dataset
    state.coverage.append(
        CoverageLine(
            what="examples",
            examined=number,
            total=len(dataset),
            unit="examples",
            why="" if number == len(dataset) else "a random part, as many as the budget bought",
        )
    )
    twin = state.budget.buy(
        "examples for the random twin",
        min(TWIN_EXAMPLES, number),
        1.2 * state.seconds_an_example,
        share=0.1,
        least=min(number, 32),
    )
    order = np.random.default_rng(derived_seed(request.seed, "twin examples")).permutation(number)[:twin]
    state.twin_dataset = state.dataset.subset(np.sort(order))


def _plan(state: _State) -> Plan:
    return Plan(
        tuple(site.alias for site in state.sites),
        ("mean", "max", "argmax") if state.dataset.kind == "texts" else ("mean", "max"),
        batch=state.request.batch,
        shard=4 * state.request.batch,
        seed=state.request.seed,
    )


def _record(state: _State) -> Recording:
    request = state.request
    start = time.monotonic()
    recording = record(
        request.network, state.dataset, _plan(state), state.run, engine=state.engine, emit=state.emit, job="recording"
    )
    # The first batch told a price in a hurry; all later purchases go by what the whole recording took.
    measured = (time.monotonic() - start) / len(state.dataset)
    state.seconds_an_example = max(state.seconds_an_example, measured)
    return recording


def _record_twin(state: _State) -> tuple[Network, Recording]:
    """A random-weight twin and the same on it: the floor under every descriptive figure."""
    network, request = state.request.network, state.request
    assert network.input is not None, "prepare() looked"
    rows = list(range(min(64, len(state.twin_dataset))))
    settle = ((group.x, group.mask) for group in batches(state.twin_dataset, network.input, rows, request.batch))
    twin = random_twin(network, request.seed, settle)
    return twin, record(
        twin,
        state.twin_dataset,
        _plan(state),
        state.run,
        engine=state.engine,
        emit=state.emit,
        job="random twin",
        index="tables/twin.parquet",
    )


def _answers(network: Network, recording: Recording) -> behaviours.Answers:
    if network.task == "language":
        return behaviours.Answers(**{name: recording.array(name) for name in ("token", "answer", "loss", "confidence")})
    values = recording.array("answers")
    return (
        behaviours.Answers(logits=values) if network.task == "classification" else behaviours.Answers(embedding=values)
    )


def _behave(
    state: _State, answers: behaviours.Answers, twin: Recording, labels: np.ndarray, gallery: Gallery
) -> Behaviour:
    network, request = state.request.network, state.request
    assert network.input is not None
    steps = network.input.steps()
    floor = _answers(network, twin)
    notes = list(state.dataset.notes)
    if network.task == "language":
        return behaviours.language(answers, floor, steps, request.seed, notes)
    if network.task != "classification":
        return behaviours.embedding(answers, floor, steps, request.seed, notes)
    assert answers.logits is not None
    assert network.classes is not None
    twin_labels = (
        state.twin_dataset.labels if state.twin_dataset.labels is not None else np.full(len(state.twin_dataset), -1)
    )
    said = answers.logits.argmax(1)
    wrong = np.flatnonzero((labels >= 0) & (said != labels))
    top = np.sort(answers.logits, axis=1)
    surest = wrong[np.argsort(-(top[wrong, -1] - top[wrong, -2]), kind="stable")][:12]
    shown: list[ExampleRef] = [gallery.show(int(row)) for row in surest]
    if not (labels >= 0).any():
        notes.append(
            "The data have no labels: accuracy cannot be measured, and classes are taken from the network's own "
            "answers."
        )
    return behaviours.classifier(
        answers, floor, labels, twin_labels, network.classes, steps, shown, request.seed, notes
    )


def _check(
    state: _State, labels: np.ndarray, answers: behaviours.Answers
) -> tuple[list[Outcome], Modified | None]:
    """Run every check that applies, and on clean siblings where these are given."""
    request = state.request
    subject = Subject(
        network=request.network,
        dataset=state.dataset,
        labels=labels,
        answers=answers.logits,
        run=state.run,
        engine=state.engine,
        budget=state.budget,
        seed=request.seed,
        reference=request.reference,
        emit=state.emit,
        seconds_an_example=state.seconds_an_example,
        batch=request.batch,
    )
    began = time.monotonic()
    outcomes = run_checks(subject, request.names)
    if request.siblings is None:
        return outcomes, None
    seconds = time.monotonic() - began
    modified, line = stand_among(subject, find_siblings(request.siblings), outcomes, request.names, seconds)
    state.coverage.append(line)
    return outcomes, modified


def _describe(
    state: _State,
    recording: Recording,
    twin_network: Network,
    twin: Recording,
    labels: np.ndarray,
    answers: behaviours.Answers,
    behaviour: Behaviour,
    gallery: Gallery,
    outcomes: Sequence[Outcome],
) -> Description:
    request, network = state.request, state.request.network
    means = {site.alias: recording.array(f"{site.alias}|mean").mean(0).astype(np.float32) for site in state.sites}
    chosen = _outputs(state, answers)
    work = Means(state.run, state.engine, state.budget, request.seed, state.emit, state.seconds_an_example)
    drives: dict[int, tuple[Any, ...]] = {}
    if chosen and state.sites:
        explained = explain(
            network,
            state.dataset,
            state.sites,
            means,
            chosen,
            work,
        )
        drives = dict(explained.drives)
        total = (
            len(network.classes)
            if network.classes
            else network.head_weights[0].shape[0]
            if network.task == "language"
            else None
        )
        state.coverage.append(
            CoverageLine(
                what="outputs attributed to units",
                examined=len(drives),
                total=total,
                unit="outputs",
                why="" if total and len(drives) >= total else "those answered most, as many as the budget bought",
            )
        )
        state.coverage.append(
            CoverageLine(
                what="drives confirmed by ablation",
                examined=explained.measured,
                total=explained.wanted,
                unit="pairs of unit and output",
                why="as many as the budget bought" if explained.measured < explained.wanted else "",
            )
        )
    groups = None
    if network.task == "classification" and network.classes and len(labels) < FEW_PER_CLASS * len(network.classes):
        with suppress(BadInput):  # no layer's rows are the classes: they stay by themselves
            rows = network.head_weights[0].float().cpu().numpy()
            groups = class_groups(network.classes, rows, max(2, len(labels) // 40))
    known = labels if (labels >= 0).any() or answers.logits is None else answers.logits.argmax(1)
    of, names = grouping(network.classes if network.task == "classification" else None, known, groups)
    twin_rows = np.asarray([recording.ids.index(id) for id in twin.ids])
    taken = network.input
    named = (lambda token: taken.tokens([token])[0]) if isinstance(taken, TokenInput) else names.__getitem__
    every = [drive for group in drives.values() for drive in group]
    inventory = take_inventory(
        network,
        state.sites,
        Recorded(state.dataset, recording, of),
        Recorded(state.twin_dataset, twin, of[twin_rows]),
        named,
        every,
        gallery,
        work,
    )
    all_units = sum(site.units for site in trunk(network))
    state.coverage.append(
        CoverageLine(
            what="units described",
            examined=sum(i.units for i in inventory),
            total=max(all_units, sum(i.units for i in inventory)),
            unit="units",
            why=f"{len(state.sites)} of {max(len(trunk(network)), len(state.sites))} blocks; choose others with "
            "--sites",
        )
    )
    illustrated = illustrate(
        Seen(network, state.dataset, recording),
        Seen(twin_network, state.twin_dataset, twin),
        inventory,
        tuple(_card(c, drives[c.output], behaviour, gallery) for c in chosen if c.output in drives),
        {c.name: c.output for c in chosen},
        work,
    )
    state.coverage += illustrated.coverage
    told = {"examples", "outputs to attribute", "groups of units to ablate"}
    for name, (granted, wanted) in state.budget.short.items():
        if name in told:
            continue
        state.coverage.append(
            CoverageLine(
                what=name,
                examined=granted,
                total=wanted,
                unit="as bought",
                why="the budget did not buy the rest; give a larger --budget",
            )
        )
    coverage = (*state.coverage, *(line for outcome in outcomes for line in outcome.coverage))
    illusions = tuple(illusion for outcome in outcomes for illusion in outcome.illusions)
    return Description(
        title=f"Audit of {network.name}",
        behaviour=behaviour,
        inventory=illustrated.inventory,
        cards=illustrated.cards,
        illusions=illusions,
        coverage=coverage,
    )


def _outputs(state: _State, answers: behaviours.Answers) -> list[Chosen]:
    network, seed = state.request.network, state.request.seed
    if answers.logits is not None and network.classes is not None:
        return choose_classes(network.classes, answers.logits, MOST_OUTPUTS, seed)
    if answers.answer is not None:
        return choose_tokens(network, answers.answer, 12, seed)
    return []


def _card(chosen: Chosen, drives: tuple[Any, ...], behaviour: Behaviour, gallery: Gallery) -> OutputCard:
    of_class = next((c for c in behaviour.classes if c.name == chosen.name), None)
    examples = tuple(gallery.show(row) for row in dict.fromkeys(chosen.rows[:6]))
    return OutputCard(
        output=chosen.name,
        n=chosen.n,
        figure=of_class.recall if of_class else None,
        drives=tuple(drives[:8]),
        examples=examples,
        confused_with=of_class.confused_with if of_class else (),
    )


# The verdict
def _conclude(
    state: _State, outcomes: Sequence[Outcome], description: Description, modified: Modified | None, seconds: float
) -> Findings:
    request = state.request
    found = numbered("F", [f for o in outcomes for f in o.findings], request.reproduce)
    leads = numbered("L", [f for o in outcomes for f in o.leads], request.reproduce)
    records = tuple(replace(o.record, ranks=ranks(o.record.scores) if o.record.examined else {}) for o in outcomes)
    inconclusive = any(r.status == "failed" or (r.status == "ran" and not r.conclusive) for r in records)
    verdict: Verdict = "fail" if found else "inconclusive" if inconclusive else "pass"
    if not any(record_.status == "ran" for record_ in records):
        state.emit(Noted(text="No check applies to this network and data: what follows is a description, no evidence."))
    for record_ in records:
        if record_.status == "failed":
            state.emit(Noted(text=f"{record_.name} failed: {record_.why}"))
    return Findings(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        mulligan=mulligan_version(),
        seed=request.seed,
        seconds=seconds,
        network=request.network.record(),
        data=DataRecord(source=request.dataset.source, identity=request.dataset.identity, n=len(state.dataset)),
        verdict=verdict,
        checks=records,
        findings=found,
        leads=leads,
        coverage={"lines": list(description.coverage)},
        modified=modified,
    )


def exit_status(document: Findings, fail_on: str) -> int:
    """The contract's: 1 for a finding at or above `fail_on` (outranks 3), 3 if inconclusive, else 0."""
    if fail_on != "never" and any(SEVERITIES[f.severity] <= SEVERITIES[fail_on] for f in document.findings):
        return 1
    return 3 if any(r.status == "failed" or (r.status == "ran" and not r.conclusive) for r in document.checks) else 0
