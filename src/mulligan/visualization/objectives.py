"""What a picture is asked to do: objectives that add, subtract and scale, each a number for every picture of a batch.

    channel("blocks.5", 12) + 2 * channel("blocks.5", 40)
    -neuron("blocks.5", 12)
    caricature(network, "blocks.5", photograph) + 0.1 * diversity("blocks.5")

Olah, Mordvintsev & Schubert 2017, "Feature Visualization" (doi 10.23915/distill.00007); direction and cosine: Carter et
al. 2019, "Activation Atlas"; caricature: Cammarata et al. 2020, "Thread: Circuits"; inversion: Mahendran & Vedaldi 2015
(arXiv:1412.0035); DeepDream: Mordvintsev et al. 2015.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..features.dictionaries import Dictionary
from ..networks import Network
from ..records import BadInput, Site

#: Stands for the network's answer where a site's alias stands else.
ANSWER = "(answer)"
#: Before the nonlinearity; before it, if the places are the same there; after it.
Bent = Literal["before", "before in place", "after"]
#: What is read of a site: its alias, and on which side of a nonlinearity.
Key = tuple[str, Bent]


class Term(Protocol):
    """One part of an objective.

    Attributes:
        site: the alias of what it reads; `ANSWER` for the logits. text: as people write it.
        bent: what it reads of a site that ends in a nonlinearity: what comes out, or what goes in.
    """

    bent: ClassVar[Bent]

    @property
    def site(self) -> str: ...

    @property
    def text(self) -> str: ...

    def values(self, tensor: Float[Tensor, "n ..."], site: Site | None) -> Float[Tensor, " n"]:
        """One number a picture. `site` says what each axis of the tensor is; None for the logits."""
        ...


@dataclass(frozen=True, eq=False)
class Objective:
    """A weighted sum of terms.

    Attributes:
        terms: (weight, term).
    """

    terms: tuple[tuple[float, Term], ...]

    @property
    def sites(self) -> tuple[str, ...]:
        """Aliases that it reads, each once; `ANSWER` among them if it reads logits."""
        return tuple(dict.fromkeys(term.site for _, term in self.terms))

    @property
    def text(self) -> str:
        """As people write it."""
        parts = []
        for weight, term in self.terms:
            size = "" if abs(weight) == 1 else f"{abs(weight):g} * "
            sign = "-" if weight < 0 else ""
            parts.append(f"{sign}{size}{term.text}" if not parts else f"{'-' if sign else '+'} {size}{term.text}")
        return " ".join(parts)

    def values(self, seen: Mapping[Key, Tensor], sites: Mapping[Key, Site | None]) -> Float[Tensor, " n"]:
        """One number a picture, from what passed each site."""
        parts = [weight * term.values(seen[key(term)], sites[key(term)]) for weight, term in self.terms]
        return torch.stack(parts).sum(0)

    def __add__(self, other: Objective) -> Objective:
        return Objective(self.terms + other.terms)

    def __mul__(self, factor: float) -> Objective:
        return Objective(tuple((factor * weight, term) for weight, term in self.terms))

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return -1.0 * self

    def __sub__(self, other: Objective) -> Objective:
        return self + -other


def key(term: Term) -> Key:
    """What a term reads."""
    return term.site, term.bent


def channel(site: str | Site, unit: int) -> Objective:
    """The mean of a unit over its places (positions of a transformer, rows and columns of a convolution)."""
    return _one(Channel(str(site), unit))


def neuron(site: str | Site, unit: int, place: Sequence[int] | None = None) -> Objective:
    """A unit at one place: (row, column) or (position,); None: the middle."""
    return _one(Neuron(str(site), unit, tuple(place) if place is not None else None))


def direction(
    site: str | Site, vector: Float[Tensor | np.ndarray, " units"], *, cosine: float = 0.0, name: str = "direction"
) -> Objective:
    """The mean over places of the activation's product with a direction.

    Args:
        cosine: the power of the cosine between the two, at least 0.1, that each place's product is multiplied with:
            what points elsewhere then counts less (Carter et al. 2019).
    """
    return _one(Direction(str(site), torch.as_tensor(vector, dtype=torch.float32), cosine, name))


def latent(dictionary: Dictionary, index: int) -> Objective:
    """Latent `index` of a dictionary, before its nonlinearity: the mean over places of what it reads.

    Raises:
        BadInput: if there is no such latent.
    """
    if not 0 <= index < len(dictionary):
        raise BadInput(
            f"this latent does not exist: there are {len(dictionary)}", where=f"@{dictionary.name}:{index}",
            fix="choose another",
        )  # fmt: skip
    encoder = np.asarray(dictionary.encoder[index], np.float32)
    shift = float(dictionary.bias[index]) if dictionary.bias is not None else 0.0
    if dictionary.centre is not None:
        shift -= float(encoder @ dictionary.centre)
    name = f"{dictionary.site}@{dictionary.name}:{index}"
    return _one(Direction(dictionary.site, torch.from_numpy(encoder), 0.0, name, whole=True, shift=shift))


def logit(index: int, name: str | None = None) -> Objective:
    """A class's logit, before the softmax."""
    return _one(Logit(index, name))


