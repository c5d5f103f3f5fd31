"""From a MODEL as people write it to a Network; each family is an adapter, an entry point `mulligan.adapters`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..records import BadInput
from .inputs import ArrayInput, ImageInput, NetworkInput, TokenInput, parse_input
from .network import Network

_log = logging.getLogger(__name__)
_KINDS = {ImageInput: "pictures", TokenInput: "texts", ArrayInput: "arrays"}


@runtime_checkable
class Adapter(Protocol):
    """Knows one family of models.

    Attributes:
        forms: how a MODEL of this family is written, for messages.
    """

    forms: tuple[str, ...]

    def accepts(self, spec: str) -> bool:
        """Whether the text names a model of this family."""
        ...

    def load(self, spec: str, weights: Path | None) -> Network:
        """Build it; `weights` replaces what the package ships."""
        ...


def adapters() -> list[Adapter]:
    """Every adapter that is installed; one that cannot be imported is left out, with a warning in the log."""
    found: list[Adapter] = []
    for point in sorted(entry_points(group="mulligan.adapters"), key=lambda point: point.name):
        try:
            found.append(point.load())
        except Exception as error:  # a stranger's plug-in must not take the others along
            _log.warning("the adapter %s cannot be imported: %s: %s", point.name, type(error).__name__, error)
    return found


def load(
    spec: str, *, weights: str | Path | None = None, input: str | None = None, classes: Sequence[str] | None = None
) -> Network:
    """Load a network; nothing is downloaded and nothing is unpickled as code.

    Args:
        spec: `efficientnet-lite0`, `smollm2-135m-instruct`, `minilm-l6`, `hf:FOLDER`, `path/to/file.py:factory`...
        weights: safetensors, or a torch file that loads with weights_only=True.
        input: how pixels become input, as `size=28,channels=1,mean=0,std=1`, or the shape of arrays, as `shape=20x8`;
            the network's own if None.
        classes: names of the answers; the network's own if None.

    Raises:
        BadInput: if no adapter knows the spec, or its files cannot be used.
    """
    known = adapters()
    for adapter in known:
        if adapter.accepts(spec):
            network = adapter.load(spec, Path(weights) if weights is not None else None)
            break
    else:
        forms = ", ".join(form for adapter in known for form in adapter.forms)
        raise BadInput("no model of this name is known", where=spec, fix=f"write one of {forms}")
    if classes is not None:
        network.classes = tuple(classes)
        network.task = "classification" if network.task == "other" else network.task
    if input is not None:
        taken = network.input
        given = parse_input(input, taken if isinstance(taken, ImageInput) else None)
        if taken is not None and _kind(given) != _kind(taken):
            raise BadInput(
                f"--input describes {_kind(given)}, and this network takes {_kind(taken)}",
                where=spec,
                fix="leave --input out",
            )
        network = network.with_input(given)
    network.check_classes()
    network.recipe = {
        "spec": spec,
        "weights": str(weights) if weights is not None else None,
        "input": input,
        "classes": list(classes) if classes is not None else None,
    }
    return network


def _kind(input: NetworkInput) -> str:
    return next(word for kind, word in _KINDS.items() if isinstance(input, kind))  # an adapter's may be a subclass
