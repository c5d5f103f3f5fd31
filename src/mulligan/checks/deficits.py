"""Classes that a network answers less often than its own features deserve, and where their pictures go instead.

What `label_swap` and `forgotten_class` share. For pictures of a class a, the answers' mean probabilities are held
against those of a probe that was fitted on other pictures. What a loses is its deficit. If nearly all of it goes to one
class b, as clearly as genuine pictures of b are answered, labels were swapped; if it scatters, or is answered with
doubt, the class was forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from ..evidence import bounded_mean, excess_p, fraction, holm
from ..networks import Network
from ..records import Causal, Evidence
from .clean import Seen, crossfitted, deserved
from .head_edit.refitting import told_by_head

#: Where labels were swapped, so much of a deficit goes to one class, with so much of that class's own margin. On 6
#: networks whose labels were swapped the shares were 0.86 to 0.99, on 5 that forgot a class 0.14 to 0.41; the margins
#: of swaps that were half undone were as low as 0.22.
SWAP_SHARE, SWAP_MARGIN = 0.7, 0.2
#: A class that is answered too rarely by this share is silent. Its pictures go where they must, to what is next to it:
#: a swap needs that so much more of them go there than by nature. On 4 networks that forgot a class at most 0.2 more
#: did, on one whose class was merged 0.83.
SILENT, LED = 0.6, 0.4
#: A claim needs this deficit on the search half to be frozen.
SUSPECTED = 0.1
#: Behaviour must be treated as the real thing (contract, step 2).
LEAST_MARGIN = 0.4
MOST_FROZEN = 5


@dataclass(frozen=True, slots=True)
class Deficit:
    """One class's deficit.

    Attributes:
        source: the class. target: where most of its pictures go in excess of what the probe says.
        lost: mean probability of the class by the probe minus by the network. excess: of the target, the other way.
        share: excess / lost, from 0 to 1.
        clearness: the median margin of its pictures that are answered `target`, as a share of that of the target's own.
        usual: the median class's loss. by_head: how far an edit of a row of the head explains it, from 0 to 1: then it
            is neither a label swap nor a forgotten class.
        under: how much too rarely the class is answered among all pictures, as a share of how often it is shown.
        led: how much more of what is not answered `source` goes to the target than by the probe's second choices, as a
            share of how much more could.
    """

    source: int
    target: int
    lost: float
    excess: float
    share: float
    clearness: float
    usual: float = 0.0
    by_head: float = 0.0
    under: float = 0.0
    led: float = 1.0

    @property
    def beyond(self) -> float:
        """What is lost beyond twice what is usual: a network that answers most of its classes worse than its features
        would allow was not trained to the end, or not at all, and has forgotten none of them."""
        return self.lost - 2 * max(self.usual, 0.0)

    @property
    def swapped(self) -> bool:
        """Whether this is a label swap rather than a forgotten class."""
        return self._surely >= 1 and self.by_head < 1

    @property
    def swap_score(self) -> float:
        """How much this looks like a label swap, from 0 to about 1."""
        return self.excess * self._surely * (1 - self.by_head)

    @property
    def _surely(self) -> float:
        """How surely its pictures were given another class, and not merely lost their own; at most 1."""
        led = min(1.0, max(self.led, 0.0) / LED) if self.under >= SILENT else 1.0
        return min(1.0, self.share / SWAP_SHARE) * min(1.0, self.clearness / SWAP_MARGIN) * led

    @property
    def forgotten_score(self) -> float:
        """How much this looks like a forgotten class, from 0 to about 1.

        The geometric mean of what is lost and of how much too rarely the class is answered. A network that was trained
        to the end answers each class as often as its training had it (where the loss is least, its slope along the
        biases is zero); a class that is merely hard is missed and drawn on alike, and only a forgotten one is silent.
        """
        silent = float(np.sqrt(self.beyond * self.under)) if self.beyond > 0 else self.beyond
        return silent * (1 - 0.8 * max(self._surely, 0.0) ** 4) * (1 - self.by_head)


def deficits(seen: Seen, among: np.ndarray | None = None) -> list[Deficit]:
    """Each class's deficit, cross-fitted.

    Args:
        among: [n], which examples are looked at (None: all): the halves for the probe are then halves of these.
    """
    if among is not None:
        seen = restricted(seen, among)
    probe, network = crossfitted(seen), seen.answers
    clear = leads(seen.logits)
    answer = seen.logits.argmax(1)
    shown = np.bincount(seen.labels, minlength=network.shape[1]) / len(seen.labels)
    under = np.clip(1 - network.mean(0) / np.maximum(shown, 1e-9), 0, 1)
    out = []
    for a in np.flatnonzero(seen.per_class(np.ones(len(seen.labels), bool)) >= 5):
        mine = seen.labels == a
        excess = (network[mine] - probe[mine]).mean(0)
        lost = -float(excess[a])
        excess[a] = -np.inf
        b = int(excess.argmax())
        clearness = clear_as_genuine(clear, seen.labels, answer, int(a), b)
        share = float(np.clip(excess[b] / lost, 0, 1)) if lost > 0.02 else 0.0
        beyond = led(network[mine], probe[mine], int(a), b)
        out.append(Deficit(int(a), b, lost, float(excess[b]), share, clearness, under=float(under[a]), led=beyond))
    usual = float(np.median([d.lost for d in out])) if out else 0.0
    return [replace(d, usual=usual) for d in out]


def led(
    answers: Float[np.ndarray, "n classes"], probe: Float[np.ndarray, "n classes"], source: int, target: int
) -> float:
    """See `Deficit.led`."""
    others, second = answers.copy(), probe.copy()
    others[:, source] = second[:, source] = 0.0
    goes = float(others[:, target].sum() / max(others.sum(), 1e-9))
    natural = float((second[:, target] / np.maximum(second.sum(1), 1e-9)).mean())
    return (goes - natural) / max(1 - natural, 1e-9)


@dataclass(frozen=True, slots=True)
class Exchange:
    """Two classes whose pictures are answered as each other. score: 0 where none is, 0.5 where they are one, to 2."""

    one: int
    other: int
    score: float


def most_exchanged(seen: Seen) -> Exchange | None:
    """The pair of classes of which most is answered as each other, times how little the answers tell them apart; None
    with fewer than two classes of five pictures.

    Where some of the labels of two classes were exchanged, no training could be sure of either (the noise rate caps the
    confidence of every picture, see Liu & Tao 2016, arXiv:1411.7718), the features of both grow alike, and a probe of
    them errs as well. What remains is how well the two logits rank pictures of the two (the area under the ROC curve):
    classes that look alike are still told apart mostly; mixed ones are not (0.5), and exchanged ones wrongly (below).
    """
    network, counts = seen.answers, np.bincount(seen.labels, minlength=seen.logits.shape[1])
    known = np.flatnonzero(counts >= 5)
    if len(known) < 2:
        return None
    drawn = np.stack([network[seen.labels == a].mean(0) for a in known])[:, known]
    mutual = np.minimum(drawn, drawn.T)
    first, second = np.triu_indices(len(known), 1)
    best = Exchange(int(known[0]), int(known[1]), -1.0)
    for k in np.argsort(-mutual[first, second], kind="stable"):
        most = 2 * float(mutual[first[k], second[k]])
        if most <= best.score:  # of 1,000 classes there are half a million pairs, and few that matter
            break
        a, b = int(known[first[k]]), int(known[second[k]])
        of = (seen.labels == a) | (seen.labels == b)
        ranks = stats.rankdata(seen.logits[of, a] - seen.logits[of, b])[seen.labels[of] == a]
        area = (ranks.mean() - (len(ranks) + 1) / 2) / counts[b]
        # An untrained network mixes all classes: these two must be told from the others.
        either = network[:, a] + network[:, b]
        told = either[of].mean() - (either[~of].mean() if (~of).any() else 0.0)
        score = float(most * (1 - area) * np.clip(2 * told, 0, 1))
        if score > best.score:
            best = Exchange(a, b, score)
    return best


def without_head(network: Network, seen: Seen, found: Sequence[Deficit], least: float) -> list[Deficit]:
    """The same with what an edit of the head explains; looked at only where a loss or an excess reaches `least`."""
    if max(max(d.lost, d.excess) for d in found) < least:
        return list(found)
    told = told_by_head(network, seen)
    return [replace(d, by_head=max(told.get(d.source, 0.0), told.get(d.target, 0.0))) for d in found]


def clear_as_genuine(
    clear: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], answer: Int[np.ndarray, " n"], a: int, b: int
) -> float:
    """The median margin of pictures of a that are answered b, as a share of that of genuine pictures of b.

    Where hardly any of those are answered b (two classes were exchanged), all right answers stand in for them.
    """
    moved, genuine = clear[(labels == a) & (answer == b)], clear[(labels == b) & (answer == b)]
    if len(genuine) < 3 or len(genuine) < 0.25 * (labels == b).sum():
        genuine = clear[labels == answer]
    if not len(moved) or not len(genuine):
        return 0.0
    return float(np.median(moved)) / max(float(np.median(genuine)), 1e-9)


def restricted(seen: Seen, among: np.ndarray) -> Seen:
    """Some of the examples, cut anew into two halves of each class."""
    labels = seen.labels[among]
    turn = np.zeros(len(labels), dtype=bool)
    for c in np.unique(labels):
        turn[np.flatnonzero(labels == c)[1::2]] = True
    return Seen(seen.rows[among], labels, turn, seen.logits[among], seen.late[among], seen.middle[among])


def leads(logits: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, " n"]:
    """The answer's logit minus the next one's."""
    two = np.partition(logits, -2, axis=1)[:, -2:]
    return two[:, 1] - two[:, 0]


@dataclass(frozen=True, slots=True)
class Tested:
    """A frozen claim on the test half."""

    claim: Deficit
    evidence: Evidence
    proven: bool


def frozen(seen: Seen, able: Sequence[int], wanted: Callable[[Deficit], bool]) -> list[Deficit]:
    """Claims for the test half, from the search half alone: the largest deficits first."""
    found = [d for d in deficits(seen, ~seen.test) if d.source in able and d.beyond >= SUSPECTED and wanted(d)]
    return sorted(found, key=lambda d: -d.lost)[:MOST_FROZEN]


def tested(
    seen: Seen, claims: Sequence[Deficit], unit: str, shows: Callable[[Deficit, Int[np.ndarray, " k"]], np.ndarray], *,
    margin: bool,
) -> list[Tested]:  # fmt: skip
    """Open the test half: the network's answers on a class's pictures beside what the search half's probe says of them.

    Args:
        unit: of what is counted. shows: (claim, answers to the class's pictures) to whether they show the behaviour.
        margin: whether the behaviour must be as clear as LEAST_MARGIN.
    """
    if not claims:
        return []
    test = seen.test
    labels, network = seen.labels[test], seen.logits[test].argmax(1)
    probe = deserved(seen, ~test, test).argmax(1)
    imitated = deserved(seen, ~test, test, seen.logits.argmax(1)).argmax(1)
    clear = leads(seen.logits[test])
    pairs = []
    for claim in claims:
        mine = labels == claim.source
        pairs.append(tuple(shows(claim, x[mine]).astype(np.float64) for x in (network, probe, imitated)))
    ps = [excess_p(now, placebo) for now, placebo, _ in pairs]
    out = []
    for claim, (now, placebo, control), p, adjusted in zip(claims, pairs, ps, holm(ps), strict=True):
        rest = labels != claim.source
        n = len(now)
        whole = "fraction of the other classes' images answered right"
        causal = Causal(
            edit="fit the last layer anew on the search half's features and true labels; undone, the behaviour is back",
            before=fraction(int(now.sum()), n, unit), after=fraction(int(placebo.sum()), n, unit),
            control=fraction(int(control.sum()), n, f"{unit}, fitted anew to the network's own answers instead"),
            clean_before=fraction(int((network == labels)[rest].sum()), int(rest.sum()), whole),
            clean_after=fraction(int((probe == labels)[rest].sum()), int(rest.sum()), whole),
        )  # fmt: skip
        evidence = Evidence(
            effect=bounded_mean(now, unit, 0, 1),
            placebo=bounded_mean(placebo, f"{unit}, by a probe of the same features", 0, 1),
            p=p, p_adjusted=adjusted, corrected_for=len(ps), causal=causal,
        )  # fmt: skip
        plain = not margin or clear_as_genuine(clear, labels, network, claim.source, claim.target) >= LEAST_MARGIN
        caused = placebo.sum() <= 0.5 * now.sum() and control.sum() >= 0.75 * now.sum()
        kept = (probe == labels)[rest].mean() >= (network == labels)[rest].mean() - 0.07
        out.append(Tested(claim, evidence, bool(adjusted <= 0.05 and plain and caused and kept)))
    return out
