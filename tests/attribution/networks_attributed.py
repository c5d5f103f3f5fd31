"""Networks to attribute in: what must not matter (in-place operations, several branches, tokens) is in them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from mulligan.networks import ArrayInput, Network, TokenInput


class Branched(nn.Module):
    """Convolutions with ReLU in place, a skip connection and two branches, one of them from the input itself."""

    def __init__(self, seed: int = 0, *, adds_in_place: bool = False) -> None:
        super().__init__()
        self.adds_in_place = adds_in_place
        torch.manual_seed(seed)
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.block = nn.Conv2d(6, 6, 3, padding=1)
        self.side = nn.Conv2d(3, 6, 1)
        self.head = nn.Linear(6, 4)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        a = self.act(self.norm(self.stem(x)))
        b = self.block(a)
        if self.adds_in_place:
            b += a
        else:
            b = b + a
        return self.head((self.act(b) + torch.tanh(self.side(x))).mean((2, 3)))


class Straight(nn.Module):
    """Nothing but linear maps: attribution is exact."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.avg_pool2d(self.second(self.first(x)), 2).mean((2, 3)))


def branched(seed: int = 0, *, adds_in_place: bool = False) -> Network:
    return Network(Branched(seed, adds_in_place=adds_in_place), input=ArrayInput(shape=(3, 8, 8)), classes=list("abcd"))


def straight(seed: int = 0) -> Network:
    return Network(Straight(seed), input=ArrayInput(shape=(3, 8, 8)), classes=list("abc"))


def llama(seed: int = 0) -> Network:
    """A random Llama of two layers over 40 tokens; no tokenizer is asked for anything."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=32, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        initializer_range=0.3,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()

    def call(module: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
        return module(input_ids=x, attention_mask=mask, use_cache=False).logits

    return Network(model, input=TokenInput(tokenizer=_Tokens(), context=32, pad=0), call=call, head="lm_head")


class _Tokens:
    """As much of a tokenizer as a made-up text needs."""

    bos_token_id = 1

    def __len__(self) -> int:
        return 40
