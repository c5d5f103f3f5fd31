"""Clean siblings: networks of the same recipe that are known to be clean, and where this one stands among them.

The same checks run on each sibling. One score a network, the largest over kinds that are first put on the scale of the
other siblings, gives a rank; with n siblings no p-value is below 1 / (n + 1).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from pathlib import Path

from ...activations import Plan, record
from ...checks import Outcome, Subject, run_checks
from ...evidence.ranks import network_score, probability
from ...networks import Network
from ...networks.weights import put_weights, read_weights
from ...records import Advanced, BadInput, CoverageLine, Finished, Modified, Started
from ...runs import Budget, Run

#: With fewer, the rank says too little (contract, step 4).
FEWEST_SIBLINGS = 19
PRIOR = 0.5


def find_siblings(folder: Path) -> list[Path]:
    """The weight files in a folder, by name.

    Raises:
        BadInput: if there is no such folder, or there are fewer than 19 files.
    """
    if not folder.is_dir():
        raise BadInput("there is no such folder", where=folder, fix="give --siblings a folder of .safetensors files")
    found = sorted(folder.glob("*.safetensors"))
    if len(found) < FEWEST_SIBLINGS:
        what = f"{len(found)} siblings are too few to rank a network among"
        fix = f"give {FEWEST_SIBLINGS} or more .safetensors files of clean networks of the same recipe"
        raise BadInput(what, where=folder, fix=fix)
    return found


def scores_of(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Each kind's score, the largest where several checks look for one kind."""
    found: dict[str, float] = {}
    for outcome in outcomes:
        for kind, score in outcome.record.scores.items():
            found[kind] = max(score, found.get(kind, float("-inf")))
    return found


def stand_among(
    subject: Subject, files: Sequence[Path], outcomes: Sequence[Outcome], names: Sequence[str] | None, seconds: float
) -> tuple[Modified | None, CoverageLine]:
    """Run the checks on siblings, as many as the budget buys, and rank the network among them.

    Args:
        outcomes: of the same checks on the network itself. seconds: what these took.

    Returns:
        None for the rank where the budget bought fewer than 19 siblings, or no check gives scores; and what was
        examined.
    """
    number = subject.budget.buy("siblings compared", len(files), max(seconds, 1e-3), least=0)
    line = CoverageLine(
        what="clean siblings compared",
        examined=number,
        total=len(files),
        unit="networks",
        why="" if number == len(files) else "as many as the budget bought",
    )
    mine = scores_of(outcomes)
    if number < FEWEST_SIBLINGS or not mine:
        return None, line
    began = time.monotonic()
    subject.emit(Started(job="siblings", total=number, done=0))
    theirs: list[dict[str, float]] = []
    for done, file in enumerate(files[:number]):
        theirs.append(_scores(subject, file, names, seconds))
        left = (time.monotonic() - began) / (done + 1) * (number - done - 1)
        subject.emit(Advanced(job="siblings", done=done + 1, total=number, seconds_left=left))
    subject.emit(Finished(job="siblings", seconds=time.monotonic() - began))
    return Modified(probability=probability(rank_p(mine, theirs), PRIOR), prior=PRIOR, population=_said(number)), line


def rank_p(mine: dict[str, float], theirs: Sequence[dict[str, float]]) -> float:
    """The share of networks, this one included, that score as high as this one.

    Each network is put on the scale of all the others, this one among the siblings' others too, so that under the
    hypothesis that it is one of them every rank is as likely (conformal p-value; Vovk et al. 2005).
    """
    every = [mine, *theirs]

    def score(at: int) -> float:
        others = [one for number, one in enumerate(every) if number != at]
        clean = {kind: [one[kind] for one in others if kind in one] for kind in every[at]}
        return network_score(every[at], clean)[0]

    values = [score(at) for at in range(len(every))]
    return sum(value >= values[0] for value in values) / len(values)


def _scores(subject: Subject, file: Path, names: Sequence[str] | None, seconds: float) -> dict[str, float]:
    """One sibling's scores, from its own run inside the audit's; kept there, so that a resumed audit has them."""
    kept = f"siblings/{file.stem}.json"
    if subject.run.has(kept):
        return subject.run.read_json(kept, dict[str, float])
    module = copy.deepcopy(subject.network.module)
    put_weights(module, read_weights(file), file)
    network = subject.network.with_module(module, name=file.stem)
    run = _run_for(subject, file.stem)
    plan = Plan(sites=(), batch=subject.batch, shard=4 * subject.batch, seed=subject.seed)
    answers = record(network, subject.dataset, plan, run, engine=subject.engine, job=f"sibling {file.stem}")
    other = Subject(
        network=network, dataset=subject.dataset, labels=subject.labels, answers=answers.array("answers"), run=run,
        engine=subject.engine, budget=Budget(3 * seconds, subject.budget.granted), seed=subject.seed,
        reference=subject.reference, seconds_an_example=subject.seconds_an_example, batch=subject.batch,
    )  # fmt: skip
    found = scores_of(run_checks(other, names))
    subject.run.write_json(kept, found)
    return found


def _run_for(subject: Subject, name: str) -> Run:
    place = f"{subject.run.location.rstrip('/')}/siblings/{name}"
    try:
        return Run.open(place)
    except BadInput:  # not begun yet
        return Run.create("audit-sibling", [], {}, out=place, seed=subject.seed)


def _said(number: int) -> str:
    return f"{number} clean siblings given"


def check_siblings(network: Network, files: Sequence[Path]) -> None:
    """See whether the first file's weights fit, before anything is run.

    Raises:
        BadInput: if they do not.
    """
    module = copy.deepcopy(network.module)
    put_weights(module, read_weights(files[0]), files[0])
