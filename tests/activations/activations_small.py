"""Small networks and data to record, and the plain hooks that a recording is held against."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor, nn

from mulligan.datasets import Dataset, load_dataset
from mulligan.networks import ArrayInput, Network, TokenInput
from mulligan.runs import Run

WORDS = ["the", "cat", "dog", "sat", "on", "a", "mat", "and", "ran", "far", "away", "from", "home"]


class Made(Dataset):
    """Examples made when they are read, so that a data set takes no room."""

    holds_arrays = True

    def __init__(self, n: int, shape: tuple[int, ...] = (3, 8, 8)) -> None:
        super().__init__("made", "arrays", n, ids=[f"{number:016x}" for number in range(n)])
        self.shape = shape

    def gather(self, indices: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        return [np.random.default_rng(int(i)).normal(size=self.shape).astype(np.float32) for i in indices]


class Conv(nn.Module):
    """Two convolutions, the ReLU between them in place, and a head over the mean of space."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.act, self.second = nn.Conv2d(3, 5, 3), nn.ReLU(inplace=True), nn.Conv2d(5, 6, 3)
        self.head, self.seconds = nn.Linear(6, 4), seconds

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return self.head(self.second(self.act(self.first(x))).mean((2, 3)))


class Reader(nn.Module):
    """A language model in which a token sees the mean of itself and those before; its heads stand apart."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.mix, self.heads = nn.Embedding(20, 6), nn.Linear(6, 8), nn.Identity()
        self.answer = nn.Linear(8, 20)

    def forward(self, ids: Tensor) -> Tensor:
        words = self.words(ids)
        seen = words.cumsum(1) / torch.arange(1, ids.shape[1] + 1)[:, None]
        mixed = self.mix(seen)
        heads = self.heads(mixed.unflatten(-1, (2, 4)).transpose(1, 2))
        return self.answer(heads.transpose(1, 2).flatten(2))


def conv(seconds: float = 0.0) -> Network:
    return Network(Conv(seconds), name="conv", input=ArrayInput(shape=(3, 8, 8)), classes=tuple("abcd"))


def reader() -> Network:
    tokenizer = Tokenizer(WordLevel({"[PAD]": 0, **{word: i + 1 for i, word in enumerate(WORDS)}}, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = Whitespace()  # type: ignore[assignment]
    return Network(Reader(), name="reader", input=TokenInput(tokenizer=tokenizer, context=64, pad=0))


def texts(folder: Path, n: int = 23) -> Dataset:
    """Texts of 1 to 12 words."""
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(WORDS, rng.integers(1, 13))) for _ in range(n)]
    (folder / "texts.txt").write_text("\n".join(lines))
    return load_dataset(folder / "texts.txt")


def a_run(folder: Path) -> Run:
    return Run.create("record", ["record"], {}, out=folder)


def hooked(network: Network, x: Tensor, path: str) -> Tensor:
    """What comes out of a module, by a plain hook."""
    seen: list[Tensor] = []
    module = network.module.get_submodule(path)
    handle = module.register_forward_hook(lambda m, args, out: seen.append(out.detach().clone()))
    with torch.no_grad():
        network.module(x)
    handle.remove()
    (tensor,) = seen
    return tensor


def assert_close(ours: np.ndarray, theirs: np.ndarray, tolerance: float = 1e-5) -> None:
    """max|a - b| / max|a| <= tolerance, and NaN at the same places."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    there = ~np.isnan(theirs)
    size = float(np.abs(theirs[there]).max(initial=0.0))
    error = float(np.abs(ours[there].astype(float) - theirs[there].astype(float)).max(initial=0.0))
    assert error <= tolerance * max(size, 1e-30), f"off by {error:.3g} of {size:.3g}"
