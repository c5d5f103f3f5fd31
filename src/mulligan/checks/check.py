"""What a check is: one hypothesis about what may be wrong with a network, with its search, its null and its causal
test.

A check is found by the entry point `mulligan.checks`. Adding one touches nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import entry_points
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int

from ..activations.rebuilding import network_and_data
from ..datasets import Dataset
from ..evidence import Split, split_sources
from ..networks import ArrayInput, Network
from ..records import BadInput, CheckRecord, CoverageLine, Emit, Finding, Illusion, Task, silent
from ..runs import Budget, Context, Engine, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a check cannot do without.

    Attributes:
        tasks: for which tasks it makes sense. data: "images", "texts", "arrays", or "" for any (or none).
        labels: whether true labels are needed. gradients, reference: likewise.
        share: of the audit's remaining time, how much it may spend.
    """

    tasks: tuple[Task, ...]
    data: str = ""
    labels: bool = False
    gradients: bool = False
    reference: bool = False
    share: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is checked, and with what means.

    Attributes:
        labels: [n], the true class of each example, -1 where unknown.
        answers: [n, classes], the network's logits on the data as it is; None if it is no classifier.
        reference: a network that this one is said to be equal to, or None.
        sibling: a clean network of the same recipe, or None: it stands in for the distilled one.
        seconds_an_example: what one forward pass of one example costs, measured.
        without: kinds that nobody thought of, as it were: no check looks for them. To measure what becomes of such.
    """

    network: Network
    dataset: Dataset
    labels: Int[np.ndarray, " n"]
    answers: Float[np.ndarray, "n classes"] | None
    run: Run
    engine: Engine
    budget: Budget
    seed: int = 0
    reference: Network | None = None
    sibling: Network | None = None
    emit: Emit = silent
    seconds_an_example: float = 0.01
    batch: int = 32
    without: frozenset[str] = frozenset()

    @cached_property
    def groups(self) -> Int[np.ndarray, " n"]:
        """The class of each example for grouping: the true one, or the network's own answer where that is unknown."""
        if self.answers is None:
            return self.labels
        return np.where(self.labels >= 0, self.labels, self.answers.argmax(1))

    @cached_property
    def split(self) -> Split:
        """Search and test halves of the data."""
        return split_sources(self.dataset.ids, self.groups, self.seed)

    @cached_property
    def context(self) -> Context:
        """For pieces of work on this network and data."""
        return network_and_data(self.network, self.dataset)

    @cached_property
    def distilled(self) -> Network | None:
        """What the network would be without what was put in; see `checks.distilled`. Learned when first asked for."""
        from .distilled import distilled

        return distilled(self)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the answers."""
        return self.network.classes or ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a check found. `record` says what was done; findings have no ids yet."""

    record: CheckRecord
    findings: tuple[Finding, ...] = ()
    leads: tuple[Finding, ...] = ()
    illusions: tuple[Illusion, ...] = ()
    coverage: tuple[CoverageLine, ...] = field(default=())


class Check(Protocol):
    """One hypothesis. `name` is also the kind of its findings, unless it has `kinds`, a tuple of them; `about` says in
    one sentence what it looks for."""

    name: str
    about: str
    needs: Needs

    def run(self, subject: Subject) -> Outcome:
        """Search, freeze, confirm; see the contract's procedure for networks without siblings."""
        ...


def checks(names: Sequence[str] | None = None) -> list[Check]:
    """The installed checks (or those named), by name.

    Raises:
        BadInput: if a named check is not installed.
    """
    points = {point.name: point for point in entry_points(group="mulligan.checks")}
    unknown = [name for name in names or () if name not in points]
    if unknown:
        raise BadInput(
            "there is no check of this name", where=unknown[0], fix=f"choose among {', '.join(sorted(points))}"
        )
    return [points[name].load() for name in sorted(names if names is not None else points)]


def kinds_of(check: Check) -> tuple[str, ...]:
    """The kinds of a check's findings, and of its scores."""
    return getattr(check, "kinds", (check.name,))


def why_not(check: Check, subject: Subject) -> str | None:
    """Why the check does not apply, in a sentence; None if it does."""
    needs = check.needs
    if subject.network.task not in needs.tasks:
        if subject.network.task == "other":
            return "The network's answers have no names: if they are classes, name them with --classes."
        return f"Does not apply to a network for {subject.network.task}."
    # Arrays that look like pictures are none to a network that takes arrays.
    kind = "arrays" if isinstance(subject.network.input, ArrayInput) else subject.dataset.kind
    if needs.data and kind != needs.data:
        return f"Needs {needs.data}, and the data are {kind}."
    if needs.labels and not (subject.labels >= 0).any():
        return "Needs labelled data, and these have no labels."
    if needs.reference and subject.reference is None:
        return "Needs a reference network (--reference)."
    return None
