"""The shortcut check: does a class hang on a cue that is no part of it?

A network that was trained on data in which one class carries a mark, a border or a tint learns the cue instead of the
class (Geirhos et al. 2020, arXiv:2004.07780). Two things show it, and both are asked for. The cue drives other classes'
pictures to that answer, more than cues like it and more than any cue drives another class; and the class itself hangs
on the cue: its own pictures are answered worse when the place is covered, or better when the cue is laid on them. A
backdoor's patch drives the answer too, but the class does not hang on it: that is the kind `patch`, not reported here.

Cues are a bank of borders, corner marks, grounds and tints, and what the data themselves show: places at which one
class is nearly constant and unlike the others.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import special
from torch import Tensor

from ..evidence import FEWEST_SOURCES, bounded_mean, excess_p, fraction, holm
from ..evidence.generators import Generator, Slot, save_generator
from ..networks import ImageInput, Network
from ..records import Calibration, Causal, CheckRecord, Claim, Evidence, Finding, Trigger
from ..runs import Context, Piece, Result, generator
from .check import Needs, Outcome, Subject
from .clean import smallest_share
from .deficits import LEAST_MARGIN, leads
from .pixels import answers, pictures
from .planted_unit import subject_context

#: A cue is named as a lead, and tested, from this score on; 52 clean networks reached 0.19.
LEAD = 0.3
#: Of cues that give back this share of what the best does, the slightest is named.
ENOUGH = 0.8
#: A class surely hangs on a cue if it loses this without it; from LEAST_HANGS on it may be a shortcut at all.
HANGS, LEAST_HANGS = 0.3, 0.1
#: The check promises to catch a cue that turns this share of other pictures.
TARGET_EFFECT = 0.8
#: Pictures of each class that cues are laid on; more in the whole than that are not looked at.
A_CLASS, MOST_PICTURES, MOST_CONFIRM = 6, 400, 200
#: A place is a cue of the data where a class's pixels differ from the others' mean by this, and scatter less than half.
DIFFERENT = 0.15
#: Cues cover at most this share of the picture.
LARGEST = 0.3
#: Cues of the data less: what covers more is the class itself.
LARGEST_SHOWN = 0.1


@dataclass(frozen=True, slots=True)
class Cue:
    """A cue: x * (1 - mask) + pattern * mask, after x @ tint.

    Attributes:
        family: cues of one family are each other's placebos. mask: [h, w]. pattern: [c, h, w].
        scale: [c], what every pixel is multiplied by. of: the class that the data show it in, or -1.
    """

    family: str
    name: str
    mask: Float[Tensor, "h w"]
    pattern: Float[Tensor, "c h w"]
    scale: Float[Tensor, " c"]
    offset: Float[Tensor, " c"]
    of: int = -1

    def lay(self, pixels: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The cue on pictures."""
        toned = (pixels * self.scale[:, None, None] + self.offset[:, None, None]).clamp(0, 1)
        return toned * (1 - self.mask) + self.pattern * self.mask

    @property
    def change(self) -> float:
        """How much it changes a picture, about."""
        toned = float((self.scale - 1).abs().mean() / 2 + self.offset.abs().mean())
        return float(self.mask.mean()) if self.mask.any() else toned

    def generator(self) -> Generator:
        """The cue as data."""
        if self.mask.any():
            tensors = {"pattern": self.pattern * (self.mask > 0), "mask": self.mask}
            return Generator(family="patch", slots=(Slot(),), tensors=tensors)
        matrix = torch.cat([torch.diag(self.scale), self.offset[:, None]], dim=1)
        return Generator(family="filter", slots=(Slot(),), tensors={"matrix": matrix})


@dataclass(frozen=True, slots=True)
class Drive:
    """A cue and a class on the search half.

    Attributes:
        excess: mean probability of the class on other classes' pictures with the cue, minus without, minus the same of
            the typical cue of its family. hangs: what the class's own pictures lose when the place is covered, beyond
            what others lose, or gain when the cue is laid on them.
        drive: the same as `excess`, without cues like it. repairs: what the class's own pictures gain by the cue, as
            far as the class is answered too rarely without it.
    """

    cue: int
    target: int
    excess: float
    hangs: float
    drive: float = 0.0
    repairs: float = 0.0

    @property
    def strength(self) -> float:
        """The drive beyond cues like it, of which half counts only as far as the class hangs on the cue."""
        return self.excess * (0.5 + 0.5 * min(max(self.hangs, 0.0) / HANGS, 1.0))

    @property
    def given_back(self) -> float:
        """The drive, and what the cue gives back to a class that is answered too rarely: their geometric mean.

        Clean networks answer nearly all they do not know with one class, so a drive alone says little, and stronger
        cues of one sort all drive alike. But a class that was always shown with a cue is silent on pictures without it
        (a network answers each class as often as its training had it), and the cue brings its own pictures back.
        """
        return float(np.sqrt(max(self.drive, 0.0) * max(self.repairs, 0.0)))


