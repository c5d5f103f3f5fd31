"""The pruned check: was a layer thinned out, by weights set to zero, channels silenced, or its rank cut?

Weights that were trained and left alone have a smooth distribution around zero (near a generalised normal), rows that
are all alive, and a spectrum without a cliff (Martin & Mahoney 2021, JMLR 22:165). Pruning by size leaves a spike at
zero and a gap beside it, which fine-tuning blurs but does not fill; pruning of channels leaves dead rows; a cut of the
rank leaves a cliff in the singular values. Weights alone show no behaviour: what this check has to say are leads.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special
from torch import nn

from ..networks import Network
from ..records import Calibration, CheckRecord, Claim, Evidence, Finding, Quantity, Where
from ..runs import generator
from .check import Needs, Outcome, Subject
from .clean import layers_run
from .power import Power, weakest

#: A layer is named as a lead from this score on; clean networks were seen up to 0.08.
LEAD = 0.15
#: The check promises to notice a layer of which this share of weights was set to zero.
TARGET_EFFECT = 0.3
GRADES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7)
#: Of larger layers, so many weights, and the spectrum of so many rows and columns, are looked at.
MOST_WEIGHTS, MOST_SIDE = 50_000, 512
#: Distributions are held against each other at so many places.
POINTS = 400
#: Smaller layers have no distribution to speak of.
FEWEST_WEIGHTS = 64
#: Shapes of the generalised normal that are fitted: 2 is the normal, 1 Laplace's, large ones uniform.
SHAPES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0, 30.0)
#: Steps in the log of neighbouring singular values: natural up to the first, and counted in full at the second.
NATURAL_STEP, FULL_STEP = 1.5, 5.0


@dataclass(frozen=True, slots=True)
class Thinning:
    """What speaks for pruning in a layer; each figure from 0 (nothing) to about 1.

    Attributes:
        zeros: share of weights that are (nearly) zero, beyond what a smooth distribution has there.
        kink: distance between the distribution of sizes and the nearest generalised normal, beyond chance.
        dead: share of rows, or of columns, that are (nearly) zero. cliff: how steep the spectrum's steepest step is.
    """

    path: str
    zeros: float
    kink: float
    dead: float
    cliff: float

    @property
    def score(self) -> float:
        """The strongest of them."""
        return max(self.zeros, 2 * self.kink, self.dead, self.cliff)

    @property
    def sentence(self) -> str:
        """The strongest, in words."""
        words = {
            "zeros": f"{self.zeros:.0%} of its weights are nearly zero, beyond what a smooth distribution has there",
            "kink": f"its weights' sizes are {self.kink:.2f} away from any smooth distribution around zero",
            "dead": f"{self.dead:.0%} of its rows or columns are nearly zero",
            "cliff": "its singular values fall off a cliff",
        }
        figures = {"zeros": self.zeros, "kink": 2 * self.kink, "dead": self.dead, "cliff": self.cliff}
        return words[max(figures, key=lambda name: figures[name])]


class Pruned:
    """See the module."""

    name = "pruned"
    about = "A layer was thinned out: weights set to zero, channels silenced, or the rank cut."
    needs = Needs(tasks=("classification", "language", "embedding", "other"), share=0.1)

    def run(self, subject: Subject) -> Outcome:
        """Look at every layer's weights."""
        began = time.monotonic()
        weights = matrices(subject.network)
        if not weights:
            why = f"The network has no convolution or linear layer of at least {FEWEST_WEIGHTS} weights."
            record = CheckRecord(name=self.name, status="skipped", why=why, seconds=time.monotonic() - began)
            return Outcome(record=record)
        found = [thinning(path, matrix, subject.seed) for path, matrix in weights.items()]
        found += norms_silenced(subject.network)
        found.sort(key=lambda one: -one.score)
        leads = tuple(self._lead(one) for one in found[:3] if one.score >= LEAD)
        power = smallest_share(weights, subject.seed)
        worst = found[0]
        record = CheckRecord(
            name=self.name, status="ran", seconds=time.monotonic() - began, examined=len(found), basis="weights",
            why=f"{len(found)} layers looked at; most of all, of {worst.path}, {worst.sentence} ({worst.score:.2f}).",
            calibration=Calibration(kind="within-network", n=len(found)),
            smallest_effect=power and power.smallest, caught=power and power.caught,
            target_effect=TARGET_EFFECT, conclusive=power is not None and power.value <= TARGET_EFFECT,
            scores={self.name: float(worst.score)},
        )  # fmt: skip
        return Outcome(record=record, leads=leads)

    def _lead(self, one: Thinning) -> Finding:
        claim = Claim(kind=self.name, sentence=f"{one.path} was pruned: {one.sentence}.", where=Where(site=one.path))
        effect = Quantity(value=one.score, unit="the strongest sign of pruning, from 0 to 1")
        action = "Compare this layer with the checkpoint that you trained: weights alone show no behaviour."
        confidence = 0.3 + 0.5 * min(1.0, one.score)
        return Finding.of(claim, Evidence(effect=effect), severity="low", confidence=confidence, action=action)


CHECK = Pruned()


