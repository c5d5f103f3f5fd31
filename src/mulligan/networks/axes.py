"""What each axis of a tensor is: read off the modules that it passes, the input's kind, and sizes in a rehearsal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from ..records import Site
from .inputs import ArrayInput, ImageInput, NetworkInput, TokenInput

Layout = Literal["first", "last"]  # where the channels stand: after the batch axis, or last of all

_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
)
_SPACE = {1: ("position",), 2: ("height", "width"), 3: ("depth", "height", "width")}


@dataclass(frozen=True)
class Passed:
    """One tensor that passed one port in a rehearsal."""

    site: Site
    module: nn.Module
    tensor: Tensor


def all_axes(passed: Sequence[Passed], x: Tensor, input: NetworkInput | None) -> dict[Site, tuple[str, ...]]:
    """The axes of every port, from one forward pass on `x`.

    A module that says where its channels are (a convolution, a linear layer, a layer norm, a recurrent layer) says it
    for the tensor, at whichever other port the same tensor passes, and through modules inside which nothing runs and
    that keep the shape. What is left is judged by its sizes.
    """
    known: dict[int, tuple[str, ...]] = {}
    entered: dict[tuple[str, int], Passed] = {}
    for one in passed:
        recurrent = _recurrent(one)
        if recurrent is not None:
            known[id(one.tensor)] = recurrent
    for one in passed:
        layout = _layout(one)
        if layout is not None:
            known.setdefault(id(one.tensor), axes_of(one.tensor.shape, x, input, layout))
    for one in passed:
        call = (one.site.path, one.site.call)
        if one.site.port == "in":
            entered.setdefault(call, one)
        elif id(one.tensor) not in known and not next(iter(one.module.children()), None):
            before = entered.get(call)
            if before is not None and before.tensor.shape == one.tensor.shape and id(before.tensor) in known:
                known[id(one.tensor)] = known[id(before.tensor)]
    return {one.site: known.get(id(one.tensor)) or axes_of(one.tensor.shape, x, input) for one in passed}


def _layout(one: Passed) -> Layout | None:
    if one.site.leaf:
        return None
    if isinstance(one.module, _FIRST):
        return "first"
    if isinstance(one.module, nn.Linear | nn.RMSNorm | nn.LayerNorm):
        if getattr(one.module, "data_format", "") == "channels_first":  # ConvNeXt's own layer norm turns the axes
            return "first"
        shape = getattr(one.module, "normalized_shape", (0,))
        sizes = one.tensor.shape
        # timm's norms over channels are layer norms of pictures whose channels stand first.
        if type(one.module) is not nn.LayerNorm and len(sizes) == 4 and sizes[1] == shape[0] != sizes[3]:
            return "first"
        return "last" if len(shape) == 1 else None
    return None


def _recurrent(one: Passed) -> tuple[str, ...] | None:
    """The axes of a recurrent layer's sequences and states; of a packed sequence nothing is known.

    The states of both directions stand in the axis of layers, forward first.
    """
    if not isinstance(one.module, nn.RNNBase) or one.tensor.dim() != 3:
        return None
    if one.site.leaf:
        return ("layer", "batch", "feature")
    return ("batch", "position", "feature") if one.module.batch_first else ("position", "batch", "feature")


def axes_of(
    shape: Sequence[int], x: Tensor, input: NetworkInput | None, layout: Layout | None = None
) -> tuple[str, ...]:
    """What each axis of a tensor is, judged by its sizes.

    Args:
        shape: the tensor's. x: what the network was given, [batch, ...]; for tokens, [batch, position].
        layout: where the channels stand, if it is known.

    Returns:
        "batch", "position", "head", "query", "key", "channel", "feature", "height", "layer"...; "axis2" is one that
        nothing is known of. An axis 0 that is not as long as the batch is no batch axis (a table of positions,
        flattened tokens).
    """
    if not shape:
        return ()
    batch = x.shape[0]
    if isinstance(input, TokenInput) and not (layout == "first" and len(shape) > 2):
        names = _of_tokens(shape, batch, x.shape[1])
    else:
        names = list(_of_arrays(shape, input, layout))
        if shape[0] != batch:
            names[0] = "axis0"
            if isinstance(input, ArrayInput) and len(shape) > 3:
                names = [f"axis{axis}" for axis in range(len(shape))]  # of which axis is what, nothing is known
            if x.dim() == len(shape) == 3 and shape[:2] == (x.shape[1], batch) and layout != "first":
                names = ["position", "batch", "feature"]  # of sequences, as recurrent layers take them
    return tuple(names)


def _of_tokens(shape: Sequence[int], batch: int, length: int) -> list[str]:
    names = [f"axis{i}" for i in range(len(shape))]
    if shape[0] == batch:
        names[0] = "batch"
    elif shape[0] == length:
        names[0] = "position"
        if len(shape) > 2 and shape[1] == batch:
            names[1] = "batch"
    if len(shape) == 1:
        return names
    if len(shape) == 4:
        if shape[2] == shape[3] == length:
            names[1:] = ["head", "query", "key"]
        elif shape[1] == length:
            names[1:] = ["position", "head", "feature"]
        elif shape[2] == length:
            names[1:] = ["head", "position", "feature"]
    elif shape[1] == length and names[0] != "position":
        names[1] = "position"
    if names[-1].startswith("axis"):
        names[-1] = "feature"
    return names


def _of_arrays(shape: Sequence[int], input: NetworkInput | None, layout: Layout | None) -> tuple[str, ...]:
    rank = len(shape)
    if rank <= 2:
        return ("batch", "feature")[:rank]
    space = _SPACE.get(rank - 2, tuple(f"axis{i}" for i in range(2, rank)))
    if layout is None:
        layout = "last" if rank == 3 or (rank == 4 and _looks_last(shape, input)) else "first"
    if layout == "first":
        return ("batch", "channel", *space)
    return ("batch", *space, "feature" if rank == 3 else "channel")


def _looks_last(shape: Sequence[int], input: NetworkInput | None) -> bool:
    """Whether a picture's channels come last: pictures are mostly square, and so are their feature maps."""
    square = isinstance(input, ImageInput) and input.size[0] == input.size[1]
    return square and shape[1] == shape[2] != shape[3]