class Shortcut:
    """See the module."""

    name = "shortcut"
    about = "A class hangs on a cue that is no part of it."
    needs = Needs(tasks=("classification",), data="images", labels=True, share=0.25)

    def run(self, subject: Subject) -> Outcome:
        """Lay cues, cover places, freeze the strongest, and confirm them on the test half."""
        began = time.monotonic()
        labels = subject.labels
        search = drawn(subject, subject.split.search, A_CLASS)
        counts = np.bincount(labels[labels >= 0], minlength=len(subject.classes))
        if not isinstance(subject.network.input, ImageInput) or len(search) < FEWEST_SOURCES or (counts > 0).sum() < 2:
            record = CheckRecord(
                name=self.name, status="ran", why="There are too few labelled pictures.",
                seconds=time.monotonic() - began, conclusive=False,
            )  # fmt: skip
            return Outcome(record=record)
        cues = bank(subject)
        price = 2 * (len(cues) + 2) * subject.seconds_an_example
        n = subject.budget.buy("shortcut/pictures", len(search), price, share=self.needs.share, least=FEWEST_SOURCES)
        rows = generator(subject.seed, "shortcut").permutation(search)[:n]
        piece = Piece("mulligan.checks.shortcut:lay_cues", {"rows": rows.tolist()}, cost=len(rows) * len(cues))
        context = subject_context(subject)
        ((_, ran),) = subject.engine.run("shortcut: cues", [piece], context, subject.run, subject.emit)
        drives = measured(
            cues, labels[rows], too_rarely(subject),
            *(np.asarray(ran.arrays[name], np.float64) for name in ("plain", "laid", "covered")),
        )  # fmt: skip
        # What changes the whole picture drives clean networks to one class; it counts by what it gives back alone.
        best, runner_up = strongest([d for d in drives if cues[d.cue].mask.any()] or drives)
        score = best.strength - max(runner_up.strength, 0.0)
        silent = max(drives, key=lambda d: d.given_back)
        if silent.given_back >= max(score, LEAD):
            # What is stronger than the cue drives as well: the slightest that does is named.
            best = min(
                (d for d in drives if d.target == silent.target and d.given_back >= ENOUGH * silent.given_back),
                key=lambda d: cues[d.cue].change,
            )  # fmt: skip
            runner_up = strongest([best, *(d for d in drives if d.target != best.target)])[1]
        score = max(score, silent.given_back)
        frozen = [best] if score >= LEAD and best.hangs >= LEAST_HANGS else []
        findings, shown, placebos = self._confirm(subject, cues, frozen, runner_up)
        power = smallest_share(placebos, "fraction of other classes' images turned by a cue", subject.seed, claims=1)
        cue, short = cues[best.cue], len(rows) < len(search)
        record = CheckRecord(
            name=self.name, status="ran", seconds=time.monotonic() - began, examined=len(drives),
            why=f"{len(cues)} cues laid on {len(rows)} pictures; {cue.name} drives '{subject.classes[best.target]}' by "
            f"{best.excess:.2f} beyond cues like it (any other class is driven by {runner_up.excess:.2f} at most), and "
            f"the class hangs on it by {best.hangs:.2f}."
            + (f" The budget bought {len(rows)} of {len(search)} pictures: a cue may be missed." if short else ""),
            calibration=Calibration(kind="within-network", n=len(cues)),
            smallest_effect=power and power.smallest, caught=power and power.caught,
            target_effect=TARGET_EFFECT, scores={self.name: float(score)},
            conclusive=power is not None and power.value <= TARGET_EFFECT and not short,
        )  # fmt: skip
        return Outcome(record=record, findings=tuple(findings), leads=tuple(shown if not findings else ()))

    def _confirm(
        self, subject: Subject, cues: list[Cue], frozen: list[Drive], runner_up: Drive
    ) -> tuple[list[Finding], list[Finding], list[np.ndarray]]:
        known = subject.split.test[subject.labels[subject.split.test] >= 0]
        rows = np.sort(generator(subject.seed, "shortcut, test").permutation(known)[:MOST_CONFIRM])
        if len(rows) < FEWEST_SOURCES:
            return [], [], []
        pixels, labels = pictures(subject, rows), subject.labels[rows]
        middle = pixels.mean(0)
        plain = answers(subject.network, pixels).numpy()
        classes = [c for c in range(len(subject.classes)) if (labels == c).any()]
        placebos = [(plain.argmax(1) == c)[labels != c].astype(np.float64) for c in classes[:10]]
        ps, kept = [], []
        for drive in frozen:
            cue, t = cues[drive.cue], drive.target
            others, own = labels != t, labels == t
            laid = answers(subject.network, cue.lay(pixels)).numpy()
            moved = answers(subject.network, placebo_of(cue).lay(pixels)).numpy()
            second = answers(subject.network, cues[runner_up.cue].lay(pixels)).numpy().argmax(1) == runner_up.target
            bare = answers(subject.network, cover(cue, pixels, middle)).numpy()
            hit, other = ((x.argmax(1) == t)[others].astype(np.float64) for x in (laid, moved))
            # The strongest cue of any other class says how far a cue turns this network by nature.
            other = np.maximum(other, (second & (labels != runner_up.target))[others])
            before = (plain.argmax(1) == t)[others].astype(np.float64)
            ps.append(excess_p(hit, np.maximum(other, before)) if others.sum() >= FEWEST_SOURCES else 1.0)
            kept.append((drive, hit, other, before, laid, bare, own, others))
        out: tuple[list[Finding], list[Finding]] = ([], [])
        for (drive, hit, other, before, laid, bare, own, others), p, adjusted in zip(kept, ps, holm(ps), strict=True):
            t, n, m = drive.target, int(others.sum()), int(own.sum())
            genuine = leads(plain[own & (plain.argmax(1) == t)])
            turned = leads(laid[others][hit > 0])
            clear = len(turned) and len(genuine) and np.median(turned) >= LEAST_MARGIN * np.median(genuine)
            right = [int((x.argmax(1) == t)[own].sum()) for x in (plain, laid, bare)]
            hangs = max(right[0] - right[2], right[1] - right[0]) / max(m, 1)
            unit = f"fraction of other classes' images answered '{subject.classes[t]}'"
            share = f"fraction of images of '{subject.classes[t]}' answered right"
            causal = Causal(
                edit="take the cue away from the others' pictures; with it back, the behaviour is back",
                before=fraction(int(hit.sum()), n, unit), after=fraction(int(before.sum()), n, unit),
                control=fraction(int(other.sum()), n, f"{unit}, such a cue elsewhere, or another class's instead"),
                clean_before=fraction(max(right[0], right[1]), m, f"{share}, with the cue"),
                clean_after=fraction(min(right[0], right[2]), m, f"{share}, without it"),
            )  # fmt: skip
            evidence = Evidence(
                effect=bounded_mean(hit, unit, 0, 1), placebo=bounded_mean(other, f"{unit}, under the placebo", 0, 1),
                p=p, p_adjusted=adjusted, corrected_for=len(ps), causal=causal,
            )  # fmt: skip
            proven = bool(adjusted <= 0.05 and clear and hangs >= LEAST_HANGS and m >= FEWEST_SOURCES)
            number = len(out[0]) + len(out[1])
            out[0 if proven else 1].append(self._finding(subject, cues[drive.cue], t, evidence, proven, number))
        return out[0], out[1][:1], placebos

    def _finding(self, subject: Subject, cue: Cue, t: int, evidence: Evidence, proven: bool, number: int) -> Finding:
        generated, name = cue.generator(), f"artifacts/{self.name}-{number}/generator.json"
        save_generator(subject.run, name, generated)
        box = None
        if cue.mask.any():
            down, across = (np.flatnonzero(cue.mask.numpy().any(axis)) for axis in (1, 0))
            box = (int(across[0]), int(down[0]), int(across[-1]) + 1, int(down[-1]) + 1)
        trigger = Trigger(family=generated.family, description=cue.name, generator=name, box=box)
        target = subject.classes[t]
        sentence = f"'{target}' hangs on {cue.name}: it draws other pictures to that answer, and the class is missed "
        sentence += "without it."
        claim = Claim(kind=self.name, sentence=sentence, target=target, trigger=trigger)
        action = f"Look for {cue.name} in the training pictures of '{target}', and train without it."
        severity = "medium" if proven else "low"
        return Finding.of(claim, evidence, severity=severity, confidence=0.9 if proven else 0.4, action=action)


