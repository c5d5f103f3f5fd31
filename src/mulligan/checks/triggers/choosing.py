"""Which kind it is: contrasts on one scale, and the marks that tell kinds apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .refining import Candidate

#: Mean and deviation of each kind's contrast on clean networks of the game: patches on 46, patterns on 36, filters,
#: styles and patches of one source on 16, warps and objects on 5: provisional.
CLEAN: Mapping[str, tuple[float, float]] = {
    "patch": (1.0, 0.95), "patch-by-source": (0.6, 0.3), "blend": (0.28, 0.15), "warp": (0.2, 0.3),
    "filter": (0.8, 0.75), "style": (0.75, 0.55), "natural-object": (0.23, 0.12),
}  # fmt: skip
#: A patch works in one window: its contrast is this high (of 46 clean networks two came higher, to 4.3, both on
#: CIFAR-10). Where as many pictures are moved by it anywhere, it is an object.
WINDOW_CONTRAST, MOVED = 2.5, 0.5
#: What counts against a kind whose mark is missing, as a share of its score.
DOUBT = 0.4
#: Style renders all that filter does: it must need this much less before it is the better name.
STYLE_GAIN = 0.6
#: A pattern has far more freedom than a look: it must need this much less than a filter, or a style, to be the name.
PATTERN_GAIN = {"filter": 0.6, "style": 0.75}


@dataclass(frozen=True, slots=True)
class Ranked:
    """Kinds with their scores, the best first: deviations above clean networks, less where the marks say otherwise."""

    kinds: tuple[str, ...]
    scores: dict[str, float]


def deviations(kind: str, contrast: float) -> float:
    """A contrast in standard deviations above the mean of clean networks."""
    mean, spread = CLEAN[kind]
    return (contrast - mean) / spread


def rank(candidates: Sequence[Candidate]) -> Ranked:
    """Rank the kinds.

    A planted trigger makes its target easy for every family, so a kind's contrast alone does not name it. Each kind has
    marks: a patch works in one small window, clearly, and only there; an object in a window and anywhere; a pattern
    over the whole picture works nowhere in particular; a filter does what a style would; a patch of one source class
    fails elsewhere. A kind without its marks keeps a share of its score.
    """
    by = {one.kind: one for one in candidates}
    patch = by.get("patch")
    scores = {kind: deviations(kind, one.contrast) for kind, one in by.items()}
    factor = dict.fromkeys(by, 1.0)
    local = patch is not None and patch.contrast >= WINDOW_CONTRAST
    anywhere = patch is not None and local and patch.features["moved"] >= MOVED * patch.success
    if patch is not None:
        same = [kind for kind, one in by.items() if one.target == patch.target]
        whole = {"patch" if anywhere else "natural-object", "blend", "warp", "filter", "style"}
        doubted = whole if local else {"patch", "natural-object"}
        factor.update({kind: DOUBT for kind in same if kind in doubted})
    filtered, styled = by.get("filter"), by.get("style")
    if filtered and styled and filtered.target == styled.target:
        better = styled.change < STYLE_GAIN * filtered.change
        factor["filter" if better else "style"] *= 0.7
    blended = by.get("blend")
    for kind, gain_needed in PATTERN_GAIN.items():
        look = by.get(kind)
        if blended is not None and look is not None and blended.target == look.target:
            better = blended.change < gain_needed * look.change
            factor[kind if better else "blend"] *= 0.6
    pair = by.get("patch-by-source")
    if pair is not None and pair.features["others"] > 0.5 * pair.success:
        factor["patch-by-source"] = DOUBT
    weak = {kind: min(1.0, max(one.success, 0.1) / 0.6) for kind, one in by.items()}
    # A score below zero is made no better by doubt.
    judged = {
        kind: value * factor[kind] * weak[kind] if value > 0 else value for kind, value in scores.items()
    }
    order = sorted(judged, key=lambda kind: -judged[kind])
    return Ranked(tuple(order), {kind: float(np.round(judged[kind], 4)) for kind in order})
