"""From a MODEL as people write it to a Network; each family is an adapter, an entry point `mulligan.adapters`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..records import BadInput
from .inputs import ImageInput, parse_input
from .network import Network

_log = logging.getLogger(__name__)


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
        input: how pixels become input, as `size=28,channels=1,mean=0,std=1`; the network's own if None.
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
        base = network.input if isinstance(network.input, ImageInput) else None
        if network.input is not None and base is None:
            raise BadInput(
                "--input describes pictures, and this network takes none", where=spec, fix="leave --input out"
            )
        network = network.with_input(parse_input(input, base))
    network.check_classes()
    network.recipe = {
        "spec": spec,
        "weights": str(weights) if weights is not None else None,
        "input": input,
        "classes": list(classes) if classes is not None else None,
    }
    return network
