"""The user's own code: `path/to/file.py:factory`, a function without arguments that returns an `nn.Module` or a `Network`.

The file may also say INPUT (as `--input` does) and CLASSES (a list of names).
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from torch import nn

from ...records import BadInput, MulliganError
from ..inputs import parse_input
from ..network import Network
from ..weights import put_weights, read_weights


class Factory:
    """`FILE.py:FUNCTION`, with `--weights` for what it should know."""

    forms = ("path/to/file.py:factory",)

    def accepts(self, spec: str) -> bool:
        file, colon, _ = spec.rpartition(":")
        return bool(colon) and file.endswith(".py")

    def load(self, spec: str, weights: Path | None) -> Network:
        file, _, name = spec.rpartition(":")
        module = _import(Path(file))
        make = getattr(module, name, None)
        if not callable(make):
            raise BadInput(
                f"this file has no function {name!r}",
                where=file,
                fix="name a function without arguments that returns a torch.nn.Module",
            )
        try:
            made = make()
        except MulliganError:
            raise
        except Exception as error:
            raise BadInput(
                f"the factory raised {type(error).__name__}: {error}", where=spec, fix="make it run without arguments"
            ) from error
        if isinstance(made, Network):
            network = made
        elif isinstance(made, nn.Module):
            text, classes = getattr(module, "INPUT", None), getattr(module, "CLASSES", None)
            network = Network(
                made, name=f"{Path(file).stem}:{name}", input=parse_input(text, None) if text else None, classes=classes
            )
        else:
            raise BadInput(
                f"the factory returned {type(made).__name__}",
                where=spec,
                fix="return a torch.nn.Module or a mulligan.Network",
            )
        if weights is not None:
            put_weights(network.module, read_weights(weights), weights)
        return network


def _import(file: Path) -> ModuleType:
    if not file.is_file():
        raise BadInput("this file does not exist", where=file, fix="check the path before the colon")
    name = f"mulligan_user_{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise BadInput("this file cannot be imported", where=file, fix="give a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and the like look their module up here
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise BadInput(
            f"importing this file raised {type(error).__name__}: {error}",
            where=file,
            fix="make `python FILE` run first",
        ) from error
    return module


ADAPTER = Factory()
