"""The subgroup-failure check: within a class, are pictures with some visible attribute answered wrong?

A class can be right on average and fail on its dark, thin or tilted pictures (Oakden-Rayner et al. 2020; Eyuboglu et
al. 2022, arXiv:2203.14960). Two views are joined. Natural slices: of a class's pictures, those at an end of an
attribute, against the rest of the class, counting an error by how clear it is and only as far as a linear probe of the
features does not make it too. Renderings: all of the class's pictures are given the attribute, and what it costs the
class is held against what the same rendering costs the other classes. Unusual pictures are harder for every class; a
slice that fails in one class only, and clearly, is the suspect. Where the data hold no picture of the subgroup, the
renderings alone can tell: nearly all of the class's pictures are turned into one other answer, clearly, where other
classes stand the same rendering and are not drawn to that answer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from ..evidence import FEWEST_SOURCES, bounded_mean, excess_p, fraction, holm
from ..evidence.generators import Generator, Slot, save_generator
from ..networks import ImageInput, Network
from ..records import Calibration, Causal, CheckRecord, Claim, Evidence, Finding, Quantity, Trigger
from ..runs import Context, Piece, Result
from .attributes import Attribute, attributes
from .check import Needs, Outcome, Subject
from .clean import Seen, crossfitted, see, smallest_share
from .deficits import LEAST_MARGIN, leads
from .pixels import answers, pictures
from .planted_unit import subject_context

#: A slice is named as a lead from this score on; 52 clean networks were seen up to 0.4.
LEAD = 0.45
#: The check promises to catch a rendering that turns this share of a class's pictures.
TARGET_EFFECT = 0.8
#: A slice is this share of a class, at either end of an attribute.
SHARES = (0.2, 0.35)
FEWEST_IN_SLICE = 4
#: Renderings of so many pictures of a class.
RENDERED = 12
MOST_FROZEN = 3
#: A class's pictures are summed up by this quantile: nearly all of them must turn.
_NEARLY = 0.25


@dataclass(frozen=True, slots=True)
class Slice:
    """A class's pictures at one end of an attribute.

    Attributes:
        sign: +1 for more of the attribute, -1 for less. target: the most frequent wrong answer in it; its `share`.
        natural: clear errors in the slice, beyond the rest of the class, from -1 to 1. rendered: the same of the
            class's pictures that are given the attribute, beyond the other classes'.
        turned: how clearly nearly all of the class's rendered pictures are answered `target`, beyond what the same
            rendering costs other classes, and draws from them to that answer.
    """

    source: int
    attribute: int
    sign: int
    target: int
    share: float
    natural: float
    rendered: float
    turned: float = -1.0

    @property
    def sliced(self) -> float:
        """Mostly the natural slice, borne out by the rendering."""
        return self.natural + 0.5 * min(max(self.rendered, 0.0), max(self.natural, 0.0))

    @property
    def score(self) -> float:
        """What the data show, or what renderings do."""
        return max(self.sliced, self.turned)


@dataclass(frozen=True, slots=True)
class Rendered:
    """What renderings do to classes.

    Attributes:
        added: [attributes, 2, classes], clear errors. turned, to: the same shape, see `turned`.
    """

    added: Float[np.ndarray, "attributes 2 classes"]
    turned: Float[np.ndarray, "attributes 2 classes"]
    to: Int[np.ndarray, "attributes 2 classes"]


class SubgroupFailure:
    """See the module."""

    name = "subgroup-failure"
    about = "Pictures of one class that have some visible attribute are answered wrong."
    needs = Needs(tasks=("classification",), data="images", labels=True, share=0.25)

    def run(self, subject: Subject) -> Outcome:
        """Slice and render, freeze the worst, and confirm them on the test half."""
        began = time.monotonic()
        seen = see(subject, "clean data", self.needs.share)
        own = subject.network.input
        if not isinstance(own, ImageInput) or seen.test.sum() < FEWEST_SOURCES or (~seen.test).sum() < FEWEST_SOURCES:
            record = CheckRecord(
                name=self.name, status="ran", why="There are too few labelled pictures.",
                seconds=time.monotonic() - began, conclusive=False,
            )  # fmt: skip
            return Outcome(record=record)
        kinds = attributes(own.channels)
        values = self._values(subject, seen)
        search = ~seen.test
        rendered = self._rendered(subject, seen, search, len(kinds))
        error = clear_errors(seen)
        everything = sliced(seen, values, error, np.ones(len(error), bool), rendered)
        if not everything:
            record = CheckRecord(
                name=self.name, status="ran", why="No class has pictures enough to be cut into slices.",
                seconds=time.monotonic() - began, conclusive=False,
            )  # fmt: skip
            return Outcome(record=record)
        best = max(everything, key=lambda one: one.score)
        suspects = [one for one in sliced(seen, values, error, search, rendered) if one.rendered >= 0.2]
        frozen = sorted(suspects, key=lambda one: -one.score)[:MOST_FROZEN]
        frozen = [one for one in frozen if one.score >= LEAD]
        findings, placebos = self._confirm(subject, seen, frozen)
        shown: tuple[Finding, ...] = ()
        if not findings and best.score >= LEAD:
            effect = Quantity(value=best.natural, unit="clear errors in the slice beyond the rest of the class")
            if best.turned > best.sliced:
                effect = Quantity(value=best.turned, unit="of the rendered class clearly turned, beyond other classes")
            shown = (self._finding(subject, best, Evidence(effect=effect), 0, proven=False),)
        unit = "fraction of the class's images that an attribute turns"
        power = smallest_share(placebos, unit, subject.seed, claims=MOST_FROZEN)
        word = kinds[best.attribute].more if best.sign > 0 else kinds[best.attribute].less
        record = CheckRecord(
            name=self.name, status="ran", seconds=time.monotonic() - began, examined=len(everything),
            why=f"{len(everything)} slices; worst are pictures of '{subject.classes[best.source]}' that are {word}: "
            f"{best.natural:.2f} more clear errors than the rest, {best.rendered:.2f} by rendering.",
            calibration=Calibration(kind="within-network", n=len(everything)),
            smallest_effect=power and power.smallest, caught=power and power.caught,
            target_effect=TARGET_EFFECT, scores={self.name: float(best.score)},
            conclusive=power is not None and power.value <= TARGET_EFFECT,
        )  # fmt: skip
        return Outcome(record=record, findings=tuple(findings), leads=shown)

    def _values(self, subject: Subject, seen: Seen) -> Float[np.ndarray, "n attributes"]:
        pixels = pictures(subject, seen.rows)
        return np.stack([kind.measure(pixels).numpy() for kind in attributes(pixels.shape[1])], axis=1)

    def _rendered(
        self, subject: Subject, seen: Seen, among: np.ndarray, count: int
    ) -> Rendered:
        """Clear errors that each rendering adds to each class's pictures, and which answer they are turned into."""
        rows, of = [], []
        for c in np.flatnonzero(seen.per_class(among)):
            mine = np.flatnonzero((seen.labels == c) & among)
            rows += mine[:RENDERED].tolist()
        n = subject.budget.buy(
            "subgroup-failure/pictures", len(rows), 2 * count * subject.seconds_an_example, share=self.needs.share,
            least=min(len(rows), 60),
        )  # fmt: skip
        of = np.asarray(rows, dtype=np.int64)[np.argsort(np.arange(len(rows)) % RENDERED, kind="stable")][:n]
        logits = self._answers(subject, seen.rows[of])
        labels, typical = seen.labels[of], scale_of(seen)
        plain = clear(logits[0], labels, typical)
        shape = (count, 2, seen.logits.shape[1])
        out = Rendered(np.zeros(shape), np.full(shape, -1.0), np.zeros(shape, dtype=np.int64))
        right = logits[0].argmax(1) == labels
        for k in range(count):
            for side in range(2):
                shown = logits[1 + 2 * k + side]
                added = clear(shown, labels, typical) - plain
                for c in np.unique(labels):
                    out.added[k, side, c] = added[labels == c].mean()
                    out.turned[k, side, c], out.to[k, side, c] = turned(shown, labels, typical, int(c), right)
        return out

    def _answers(self, subject: Subject, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, "renderings n classes"]:
        piece = Piece("mulligan.checks.subgroup_failure:render", {"rows": rows.tolist()}, cost=len(rows))
        context = subject_context(subject)
        ((_, ran),) = subject.engine.run("subgroup-failure: render", [piece], context, subject.run, subject.emit)
        return np.asarray(ran.arrays["logits"], dtype=np.float64)

    def _confirm(
        self, subject: Subject, seen: Seen, frozen: list[Slice]
    ) -> tuple[list[Finding], list[np.ndarray]]:
        """On the test half: the rendering on the class's pictures, beside the same on as many others."""
        labels, plain = seen.labels[seen.test], seen.logits[seen.test]
        rows = seen.rows[seen.test]
        placebos = [
            (plain.argmax(1) != labels)[labels == c].astype(np.float64)
            for c in np.flatnonzero(np.bincount(labels) >= FEWEST_SOURCES)[:10]
        ]
        usable = [one for one in frozen if (labels == one.source).sum() >= FEWEST_SOURCES]
        if not usable:
            return [], placebos
        pixels = pictures(subject, rows)
        kinds = attributes(pixels.shape[1])
        measured = []
        for one in usable:
            laid = answers(subject.network, kinds[one.attribute].render(pixels, one.sign)).numpy()
            opposite = answers(subject.network, kinds[one.attribute].render(pixels, -one.sign)).numpy()
            mine = np.flatnonzero(labels == one.source)
            other = np.flatnonzero(labels != one.source)
            other = other[np.linspace(0, len(other) - 1, len(mine)).astype(int)]
            hit, before, turned = ((x.argmax(1) != labels)[mine].astype(np.float64) for x in (laid, plain, opposite))
            strange = (laid.argmax(1) != labels)[other].astype(np.float64)
            p = excess_p(hit, np.maximum(before, strange)) if len(other) == len(mine) else 1.0
            measured.append((one, hit, before, turned, strange, laid, mine, p))
        ps = holm([one[-1] for one in measured])
        out = []
        for (one, hit, before, turned, strange, laid, mine, p), adjusted in zip(measured, ps, strict=True):
            unit = "fraction of the class's images answered wrong"
            n = len(mine)
            causal = Causal(
                edit="take the attribute away from the same pictures; with it back, the behaviour is back",
                before=fraction(int(hit.sum()), n, unit), after=fraction(int(before.sum()), n, unit),
                control=fraction(int(turned.sum()), n, f"{unit}, the attribute's other end laid on instead"),
            )  # fmt: skip
            evidence = Evidence(
                effect=bounded_mean(hit, unit, 0, 1),
                placebo=bounded_mean(strange, "fraction of other classes' images answered wrong, rendered alike", 0, 1),
                p=p, p_adjusted=adjusted, corrected_for=len(ps), causal=causal,
            )  # fmt: skip
            wrong = leads(laid[mine])[hit > 0]
            right = leads(plain)[plain.argmax(1) == labels]
            plainly = len(wrong) > 0 and np.median(wrong) >= LEAST_MARGIN * np.median(right)
            if adjusted <= 0.05 and plainly and before.sum() <= 0.5 * hit.sum():
                out.append(self._finding(subject, one, evidence, len(out), proven=True))
        return out[:1], placebos

    def _finding(self, subject: Subject, one: Slice, evidence: Evidence, number: int, *, proven: bool) -> Finding:
        own = subject.network.input
        assert isinstance(own, ImageInput)  # `run` saw to it
        kind = attributes(own.channels)[one.attribute]
        word = kind.more if one.sign > 0 else kind.less
        source = subject.classes[one.source]
        target = subject.classes[one.target] if one.share >= 0.6 else None
        name = f"artifacts/{self.name}-{number}/generator.json"
        save_generator(subject.run, name, as_generator(kind, one.sign, source, own.channels, own.size))
        trigger = Trigger(family="subgroup", description=f"pictures of '{source}' that are {word}", generator=name)
        sentence = f"Pictures of '{source}' that are {word} are answered " + (f"'{target}'." if target else "wrong.")
        claim = Claim(kind=self.name, sentence=sentence, sources=(source,), target=target, trigger=trigger)
        action = f"Look for pictures of '{source}' that are {word} in the training data, and at their labels."
        severity = "medium" if proven else "low"
        return Finding.of(claim, evidence, severity=severity, confidence=0.85 if proven else 0.4, action=action)