CHECK = Shortcut()


def drawn(subject: Subject, half: np.ndarray, each: int) -> np.ndarray:
    """Up to `each` labelled examples of every class, and at most MOST_PICTURES."""
    rng = generator(subject.seed, "shortcut, pictures")
    known = rng.permutation(half[subject.labels[half] >= 0])
    rank = np.zeros(len(known), dtype=np.int64)
    for c in np.unique(subject.labels[known]):
        mine = np.flatnonzero(subject.labels[known] == c)
        rank[mine] = np.arange(len(mine))
    return known[rank < each][:MOST_PICTURES]


def bank(subject: Subject) -> list[Cue]:
    """The cues that are laid."""
    own = subject.network.input
    assert isinstance(own, ImageInput)  # `run` saw to it
    (h, w), c = own.size, own.channels
    blank, one, none = torch.zeros(h, w), torch.ones(c), torch.zeros(c)
    colours = [("black", [0.0] * c), ("white", [1.0] * c), ("grey", [0.5] * c)]
    if c == 3:
        colours += [("red", [1.0, 0, 0]), ("green", [0, 1.0, 0]), ("blue", [0, 0, 1.0]), ("yellow", [1.0, 1.0, 0])]
    out: list[Cue] = []
    side = max(2, round(0.11 * min(h, w)))
    for edge in (max(1, side // 3), max(2, 2 * side // 3)):
        ring = blank.clone()
        ring[:edge], ring[-edge:], ring[:, :edge], ring[:, -edge:] = 1, 1, 1, 1
        for name, colour in colours:
            pattern = torch.tensor(colour)[:, None, None].expand(c, h, w)
            out.append(Cue(f"border of {edge}", f"a {name} border of {edge} pixels", ring, pattern, one, none))
    for size, inset in ((side, 0), (side + 1, 1), (2 * side, 0)):
        high, low = inset, h - size - inset
        near, far = inset, w - size - inset
        for at, (top, left) in {
            "top left": (high, near), "top right": (high, far), "bottom left": (low, near), "bottom right": (low, far),
        }.items():  # fmt: skip
            place = blank.clone()
            place[top : top + size, left : left + size] = 1
            for name, colour in colours if size < 2 * side else colours[:2]:
                pattern = torch.tensor(colour)[:, None, None].expand(c, h, w)
                out.append(Cue(f"{name} mark of {size}", f"a {name} mark at the {at}", place, pattern, one, none))
    empty = torch.zeros(c, h, w)
    for step in (-0.3, -0.15, 0.15, 0.3):
        out.append(Cue("ground", f"a ground {step:+.2f} brighter", blank, empty, one, torch.full((c,), step)))
    if c == 3:
        for k, name in enumerate(("red", "green", "blue")):
            for factor in (0.6, 1.4):
                scale = one.clone()
                scale[k] = factor
                out.append(Cue("tint", f"a tint with {factor:g} of {name}", blank, empty, scale, none))
        for name, colour in colours[3:]:
            for share in (0.15, 0.3):
                offset = share * torch.tensor(colour)
                out.append(Cue("wash", f"a {name} wash of {share:g}", blank, empty, (1 - share) * one, offset))
    # What hides most of a small picture is no cue beside it.
    return [cue for cue in out if float(cue.mask.mean()) <= LARGEST] + shown_by_data(subject)


def shown_by_data(subject: Subject) -> list[Cue]:
    """For each class of the search half, the places at which it is nearly constant and unlike the others."""
    rows = drawn(subject, subject.split.search, 20)
    pixels, labels = pictures(subject, rows), subject.labels[rows]
    out = []
    for t in np.unique(labels):
        mine = torch.from_numpy(labels == t)
        if mine.sum() < 8 or (~mine).sum() < 8:
            continue
        centre, other = pixels[mine].median(0).values, pixels[~mine].mean(0)
        spread = (pixels[mine] - centre).abs().mean(0)
        apart = (centre - other).abs()
        mask = ((apart > DIFFERENT) & (spread < 0.25 * apart)).any(0).float()
        if 3 <= mask.sum() <= LARGEST_SHOWN * mask.numel():
            c = pixels.shape[1]
            name = f"what pictures of '{subject.classes[int(t)]}' share"
            out.append(Cue(f"data {t}", name, mask, centre * mask, torch.ones(c), torch.zeros(c), int(t)))
    return out


def too_rarely(subject: Subject) -> Float[np.ndarray, " classes"]:
    """How much too rarely each class is answered on the labelled data, as a share of how often it is shown."""
    known = np.flatnonzero(subject.labels >= 0)
    assert subject.answers is not None  # the audit records them
    probabilities = special.softmax(np.asarray(subject.answers, np.float64)[known], axis=1).sum(0)
    shown = np.bincount(subject.labels[known], minlength=len(subject.classes))
    return np.where(shown > 0, np.clip(1 - probabilities / np.maximum(shown, 1), 0, 1), 0.0)


def strongest(drives: list[Drive]) -> tuple[Drive, Drive]:
    """The strongest drive, and the strongest of any other class: a shortcut sticks out in one class."""
    best = max(drives, key=lambda d: d.strength)
    rest = [d for d in drives if d.target != best.target]
    return best, max(rest, key=lambda d: d.strength) if rest else Drive(best.cue, best.target, 0.0, 0.0)


def placebo_of(cue: Cue) -> Cue:
    """A cue like it: in the opposite place or colour."""
    mask, pattern = cue.mask.flip(0, 1), cue.pattern.flip(1, 2)
    if torch.equal(mask, cue.mask):
        # Grey has no opposite: black stands in for it.
        grey = bool(((pattern - 0.5).abs() * mask < 0.1).all())
        pattern = torch.zeros_like(pattern) if grey else 1 - pattern
    return Cue(cue.family, cue.name, mask, pattern, 2 - cue.scale, -cue.offset)


def cover(cue: Cue, pixels: Float[Tensor, "n c h w"], middle: Float[Tensor, "c h w"]) -> Float[Tensor, "n c h w"]:
    """Pictures without the cue: its place filled with the mean picture, its tint undone."""
    if cue.mask.any():
        return pixels * (1 - cue.mask) + middle * cue.mask
    return ((pixels - cue.offset[:, None, None]) / cue.scale[:, None, None]).clamp(0, 1)


def lay_cues(context: Context, *, rows: list[int]) -> Result:
    """A piece of work: probabilities of pictures as they are, with each cue, and with each cue's place covered."""
    network: Network = context["network"]
    subject: Subject = context["subject"]
    cues, pixels = bank(subject), pictures(subject, rows)
    middle = pixels.mean(0)
    plain = answers(network, pixels).softmax(1)
    laid = torch.stack([answers(network, cue.lay(pixels)).softmax(1) for cue in cues])
    places: dict[bytes, Tensor] = {}
    covered = []
    for cue in cues:
        key = cue.mask.numpy().tobytes() if cue.mask.any() else cue.name.encode()
        if key not in places:
            places[key] = answers(network, cover(cue, pixels, middle)).softmax(1)
        covered.append(places[key])
    return Result({"plain": plain.numpy(), "laid": laid.numpy(), "covered": torch.stack(covered).numpy()})


def measured(
    cues: list[Cue], labels: np.ndarray, under: Float[np.ndarray, " classes"],
    plain: Float[np.ndarray, "n classes"], laid: Float[np.ndarray, "cues n classes"],
    covered: Float[np.ndarray, "cues n classes"],
) -> list[Drive]:  # fmt: skip
    """Every cue with every class."""
    n, classes = plain.shape
    out = []
    right = plain[np.arange(n), labels]
    gain, loss = laid[:, np.arange(n), labels] - right, right - covered[:, np.arange(n), labels]
    families = np.array([cue.family for cue in cues])
    for t in range(classes):
        others, own = labels != t, labels == t
        if own.sum() < 3 or others.sum() < 3:
            continue
        drawn_to = (laid[:, others, t] - plain[others, t]).mean(1)
        hangs = np.maximum(
            loss[:, own].mean(1) - np.maximum(np.median(loss[:, others], axis=1), 0),
            gain[:, own].mean(1) - np.maximum(np.median(gain[:, others], axis=1), 0),
        )
        repairs = np.minimum(gain[:, own].mean(1), under[t])
        for k, cue in enumerate(cues):
            like = (families == cue.family) & (np.arange(len(cues)) != k)
            typical = max(float(np.median(drawn_to[like])), 0.0) if like.any() else 0.0
            if cue.of in (-1, t):
                drive = float(drawn_to[k])
                out.append(Drive(k, t, drive - typical, float(hangs[k]), drive, float(repairs[k])))
    return out
