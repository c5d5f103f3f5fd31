"""What clean, labelled data tell of a classifier: its answers, its features, and what those features deserve.

A linear probe (Alain & Bengio 2016, arXiv:1610.01644) is fitted on one half of the data and read on the other. Where
the network answers worse than its own features allow, something after the features, or late in them, is wrong. Classes
that look alike are confused by the probe as well, and so cry no wolf.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import optimize, special
from torch import Tensor, nn
from torch.nn import functional as F

from ..datasets import Dataset, batches
from ..evidence import FEWEST_SOURCES, excess_p, sources
from ..networks import Network
from ..records import BadInput, Site
from ..runs import Context, Piece, Result, generator
from .check import Subject
from .power import Power, weakest

#: Principal components of the features that the probe reads.
COMPONENTS = 24
#: More examples than this are not looked at: the probe is as good as it gets.
MOST_EXAMPLES = 4000
#: Shares of a class that power is asked for.
GRADES = (0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
#: At most so many claims are frozen (contract, step 1).
MOST_CLAIMS = 20


@dataclass(frozen=True, slots=True)
class Seen:
    """Labelled examples, in two halves, as the network sees them.

    Attributes:
        rows: [n], their numbers in the data set. labels: [n]. test: [n], whether of the test half.
        logits: [n, classes], the network's. late: [n, f], what its head reads. middle: [n, g], what a layer in the
            middle reads, averaged over quarters of the picture; it may have no columns.
    """

    rows: Int[np.ndarray, " n"]
    labels: Int[np.ndarray, " n"]
    test: np.ndarray
    logits: Float[np.ndarray, "n classes"]
    late: Float[np.ndarray, "n f"]
    middle: Float[np.ndarray, "n g"]

    @property
    def answers(self) -> Float[np.ndarray, "n classes"]:
        """The softmax of the logits."""
        return special.softmax(self.logits, axis=1)

    @property
    def margins(self) -> Float[np.ndarray, " n"]:
        """The true class's logit minus the largest other: below zero where the answer is wrong."""
        own = self.logits[np.arange(len(self.labels)), self.labels]
        others = self.logits.copy()
        others[np.arange(len(self.labels)), self.labels] = -np.inf
        return own - others.max(1)

    def per_class(self, among: np.ndarray) -> Int[np.ndarray, " classes"]:
        """How many of these examples each class has."""
        return np.bincount(self.labels[among], minlength=self.logits.shape[1])


