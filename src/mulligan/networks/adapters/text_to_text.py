"""Encoder-decoders (T5, BART, Marian) on one text: the encoder reads it whole, and the decoder says it again.

The decoder is given the start token and then the text, one place later, as in training on copying: at each place it has
read the text's tokens before that place, and answers for the token there. So every module runs, and encoder and decoder
have as many places as the text has tokens, of which one mask tells the padding.

Mulligan counts the answers of every language model alike: at place i, for the token at place i + 1. The answers are
therefore moved by one; the last place, at which nothing was asked, answers that all tokens are equally likely.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...records import BadInput
from ..inputs import TokenInput


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyInput(TokenInput):
    """Tokens that an encoder is given, and a decoder too, one place later.

    Attributes:
        start: the token that the decoder begins with.
    """

    start: int

    def __post_init__(self) -> None:
        TokenInput.__post_init__(self)

    def steps(self) -> tuple[str, ...]:
        """How a text is made ready, in plain words, one step each."""
        return (
            *TokenInput.steps(self),
            f"given whole to the encoder; the decoder is given token {self.start} and then the same text, one place "
            "later, so that it predicts each token from those before it and from the encoder, which has read all of it",
        )


def start_token(config: Any, where: object) -> int:
    """The token that the decoder begins with.

    Raises:
        BadInput: if the config says none.
    """
    for name in ("decoder_start_token_id", "bos_token_id"):
        token = getattr(config, name, None)
        if isinstance(token, int):
            return token
    raise BadInput(
        "config.json does not say with which token the decoder begins",
        where=where,
        fix='add "decoder_start_token_id": NUMBER',
    )


def caller(start: int) -> Callable[[nn.Module, Tensor, Tensor | None], Any]:
    """How such a module is called with the tokens of a text and their mask."""

    def call(module: nn.Module, x: Tensor, mask: Tensor | None) -> Any:
        seen = (mask if mask is not None else torch.ones_like(x)).to(torch.int64)
        given = torch.cat([torch.full_like(x[:, :1], start), x[:, :-1]], 1)
        return module(
            input_ids=x, attention_mask=seen, decoder_input_ids=given, decoder_attention_mask=seen, use_cache=False
        )

    return call


def next_tokens(output: Mapping[str, Any]) -> Tensor:
    """The logits, moved by one place: at i for the token at i + 1; at the last place all are equal."""
    logits = output["logits"]
    return torch.cat([logits[:, 1:], torch.zeros_like(logits[:, :1])], 1)
