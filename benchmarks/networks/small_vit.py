"""A small vision transformer, trained here on CIFAR-10: no package carries one with weights that could be had.

    python benchmarks/networks/small_vit.py --out FILE.safetensors [--minutes 4]

Six blocks of width 192 and three heads, patches of 4 pixels, a class token, pre-norm, learned positions (Dosovitskiy et
al. 2021, at the sizes usual for 32 pixels). Beside the weights lies a .json that says how well it does. Load it with
`mulligan.load("benchmarks/networks/small_vit.py:factory", weights=...)`. Nothing but torch is needed to build it, so
that the peers' environments build it too.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INPUT = "size=32,mean=0.5,std=0.25"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
WIDTH, HEADS, DEPTH, PATCH, SIDE = 192, 3, 6, 4, 32
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "cifar10"
SEED, BATCH, RATE = 0, 64, 1e-3


class Attention(nn.Module):
    """Self-attention of all places with all places."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, places, _ = x.shape
        q, k, v = self.qkv(x).reshape(batch, places, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, places, WIDTH))


class Block(nn.Module):
    """Attention and a feed-forward, each added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(WIDTH), Attention()
        self.norm2, self.up, self.act, self.down = (
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.down(self.act(self.up(self.norm2(x))))


class SmallViT(nn.Module):
    """[batch, 3, 32, 32] to [batch, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.positions = nn.Parameter(torch.zeros(1, (SIDE // PATCH) ** 2 + 1, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(CLASSES))
        for parameter in (self.token, self.positions):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(len(x), -1, -1), x), 1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def factory() -> nn.Module:
    """The network, untrained: give it weights."""
    return SmallViT()


# Training
def train(out: Path, minutes: float) -> dict[str, float]:
    """Train for so many minutes of processor time, and write the weights."""
    x, y = _data("train")
    torch.manual_seed(SEED)
    model = factory()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    begin, step = time.process_time(), 0
    order = torch.empty(0, dtype=torch.int64)
    while (spent := (time.process_time() - begin) / 60 / minutes) < 1:
        if len(order) < BATCH:
            order = torch.randperm(len(x))
        rows, order = order[:BATCH], order[BATCH:]
        for group in optimizer.param_groups:  # a warm-up, then down to nothing
            group["lr"] = RATE * min(1, (step + 1) / 100) * max(0.0, 1 - spent)
        loss = F.cross_entropy(model(_augmented(x[rows])), y[rows], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
    model.eval()
    test_x, test_y = _data("test")
    with torch.no_grad():
        hits = sum(
            (model(_scaled(some)).argmax(1) == right).sum().item()
            for some, right in zip(test_x.split(500), test_y.split(500), strict=True)
        )
    from safetensors.torch import save_file

    about = {"accuracy": hits / len(test_y), "steps": step, "epochs": step * BATCH / len(x), "minutes": minutes}
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, out)
    out.with_suffix(".json").write_text(json.dumps(about))
    return about


def _data(split: str) -> tuple[Tensor, Tensor]:
    import numpy as np
    import pyarrow.parquet as pq
    from PIL import Image

    table = pq.read_table(DATA / f"{split}.parquet")
    pictures = [np.asarray(Image.open(io.BytesIO(item["bytes"]))) for item in table["image"].to_pylist()]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), torch.tensor(table["label"].to_pylist())


def _scaled(x: Tensor) -> Tensor:
    return (x.float() / 255 - 0.5) / 0.25


def _augmented(x: Tensor) -> Tensor:
    """Mirrored by chance, and moved by up to four pixels: one shift a batch, which is cheap."""
    dx, dy = torch.randint(-4, 5, (2,)).tolist()
    x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(-1), x)
    return _scaled(torch.roll(x, (dy, dx), (-2, -1)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=4, help="of processor time")
    parser.add_argument("--out", type=Path, required=True, help="where the weights go")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(train(given.out, given.minutes)))
