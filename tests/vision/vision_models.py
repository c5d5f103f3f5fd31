"""Which networks are loaded in these tests, and a picture that looks like a photograph to a filter."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from mulligan.networks import Network, load

#: spec to: path of the head, a block or stage, and what its meaning says
NETWORKS = {
    "torchvision:resnet18": ("fc", "layer2.1", "the residual sum: layer2.1's input plus what layer2.1.bn2 adds; after"),
    "torchvision:vit_b_32": ("heads.head", "encoder.layers.encoder_layer_3", "the residual stream after "),
    "torchvision:convnext_tiny": ("classifier.2", "features.3.1", "the residual sum: features.3.1's input plus what"),
    "torchvision:inception_v3": ("fc", "Mixed_5b", "side by side, channels 0-63 of Mixed_5b.branch1x1, 64-127 of"),
    "torchvision:swin_t": (
        "head",
        "features.3.1",
        "the residual sum: features.3.1's input plus what features.3.1.attn ",
    ),
    "torchvision:mobilenet_v3_small": ("classifier.3", "features.3", "the residual sum: features.3's input plus what"),
    "torchvision:efficientnet_b0": ("classifier.1", "features.2.1", "the residual sum: features.2.1's input plus what"),
    "timm:resnet18": (
        "fc",
        "layer3.0.act2",
        "the residual sum: what layer3.0.bn2 gives plus what layer3.0.downsample ",
    ),
    "timm:vit_tiny_patch16_224": (
        "head",
        "blocks.5",
        "the residual stream after ",
    ),
    "timm:convnext_atto": ("head.fc", "stages.1.blocks.0", "the residual sum: stages.1.blocks.0's input plus what"),
    "timm:inception_v3": ("fc", "Mixed_7b", "side by side, channels 0-319 of Mixed_7b.branch1x1, 320-703 of"),
    "timm:swin_tiny_patch4_window7_224": (
        "head.fc",
        "layers.1.blocks.1",
        "the residual stream after ",
    ),
    "timm:mobilenetv3_small_050": ("classifier", "blocks.1.1", "the residual sum: blocks.1.1's input plus what"),
    "timm:test_efficientnet": ("classifier", "blocks.3.0.se", "blocks.3.0.se's input times one gate for each channel"),
}


@cache
def untrained(spec: str) -> Network:
    network = load(f"{spec}@random")
    draw_head(network.module, network.head)
    return network


def draw_head(module: nn.Module, head: str) -> None:
    """Give the head other numbers: some begin as zero, and then nothing could be told apart by the answers."""
    layer: Any = module.get_submodule(head)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(1)) / 10)


@cache
def picture(width: int = 431, height: int = 317) -> Image.Image:
    """Clouds of several sizes, in colour, with some grain."""
    drawn = np.random.default_rng(5)
    total = np.zeros((height, width, 3))
    for side in (3, 9, 40, 160):
        clouds = Image.fromarray(drawn.integers(0, 256, (side, side, 3), dtype=np.uint8))
        total += np.asarray(clouds.resize((width, height), Image.Resampling.BICUBIC), float)
    return Image.fromarray(np.clip(total / 4 + drawn.normal(0, 6, total.shape), 0, 255).astype(np.uint8))
