"""DreamLens, at its own defaults for plain maximization, on our network and with its input's scale.

`how`: "single" is `visualize(FeatureTarget.for_channel(...), method="maximize")`, one unit after the other, as its
README shows; "batch" is `maximize_channels(...)`, its public way to several units at once; "single-frozen" is "single"
after the user has turned the weights' gradients off by hand, which DreamLens does not do and does not ask for.
"""

from __future__ import annotations

from typing import Any

import torch
from dreamlens import FeatureTarget, FeatureVisualizer, RenderConfig  # pyright: ignore[reportMissingImports]
from subjects import fingerprint, module, prepared
from worker import eight_bits, serve

_made: dict[str, Any] = {}


def load(asked: dict[str, Any]) -> list[float]:
    name = asked["network"]
    made = module(name, asked["weights"])
    # Its `normalize=True` is ImageNet's mean and deviation; a network with another input passes its own function.
    _made["visualizer"] = FeatureVisualizer(made, quiet=True, preprocess=lambda pixels: prepared(name, pixels))
    _made["module"] = made
    return fingerprint(made, name)


def climb(asked: dict[str, Any]) -> Any:
    import numpy as np

    # Its Fourier canvas starts from NumPy's generator, its transforms draw from torch's.
    torch.manual_seed(asked["seed"])
    np.random.seed(asked["seed"])
    visualizer, how = _made["visualizer"], asked["how"]
    _made["module"].requires_grad_(how != "single-frozen")
    config = RenderConfig(width=asked["size"], height=asked["size"], steps=asked["steps"])
    if how != "batch":
        targets = [FeatureTarget.for_channel(asked["site"], unit) for unit in asked["units"]]
        found = [visualizer.visualize(target, method="maximize", config=config).as_nchw() for target in targets]
    else:
        found = [visualizer.maximize_channels(asked["site"], asked["units"], config=config).as_nchw()]
    return eight_bits(torch.cat(found)), [asked["steps"]] * len(asked["units"])


if __name__ == "__main__":
    serve("dreamlens", load, climb)
