"""PyTorch's `nn.MultiheadAttention`, written out, so that hooks see what is in it.

The original calls its output projection's weights but not the module, and one fused function for all the rest: heads
and patterns pass nowhere. This one has the same weights under the same names and gives the same numbers.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class OpenAttention(nn.Module):
    """Self-attention with the weights of an `nn.MultiheadAttention` (Vaswani et al. 2017, arXiv:1706.03762).

    Takes [batch, position, feature] as query, key and value, which must be one tensor, and gives the same shape and
    None in place of weights, as the original does with need_weights=False.
    """

    def __init__(self, original: nn.MultiheadAttention) -> None:
        super().__init__()
        self.num_heads, self.embed_dim = original.num_heads, original.embed_dim
        self.in_proj_weight, self.in_proj_bias = original.in_proj_weight, original.in_proj_bias
        self.out_proj = original.out_proj

    def extra_repr(self) -> str:
        return f"{self.embed_dim}, heads={self.num_heads}"

    def forward(self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False) -> tuple[Tensor, None]:
        if not (query is key is value) or need_weights:
            raise NotImplementedError("only self-attention without weights is written out")
        parts = F.linear(query, self.in_proj_weight, self.in_proj_bias).unflatten(-1, (3, self.num_heads, -1))
        asked, keys, values = parts.permute(2, 0, 3, 1, 4).unbind(0)  # each [batch, head, position, feature]
        gathered = F.scaled_dot_product_attention(asked, keys, values)
        return self.out_proj(gathered.transpose(1, 2).flatten(2)), None


def open_attentions(module: nn.Module) -> None:
    """Put `OpenAttention` in the place of each `nn.MultiheadAttention` that it can stand for, in place.

    For networks whose attention is self-attention without a mask, as a vision transformer's is: nothing else is known
    of how the modules are called.
    """
    for path, child in list(module.named_modules()):
        if isinstance(child, nn.MultiheadAttention) and _plain(child):
            module.set_submodule(path, OpenAttention(child).train(child.training))


def _plain(child: nn.MultiheadAttention) -> bool:
    return bool(
        child.batch_first
        and child._qkv_same_embed_dim
        and child.bias_k is None
        and child.bias_v is None
        and not child.add_zero_attn
    )
