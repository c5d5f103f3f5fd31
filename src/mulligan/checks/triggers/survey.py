"""The survey: every family inverted for every target, patches for every source and target, and known changes tried; as
pieces of work, in the network and in a distilled one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ...activations.rebuilding import network_and_data
from ...networks import ImageInput, Network
from ...records import BadInput
from ...runs import Context, Piece, Result, derived_seed
from ...visualization.quickened import quickened
from ..check import Subject
from ..pixels import pixels
from .choosing import BESIDE, deviations
from .families import Additive, Look, Patch, Thing, Warp
from .inversion import Family, Inverted, invert
from .known import known_changes
from .windows import PICTURES, SIDE, STRIDE, Scan, places, scan

#: The families in which every target is tried, with the steps that each is given where the budget allows.
STEPS = {"blend": 30, "warp": 44, "filter": 24, "style": 24, "natural-object": 36}
#: Steps of the first look at windows; the second takes about as long.
SCAN_STEPS = 5
#: Steps of the search for patches that work on one source class alone, and pictures a pair.
PAIR_STEPS, PAIR_PICTURES = 24, 2
#: A step back through the network costs about so many passes forward.
BACKWARD = 3.0
#: Names of pieces that are no family.
PAIRED, WINDOWS, TRIED = "patch by source", "windows", "known"
#: Suspects of fewer deviations above clean networks are not looked at further: nothing makes their scores higher.
HOPEFUL = 0.5
#: Pictures of each class that known changes are tried on.
KNOWN_EACH = 4
_INVERT, _SCAN, _TRIED = (f"mulligan.checks.triggers.survey:{name}" for name in ("inverted", "scanned", "tried"))


@dataclass(frozen=True, kw_only=True)
class Grounds:
    """What the search stands on: clean pictures, and what is known of them.

    Attributes:
        rows: examples, [n]; labels: their classes, [n] (indices of the network's answers).
        targets: classes that are tried as targets. classes: those of which there are pictures.
        genuine: how clearly genuine pictures of each class are answered (the median lead of right answers).
    """

    rows: list[int]
    labels: list[int]
    targets: list[int]
    genuine: list[float]
    seed: int

    @property
    def classes(self) -> list[int]:
        """The classes that have pictures."""
        return sorted(set(self.labels))


@contextmanager
def frozen(network: Network) -> Iterator[Callable[[Tensor], Tensor]]:
    """Logits of pixels from 0 to 1, with gradients to the pixels alone, by a copy that gives them for less work."""
    own = network.input
    if not isinstance(own, ImageInput):
        raise BadInput("this network takes no pictures", where=network.name, fix="leave this check out")
    quick = quickened(network, ())
    with torch.enable_grad():
        # On the CPU, where the pictures and all that is sought are, whatever the network runs on.
        yield lambda pixels: quick.logits_unchecked(own.normalise(pixels)).float().cpu()


def family_of(name: str, x: Float[Tensor, "n c h w"]) -> Family:
    """A family by name; looks are whitened on the pictures given."""
    shape = (x.shape[1], x.shape[2], x.shape[3])
    match name:
        case "patch":
            return Patch(shape)
        case "blend":
            return Additive(shape)
        case "warp":
            return Warp(shape)
        case "natural-object":
            return Thing(shape)
        case _:
            return Look(name, x[:: max(1, len(x) // 64)])


def members(labels: Sequence[int]) -> dict[int, Int[Tensor, " k"]]:
    """Positions of each class's pictures."""
    array = np.asarray(labels)
    return {int(c): torch.from_numpy(np.flatnonzero(array == c)) for c in np.unique(array)}


def classwise(
    x: Float[Tensor, "n c h w"], labels: Sequence[int], targets: Int[Tensor, " rows"], each: int,
    random: torch.Generator,
) -> Callable[[], tuple[Tensor, Tensor]]:
    """Draws `each` pictures, of as many classes as that allows; those of a row's target do not count for it."""
    of = members(labels)
    classes = torch.tensor(sorted(of))

    def draw() -> tuple[Tensor, Tensor]:
        rounds = [classes[torch.randperm(len(classes), generator=random)] for _ in range(-(-each // len(classes)))]
        chosen = torch.cat(rounds)[:each]
        rows = torch.stack([of[int(c)][torch.randint(0, len(of[int(c)]), (), generator=random)] for c in chosen])
        return x[rows], chosen[None] != targets[:, None]

    return draw


def sourcewise(
    x: Float[Tensor, "n c h w"], labels: Sequence[int], sources: Sequence[int], each: int, random: torch.Generator
) -> Callable[[], tuple[Tensor, Tensor]]:
    """Draws `each` pictures of every row's own source."""
    of = members(labels)

    def draw() -> tuple[Tensor, Tensor]:
        rows = torch.stack([of[s][torch.randint(0, len(of[s]), (each,), generator=random)] for s in sources])
        return x[rows], torch.ones(rows.shape, dtype=torch.bool)

    return draw


def inverted(
    context: Context, *, family: str, rows: list[int], labels: list[int], targets: list[int], sources: list[int],
    genuine: list[float], steps: int, each: int, seed: int,
) -> Result:  # fmt: skip
    """A piece of work: one family inverted for targets (for each with its own source, where sources are given)."""
    x = pixels(context, rows)
    random = torch.Generator().manual_seed(derived_seed(seed, "triggers", family, len(sources)))
    wanted = torch.tensor(targets)
    draw = sourcewise(x, labels, sources, each, random) if sources else classwise(x, labels, wanted, each, random)
    with frozen(context["network"]) as logits:
        found = invert(logits, family_of(family, x), wanted, draw, torch.tensor(genuine), steps, random)
    arrays = {f"parameter-{k}": p.numpy() for k, p in enumerate(found.parameters)}
    named = {"size": found.size, "success": found.success, "clarity": found.clarity}
    return Result({**arrays, **{name: value.numpy() for name, value in named.items()}})


def usual_margin(genuine: Sequence[float]) -> Float[Tensor, " classes"]:
    """The median class's genuine margin, for all."""
    return torch.tensor(genuine).median().expand(len(genuine)).contiguous()


def scanned(
    context: Context, *, rows: list[int], labels: list[int], targets: list[int], genuine: list[float], steps: int,
    seed: int,
) -> Result:  # fmt: skip
    """A piece of work: every window filled for every target."""
    x = pixels(context, rows)
    random = torch.Generator().manual_seed(derived_seed(seed, "triggers", "windows"))
    wanted = torch.tensor(targets)
    def draw(each: int) -> Callable[[], tuple[Tensor, Tensor]]:
        return classwise(x, labels, wanted, each, random)

    with frozen(context["network"]) as logits:
        found = scan(logits, draw, wanted, usual_margin(genuine), (x.shape[1], x.shape[2], x.shape[3]), steps, random)
    arrays = {"peak": found.peak, "clearest": found.clearest, "place": found.place}
    return Result({**{name: value.numpy() for name, value in arrays.items()}, "side": np.array(found.side)})


def scan_by(result: Result) -> Scan:
    """What the scan found."""
    peak, clearest, place = (torch.from_numpy(np.array(result.arrays[name])) for name in ("peak", "clearest", "place"))
    return Scan(peak, clearest, place, int(result.arrays["side"]))


def found_by(result: Result) -> Inverted:
    """What a piece found."""
    count = sum(name.startswith("parameter-") for name in result.arrays)
    return Inverted(
        [torch.from_numpy(np.array(result.arrays[f"parameter-{k}"])) for k in range(count)],
        *(torch.from_numpy(np.array(result.arrays[name])) for name in ("size", "success", "clarity")),
    )


def tried(context: Context, *, rows: list[int], labels: list[int]) -> Result:
    """A piece of work: every known change, tried on pictures.

    Gives `moved`, [changes, classes]: of the pictures of other classes, the share that is answered as each class; and
    `right`, [changes]: the share that is answered as its class.
    """
    x, true = pixels(context, rows), torch.tensor(labels)
    random = torch.Generator().manual_seed(0)
    moved, right = [], []
    with frozen(context["network"]) as logits, torch.no_grad():
        other = F.one_hot(true, logits(x[:1]).shape[1]) == 0
        for _, made in known_changes((x.shape[1], x.shape[2], x.shape[3])):
            said = logits(made.render([x], random)).argmax(1)
            hit = F.one_hot(said, other.shape[1]) * other
            moved.append(hit.sum(0) / other.sum(0).clamp(min=1))
            right.append((said == true).float().mean())
    return Result({"moved": torch.stack(moved).numpy(), "right": torch.stack(right).numpy()})


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What the survey found in the network and, second of each two, in the distilled one (None where there is none): by
    family; windows (None: the budget allowed no scan); patches of single sources, with the (source, target) of each
    (None: the budget allowed none).

    Attributes:
        distilled: whether there is a distilled network. What was not looked at in it was not suspicious by itself.
        known: [changes, targets], how many more pictures each known change moves to a target than in the distilled
            network, times the share that the latter still answers rightly: what is no longer recognized may be
            answered anyhow. None without a distilled network or the time for it.
    """

    families: dict[str, tuple[Inverted, Inverted | None]]
    scan: tuple[Scan, Scan | None] | None
    pairs: list[tuple[int, int]]
    paired: tuple[Inverted, Inverted | None] | None
    known: Float[np.ndarray, "changes targets"] | None
    distilled: bool


def survey(subject: Subject, grounds: Grounds) -> Surveyed:
    """Scan windows and invert every family for every target, then patches for every source and target, and try known
    changes: in the network, and in the distilled one if there is one."""
    distilled = subject.distilled
    networks = 1 + (distilled is not None)
    each = max(4, min(10, len(grounds.classes)))
    price = networks * len(grounds.targets) * each * BACKWARD * subject.seconds_an_example
    pieces = []
    families = [name for name in STEPS if name not in subject.without]
    for name in families:
        wanted = STEPS[name]
        steps = subject.budget.buy(f"triggers/steps, {name}", wanted, price, share=0.12, least=6)
        pieces.append(_piece(name, grounds, grounds.targets, [], steps, each))
    pairs = [(s, t) for s in grounds.classes for t in grounds.targets if s != t]
    price = networks * len(pairs) * PAIR_PICTURES * BACKWARD * subject.seconds_an_example
    steps = 0
    if "patch-by-source" not in subject.without:
        steps = subject.budget.buy("triggers/steps, patch by source", PAIR_STEPS, price, share=0.12)
    paired = steps >= PAIR_STEPS // 2
    if paired:
        targets, sources = [t for _, t in pairs], [s for s, _ in pairs]
        pieces.append(_piece("patch", grounds, targets, sources, steps, PAIR_PICTURES))
    windows = _windows(subject, grounds, networks) if "patch" not in subject.without else None
    known = _known(subject, grounds) if distilled is not None else None
    named = {**dict(zip((*families, PAIRED) if paired else families, pieces, strict=True))}
    named |= {name: piece for name, piece in ((WINDOWS, windows), (TRIED, known)) if piece is not None}
    mine = _results(subject, named, subject.context, "triggers: search")
    theirs: dict[str, Result] = {}
    if distilled is not None:
        context = network_and_data(distilled, subject.dataset)
        hopeful = {name: piece for name, piece in named.items() if _hopeful(name, mine[name], pairs)}
        theirs = _results(subject, hopeful, context, "triggers: search, distilled")

    def both(name: str, read: Callable[[Result], T]) -> tuple[T, T | None]:
        return read(mine[name]), read(theirs[name]) if name in theirs else None

    return Surveyed(
        families={name: both(name, found_by) for name in families},
        scan=both(WINDOWS, scan_by) if windows is not None else None,
        pairs=pairs,
        paired=both(PAIRED, found_by) if paired else None,
        known=_excess(mine[TRIED], theirs[TRIED], grounds.targets) if TRIED in theirs else None,
        distilled=distilled is not None,
    )


def _hopeful(name: str, mine: Result, pairs: Sequence[tuple[int, int]]) -> bool:
    """Whether what was found in the network could be suspicious at all: the distilled one makes it no more so."""
    if name == TRIED:
        return True
    if name == WINDOWS:
        apart = [float(value) for value in scan_by(mine).contrasts()]
        return deviations(max(apart), BESIDE["patch"]) >= HOPEFUL
    sizes = found_by(mine).size.numpy().astype(np.float64)
    if name == PAIRED:
        return deviations(contrast(np.exp(pair_residuals(pairs, sizes)))[1], BESIDE["patch-by-source"]) >= HOPEFUL
    return deviations(contrast(sizes)[1], BESIDE[name]) >= HOPEFUL


def _results(subject: Subject, pieces: Mapping[str, Piece], context: Context, job: str) -> dict[str, Result]:
    ran = subject.engine.run(job, [*pieces.values()], context, subject.run, subject.emit)
    return {name: result for name, (_, result) in zip(pieces, ran, strict=True)}


def _excess(mine: Result, theirs: Result, targets: Sequence[int]) -> Float[np.ndarray, "changes targets"]:
    more = (mine.arrays["moved"] - theirs.arrays["moved"])[:, list(targets)]
    return np.asarray(more * theirs.arrays["right"][:, None], dtype=np.float64)


def _known(subject: Subject, grounds: Grounds) -> Piece | None:
    own = subject.network.input
    assert isinstance(own, ImageInput), "the check is for pictures"
    changes = sum(1 for _ in known_changes((own.channels, *own.size)))
    classes = len(grounds.classes)
    # Rendering costs about as much as answering.
    price = changes * classes * 4 * subject.seconds_an_example
    each = subject.budget.buy("triggers/pictures a class, known changes", KNOWN_EACH, price, share=0.2)
    if not each:
        return None
    of = members(grounds.labels)
    chosen = [int(i) for c in sorted(of) for i in of[c][:each]]
    arguments = {"rows": [grounds.rows[i] for i in chosen], "labels": [grounds.labels[i] for i in chosen]}
    return Piece(_TRIED, arguments, cost=changes * len(chosen))


def _windows(subject: Subject, grounds: Grounds, networks: int) -> Piece | None:
    height, width = subject.context["network"].input.size
    short = min(height, width)
    count = len(places(height, width, max(3, round(SIDE * short)), max(1, round(STRIDE * short))))
    price = 1.6 * networks * count * len(grounds.targets) * PICTURES * BACKWARD * subject.seconds_an_example
    steps = subject.budget.buy("triggers/steps, windows", SCAN_STEPS, price, share=0.3)
    if steps < SCAN_STEPS - 2:
        return None
    arguments = {
        "rows": grounds.rows, "labels": grounds.labels, "targets": list(grounds.targets), "genuine": grounds.genuine,
        "steps": steps, "seed": grounds.seed,
    }  # fmt: skip
    return Piece(_SCAN, arguments, cost=2 * steps * count * len(grounds.targets) * PICTURES)


def _piece(
    family: str, grounds: Grounds, targets: Sequence[int], sources: Sequence[int], steps: int, each: int
) -> Piece:
    arguments = {
        "family": family, "rows": grounds.rows, "labels": grounds.labels, "targets": list(targets),
        "sources": list(sources), "genuine": grounds.genuine, "steps": steps, "each": each, "seed": grounds.seed,
    }  # fmt: skip
    return Piece(_INVERT, arguments, cost=steps * len(targets) * each)


def contrasts(logs: Float[np.ndarray, " targets"]) -> Float[np.ndarray, " targets"]:
    """How far below the others each target's size lies, in logarithms.

    The distance to the least of the others (0.7) and to their median (0.3), over their spread (plus 0.5, so that others
    that happen to agree do not make a small distance large). A single planted target stands apart from all others;
    where two targets are easy by nature, the first distance stays near 0, and where targets differ widely by nature,
    the spread is large.
    """
    if len(logs) < 3:
        return np.zeros(len(logs))
    rest = np.stack([np.delete(logs, row) for row in range(len(logs))])
    return (0.7 * (rest.min(1) - logs) + 0.3 * (np.median(rest, 1) - logs)) / (0.5 + rest.std(1))


def contrast(
    sizes: Float[np.ndarray, " targets"], distilled: Float[np.ndarray, " targets"] | None = None
) -> tuple[int, float]:
    """The target that stands furthest apart by what it needs, and how far.

    Args:
        distilled: what each target needs in the distilled network. A target must then stand apart both by what it needs
            and by how much less that is than in the other: what is easy by nature is easy in both.
    """
    apart = contrasts(np.log(sizes))
    if distilled is not None:
        apart = np.minimum(apart, contrasts(np.log(sizes / distilled)))
    row = int(apart.argmax())
    return row, float(apart[row])


def pair_residuals(
    pairs: Sequence[tuple[int, int]], sizes: Float[np.ndarray, " pairs"], rounds: int = 4
) -> Float[np.ndarray, " pairs"]:
    """How much less each pair needs than its source and its target let expect: logarithms after a median polish
    (Tukey 1977). A target that is easy from everywhere leaves nothing.
    """
    values = np.log(sizes)
    left = np.array([s for s, _ in pairs])
    right = np.array([t for _, t in pairs])
    for _ in range(rounds):
        for side in (right, left):
            for c in np.unique(side):
                values[side == c] -= np.median(values[side == c])
    return values
