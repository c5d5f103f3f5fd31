"""The template environment that every page is made with: always escaped, nothing hidden, no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from . import charts, wording
from .shell import policy
from .text import NOT_MEASURED, number, plural, shown, token, visible


@dataclass(frozen=True, slots=True)
class Bounded:
    """The first items of a list, and how many were left out."""

    shown: tuple[Any, ...]
    left: int


def bounded(items: Sequence[Any], n: int) -> Bounded:
    """At most `n` of `items`."""
    return Bounded(tuple(islice(items, n)), max(0, len(items) - n))


def finalize(value: object) -> object:
    """What every expression in a template goes through before it is escaped: None in words, hidden characters shown."""
    if isinstance(value, Markup):
        return value
    if value is None:
        return NOT_MEASURED
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number(value)
    return visible(str(value))


def whole(text: str) -> Markup:
    """A text that is not to be cut, such as a command; escaped, with hidden characters shown."""
    return Markup.escape(visible(text, None))


def brief(text: str) -> str:
    """A name, short enough that it cannot push what matters out of sight."""
    return visible(text, 200)


def css(value: float) -> Markup:
    """A number for a style or a drawing: plain digits, whatever the reader's conventions."""
    return Markup(f"{float(value):.2f}".rstrip("0").rstrip("."))


def listed(items: Iterable[object], n: int) -> str:
    """`1, 2, 3 and 40 more`."""
    every = list(items)
    head = ", ".join(visible(str(item), 200) for item in every[:n])
    return f"{head} and {number(len(every) - n)} more" if len(every) > n else head


@cache
def environment() -> Environment:
    """The one environment; templates see the helpers of this layer as filters and globals."""
    env = Environment(
        loader=PackageLoader("mulligan.reports"), autoescape=True, undefined=StrictUndefined, finalize=finalize,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    env.filters.update(
        bounded=bounded, brief=brief, whole=whole, css=css, listed=listed, shown=shown, number=number, token=token,
        source_name=wording.source_name, check_state=wording.state, sensitivity=wording.sensitivity,
        borrowed=wording.borrowed, p_text=wording.p_text, weaker=wording.weaker, graded=wording.is_graded,
    )  # fmt: skip
    env.globals.update(
        plural=plural, panels=charts.panels, reliability_points=charts.reliability_points,
        policy=policy, stylesheet=stylesheet(),
    )  # fmt: skip
    env.tests["open_check"] = wording.is_open
    return env


def stylesheet() -> Markup:
    """The page's style."""
    return Markup(files("mulligan.reports").joinpath("assets/page.css").read_text(encoding="utf-8"))