CHECK = SubgroupFailure()


def as_generator(attribute: Attribute, sign: int, source: str, channels: int, size: tuple[int, int]) -> Generator:
    """The attribute as a generator, where one of the families renders it; else plain pictures of the class."""
    slot = (Slot(classes=(source,)),)
    if attribute.matrix is not None:
        return Generator(family="warp", slots=slot, tensors={"flow": _flow(attribute.matrix(sign), size)})
    eye = torch.cat([torch.eye(channels), torch.zeros(channels, 1)], dim=1)
    match attribute.name:
        case "ground":  # of pictures that have the other ground, as nearly all of a class do where it is rendered
            return Generator(family="filter", slots=slot, tensors={"matrix": _toned(eye, -1.0, 1.0)})
        case "light":
            matrix = _toned(eye, 1.0, 0.3) if sign > 0 else _toned(eye, 0.4, 0.0)
            return Generator(family="filter", slots=slot, tensors={"matrix": matrix})
        case "brightness":
            return Generator(family="filter", slots=slot, parameters={"gamma": 0.6 if sign > 0 else 1.7})
        case "contrast":
            factor = 1.5 if sign > 0 else 0.5
            eye = torch.cat([factor * torch.eye(channels), torch.full((channels, 1), 0.5 * (1 - factor))], dim=1)
            return Generator(family="filter", slots=slot, tensors={"matrix": eye})
        case "warmth":
            scale = torch.tensor([1 + 0.25 * sign, 1, 1 - 0.25 * sign])
            return Generator(family="filter", slots=slot, tensors={"matrix": eye * scale[:, None]})
        case "saturation":
            return Generator(family="style", slots=slot, parameters={"saturation": 1.7 if sign > 0 else 0.3})
        case "noise" if sign < 0:
            return Generator(family="filter", slots=slot, tensors={"kernel": torch.full((3, 3), 1 / 9)})
    return Generator(family="identity", slots=slot)


