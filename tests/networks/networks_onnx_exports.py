"""Small torch models, and the script that exported them to `fixtures/`.

In an environment with torch 2.13, onnx and onnxscript:

    python tests/networks/networks_onnx_exports.py tests/networks/fixtures

`NAME.script.onnx` is of torch's older exporter, `NAME.dynamo.onnx` of the newer, both with an open batch;
`NAME.fixed.onnx` is of the older one with a batch of 1. Stack traces, which name files of the machine, are taken out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

FIXTURES = Path(__file__).parent / "fixtures"


class Basic(nn.Module):
    """Two convolutions and a skip."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.down = nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False)) if into != out else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.down is None else self.down(x)))


class ResNet(nn.Module):
    """A residual network of images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 5, 2, 2, bias=False), nn.BatchNorm2d(4)
        self.relu, self.maxpool = nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        self.layer1, self.layer2 = nn.Sequential(Basic(4, 4, 1), Basic(4, 4, 1)), nn.Sequential(Basic(4, 6, 2))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(torch.flatten(self.avgpool(self.layer2(self.layer1(x))), 1))


class Attention(nn.Module):
    """Heads written out, as in timm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        split = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)
        pattern = (q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5).softmax(-1)
        return self.proj((pattern @ v).transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn, self.norm2 = nn.LayerNorm(width), Attention(width, heads), nn.LayerNorm(width)
        self.fc1, self.act, self.fc2 = nn.Linear(width, 12), nn.GELU(), nn.Linear(12, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(self.act(self.fc1(self.norm2(x))))


class Vit(nn.Module):
    """A vision transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.cls, self.pos = nn.Parameter(torch.zeros(1, 1, 8)), nn.Parameter(torch.zeros(1, 17, 8))
        self.blocks = nn.ModuleList([Block(8, 2), Block(8, 2)])
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.pos
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class Separable(nn.Module):
    """Depthwise and pointwise convolutions; answers with probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.Hardswish())
        self.features = nn.Sequential(*[
            nn.Sequential(
                nn.Conv2d(6, 6, 3, 1, 1, groups=6), nn.BatchNorm2d(6), nn.ReLU6(), nn.Conv2d(6, 6, 1), nn.SiLU()
            )
            for _ in range(2)
        ])  # fmt: skip
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(6, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.features(self.stem(x)), 1).flatten(1)
        return self.classifier(x).softmax(1)


class Unet(nn.Module):
    """Down, up, and a skip around."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up, self.out = nn.Conv2d(1, 4, 3, 2, 1), nn.ConvTranspose2d(4, 4, 2, 2), nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(x).relu()
        z = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False) + self.up(y)
        return self.out(torch.cat([z, x], 1)).mean((2, 3))


class Lstm(nn.Module):
    """Two layers in both directions over arrays."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(5, 4, 2, batch_first=True, bidirectional=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Encoder(nn.Module):
    """A text encoder of torch's own layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.position = nn.Embedding(20, 8), nn.Embedding(32, 8)
        one = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, activation="gelu")
        self.layers, self.out = nn.TransformerEncoder(one, 1, enable_nested_tensor=False), nn.Linear(8, 20)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.embed(input_ids) + self.position(places)
        return self.out(self.layers(x, src_key_padding_mask=attention_mask == 0))


class Mlp(nn.Module):
    """Linear layers in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "resnet": ResNet, "vit": Vit, "separable": Separable, "unet": Unet, "lstm": Lstm, "encoder": Encoder, "mlp": Mlp,
}  # fmt: skip


def build(name: str) -> nn.Module:
    """The model with numbers that are the same with any torch."""
    module = MODELS[name]().eval()
    drawn = np.random.default_rng(7)
    for key, tensor in module.state_dict().items():
        if not tensor.is_floating_point():
            continue
        values = drawn.normal(0, 0.4, tuple(tensor.shape))
        if key.endswith(("running_var", "norm.weight", "norm1.weight", "norm2.weight", "bn1.weight", "bn2.weight")):
            values = 1 + np.abs(values)
        tensor.copy_(torch.from_numpy(values))
    return module


def example(name: str, batch: int = 3) -> tuple[Tensor, ...]:
    """Inputs of the right shape."""
    drawn = np.random.default_rng(11)
    shapes = {"resnet": (3, 24, 24), "vit": (3, 16, 16), "separable": (3, 16, 16), "unet": (1, 16, 16), "lstm": (6, 5)}
    if name == "encoder":
        mask = torch.ones(batch, 9, dtype=torch.int64)
        mask[0, 6:] = 0
        return torch.from_numpy(drawn.integers(0, 20, (batch, 9))), mask
    return (torch.from_numpy(drawn.normal(0, 1, (batch, *shapes.get(name, (6,)))).astype(np.float32)),)


def main(folder: Path) -> None:
    """Write all fixtures."""
    import onnx

    for name in MODELS:
        names = ["input_ids", "attention_mask"] if name == "encoder" else ["x"]
        open_axes = {0: "batch", 1: "length"} if name == "encoder" else {0: "batch"}
        common: dict[str, Any] = {"input_names": names, "output_names": ["logits"]}
        axes = dict.fromkeys(names, open_axes)
        module = build(name)
        files = {kind: folder / f"{name}.{kind}.onnx" for kind in ("script", "dynamo", "fixed")}
        torch.onnx.export(
            module, example(name), files["script"], dynamo=False, opset_version=17, dynamic_axes=axes, **common
        )
        sizes = {
            axis: torch.export.Dim(word) if word == "batch" else torch.export.Dim(word, max=32)
            for axis, word in open_axes.items()
        }
        torch.onnx.export(
            module, example(name), files["dynamo"], dynamo=True, external_data=False, verbose=False,
            dynamic_shapes=tuple(sizes for _ in names), **common,
        )  # fmt: skip
        if name == "encoder":
            files["script"].unlink()  # a large file that shows nothing new
        else:
            torch.onnx.export(module, example(name, 1), files["fixed"], dynamo=False, opset_version=17, **common)
        for file in files.values():
            if file.is_file():
                file.write_bytes(_bare(onnx.load(file)).SerializeToString())


def _bare(model: Any) -> Any:
    """Without anything that the machine left in the file."""
    kept = "pkg.torch.onnx.name_scopes"
    for node in model.graph.node:
        noted = [(one.key, one.value) for one in node.metadata_props if one.key == kept]
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
        for key, text in noted:
            node.metadata_props.add(key=key, value=text)
    for one in [*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        one.ClearField("metadata_props")
        one.ClearField("doc_string")
    model.graph.ClearField("value_info")
    for field in ("metadata_props", "doc_string"):
        model.ClearField(field)
        model.graph.ClearField(field)
    return model


if __name__ == "__main__":
    FOLDER = Path(sys.argv[1])
    FOLDER.mkdir(exist_ok=True)
    main(FOLDER)
