"""One forward pass on a made-up input, to learn where tensors pass, in which order, and what is changed in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..records import BadInput, MulliganError, Site
from .axes import Passed, all_axes
from .inputs import NetworkInput
from .leaves import leaves


@dataclass(frozen=True)
class Step:
    """One thing that happened in the dry run: a module was entered or left."""

    path: str
    call: int
    leaving: bool


@dataclass(frozen=True)
class DryRun:
    """What one forward pass on a made-up input told.

    Attributes:
        ports: every port that a tensor passes, in order, with its shape. axes: what each axis is.
        order: which module was entered and left when.
        overwritten: ports whose tensor was changed in place later in the pass.
        names: the key of a port's first tensor, which a site's empty leaf stands for.
        x, mask: what the network was given.
    """

    ports: Mapping[Site, tuple[int, ...]]
    axes: Mapping[Site, tuple[str, ...]]
    order: tuple[Step, ...]
    overwritten: frozenset[Site]
    names: Mapping[Site, str]
    x: Tensor
    mask: Tensor | None


def rehearse(
    module: nn.Module,
    run: Callable[[Tensor, Tensor | None], Any],
    x: Tensor,
    mask: Tensor | None,
    input: NetworkInput | None,
) -> DryRun:
    """Watch everything while `run(x, mask)` runs `module` once.

    Raises:
        BadInput: if the network refuses the input.
    """
    order: list[Step] = []
    passed: list[Passed] = []
    versions: list[int] = []
    names: dict[Site, str] = {}
    calls: dict[str, int] = {}
    handles: list[Any] = []

    def see(path: str, module: nn.Module, port: Any, call: int, value: Any) -> None:
        for number, (leaf, tensor) in enumerate(leaves(value)):
            site = Site(path, port, call, leaf if number else "")
            if not number:
                names[site] = leaf
            passed.append(Passed(site, module, tensor))
            versions.append(version(tensor))

    for path, child in module.named_modules():

        def before(child: nn.Module, args: Any, kwargs: Any, path: str = path) -> None:
            call = calls.get(path, 0)
            order.append(Step(path, call, False))
            see(path, child, "in", call, {**{str(i): arg for i, arg in enumerate(args)}, **kwargs})

        def after(child: nn.Module, args: Any, kwargs: Any, output: Any, path: str = path) -> None:
            call = calls.get(path, 0)
            calls[path] = call + 1
            order.append(Step(path, call, True))
            see(path, child, "out", call, output)

        handles.append(child.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(child.register_forward_hook(after, with_kwargs=True))
    try:
        # Inference tensors count no versions, so the caller's inference mode is left for this pass.
        with torch.inference_mode(False), torch.no_grad():
            run(_plain(x), _plain(mask) if mask is not None else None)
    except (MulliganError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever the user's own forward may raise
        first = str(error).strip().split("\n")[0] or type(error).__name__
        raise BadInput(
            f"the network refuses an input of shape {tuple(x.shape)}: {first}",
            where=type(module).__name__,
            fix="check --input, or the factory's own input",
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return DryRun(
        ports={one.site: tuple(one.tensor.shape) for one in passed},
        axes=all_axes(passed, x, input),
        order=tuple(order),
        overwritten=frozenset(
            one.site for one, then in zip(passed, versions, strict=True) if version(one.tensor) != then
        ),
        names=names,
        x=x,
        mask=mask,
    )


def _plain(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.is_inference() else tensor


def version(tensor: Tensor) -> int:
    """How often the tensor was changed in place; 0 where torch does not count (tensors made in inference mode)."""
    return 0 if tensor.is_inference() else tensor._version