def see(subject: Subject, job: str, share: float) -> Seen:
    """Look at labelled examples of both halves, each content once: up to MOST_EXAMPLES, or what the budget buys."""
    source = sources(subject.dataset.ids)
    halves = []
    for name, half in (("search", subject.split.search), ("test", subject.split.test)):
        known = half[subject.labels[half] >= 0]
        _, first = np.unique(source[known], return_index=True)
        order = generator(subject.seed, "clean data", name).permutation(len(first))
        halves.append(known[first[order]][: MOST_EXAMPLES // 2])
    wanted = sum(len(half) for half in halves)
    n = subject.budget.buy(f"{job}/examples", wanted, subject.seconds_an_example, share=share, least=min(wanted, 400))
    halves = [np.sort(half[: -(-n * len(half) // max(wanted, 1))]) for half in halves]
    rows = np.concatenate(halves)
    test = np.repeat([False, True], [len(half) for half in halves])
    sites = _middle(subject.network)
    parts = [rows[k : k + 512].tolist() for k in range(0, len(rows), 512)]
    pieces = [
        Piece("mulligan.checks.clean:look", {"indices": p, "middle": sites, "batch": subject.batch}, cost=len(p))
        for p in parts
    ]
    work = subject.engine.run(f"{job}: look", pieces, subject.context, subject.run, subject.emit)
    ran = [result for _, result in work]
    if not ran:
        nothing = np.zeros((0, 0))
        return Seen(rows, subject.labels[rows], test, np.zeros((0, len(subject.classes))), nothing, nothing)
    logits, late, middle = (
        np.concatenate([r.arrays[name] for r in ran]).astype(np.float64) for name in ("logits", "late", "middle")
    )
    return Seen(rows, subject.labels[rows], test, logits, late, middle)


def layers_run(network: Network) -> list[str]:
    """Paths of the convolutions and linear layers that run, in order."""
    order = dict.fromkeys(step.path for step in network.dry_run.order if step.leaving)
    return [path for path in order if isinstance(network.taps.module(path), nn.Conv2d | nn.Linear)]


def _middle(network: Network) -> str | None:
    """Where to look besides the head: what the layer at about two thirds of the depth reads."""
    layers = layers_run(network)[:-1]
    return f"{layers[len(layers) * 2 // 3]}.in" if len(layers) >= 2 else None


def head_path(network: Network) -> str | None:
    """Path of the head; None if there is no such layer."""
    return network.head if head_port(network) is not None else None


def head_port(network: Network) -> str | None:
    """The input of the head; None if there is no such layer."""
    try:
        return network.site(f"{network.head}.in").alias
    except BadInput:
        return None


def look(context: Context, *, indices: list[int], middle: str | None, batch: int) -> Result:
    """A piece of work: logits, what the head reads, and what a layer in the middle reads."""
    network: Network = context["network"]
    dataset: Dataset = context["dataset"]
    if network.input is None:
        raise BadInput("this network does not say what it takes", where=network.name, fix="pass --input")
    late = head_port(network)
    ports = {name: port for name, port in (("late", late), ("middle", middle)) if port is not None}

    def reduce(tensor: Tensor, site: Site) -> Tensor:
        if tensor.dim() == 4:
            side = 1 if site.alias == late else min(2, *tensor.shape[2:])
            return F.adaptive_avg_pool2d(tensor.float(), side).flatten(1)
        if tensor.dim() == 3:  # tokens
            return tensor.float().mean(1)
        return tensor.float().flatten(1)

    kept: dict[str, list[np.ndarray]] = {"logits": [], "late": [], "middle": []}
    with torch.no_grad(), network.watching(list(ports.values()), reduce=reduce) as watched:
        for group in batches(dataset, network.input, indices, batch):
            kept["logits"].append(network.logits_unchecked(group.x, group.mask).float().cpu().numpy())
            for name in ("late", "middle"):
                there = ports.get(name)
                value = np.zeros((len(group.indices), 0)) if there is None else watched[there].cpu().numpy().copy()
                kept[name].append(value.astype(np.float32))
    return Result({name: np.concatenate(values) for name, values in kept.items()})


def deserved(seen: Seen, fit: np.ndarray, read: np.ndarray, labels: Int[np.ndarray, " n"] | None = None) -> np.ndarray:
    """What the features deserve: the probabilities of a linear probe fitted on some examples and read on others.

    The probe is a multinomial logistic regression on the logits, on principal components of what the head reads and
    of what the middle layer reads, each standardised on the examples that it is fitted on, with a ridge. Since it is
    given the logits, it can always do what the network does.

    Args:
        fit, read: [n], which examples. labels: [n], other labels than the true ones to fit to.
    """
    classes = seen.logits.shape[1]
    y = (seen.labels if labels is None else labels)[fit]
    spread = seen.logits - seen.logits.mean(1, keepdims=True)
    scale = float(np.abs(spread[fit]).mean()) + 1e-9
    blocks = [2.0 * spread / (2.0 * scale)]  # on their own scale: standardised apart, a silenced class would shout
    blocks += [_components(part, fit) for part in (seen.late, seen.middle) if part.shape[1]]
    x = np.concatenate([*blocks, np.ones((len(spread), 1))], axis=1)
    weight = _logistic(x[fit], y, classes, ridge=1.0)
    return special.softmax(x[read] @ weight, axis=1)


def _components(part: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """Principal components, the first of deviation one."""
    part = np.clip(part, -1e6, 1e6)
    centred = part - part[fit].mean(0)
    deviation = centred[fit].std(0)
    centred = centred / (deviation + 0.1 * float(deviation.mean()) + 1e-9)
    _, sizes, basis = np.linalg.svd(centred[fit], full_matrices=False)
    keep = min(COMPONENTS, len(sizes))
    return centred @ basis[:keep].T / (sizes[0] / np.sqrt(max(int(fit.sum()), 1)) + 1e-9)


def _logistic(x: np.ndarray, y: np.ndarray, classes: int, ridge: float) -> np.ndarray:
    """Multinomial logistic regression, [columns, classes]; the last column is the bias and bears no ridge."""
    target = np.eye(classes)[y]
    penalty = np.full((x.shape[1], 1), ridge)
    penalty[-1] = 1e-3

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(x.shape[1], classes)
        z = x @ w
        log = z - special.logsumexp(z, axis=1, keepdims=True)
        slope = x.T @ (np.exp(log) - target) + penalty * w
        return float(-(log * target).sum() + 0.5 * (penalty * w * w).sum()), slope.ravel()

    start = np.zeros(x.shape[1] * classes)
    best = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 120})
    return best.x.reshape(x.shape[1], classes)


def crossfitted(seen: Seen) -> np.ndarray:
    """`deserved` of all examples: each half is read with the probe of the other. [n, classes]"""
    out = np.zeros_like(seen.logits)
    for half in (seen.test, ~seen.test):
        if half.any() and (~half).any():
            out[half] = deserved(seen, ~half, half)
    return out


def able(seen: Seen) -> list[int]:
    """Classes with enough examples in the test half to confirm a claim on."""
    return [int(c) for c in np.flatnonzero(seen.per_class(seen.test) >= FEWEST_SOURCES)]


def smallest_share(
    placebo: Sequence[np.ndarray], unit: str, seed: int, *, claims: int = MOST_CLAIMS, grades: Sequence[float] = GRADES
) -> Power | None:
    """The least share of a class's examples that, when struck at random, the check's test catches in 80 % of classes.

    Args:
        placebo: for each class, [sources], what its examples show by themselves, from 0 to 1.
        claims: Holm's worst case: as many claims as may be frozen, and this one the last to be rejected.
    """

    def caught(grade: float) -> list[bool]:
        out = []
        for number, values in enumerate(placebo):
            struck = generator(seed, "power", number, str(grade)).random(len(values)) < grade
            out.append(excess_p(np.maximum(values, struck), values) * claims <= 0.05)
        return out

    return weakest(grades, caught, unit)
