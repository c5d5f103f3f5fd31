"""Sites that are no module's input or output: attention heads, attention patterns, the residual stream within a block.

A part is computed from tensors that do pass a port, and says how a changed part is put back. An adapter makes the parts
of its family and says precisely what each means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..records import BadInput, Site


@dataclass(frozen=True)
class Part:
    """A derived site.

    Attributes:
        site: its own name: a module's path and `part`.
        axes: what the part's axes are.
        meaning: what exactly it is, in a sentence.
        reads: the ports that it is computed from, in the order in which they pass.
        combine: their tensors to the part.
        writes: the port where a changed part is put back: the last of `reads`; None if the part cannot be edited.
        split: (changed part, *tensors read) to the new tensor at `writes`.
        pattern_of: for an attention pattern inside `site.path`'s module, which is no function of ports at all: how many
            heads it has; 0 for every other part.
    """

    site: Site
    axes: tuple[str, ...]
    meaning: str
    reads: tuple[Site, ...] = ()
    combine: Callable[..., Tensor] | None = None
    writes: Site | None = None
    split: Callable[..., Tensor] | None = None
    pattern_of: int = 0

    def shape(self, ports: Mapping[Site, tuple[int, ...]]) -> tuple[int, ...]:
        """The part's shape, from those of the ports in a dry run; () if one of them did not pass."""
        if self.pattern_of:
            out = ports.get(Site(self.site.path, "out", self.site.call))
            return (out[0], self.pattern_of, out[1], out[1]) if out else ()
        shapes = [ports.get(read) for read in self.reads]
        if self.combine is None or any(shape is None for shape in shapes):
            return ()
        return tuple(self.combine(*(torch.empty(shape or (), device="meta") for shape in shapes)).shape)


def heads(path: str, projection: str, count: int, meaning: str) -> Part:
    """All heads of the attention module at `path`, before the output projection: [batch, position, head, feature]."""
    port = Site(projection, "in")

    def combine(flat: Tensor) -> Tensor:
        return flat.unflatten(-1, (count, -1))

    def split(part: Tensor, flat: Tensor) -> Tensor:
        return part.flatten(-2)

    return Part(
        Site(path, part="heads"), ("batch", "position", "head", "feature"), meaning, (port,), combine, port, split
    )


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

    return Part(
        Site(path, part=f"head{index}"), ("batch", "position", "feature"), meaning, (port,), combine, port, split
    )


def stream_between(block: str, added: str, meaning: str) -> Part:
    """The residual stream after attention and before the feed-forward of a pre-norm block: [batch, position, feature].

    Args:
        block: path of the block, whose input is the stream. added: path of the module whose output is added to it.
    """
    before, after = Site(block, "in"), Site(added, "out")

    def split(part: Tensor, stream: Tensor, attended: Tensor) -> Tensor:
        return part - stream

    axes = ("batch", "position", "feature")
    return Part(Site(block, part="mid"), axes, meaning, (before, after), torch.add, after, split)


def pattern(attention: str, count: int, meaning: str) -> Part:
    """Attention weights of `count` heads after the softmax: [batch, head, query, key]."""
    return Part(Site(attention, part="pattern"), ("batch", "head", "query", "key"), meaning, pattern_of=count)
