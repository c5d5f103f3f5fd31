"""Sites that are not a module's input or output: attention heads, attention patterns, the residual stream within a block.

A part is computed from tensors that do pass a port, and says how a changed part is put back. An adapter makes the parts
of its family and says precisely what each means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..records import BadInput, Site


@dataclass(frozen=True)
class Part:
    """A derived site.

    Attributes:
        site: its own name: a module's path and `part`.
        reads: the ports that it is computed from, in the order in which they pass.
        combine: their tensors to the part.
        writes: the port where a changed part is put back; it passes last of all `reads`.
        split: (changed part, *tensors read) to the new tensor at `writes`.
        axes: what the part's axes are.
        meaning: what exactly it is, in a sentence.
        intercepts: True if the part is no function of ports at all but an attention pattern inside `site.path`'s module.
    """

    site: Site
    axes: tuple[str, ...]
    meaning: str
    reads: tuple[Site, ...] = ()
    combine: Callable[..., Tensor] | None = None
    writes: Site | None = None
    split: Callable[..., Tensor] | None = None
    intercepts: bool = False


def heads(path: str, projection: str, count: int, meaning: str) -> Part:
    """All heads of the attention module at `path`, before the output projection: [batch, position, head, feature]."""
    port = Site(projection, "in")

    def combine(flat: Tensor) -> Tensor:
        return flat.unflatten(-1, (count, -1))

    def split(part: Tensor, flat: Tensor) -> Tensor:
        return part.flatten(-2)

    return Part(Site(path, part="heads"), ("batch", "position", "head", "feature"), meaning, (port,), combine, port, split)


def head(path: str, projection: str, count: int, index: int, meaning: str) -> Part:
    """One head's values before the output projection: [batch, position, feature]."""
    if not 0 <= index < count:
        raise BadInput(f"head {index} does not exist: there are {count}", where=path, fix="choose a head below that")
    port = Site(projection, "in")

    def combine(flat: Tensor) -> Tensor:
        return flat.unflatten(-1, (count, -1))[..., index, :]

    def split(part: Tensor, flat: Tensor) -> Tensor:
        whole = flat.unflatten(-1, (count, -1)).clone()
        whole[..., index, :] = part
        return whole.flatten(-2)

    return Part(Site(path, part=f"head{index}"), ("batch", "position", "feature"), meaning, (port,), combine, port, split)


def stream_between(block: str, attention: str, meaning: str) -> Part:
    """The residual stream after attention and before the feed-forward of a pre-norm block: block input + attention output."""
    before, added = Site(block, "in"), Site(attention, "out")

    def split(part: Tensor, stream: Tensor, attended: Tensor) -> Tensor:
        return part - stream

    return Part(Site(block, part="mid"), ("batch", "position", "feature"), meaning, (before, added), torch.add, added, split)


def pattern(attention: str, meaning: str) -> Part:
    """Attention weights after the softmax: [batch, head, query, key]."""
    return Part(Site(attention, part="pattern"), ("batch", "head", "query", "key"), meaning, intercepts=True)
