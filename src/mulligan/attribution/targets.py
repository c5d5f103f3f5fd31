"""What is attributed: one number an example, read off the network's answer or off what passes a site."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..networks import Network
from ..records import BadInput, Site


@dataclass(frozen=True, slots=True)
class Target:
    """One number for each example of a batch.

    Attributes:
        read: what passes there, [batch, ...], to [batch].
        name: what reports call it.
        site: where it is read; None: the network's answer.
    """

    read: Callable[[Tensor], Float[Tensor, " batch"]]
    name: str
    site: Site | None = None


def pick_outputs(
    logits: Float[Tensor, "batch ..."], output: int, positions: Sequence[int] | None
) -> Float[Tensor, " batch"]:
    """Logit `output` of each example; of a language model, at each example's position.

    Args:
        logits: [batch, answers], or [batch, position, vocabulary].
        positions: one an example; no use where there are none to choose from.

    Raises:
        BadInput: if a language model's answers are asked for without a position for each example.
    """
    if logits.dim() == 2:
        return logits[:, output]
    if positions is None or len(positions) != len(logits):
        raise BadInput(
            "a language model answers at every position",
            where=f"output {output}",
            fix="say at which position of each text",
        )
    rows = torch.arange(len(logits), device=logits.device)
    return logits[rows, torch.as_tensor(positions, device=logits.device), output]


def logit(output: int, positions: Sequence[int] | None = None, name: str = "") -> Target:
    """The logit of one output; of a language model, at each text's position."""
    return Target(lambda logits: pick_outputs(logits, output, positions), name or f"logit {output}")


def margin(output: int, against: int, positions: Sequence[int] | None = None) -> Target:
    """By how much one output's logit is above another's."""
    return Target(
        lambda logits: pick_outputs(logits, output, positions) - pick_outputs(logits, against, positions),
        f"logit {output} - logit {against}",
    )


def own_logits(outputs: Sequence[int]) -> Target:
    """Another output for each example of the batch, such as the class that it is answered as."""

    def read(logits: Tensor) -> Tensor:
        if logits.dim() != 2 or len(logits) != len(outputs):
            raise BadInput(
                f"{len(outputs)} outputs are named for answers of shape {tuple(logits.shape)}",
                where="own logits",
                fix="name one output an example of a classifier",
            )
        return logits.gather(1, torch.as_tensor(outputs, device=logits.device)[:, None])[:, 0]

    return Target(read, "each example's own logit")


def unit_mean(site: Site, unit: int) -> Target:
    """The mean of one unit over all places of a later site."""
    axis, there = site.unit_axis, site.units
    if not 0 <= unit < there:
        raise BadInput(f"unit {unit} does not exist: there are {there}", where=site.alias, fix="choose one below that")
    return Target(lambda tensor: tensor.select(axis, unit).flatten(1).mean(1), f"{site.alias}:{unit}", site)


def find_class(network: Network, text: str) -> int:
    """The number of a class, by its name (case does not count) or its number.

    Raises:
        BadInput: if there is no such class, saying how many there are and the nearest names.
    """
    names = network.classes
    if names is None:
        raise BadInput("this network has no class names", where=network.name, fix="pass them with --classes")
    folded = [name.casefold() for name in names]
    if text.casefold() in folded:
        return folded.index(text.casefold())
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    # A part of a name first ("retriever"), then names that are spelled alike.
    near = [name for name in names if text.casefold() in name.casefold()][:3] if text.strip() else []
    alike = difflib.get_close_matches(text.casefold(), folded, n=3, cutoff=0.5)
    near = list(dict.fromkeys([*near, *(names[folded.index(name)] for name in alike)]))[:3] or list(names[:3])
    raise BadInput(
        f"there is no class {text!r} among the {len(names):,}",
        where=network.name,
        fix=f"the nearest are {', '.join(near)}",
    )
