"""A generator of inputs, as data: what a diagnosis says elicits a behaviour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...records import BadInput
from .arranging import compose
from .parameters import PARAMETERS, check
from .pasting import paste
from .rendering import blend, filtered, learned, patch, prepared, warp
from .styling import style

Pixels = Float[Tensor, "n c h w"]
_Render = Callable[[Pixels, Mapping[str, Any], Mapping[str, Tensor], torch.Generator], Pixels]

#: The families, the simplest first.
FAMILIES = tuple(PARAMETERS)
_RENDER: Mapping[str, _Render] = {
    "identity": lambda x, p, t, r: x,
    "patch": patch,
    "blend": blend,
    "warp": warp,
    "filter": filtered,
    "style": style,
    "natural-object": paste,
    "preparation": prepared,
    "learned": learned,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A place for one picture.

    Attributes:
        name: "input", or "first" and "second" of a composite. classes: which pictures go there; none: any class.
    """

    name: str = "input"
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """Turns clean pictures into pictures that elicit a behaviour.

    Attributes:
        family: one of FAMILIES. slots: one, or two of "compose".
        parameters, tensors: as docs/generators.md lists for each family; plain JSON and float tensors.

    Raises:
        BadInput: if the family is unknown, or a parameter or tensor is missing, unknown, or out of range.
    """

    family: str
    slots: tuple[Slot, ...] = (Slot(),)
    parameters: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self.family, len(self.slots), self.parameters, self.tensors)

    def render(self, inputs: Sequence[Pixels], random: torch.Generator) -> Pixels:
        """The pictures that this makes of clean ones.

        Args:
            inputs: one batch [n, c, h, w] a slot, of one shape, on a 0-1 scale of pixels. random: where its draws come
                from (places, orders).

        Returns:
            [n, c, h, w] from 0 to 1; of a preparation, whatever it makes of the pixels (the network gets it as if it
            were pixels).

        Raises:
            BadInput: if the batches are not one a slot or not of one shape, or the tensors do not fit the pictures.
        """
        if len(inputs) != len(self.slots) or any(x.dim() != 4 or x.shape != inputs[0].shape for x in inputs):
            raise BadInput(
                f"this generator takes {len(self.slots)} batches of pictures of one shape [n, c, h, w]",
                where=self.family,
                fix="give one batch a slot",
            )
        inputs = [x.float() for x in inputs]
        with torch.no_grad():
            if self.family == "compose":
                out = compose(inputs[0], inputs[1], self.parameters, random)
            else:
                tensors = {name: tensor.float() for name, tensor in self.tensors.items()}
                out = _RENDER[self.family](inputs[0], self.parameters, tensors, random)
        return out if self.family == "preparation" else out.clamp(0, 1)
