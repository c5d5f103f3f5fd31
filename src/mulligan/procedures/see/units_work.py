"""Pieces of work of `see units`: what the data do, and the pictures of some features with what stands beside them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import torch

from ...datasets import batches
from ...networks import Network
from ...records import Quantity
from ...runs import Context, Result
from ...visualization.climbing import visualize
from ...visualization.facets import chosen, facets
from ...visualization.measuring import values_of, values_on
from ...visualization.objectives import ANSWER, Objective, diversity
from ...visualization.parsing import parse_objective
from ...visualization.paths import natural_shares
from ...visualization.statistics import ImageStatistics, image_input


def measure_statistics(context: Context, *, seed: int) -> Result:
    """Colours and spectrum of the data."""
    found = ImageStatistics.measure(context["network"].input, context["dataset"], seed=seed)
    arrays = {"mean": found.mean, "colour": found.colour, "spectrum": found.spectrum}
    return Result({name: array.numpy() for name, array in arrays.items()}, {"size": list(found.size), "n": found.n})


def measured(result: Result) -> ImageStatistics:
    """What `measure_statistics` gave."""
    arrays = {name: torch.from_numpy(np.asarray(array)) for name, array in result.arrays.items()}
    return ImageStatistics(**arrays, size=tuple(result.values["size"]), n=result.values["n"])


def values_chunk(context: Context, *, which: str, features: list[str], start: int, stop: int, batch: int) -> Result:
    """Values of objectives on some examples: [examples, objectives]."""
    objectives = _objectives(context, features)
    return Result({"values": values_on(context[which], objectives, context["dataset"], range(start, stop), batch)})


def climb(
    context: Context, *, which: str, features: list[str], sign: str, copies: int, steps: int, size: int | None,
    parametrization: str, patient: bool, compiled: bool, seed: int,
) -> Result:  # fmt: skip
    """Pictures of some features, `copies` of each, one after another; of the network's first ones also whether they
    excite it by the ways of photographs."""
    signed = [objective if sign == "+" else -objective for objective in _objectives(context, features)]
    asked: list[Objective] = []
    for objective in signed:
        site = objective.sites[0]
        # Copies are one object: they see each other. The weight is small against what the unit itself is worth.
        alone = copies == 1 or site == ANSWER
        one = objective if alone else objective + _worth(context, which, objective) * diversity(site)
        asked += [one] * copies
    made = visualize(
        context[which], asked, statistics=context["statistics"], steps=steps, size=size,
        parametrization=parametrization, patient=patient, compiled=compiled, seed=seed, batch=max(len(asked), 1),
    )  # fmt: skip
    network: Network = context[which]
    natural: list[Quantity | None] = [None] * len(features)
    if which == "network" and sign == "+" and context["values"] is not None:
        mine = context["values"][:, [context["texts"].index(text) for text in features]]
        natural = natural_shares(network, signed, made.pixels[::copies], context["dataset"], mine, seed)
    each = [objective for objective in signed for _ in range(copies)]
    at_size = made.pixels.shape[1:3] == tuple(image_input(network.input).size)
    reached = values_of(network, each, made.pixels) if copies > 1 and at_size else made.reached
    rows = [list(range(number * copies, (number + 1) * copies)) for number in range(len(features))]
    arrays = {"pixels": made.pixels} if made.alpha is None else {"pixels": made.pixels, "alpha": made.alpha}
    return Result(
        arrays,
        {
            # None: it failed, for which there is a reason.
            "reached": [[float(reached[row]) if row not in made.failed else None for row in mine] for mine in rows],
            "steps": [int(step) for step in made.steps],
            "natural": [msgspec.to_builtins(share) for share in natural],
            "failed": [next((made.failed[row] for row in mine if row in made.failed), "") for mine in rows],
        },
    )


def climb_facets(
    context: Context, *, feature: str, at: int, steps: int, size: int | None, parametrization: str, patient: bool,
    compiled: bool, seed: int,
) -> Result:  # fmt: skip
    """A picture a case of one feature, where its strongest examples fall into cases."""
    network: Network = context["network"]
    (objective,) = _objectives(context, [feature])
    rows = chosen(context["values"][:, at])
    x = torch.cat([b.x for b in batches(context["dataset"], image_input(network.input), rows, 32)]).to(network.device)
    found = facets(network, objective, x, seed=seed)
    if not found:
        return Result({}, {"members": []})
    made = visualize(
        network, [facet.objective for facet in found], statistics=context["statistics"], steps=steps, size=size,
        parametrization=parametrization, patient=patient, compiled=compiled, seed=seed,
    )  # fmt: skip
    at_size = made.pixels.shape[1:3] == tuple(image_input(network.input).size)
    reached = values_of(network, [objective] * len(found), made.pixels) if at_size else made.reached
    return Result(
        {"pixels": made.pixels},
        {
            "members": [[rows[m] for m in facet.members] for facet in found],
            "reached": [float(value) for value in reached], "steps": [int(step) for step in made.steps],
            "silhouette": found[0].silhouette, "chance": found[0].chance,
        },
    )  # fmt: skip


def _worth(context: Context, which: str, objective: Objective) -> float:
    """How much diversity may count: about a fifth of what the objective changes by on noise pictures."""
    network: Network = context[which]
    taken = image_input(network.input)
    noise = torch.rand((8, taken.channels, *taken.size), generator=torch.Generator().manual_seed(0))
    values = values_of(network, [objective] * 8, (255 * noise.permute(0, 2, 3, 1)).to(torch.uint8).numpy())
    return 5.0 * float(np.std(values)) + 1e-6


def _objectives(context: Context, features: Sequence[str]) -> list[Objective]:
    return [parse_objective(text, context["network"], context["dictionaries"]) for text in features]