def matrices(network: Network) -> dict[str, Float[np.ndarray, "rows columns"]]:
    """The weights of each convolution and linear layer that runs, a row an output."""
    out = {}
    for path in layers_run(network):
        module = network.taps.module(path)
        weight = getattr(module, "weight", None)
        # Filters on pixels, and filters of one channel each, are few, alike and smooth by nature: a clean ImageNet
        # network's stem and depthwise layers look pruned.
        if isinstance(module, nn.Conv2d) and (module.groups > 1 or module.in_channels <= 4):
            continue
        if weight is not None and weight.numel() >= FEWEST_WEIGHTS:
            out[path] = weight.detach().float().cpu().flatten(1).numpy()
    return out


def thinning(path: str, matrix: Float[np.ndarray, "rows columns"], seed: int = 0) -> Thinning:
    """The signs of pruning in one layer's weights."""
    sizes = sample(matrix, seed)
    zeros, kink = unsmooth(sizes)
    rms = float(np.sqrt((matrix.astype(np.float64) ** 2).mean())) or 1.0
    dead = 0.0
    for axis in (0, 1):
        if matrix.shape[1 - axis] >= 8:
            norms = np.sqrt((matrix.astype(np.float64) ** 2).mean(axis))
            dead = max(dead, float((norms < 0.02 * rms).mean()))
    return Thinning(path, zeros, kink, dead, cliff(matrix, seed))


def sample(matrix: np.ndarray, seed: int) -> np.ndarray:
    """The weights' sizes (at most MOST_WEIGHTS, drawn at random)."""
    flat = np.abs(matrix.ravel().astype(np.float64))
    return flat if len(flat) <= MOST_WEIGHTS else generator(seed, "pruned").choice(flat, MOST_WEIGHTS, replace=False)


def unsmooth(sizes: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """The spike at zero, and the distance to the nearest generalised normal (Kolmogorov's), each beyond chance.

    The scale is fitted by the median of those that are not zero, so that a spike does not hide itself by moving it.
    """
    n = len(sizes)
    chance = 1.4 / np.sqrt(n)
    rms = float(np.sqrt((sizes**2).mean()))
    if rms == 0:
        return 1.0, 1.0
    near = 0.003 * rms
    zeros = float((sizes < near).mean())
    # A smooth density has as much near zero as anywhere else below a fifth of the root mean square, per width.
    smooth = float(((sizes >= near) & (sizes < 0.2 * rms)).mean()) * near / (0.2 * rms - near)
    spike = max(0.0, zeros - 3 * smooth - chance)
    places = np.unique(np.linspace(0, n - 1, min(n, POINTS)).astype(int))  # so many tell the distance to 1 / POINTS
    ordered = np.sort(sizes)[places] / rms
    empirical = (places + 0.5) / n
    best = 1.0
    for shape in SHAPES:
        # P(|w| <= x) = gammainc(1/shape, (x / scale)^shape), with the scale of the same root mean square.
        scale = np.exp(0.5 * (special.gammaln(1 / shape) - special.gammaln(3 / shape)))
        for factor in (0.8, 0.9, 1.0, 1.1, 1.25):
            law = special.gammainc(1 / shape, (ordered / (factor * scale)) ** shape)
            best = min(best, float(np.abs(law - empirical).max()))
    return spike, max(0.0, best - chance)


def cliff(matrix: np.ndarray, seed: int) -> float:
    """How steep the steepest step between neighbouring singular values is, from 0 (natural) to 1.

    The first step and the last few values are left out: one large direction is natural, and so is a small end.
    """
    rng = generator(seed, "spectrum")
    for axis in (0, 1):
        if matrix.shape[axis] > MOST_SIDE:
            matrix = np.take(matrix, np.sort(rng.choice(matrix.shape[axis], MOST_SIDE, replace=False)), axis)
    values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    last = len(values) - max(2, len(values) // 10)
    if last < 3 or values[0] == 0:
        return 0.0
    steps = -np.diff(np.log(np.maximum(values[1 : last + 1], 1e-9 * values[0])))
    return float(np.clip((steps.max() - NATURAL_STEP) / (FULL_STEP - NATURAL_STEP), 0, 1))


def norms_silenced(network: Network) -> list[Thinning]:
    """Normalisation layers of which channels are scaled by (nearly) zero."""
    out = []
    for path, module in network.module.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, nn.Linear | nn.Conv2d) or weight is None or weight.dim() != 1 or len(weight) < 8:
            continue
        sizes = weight.detach().float().abs().cpu().numpy()
        dead = float((sizes < 0.005 * max(float(np.median(sizes)), float(sizes.max()) * 0.1, 1e-12)).mean())
        out.append(Thinning(path, 0.0, 0.0, dead, 0.0))
    return out


def smallest_share(weights: dict[str, np.ndarray], seed: int) -> Power | None:
    """The least share of a layer's smallest weights that, when set to zero, gives a lead in 80 % of layers."""
    layers = [sample(matrix, seed)[:2000] for matrix in list(weights.values())[:6]]

    def caught(grade: float) -> list[bool]:
        found = [unsmooth(np.where(sizes < np.quantile(sizes, grade), 0.0, sizes)) for sizes in layers]
        return [max(spike, 2 * kink) >= LEAD for spike, kink in found]

    return weakest(GRADES, caught, "of a layer's weights, the smallest, set to zero")
