"""The last layer of a pass, narrowed to what is asked of it.

Where all objectives are means over the places of what one linear layer gives (or of a direction in it), the pass ends
at what that layer is given: of its hundreds of units only those that are read are computed, and means are taken before
a product rather than after it. The values are the same; they are held against the whole pass once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..networks import Network
from ..records import BadInput, Site
from .quickened import TOLERANCE
from .reading import Reader

Layer = nn.Linear | nn.Conv2d


@dataclass(frozen=True)
class Narrowed:
    """A reader of such objectives, one a picture.

    Attributes:
        site: what the layer is given. weight: of each picture's objective, [n, in] or [n, in, height, width].
        shift: of each.
    """

    network: Network
    site: Site
    layer: Layer
    weight: Tensor
    shift: Float[Tensor, " n"]

    def only(self, rows: Sequence[int]) -> Narrowed:
        """For some of the pictures."""
        chosen = list(rows)
        return replace(self, weight=self.weight[chosen], shift=self.shift[chosen])

    def values(self, x: Tensor) -> Float[Tensor, " n"]:
        """Each picture's own objective."""
        with self.network.watching([self.site.place], stop=True) as watched:
            self.network(x)
        given = watched[self.site]
        if isinstance(self.layer, nn.Linear):
            mean = given.flatten(1, -2).mean(1) if given.dim() > 2 else given
            return (mean * self.weight).sum(1) + self.shift
        layer = self.layer
        if {*layer.kernel_size, *layer.stride} == {1} and layer.padding == (0, 0):
            return (given.mean((2, 3)) * self.weight[:, :, 0, 0]).sum(1) + self.shift
        found = F.conv2d(given, self.weight, None, layer.stride, layer.padding, layer.dilation)
        return found.diagonal().mean((0, 1)) + self.shift


def narrowed(reader: Reader) -> Reader | Narrowed:
    """The same, narrowed where the last layer allows that and the values agree; else the reader itself."""
    combined = reader.combined
    if combined is None:
        return reader
    try:
        found = _maker(reader.network, combined.site)
        if found is None:
            return reader
        path, layer = found
        weight, shift = torch.tensordot(combined.weights, layer.weight.detach(), 1), combined.shifts
        if layer.bias is not None:
            shift = shift + combined.weights @ layer.bias.detach()
        made = Narrowed(reader.network, reader.network.site(Site(path, "in")), layer, weight, shift)
        return made if _agree(made, reader) else reader
    except (BadInput, RuntimeError):  # whatever a user's own layer does that is none of the two
        return reader


def _maker(network: Network, site: Site) -> tuple[str, Layer] | None:
    """The linear layer, and its path, whose output is what passes a site; it runs once."""
    made: list[tuple[nn.Module, Tensor]] = []

    def look(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor) and output.shape[1:] == site.shape[1:]:
            made.append((module, output.clone()))  # a nonlinearity may soon be written over it

    names = {module: path for path, module in network.module.named_modules() if isinstance(module, Layer)}
    handles = [module.register_forward_hook(look) for module in names]
    try:
        x, mask = network.example()
        with torch.no_grad(), network.watching([site.place]) as watched:
            network(x, mask)
    finally:
        for handle in handles:
            handle.remove()
    same = [module for module, output in made if torch.equal(output, watched[site])]
    if len(same) != 1 or [module for module, _ in made].count(same[0]) != 1:
        return None
    (layer,) = same
    if isinstance(layer, nn.Linear):
        return (names[layer], layer) if site.unit_axis == len(site.shape) - 1 else None
    assert isinstance(layer, nn.Conv2d)
    plain = layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return (names[layer], layer) if plain and site.unit_axis == 1 else None


def _agree(made: Narrowed, reader: Reader) -> bool:
    """Held against the whole pass, on noise, for the first and the last picture's objectives: the layer is the same."""
    rows = [0, len(reader.objectives) - 1]
    x, _ = reader.network.example()
    noise = torch.randn((2, *x.shape[1:]), generator=torch.Generator().manual_seed(0)).to(x)
    with torch.no_grad():
        own, narrow = reader.only(rows).values(noise), made.only(rows).values(noise)
    return bool((own - narrow).abs().max() <= TOLERANCE * own.abs().max())
