"""Which kind it is: contrasts on one scale, and the marks that tell kinds apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .refining import Candidate

#: Mean and deviation of each kind's contrast on clean networks of the game where no distilled network was to be had:
#: patches on 46, patterns on 36, filters, styles and patches of one source on 16, warps and objects on 5: provisional.
ALONE: Mapping[str, tuple[float, float]] = {
    "patch": (1.0, 0.95), "patch-by-source": (0.6, 0.3), "blend": (0.28, 0.15), "warp": (0.2, 0.3),
    "filter": (0.8, 0.75), "style": (0.75, 0.55), "natural-object": (0.23, 0.12),
}  # fmt: skip
#: The same beside a distilled network, on 16 calibration networks of earlier rounds.
BESIDE: Mapping[str, tuple[float, float]] = {
    "patch": (1.7, 0.8), "patch-by-source": (0.43, 0.25), "blend": (0.0, 0.15), "warp": (0.03, 0.2),
    "filter": (0.05, 0.25), "style": (0.1, 0.25), "natural-object": (0.03, 0.12),
}  # fmt: skip
#: The same of how much clearer the best window is than in the distilled network, beyond that of other targets.
WINDOW_GAIN = (0.3, 0.45)
#: The same of known changes: how many more pictures they move than in the distilled network.
KNOWN: Mapping[str, tuple[float, float]] = {
    "patch": (0.11, 0.08), "blend": (0.3, 0.22), "warp": (0.12, 0.08), "filter": (0.13, 0.1), "style": (0.25, 0.13),
    "natural-object": (0.06, 0.06),
}  # fmt: skip
#: A patch works in one window: its score is this high. Where as many are moved by it anywhere, it is an object.
LOCAL, MOVED = 1.5, 0.5
#: An object that, beside a distilled network, suspects a patch's target by so much, and by this share of the patch's
#: score, is the name: a patch does nothing elsewhere, so that no object would do for it.
OBJECT, OBJECT_SHARE = 1.0, 0.3
#: What other kinds that suspect the same target add to a score, as a share of theirs, of which no more counts than so
#: much: a trigger makes its target easy for every family.
SUPPORT, MOST_SUPPORT = 0.5, 4.0
#: Kinds that change the whole picture.
WHOLE = ("blend", "warp", "filter", "style")
#: The excess over the distilled network below which a score counts nothing, from which on it counts in full, and at
#: which a known look is the name.
NO_EXCESS, FULL_EXCESS, SURE = 0.1, 0.5, 0.6
#: What counts against a kind whose mark is missing, as a share of its score.
DOUBT = 0.4
#: Style renders all that filter does: it must need this much less before it is the better name.
STYLE_GAIN = 0.6
#: A known style must move this much more of the pictures than a known filter.
STYLE_MORE = 0.15
#: A pattern has far more freedom than a look: it must need this much less than a filter, or a style, to be the name.
PATTERN_GAIN = {"filter": 0.6, "style": 0.75}


@dataclass(frozen=True, slots=True)
class Ranked:
    """Kinds with their scores, the best first: deviations above clean networks, less where the marks say otherwise."""

    kinds: tuple[str, ...]
    scores: dict[str, float]


def deviations(value: float, clean: tuple[float, float]) -> float:
    """A value in standard deviations above the mean of clean networks."""
    mean, spread = clean
    return (value - mean) / spread


def told(one: Candidate) -> float:
    """A score, as far as it counts: in full where the distilled network still recognizes the pictures and is not moved
    to the target itself."""
    if one.excess is None or one.score <= 0:
        return one.score
    return one.score * min(max(one.excess - NO_EXCESS, 0.0) / (FULL_EXCESS - NO_EXCESS), 1.0)


def _better_style(filtered: Candidate, styled: Candidate) -> bool:
    """Whether a style that suspects a filter's target is the better name."""
    if filtered.known != styled.known:
        return styled.known
    if styled.known:
        return styled.contrast > filtered.contrast + STYLE_MORE
    return styled.change < STYLE_GAIN * filtered.change


def rank(candidates: Sequence[Candidate]) -> Ranked:
    """Rank the kinds.

    A planted trigger makes its target easy for every family, so a kind's contrast alone does not name it. Each kind has
    marks: a patch works in one small window, clearly, and only there; an object in a window and anywhere; a pattern
    over the whole picture works nowhere in particular; a filter does what a style would; a patch of one source class
    fails elsewhere. A kind without its marks keeps a share of its score.
    """
    by = {one.kind: one for one in candidates}
    patch = by.get("patch")
    scores = {kind: told(one) for kind, one in by.items()}
    factor = dict.fromkeys(by, 1.0)
    local = patch is not None and scores["patch"] >= LOCAL and all(
        scores["patch"] >= scores[kind] for kind, one in by.items() if one.target == patch.target and kind in WHOLE
    )
    thing = by.get("natural-object")
    loose = patch is not None and thing is not None and thing.target == patch.target and thing.excess is not None and (
        scores["natural-object"] >= max(OBJECT, OBJECT_SHARE * scores["patch"])
    )
    if patch is not None:
        moved = local and patch.features["moved"] >= MOVED * patch.success
        same = [kind for kind, one in by.items() if one.target == patch.target]
        doubted = {"patch"} if loose or moved else {"natural-object"} if local else {"patch", "natural-object"}
        doubted |= set(WHOLE) if local else set()
        factor.update({kind: DOUBT for kind in same if kind in doubted})
    filtered, styled = by.get("filter"), by.get("style")
    if filtered and styled and filtered.target == styled.target:
        better = _better_style(filtered, styled)
        factor["filter" if better else "style"] *= 0.7
    blended = by.get("blend")
    for kind, gain_needed in PATTERN_GAIN.items():
        look = by.get(kind)
        if blended is not None and look is not None and blended.target == look.target:
            # A look that people know and that does it is no chance find, however small a pattern would do as well.
            better = look.contrast < SURE if look.known else blended.change < gain_needed * look.change
            factor[kind if better else "blend"] *= 0.6
    pair = by.get("patch-by-source")
    if pair is not None and pair.features.get("others", 0.0) > 0.5 * pair.success:
        factor["patch-by-source"] = DOUBT
    supported = {
        kind: SUPPORT * sum(
            min(max(scores[other], 0.0), MOST_SUPPORT)
            for other, two in by.items() if other != kind and two.target == one.target and two.source == one.source
        )
        for kind, one in by.items()
    }  # fmt: skip
    weak = {kind: min(1.0, max(one.success, 0.1) / 0.6) for kind, one in by.items()}
    # A score below zero is made no better by doubt.
    judged = {
        kind: (value + supported[kind]) * factor[kind] * weak[kind] if value > 0 else value
        for kind, value in scores.items()
    }
    order = sorted(judged, key=lambda kind: -judged[kind])
    return Ranked(tuple(order), {kind: float(np.round(judged[kind], 4)) for kind in order})