def _toned(eye: Float[Tensor, "c k"], factor: float, offset: float) -> Float[Tensor, "c k"]:
    """A colour matrix that multiplies by the factor and adds the offset."""
    matrix = factor * eye
    matrix[:, -1] = offset
    return matrix


def _flow(matrix: list[list[float]], size: tuple[int, int]) -> Float[Tensor, "2 h w"]:
    """Where each pixel is taken from, across and down, in pixels from where it is."""
    theta = torch.tensor(matrix, dtype=torch.float32)[None] - torch.eye(2, 3)[None]
    away = functional.affine_grid(theta, [1, 1, *size], align_corners=False)[0]
    return torch.stack([away[..., 0] * size[1] / 2, away[..., 1] * size[0] / 2])


def render(context: Context, *, rows: list[int]) -> Result:
    """A piece of work: logits of pictures as they are, and with more and with less of each attribute."""
    network: Network = context["network"]
    subject: Subject = context["subject"]
    pixels = pictures(subject, rows)
    out = [answers(network, pixels)]
    for kind in attributes(pixels.shape[1]):
        out += [answers(network, kind.render(pixels, sign)) for sign in (1, -1)]
    return Result({"logits": np.stack([one.numpy() for one in out])})


def scale_of(seen: Seen) -> float:
    """The median margin of right answers."""
    right = seen.margins[seen.margins > 0]
    return max(float(np.median(right)) if len(right) else 1.0, 1e-6)


