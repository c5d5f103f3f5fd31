"""What the adapters of torchvision and timm share: from a built module to a `Network` with parts and sentences."""

from __future__ import annotations

import difflib
import importlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from ...records import BadInput
from ..inputs import ImageInput
from ..network import Network
from ..parts import Part
from .anatomy import examine
from .open_attention import open_attentions
from .packages import require
from .wiring import wiring

_log = logging.getLogger(__name__)
#: After NAME@: a network without weights.
RANDOM = "random"


def library(name: str, *needed: str, spec: str) -> Any:
    """Import a library.

    Raises:
        BadInput: if it, or what it needs, is not installed, or breaks as it is imported.
    """
    require(name, *needed, what=spec)
    try:
        return importlib.import_module(name)
    except Exception as error:  # torchvision beside another build of torch raises RuntimeError
        first = (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")
        raise BadInput(
            f"{name} is installed and cannot be imported: {first}",
            where=spec,
            fix="install torch and torchvision of one release and one kind (both for the CPU, or both for CUDA)",
        ) from error


def unknown(name: str, names: Iterable[str], what: str, spec: str) -> BadInput:
    """The error of a name that a library does not have, with those that look like it."""
    known = list(names)
    close = difflib.get_close_matches(name, known, 5, 0.6) or [n for n in known if n.startswith(name[:4])][:5]
    fix = f"perhaps {', '.join(close)}" if close else f"write one of its {len(known)}, for example {known[0]}"
    return BadInput(f"{what} has no image classifier {name!r}", where=spec, fix=fix)


@contextmanager
def untrained() -> Iterator[None]:
    """Within the block, torch draws the same numbers every time; afterwards it is as if it had drawn none."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def check_names(names: Sequence[str], where: object) -> tuple[str, ...]:
    """Class names as they are, if each differs from the others.

    Raises:
        BadInput: naming those that are given twice.
    """
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise BadInput(
            f"{len(twice)} class names are given twice, first {', '.join(twice[:3])}",
            where=where,
            fix="give a list of different names with --classes",
        )
    return tuple(names)


def classifier(
    module: nn.Module,
    name: str,
    taken: ImageInput | None,
    classes: Sequence[str] | None,
    heads: Sequence[str],
    size: tuple[int, int],
) -> Network:
    """A network of one picture library.

    Args:
        module: as the library builds it, with its weights; attention that hides its parts is replaced, in place, by one
            with the same weights and answers.
        heads: paths of the layers whose rows are the answers, the first of which stands for all; () for a network that
            answers a vector and no classes.
        size: height and width of the picture on which its parts are looked for.
    """
    module = module.to(torch.float32).eval()
    open_attentions(module)
    parts, meanings = _read(module, name, size)
    one = "the logits: one for each class"
    several = (
        f"one logit for each class, by one of {len(heads)} classifiers: the network's answer is made of all of them"
    )
    meanings |= dict.fromkeys(heads, one if len(heads) == 1 else several)
    return Network(
        module,
        name=name,
        input=taken,
        classes=classes,
        task="classification" if heads else "embedding",
        parts=parts,
        meanings=meanings,
        head=heads[0] if heads else None,
    )


def _read(module: nn.Module, name: str, size: tuple[int, int]) -> tuple[list[Part], dict[str, str]]:
    """Parts and sentences, from passes in which no scale is so small that what it scales cannot be seen."""
    drawn = torch.Generator().manual_seed(0)
    seen = {
        key: torch.rand(value.shape, generator=drawn) + 0.5
        for key, value in module.named_parameters()
        if value.numel() and float(value.detach().abs().max()) < 1e-3
    }
    x = torch.randn(1, _channels(module), *size, generator=drawn)

    def run() -> Any:
        return functional_call(module, seen, (x,))

    try:
        meanings = wiring(module, run)
        # Of a network without attention, its wiring says more.
        if not any("attention" in type(child).__name__.lower() for child in module.modules()):
            return [], meanings
        found = examine(module, run)
        return found.parts, {**meanings, **found.meanings}
    except Exception as error:  # its ports can still be watched; what is wrong with the network, its dry run says
        _log.warning("%s could not be examined: %s: %s", name, type(error).__name__, error)
        return [], {}


def _channels(module: nn.Module) -> int:
    """How many channels a picture has, by the first convolution."""
    return next((child.in_channels for child in module.modules() if isinstance(child, nn.Conv2d)), 3)
