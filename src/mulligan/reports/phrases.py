"""What pages say of runs in prose: limits of lists, captions, settings and commands in words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

from ..records import Description, ExampleRef, Quantity
from .text import number, visible

# How much of each list a page shows; what is left out is said where it is left out, with the file that has it.
LIMITS = {
    "findings": 50, "leads": 30, "checks": 100, "illusions": 30, "figures": 30, "classes": 30, "all_classes": 1000,
    "errors": 36, "sites": 60, "units": 24, "examples": 8, "drives": 10, "cards": 60, "coverage": 100, "ids": 40,
    "pairs": 20, "tokens": 120, "bins": 50, "notes": 30, "sightings": 8,
}  # fmt: skip


def captions(example: ExampleRef) -> tuple[str, ...]:
    """An example in words, a line each: what it is, what the network answers, how strongly the unit answers."""
    parts: list[str] = []
    if example.label is not None:
        parts.append(visible(example.label, 200))
    if example.answer is not None:
        parts.append(f"answered {visible(example.answer, 200)}")
    if example.activation is not None:
        parts.append(f"activation {number(example.activation)}")
    return tuple(parts) or (f"example {visible(example.id, 200)}",)


def shades(example: ExampleRef) -> tuple[tuple[str, float, float], ...]:
    """(token, weight, shade) for each token; a shade runs from -1 to 1, 1 at the largest size of a weight shown."""
    tokens = example.tokens or ()
    weights = example.weights or ()
    # Tokens without a weight are shown unshaded rather than dropped: a short list of weights is the data's mistake.
    padded = tuple(weights[i] if i < len(weights) else 0.0 for i in range(len(tokens)))
    most = max((abs(w) for w in padded), default=0.0) or 1.0
    return tuple((text, weight, weight / most) for text, weight in zip(tokens, padded, strict=True))


def other_figures(description: Description) -> tuple[dict[str, Quantity], int]:
    """Those of the description's further figures that are quantities, and how many are not and cannot be shown."""
    found: dict[str, Quantity] = {}
    every = description.figures or {}
    for name, value in every.items():
        try:
            found[name] = msgspec.convert(value, Quantity)
        except msgspec.ValidationError:
            continue
    return found, len(every) - len(found)


def command_of(manifest: Mapping[str, Any]) -> str:
    """The manifest's command as one would type it in a POSIX shell."""
    command = manifest.get("command")
    if isinstance(command, (list, tuple)):
        return shlex.join(str(part) for part in command)
    return "" if command is None else str(command)


def budget_of(manifest: Mapping[str, Any]) -> str:
    """The budget that was asked for, as it was written; empty where none is recorded."""
    config = manifest.get("config")
    budget = config.get("budget") if isinstance(config, Mapping) else None
    return visible(budget, 40) if isinstance(budget, str) else ""


def flat(value: object, prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted key, value) pairs."""
    if isinstance(value, Mapping):
        pairs: list[tuple[str, str]] = []
        for key, item in value.items():
            pairs += flat(item, f"{prefix}.{key}" if prefix else str(key))
        return pairs
    if value is None and not prefix:
        return []
    return [(prefix, value if isinstance(value, str) else msgspec.json.encode(value).decode("utf-8"))]