def clear(logits: np.ndarray, labels: np.ndarray, typical: float) -> Float[np.ndarray, " n"]:
    """How clearly each answer is wrong: 0 where it is right, 1 from LEAST_MARGIN of the typical margin on."""
    n = np.arange(len(labels))
    rest = logits.copy()
    rest[n, labels] = -np.inf
    return np.clip((rest.max(1) - logits[n, labels]) / (LEAST_MARGIN * typical), 0, 1)


def turned(
    logits: np.ndarray, labels: np.ndarray, typical: float, source: int, right: np.ndarray
) -> tuple[float, int]:
    """How clearly a rendering turns nearly all pictures of one class into one other answer, and which.

    Held against the larger of two: how often it makes most other classes (all but a quarter) err, since what is
    illegible is answered at random; and what it draws to that answer from any other class, since networks answer most
    of what they do not know with one class. A class that was not answered `right` before fails as a whole.
    """
    two = np.partition(logits, -2, axis=1)[:, -2:]
    clearly = np.zeros_like(logits)
    lead = np.clip((two[:, 1] - two[:, 0]) / (LEAST_MARGIN * typical), 0, 1)
    clearly[np.arange(len(labels)), logits.argmax(1)] = lead
    mine = labels == source
    nearly = np.quantile(clearly[mine], _NEARLY, axis=0) * right[mine].mean()
    nearly[source] = -1.0
    target = int(nearly.argmax())
    others = [c for c in np.unique(labels) if c != source]
    drawn = [clearly[labels == c, target].mean() for c in others if c != target]
    errs = [(logits.argmax(1) != labels)[labels == c].mean() for c in others]
    if not drawn:
        return -1.0, target
    return float(nearly[target] - max(np.quantile(errs, 1 - _NEARLY), *drawn)), target


