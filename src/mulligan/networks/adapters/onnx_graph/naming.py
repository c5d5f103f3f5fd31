"""Paths for the operations of an ONNX graph, from the names that the exporter left.

torch's older exporter writes `/layer1/layer1.0/conv1/Conv`, its newer one notes `['', 'layer1', 'layer1.0', ...]`,
Keras `model/conv1/Conv2D`. A module in which one operation ran is that operation (`layer1.0.conv1`); where several ran,
each is a member (`layer1.0.Add`). Other names are taken as they are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

_STRANGE = re.compile(r"[^A-Za-z0-9_]")


@dataclass(frozen=True)
class Named:
    """What an operation is called in the file. Attributes: weight: the name of its trained tensor, if it has one."""

    op: str
    name: str
    scopes: tuple[str, ...] | None
    weight: str = ""


def places(items: Sequence[Named]) -> list[tuple[tuple[str, ...], str]]:
    """For each operation the paths of the modules around it, outermost first, and its own path."""
    raw = [_split(item) for item in items]
    inner = Counter(scopes[-1] for scopes, _ in raw if scopes)
    within = Counter(scope for scopes, _ in raw for scope in scopes)
    found: list[tuple[tuple[str, ...], str]] = []
    for item, (scopes, leaf) in zip(items, raw, strict=True):
        if scopes and inner[scopes[-1]] == 1 and within[scopes[-1]] == 1:
            found.append((scopes[:-1], _by_weight(item, scopes, within)))
        else:
            found.append((scopes, ".".join([*scopes[-1:], leaf])))
    return _distinct(items, found)


def _split(item: Named) -> tuple[tuple[str, ...], str]:
    """The paths of the modules around an operation, and its own short name."""
    if item.scopes is not None:
        paths = [_path(scope) for scope in item.scopes]
        return tuple(dict.fromkeys(path for path in paths if path)), item.op
    *around, own = item.name.strip("/").split("/")
    if not around:
        return (), _path(own) or item.op
    paths: list[str] = []
    last = ""
    for part in around:
        # A member of a numbered list repeats the list's own name: layer1, layer1.0.
        path = (
            paths[-1][: len(paths[-1]) - len(last)].rstrip(".")
            if paths and part.startswith(f"{last}.")
            else (paths[-1] if paths else "")
        )
        paths.append(".".join(one for one in (path, _path(part)) if one))
        last = part if _path(part) == part else ""
    return tuple(dict.fromkeys(paths)), _path(own).replace(".", "_") or item.op


def _path(text: str) -> str:
    """A text as a module's path: letters, digits and underscores between dots, and no name that a module has anyway."""
    parts = [_STRANGE.sub("_", part) for part in text.split(".") if part]
    return ".".join(f"{part}_" if hasattr(nn.Module, part) or part == "training" else part for part in parts)


def _by_weight(item: Named, scopes: tuple[str, ...], within: Counter[str]) -> str:
    """The module's path; that of its weight where the exporter folded a batch norm and kept the norm's path."""
    own, _, kind = item.weight.rpartition(".")
    beside = own.rpartition(".")[0] == scopes[-1].rpartition(".")[0]
    return own if kind == "weight" and own and beside and own == _path(own) and not within[own] else scopes[-1]


def _distinct(items: Sequence[Named], found: list[tuple[tuple[str, ...], str]]) -> list[tuple[tuple[str, ...], str]]:
    """The same with no path twice, and none that is also a module around others."""
    around = {scope for scopes, _ in found for scope in scopes}
    for _, path in found:
        parts = path.split(".")
        around |= {".".join(parts[:end]) for end in range(1, len(parts))}
    used: set[str] = set()
    tried: Counter[str] = Counter()
    distinct: list[tuple[tuple[str, ...], str]] = []
    for item, (scopes, path) in zip(items, found, strict=True):
        base = f"{path}.{item.op}" if path in around else path
        name = base
        while name in used or name in around:
            tried[base] += 1
            name = f"{base}_{tried[base]}"
        used.add(name)
        distinct.append((scopes, name))
    return distinct
