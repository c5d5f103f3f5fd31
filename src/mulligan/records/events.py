"""What long work says while it runs. An app renders these; the library prints nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A job of `total` pieces begins; `done` of them were finished by an earlier run."""

    job: str
    total: int
    done: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced:
    """`done` of `total` pieces are finished; `seconds_left` is an estimate, None until a piece has been timed."""

    job: str
    done: int
    total: int
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A job is over."""

    job: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """One sentence that the user should read."""

    text: str


Event = Started | Advanced | Finished | Noted
Emit = Callable[[Event], None]


def silent(event: Event) -> None:
    """An `Emit` that renders nothing."""
