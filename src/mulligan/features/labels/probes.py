"""Concepts that are given by example images: a linear probe in another layer of the network says where each is present.

The probe is fitted on the concept's own images against those of the other concepts and a part of the data that nothing
is scored on; it never reads the site whose features are named. How far it may be believed is measured by
cross-validation on those same images (TCAV's concept activation vectors, Kim et al. 2018, arXiv:1711.11279, are such
probes).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ...records import LeftOut
from ..units import auc_interval
from .scoring import areas
from .vocabulary import Concept

#: Images that a concept needs.
FEWEST_IMAGES = 8
#: A probe whose area, cross-validated, is lower cannot tell its concept from other pictures.
LEAST_AREA = 0.7
#: Share of other pictures in which a probe sees its concept by mistake.
FALSE_ALARMS = 0.05
_FOLDS = 4


def probed_concepts(
    images: Mapping[str, Float[np.ndarray, "images features"]],
    background: Float[np.ndarray, "others features"],
    data: Float[np.ndarray, "n features"],
    seed: int,
    *,
    strict: bool = True,
) -> tuple[list[Concept], list[LeftOut]]:
    """Concepts judged on `data` by probes; and the concepts that cannot be, each with the reason.

    Args:
        images: for each concept, the layer's features on its images. background: on examples of the data on which
            nothing is scored.
        strict: whether a probe that fails its cross-validation is left out (a random-weight twin's are kept).
    """
    concepts: list[Concept] = []
    left_out: list[LeftOut] = []
    for name, mine in images.items():
        if len(mine) < FEWEST_IMAGES:
            left_out.append(LeftOut(what=name, why=f"{len(mine)} images are too few: a concept needs {FEWEST_IMAGES}"))
            continue
        rest = [background, *(other for title, other in images.items() if title != name)]
        x = np.concatenate([mine, *rest]).astype(np.float64)
        y = np.arange(len(x)) < len(mine)
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=2000))
        # From the concept's name, not from its number: another concept beside it changes no fold.
        folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=(seed + zlib.crc32(name.encode())) % 2**32)
        held = np.asarray(cross_val_predict(probe, x, y, cv=folds, method="decision_function"))
        area = areas(held[:, None], y[:, None])[0]
        low = auc_interval(area, int(y.sum()), int((~y).sum()))[0]
        if strict and (area[0] < LEAST_AREA or low[0] <= 0.5):
            why = f"a linear probe tells its images from others with an AUC of {area[0]:.2f} only, cross-validated"
            left_out.append(LeftOut(what=name, why=why))
            continue
        threshold = float(np.quantile(held[~y], 1 - FALSE_ALARMS))
        away = np.asarray(probe.fit(x, y).decision_function(data.astype(np.float64))) - threshold
        concepts.append(Concept(name, 1 / (1 + np.exp(-np.clip(away, -30, 30)))))
    return concepts, left_out
