"""torch-lucent at its defaults (`render_vis`), all units in one batch as its tutorials do it.

It imports torchvision, whose wheels do not fit the CPU build of torch that everyone here has ("operator
torchvision::nms does not exist"). Of torchvision, lucent's renderer names one class, the normalization that
`preprocess=True` adds; our network needs another one, which is given as a transform. So an empty `torchvision` stands
in, whose `Normalize` raises if it is ever used.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import torch


class Normalize:
    """What must never be called."""

    def __init__(self, *_: object, **__: object) -> None:
        raise RuntimeError("the stand-in for torchvision was used")


_package, _transforms = ModuleType("torchvision"), ModuleType("torchvision.transforms")
_transforms.Normalize = Normalize  # type: ignore[attr-defined]
_package.transforms = _transforms  # type: ignore[attr-defined]
sys.modules |= {"torchvision": _package, "torchvision.transforms": _transforms}

from lucent.optvis import objectives, param, render, transform  # noqa: E402  # pyright: ignore[reportMissingImports]
from subjects import EFFICIENTNET, fingerprint, module, prepared  # noqa: E402
from worker import eight_bits, serve  # noqa: E402

_made: dict[str, Any] = {}


def load(asked: dict[str, Any]) -> list[float]:
    _made["name"] = asked["network"]
    _made["module"] = module(asked["network"], asked["weights"])
    return fingerprint(_made["module"], asked["network"])


def climb(asked: dict[str, Any]) -> Any:
    import numpy as np

    torch.manual_seed(asked["seed"])
    np.random.seed(asked["seed"])
    name, size, units = _made["name"], asked["size"], asked["units"]
    layer = asked["site"].replace(".", "_")
    wanted = objectives.Objective.sum([_objective(layer, unit, at) for at, unit in enumerate(units)])
    parameters, image = param.image(size, batch=len(units))
    render.render_vis(
        _made["module"], wanted, lambda: (parameters, image), thresholds=(asked["steps"],), preprocess=False,
        transforms=[*transform.standard_transforms, lambda pixels: prepared(name, pixels)], progress=False,
        show_image=False, fixed_image_size=None if name == EFFICIENTNET else size,
    )  # fmt: skip
    return eight_bits(image()), [asked["steps"]] * len(asked["units"])


def _objective(layer: str, unit: int, at: int) -> Any:
    """Its `channel` takes the second axis for channels; a transformer's are on the last, so that is written by hand."""
    if _made["name"] == EFFICIENTNET:
        return objectives.channel(layer, unit, batch=at)
    return objectives.Objective(lambda model: -model(layer)[at, :, unit].mean())


if __name__ == "__main__":
    serve("torch-lucent", load, climb)
