"""The user's own code: `path/to/file.py:factory`.

A function without arguments that returns an `nn.Module` or a `Network`. The file may also say INPUT (as `--input` does:
"size=28,channels=1" for pictures, "shape=16" for arrays) and CLASSES (a list of names), and may import other files of
its folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
        return spec.endswith(".py") or spec.rpartition(":")[0].endswith(".py")

    def load(self, spec: str, weights: Path | None) -> Network:
        if spec.endswith(".py"):
            raise BadInput("the function is missing", where=spec, fix=f"write {spec}:FUNCTION")
        file, _, name = spec.rpartition(":")
        with _neighbours(Path(file)):
            module = _import(Path(file))
            made = _make(module, name, spec)
        if isinstance(made, Network):
            network = made
        else:
            text, classes = getattr(module, "INPUT", None), getattr(module, "CLASSES", None)
            _expect_names(text, classes, file)
            taken = parse_input(text, None) if text is not None else None
            network = Network(made, name=f"{Path(file).stem}:{name}", input=taken, classes=classes)
        if weights is not None:
            put_weights(network.module, read_weights(weights), weights)
        return network


def _make(module: ModuleType, name: str, spec: str) -> Network | nn.Module:
    make = getattr(module, name, None)
    if not callable(make):
        raise BadInput(
            f"this file has no function {name!r}",
            where=module.__file__,
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
    if not isinstance(made, Network | nn.Module):
        raise BadInput(
            f"the factory returned {type(made).__name__}",
            where=spec,
            fix="return a torch.nn.Module or a mulligan.Network",
        )
    return made


def _expect_names(text: object, classes: object, file: str) -> None:
    if text is not None and not isinstance(text, str):
        fix = 'write it as --input does: INPUT = "size=28,channels=1", or "shape=16" for arrays'
        raise BadInput("INPUT is not a text", where=file, fix=fix)
    named = isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)
    if classes is not None and not named:
        raise BadInput("CLASSES is not a list of names", where=file, fix='write CLASSES = ["first", "second"]')


@contextmanager
def _neighbours(file: Path) -> Iterator[None]:
    """Within the block, `file` can import what lies beside it; two folders may both have a `model.py`."""
    folder = str(file.resolve().parent)
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with suppress(ValueError):  # the user's code may have taken it away
            sys.path.remove(folder)
        for name in set(sys.modules) - before:
            lies = getattr(sys.modules[name], "__file__", None)
            if lies and Path(lies).resolve().parent == Path(folder) and Path(lies).resolve() != file.resolve():
                del sys.modules[name]


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
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise BadInput(
            f"importing this file raised {type(error).__name__}: {error}",
            where=file,
            fix="make `python FILE` run first",
        ) from error
    return module


ADAPTER = Factory()