def layer(site: str | Site) -> Objective:
    """The mean square of all a layer's activations: what is there becomes more (DeepDream)."""
    return _one(Layer(str(site)))


def caricature(
    network: Network, site: str | Site, picture: Float[Tensor, "c h w"], *, cosine: float = 1.0
) -> Objective:
    """What a layer sees in a picture, exaggerated: at each place, the product with the picture's activation there.

    Args:
        picture: pixels from 0 to 1, as large as the network takes.
    """
    return _one(Caricature(str(site), activation(network, site, picture), cosine))


def inversion(network: Network, site: str | Site, picture: Float[Tensor, "c h w"]) -> Objective:
    """How like a layer's activation is to a picture's: minus the squared distance as a share of the picture's own."""
    return _one(Inversion(str(site), activation(network, site, picture)))


def diversity(site: str | Site) -> Objective:
    """How unlike a picture is to the others that share its objective: minus the mean cosine of the Gram matrices."""
    return _one(Diversity(str(site)))


def activation(network: Network, site: str | Site, picture: Float[Tensor, "c h w"]) -> Float[Tensor, ...]:
    """What passes a site for one picture (pixels from 0 to 1), without the batch axis."""
    normalise = getattr(network.input, "normalise", None)
    if normalise is None:
        raise BadInput("this network takes no pictures", where=network.name, fix="choose an image network")
    with torch.no_grad(), network.watching(site, stop=True, copy=True) as watched:
        network(normalise(picture[None]))
    return watched[site][0]


def check(objective: Objective, network: Network) -> None:
    """See whether all units, places and classes exist.

    Raises:
        BadInput: if one does not, with how many there are.
    """
    for _, term in objective.terms:
        if isinstance(term, Logit):
            number = len(network.classes) if network.classes is not None else network.head_weights[0].shape[0]
            if not 0 <= term.index < number:
                raise BadInput(f"there are {number} classes", where=f"class {term.index}", fix="choose another")
            continue
        site = network.site(term.site)
        if isinstance(term, Channel | Neuron):
            if not 0 <= term.unit < site.units:
                raise BadInput(
                    f"this unit does not exist: the site has {site.units}, 0 to {site.units - 1}",
                    where=f"{site.alias}:{term.unit}", fix="choose another",
                )  # fmt: skip
            if isinstance(term, Neuron) and term.place is not None:
                sizes = [site.shape[axis] for axis in _walked(site)]
                if len(term.place) != len(sizes) or any(p >= s for p, s in zip(term.place, sizes, strict=True)):
                    raise BadInput(
                        f"this place does not exist: the site has {' x '.join(map(str, sizes)) or 'no'} places",
                        where=f"{term.text}", fix="choose another",
                    )  # fmt: skip
        elif isinstance(term, Direction) and len(term.vector) != site.units:
            raise BadInput(
                f"this direction has {len(term.vector)} numbers and the site {site.units} units",
                where=site.alias, fix="give one number a unit",
            )  # fmt: skip
        else:
            _ = site.unit_axis


def _one(term: Term) -> Objective:
    return Objective(((1.0, term),))


def _walked(site: Site) -> list[int]:
    """The axes along which places are counted."""
    return [axis for axis in range(1, len(site.axes)) if axis != site.unit_axis]


def _rows(tensor: Tensor, site: Site | None) -> Float[Tensor, "n places units"]:
    """A site's tensor with places in one row and units last."""
    assert site is not None
    return tensor.movedim(site.unit_axis, -1).flatten(1, -2) if tensor.dim() > 2 else tensor[:, None]


@dataclass(frozen=True, eq=False)
class Channel:
    """See `channel`."""

    site: str
    unit: int
    bent: ClassVar[Bent] = "before"

    @property
    def text(self) -> str:
        return f"{self.site}:{self.unit}"

    def values(self, tensor: Tensor, site: Site | None) -> Tensor:
        assert site is not None
        return tensor.select(site.unit_axis, self.unit).flatten(1).mean(1) if tensor.dim() > 2 else tensor[:, self.unit]


