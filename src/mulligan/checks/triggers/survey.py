"""The survey: every family inverted for every target (and patches for every source and target), as pieces of work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...networks import ImageInput, Network
from ...records import BadInput
from ...runs import Context, Piece, Result, derived_seed
from ..check import Subject
from .families import Additive, Look, Patch, Thing, Warp
from .inversion import Family, Inverted, invert
from .windows import PICTURES, SIDE, STRIDE, Scan, places, scan

#: The families in which every target is tried, with the steps that each is given where the budget allows.
STEPS = {"blend": 30, "warp": 44, "filter": 24, "style": 24, "natural-object": 36}
#: Steps of the first look at windows; the second takes about as long.
SCAN_STEPS = 5
#: Steps of the search for patches that work on one source class alone, and pictures a pair.
PAIR_STEPS, PAIR_PICTURES = 24, 2
#: A step back through the network costs about so many passes forward.
BACKWARD = 3.0
_INVERT, _SCAN = "mulligan.checks.triggers.survey:inverted", "mulligan.checks.triggers.survey:scanned"


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
    """Logits of pixels from 0 to 1, with gradients to the pixels alone: those to the weights cost a third more."""
    own = network.input
    if not isinstance(own, ImageInput):
        raise BadInput("this network takes no pictures", where=network.name, fix="leave this check out")
    learning = [parameter for parameter in network.module.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        with torch.enable_grad():
            yield lambda pixels: network.logits_unchecked(own.normalise(pixels)).float()
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


_KEPT: dict[str, Float[Tensor, "n c h w"]] = {}


def pixels(context: Context, rows: Sequence[int]) -> Float[Tensor, "n c h w"]:
    """Examples as pixels from 0 to 1; those asked for last are kept, since pieces share them."""
    key = f"{context.identity}/{hash(tuple(rows))}"
    if key not in _KEPT:
        network: Network = context["network"]
        own = network.input
        if not isinstance(own, ImageInput):
            raise BadInput("this network takes no pictures", where=network.name, fix="leave this check out")
        crops = [own.crop(context["dataset"].raw(int(row))) for row in rows]
        if len(_KEPT) >= 3:
            _KEPT.pop(next(iter(_KEPT)))
        _KEPT[key] = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float().div_(255)
    return _KEPT[key]


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


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What the survey found: by family; windows (None: the budget allowed no scan); and patches of single sources, with
    the (source, target) of each (None: the budget allowed none).
    """

    families: dict[str, Inverted]
    scan: Scan | None
    pairs: list[tuple[int, int]]
    paired: Inverted | None


def survey(subject: Subject, grounds: Grounds) -> Surveyed:
    """Scan windows and invert every family for every target, then patches for every source and target."""
    each = max(4, min(10, len(grounds.classes)))
    price = len(grounds.targets) * each * BACKWARD * subject.seconds_an_example
    pieces = []
    for name, wanted in STEPS.items():
        steps = subject.budget.buy(f"triggers/steps, {name}", wanted, price, share=0.12, least=6)
        pieces.append(_piece(name, grounds, grounds.targets, [], steps, each))
    pairs = [(s, t) for s in grounds.classes for t in grounds.targets if s != t]
    price = len(pairs) * PAIR_PICTURES * BACKWARD * subject.seconds_an_example
    steps = subject.budget.buy("triggers/steps, patch by source", PAIR_STEPS, price, share=0.12)
    paired = steps >= PAIR_STEPS // 2
    if paired:
        targets, sources = [t for _, t in pairs], [s for s, _ in pairs]
        pieces.append(_piece("patch", grounds, targets, sources, steps, PAIR_PICTURES))
    windows = _windows(subject, grounds)
    if windows is not None:
        pieces.append(windows)
    ran = subject.engine.run("triggers: search", pieces, subject.context, subject.run, subject.emit)
    results = [result for _, result in ran]
    scan = scan_by(results.pop()) if windows is not None else None
    found = [found_by(result) for result in results]
    return Surveyed(dict(zip(STEPS, found, strict=False)), scan, pairs, found[len(STEPS)] if paired else None)


def _windows(subject: Subject, grounds: Grounds) -> Piece | None:
    height, width = subject.context["network"].input.size
    short = min(height, width)
    count = len(places(height, width, max(3, round(SIDE * short)), max(1, round(STRIDE * short))))
    price = 1.6 * count * len(grounds.targets) * PICTURES * BACKWARD * subject.seconds_an_example
    steps = subject.budget.buy("triggers/steps, windows", SCAN_STEPS, price, share=0.2)
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


def contrast(sizes: Float[np.ndarray, " targets"]) -> tuple[int, float]:
    """The target that needs least, and how far it stands apart from the others.

    Of logarithms of sizes: the distance to the next target (0.7) and to the median of the others (0.3), over their
    spread (plus 0.5, so that others that happen to agree do not make a small distance large). A single planted target
    stands apart from all others; where two targets are easy by nature, the first distance stays near 0, and where
    targets differ widely by nature, the spread is large.
    """
    order = np.argsort(sizes, kind="stable")
    logs = np.log(sizes[order])
    if len(order) < 3:
        return int(order[0]), 0.0
    apart = 0.7 * (logs[1] - logs[0]) + 0.3 * (np.median(logs[1:]) - logs[0])
    return int(order[0]), float(apart / (0.5 + logs[1:].std()))


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