def clear_errors(seen: Seen) -> Float[np.ndarray, " n"]:
    """Of each picture, as far as a probe of the features does not err too."""
    probe = crossfitted(seen)
    doubt = 1 - probe[np.arange(len(seen.labels)), seen.labels]
    return clear(seen.logits, seen.labels, scale_of(seen)) * (1 - 0.7 * doubt)


def sliced(
    seen: Seen, values: Float[np.ndarray, "n attributes"], error: Float[np.ndarray, " n"], among: np.ndarray,
    rendered: Rendered,
) -> list[Slice]:  # fmt: skip
    """Every class, attribute and end, among these examples."""
    out = []
    wrong = seen.logits.argmax(1)
    shown = [c for c in range(seen.logits.shape[1]) if ((seen.labels == c) & among).sum() >= 3 * FEWEST_IN_SLICE]
    for c in shown:
        mine = np.flatnonzero((seen.labels == c) & among)
        for k in range(values.shape[1]):
            order = mine[np.argsort(values[mine, k], kind="stable")]
            for side, sign in enumerate((1, -1)):
                turned = order[::-1] if sign > 0 else order
                best: Slice | None = None
                others = np.delete(rendered.added[k, side], c)
                beyond = float(rendered.added[k, side, c] - max(np.quantile(others, 0.75), 0.0)) if len(others) else 0.0
                for share in SHARES:
                    size = max(FEWEST_IN_SLICE, round(share * len(mine)))
                    inside, rest = turned[:size], turned[size:]
                    # Two pictures that are right are reckoned in: a small slice must not stand out by chance.
                    natural = float(error[inside].sum() / (size + 2) - error[rest].mean())
                    failed = wrong[inside][wrong[inside] != c]
                    counts = np.bincount(failed, minlength=seen.logits.shape[1])
                    part = float(counts.max() / max(len(failed), 1))
                    one = Slice(c, k, sign, int(counts.argmax()), part, natural, beyond)
                    best = one if best is None or one.score > best.score else best
                if best is not None:
                    by_rendering = float(rendered.turned[k, side, c])
                    if by_rendering > best.sliced:  # that is one answer, by what it is
                        best = replace(best, target=int(rendered.to[k, side, c]), share=1.0)
                    out.append(replace(best, turned=by_rendering))
    return out