@dataclass(frozen=True, eq=False)
class Neuron:
    """See `neuron`."""

    site: str
    unit: int
    place: tuple[int, ...] | None = None
    bent: ClassVar[Bent] = "before in place"

    @property
    def text(self) -> str:
        place = f"@{','.join(map(str, self.place))}" if self.place is not None else "@middle"
        return f"{self.site}:{self.unit}{place}"

    def values(self, tensor: Tensor, site: Site | None) -> Tensor:
        assert site is not None
        chosen = tensor.select(site.unit_axis, self.unit)
        sizes = chosen.shape[1:]
        place = self.place if self.place is not None else tuple(size // 2 for size in sizes)
        # Where the canvas is smaller than usual, the place moves with it.
        return chosen[(slice(None), *(min(p, size - 1) for p, size in zip(place, sizes, strict=True)))]


@dataclass(frozen=True, eq=False)
class Direction:
    """See `direction`; `whole`: `name` is all that stands in the text. `shift` is added."""

    site: str
    vector: Tensor
    cosine: float = 0.0
    name: str = "direction"
    whole: bool = False
    shift: float = 0.0
    bent: ClassVar[Bent] = "before"

    @property
    def text(self) -> str:
        return self.name if self.whole else f"{self.site}:{self.name}"

    def values(self, tensor: Tensor, site: Site | None) -> Tensor:
        rows = _rows(tensor, site)
        vector = self.vector.to(rows)
        product = rows @ vector
        if self.cosine:
            cosines = product / (rows.norm(dim=-1) * vector.norm()).clamp(min=1e-12)
            product = product * cosines.clamp(min=0.1) ** self.cosine
        return product.mean(1) + self.shift


@dataclass(frozen=True, eq=False)
class Logit:
    """See `logit`."""

    index: int
    name: str | None = None
    site: str = field(default=ANSWER, init=False)
    bent: ClassVar[Bent] = "after"

    @property
    def text(self) -> str:
        return f"class {self.name if self.name is not None else self.index}"

    def values(self, tensor: Tensor, site: Site | None) -> Tensor:
        return tensor[:, self.index]


@dataclass(frozen=True, eq=False)
class Layer:
    """See `layer`."""

    site: str
    bent: ClassVar[Bent] = "after"

    @property
    def text(self) -> str:
        return f"layer {self.site}"

    def values(self, tensor: Tensor, site: Site | None) -> Tensor:
        return tensor.flatten(1).square().mean(1)


@dataclass(frozen=True, eq=False)
class Caricature:
    """See `caricature`."""

    site: str
    target: Tensor
    cosine: float = 1.0
    bent: ClassVar[Bent] = "after"

    @property
    def text(self) -> str:
        return f"caricature {self.site}"

    def values(self, tensor: Tensor, site: Site | None) -> Tensor:
        rows, target = _rows(tensor, site), _rows(_fitted(self.target, tensor), site)
        product = (rows * target).sum(-1)
        if self.cosine:
            cosines = product / (rows.norm(dim=-1) * target.norm(dim=-1)).clamp(min=1e-12)
            product = product * cosines.clamp(min=0.1) ** self.cosine
        return product.mean(1)


@dataclass(frozen=True, eq=False)
class Inversion:
    """See `inversion`."""

    site: str
    target: Tensor
    bent: ClassVar[Bent] = "after"

    @property
    def text(self) -> str:
        return f"inversion {self.site}"

    def values(self, tensor: Tensor, site: Site | None) -> Tensor:
        target = _fitted(self.target, tensor)
        return -(tensor - target).square().flatten(1).sum(1) / target.square().sum().clamp(min=1e-12)


@dataclass(frozen=True, eq=False)
class Diversity:
    """See `diversity`: of a batch, all of whose pictures have the same objective."""

    site: str
    bent: ClassVar[Bent] = "after"

    @property
    def text(self) -> str:
        return f"diversity {self.site}"

    def values(self, tensor: Tensor, site: Site | None) -> Tensor:
        rows = _rows(tensor, site)
        gram = F.normalize((rows.transpose(1, 2) @ rows).flatten(1), dim=1)
        cosines = gram @ gram.T
        n = len(cosines)
        return -(cosines.sum(1) - cosines.diagonal()) / max(n - 1, 1)


def _fitted(target: Tensor, tensor: Tensor) -> Tensor:
    """A picture's activation as one batch, brought to the size of a canvas that is smaller or larger."""
    whole = target.to(tensor)[None]
    if whole.shape[1:] != tensor.shape[1:] and whole.dim() == 4:
        return F.interpolate(whole, size=tensor.shape[2:], mode="bilinear", antialias=True)
    return whole
