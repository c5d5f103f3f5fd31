"""What `see units` is asked for, and everything that can be wrong with it before work begins."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...datasets import Dataset, require_kind
from ...features.dictionaries import Dictionary
from ...networks import Network
from ...records import BadInput, LeftOut
from ...visualization.climbing import require_size
from ...visualization.objectives import ANSWER, Objective, check
from ...visualization.parametrizations import parametrization
from ...visualization.parsing import parse_objective
from ...visualization.reading import Reader
from ...visualization.receptive import field_of
from ...visualization.statistics import image_input

#: Pictures in one piece of work.
BATCH = 16
_WHOLE = re.compile(r":\*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes:
        features: objectives as people write them; "SITE" or "SITE:*" is every unit of a site.
        dataset: what statistics, best examples and examples come from; None: pictures alone, from neutral statistics.
        compiled: see `visualize`. negative: also what suppresses each. facets: also a picture a case. diverse: so many
            pictures of each, made to differ. twin: the same budget on a random twin. n: examples of each kind; 0: none.
        dictionaries: whose latents the features may name.
    """

    network: Network
    dataset: Dataset | None = None
    features: tuple[str, ...] = ()
    steps: int = 128
    size: int | None = None
    parametrization: str = "fourier"
    negative: bool = False
    facets: bool = False
    diverse: int = 1
    twin: bool = True
    n: int = 9
    seed: int = 0
    batch: int = BATCH
    patient: bool = False
    compiled: bool = False
    dictionaries: Mapping[str, Dictionary] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What will be made: objectives by their text, what was left out, and what is to be said of it all."""

    objectives: dict[str, Objective]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...] = ()


def prepare(request: Request) -> Prepared:
    """Everything that can be wrong with the input, before a folder is made.

    Raises:
        BadInput: if no feature is there, or the network takes no pictures, or not these.
    """
    network = request.network
    taken = image_input(network.input)
    parametrization(request.parametrization)
    if request.dataset is not None:
        require_kind(request.dataset, taken)
    if request.steps < 1 or request.batch < 1 or request.diverse < 1:
        raise BadInput("steps, batch and pictures must be 1 or more", where="see units", fix="give larger numbers")
    found: dict[str, Objective] = {}
    left_out: list[LeftOut] = []
    first: BadInput | None = None
    for text in request.features:
        try:
            for one in _expanded(network, text):
                objective = parse_objective(one, network, request.dictionaries)
                check(objective, network)
                found[objective.text] = objective
        except BadInput as error:
            first = first or error
            left_out.append(LeftOut(what=text, why=str(error)))
    if not found:
        raise first or BadInput("no feature is named", where="features", fix="name one or more, as SITE:UNIT")
    notes = _too_small(network, list(found.values()), request.size) if request.size else ()
    return Prepared(objectives=found, left_out=tuple(left_out), notes=tuple(notes))


def _too_small(network: Network, objectives: Sequence[Objective], size: int) -> list[str]:
    """Of which sites pictures of that size can show but a part of what a unit sees.

    Raises:
        BadInput: if the network does not run on them.
    """
    require_size(Reader.of(network, objectives), (size, size))
    notes, own = [], image_input(network.input).size
    aliases = dict.fromkeys(alias for objective in objectives for alias in objective.sites if alias != ANSWER)
    for site in map(network.site, aliases) if size < min(own) else ():
        field = field_of(network, site)
        if field is not None and size < max(field):
            least = "at least " if max(field) >= min(own) else ""
            notes.append(
                f"Pictures of {size} x {size} pixels are smaller than what a unit of {site.alias} sees, {least}"
                f"{field[0]} x {field[1]}: they show a part of it."
            )
    return notes


def _expanded(network: Network, text: str) -> list[str]:
    """A whole site as its units."""
    whole = bool(_WHOLE.search(text))
    if not whole and (":" in text or " " in text):
        return [text]
    site = network.site(_WHOLE.sub("", text))
    return [f"{site.alias}:{unit}" for unit in range(site.units)]
