"""A tiny language for what is quoted: paths into runs, sums and ratios of them, and a few functions. Nothing is run.

    units: median(seen.cards[*].portraits[0].reached / seen.cards[*].portraits[0].best)
    plain: description.behaviour.figures.accuracy - shifted: description.behaviour.figures.accuracy

    expression = sum [("<" | "<=" | ">" | ">=" | "==" | "!=") sum]
    sum        = product {("+" | "-") product}
    product    = unary {("*" | "/") unary}
    unary      = ["-" | RUN ":"] (unary | number | "text" | "(" expression ")" | FUNCTION "(" expression ")" | path)
    path       = DOCUMENT {"." FIELD | "[" (POSITION | "NAME" | "*") "]"}

A path speaks of the run that was named last to its left. A path with `[*]` gives one value a record;
arithmetic then goes record by record. So does a name with `*` in it, `['blocks.5:*']`. A quantity counts as its value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...records import BadInput
from .arithmetic import COMPARE, FUNCTIONS, arithmetic, compare, each, number
from .documents import Many, RunDocuments, Step, written

LONGEST = 500  # characters of an expression
_DEEPEST = 20  # brackets within brackets

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<text>'[^']*'|"[^"]*")"""
    r"""|(?P<sign><=|>=|==|!=|[-+*/()<>\[\].:,]))"""
)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value came from: the run's name in the article, the file in its folder, the path in that file."""

    run: str
    file: str
    path: str


@dataclass(frozen=True, slots=True)
class Derived:
    """What an expression came to.

    Attributes:
        value: a number, a text, or whether something holds.
        low, high: the interval, where the expression is one quantity. unit: of that quantity.
        sources: every path that was read, in order.
    """

    value: float | str
    low: float | None
    high: float | None
    unit: str
    sources: tuple[Source, ...]

    def __str__(self) -> str:
        """With more digits than prose has: all of a whole number, six of others."""
        if isinstance(self.value, str):
            return self.value
        whole = float(self.value).is_integer() and abs(self.value) < 1e15
        interval = f" [{self.low:.6g}, {self.high:.6g}]" if self.low is not None and self.high is not None else ""
        return (f"{self.value:.0f}" if whole else f"{self.value:.6g}") + interval


def derive(text: str, runs: Mapping[str, RunDocuments]) -> Derived:
    """Evaluate an expression over the runs that an article names.

    Raises:
        BadInput: if it is not in the language, names no run, leads nowhere, or comes to no single value.
    """
    reading = _Reading(text, runs)
    found = reading.whole()
    sources = tuple(dict.fromkeys(reading.sources))
    if isinstance(found, dict) and "value" in found:
        low, high = found.get("low"), found.get("high")
        return Derived(_finite(found["value"]), low, high, str(found.get("unit", "")), sources)
    if isinstance(found, bool):
        return Derived("yes" if found else "no", None, None, "", sources)
    if isinstance(found, (int, float)):
        return Derived(_finite(found), None, None, "", sources)
    if isinstance(found, str):
        return Derived(found, None, None, "", sources)
    if found is None:
        raise BadInput("this is null: it was not measured", fix="quote a value that is there")
    if isinstance(found, Many):
        fix = "take their median(), mean(), min(), max(), sum(), count() or share()"
        raise BadInput(f"this comes to {len(found)} values", fix=fix)
    inner = ", ".join(map(str, list(found)[:6])) if isinstance(found, dict) else f"{len(found)} entries"
    raise BadInput(f"this is no single value: it holds {inner}", fix="go on to one of these, or count() them")


def _finite(value: Any) -> float:
    found = number(value)
    if not math.isfinite(found):
        raise BadInput("this comes to no finite number", fix="quote a value that is one")
    return found


class _Reading:
    """One expression, read and evaluated from left to right."""

    def __init__(self, text: str, runs: Mapping[str, RunDocuments]) -> None:
        if len(text) > LONGEST:
            raise BadInput(f"this expression has {len(text)} characters", fix=f"use at most {LONGEST}")
        self.runs, self.run, self.sources, self.depth = runs, None, [], 0
        self.tokens = _tokens(text)
        self.at = 0

    def whole(self) -> Any:
        found = self.expression()
        if self.at < len(self.tokens):
            raise BadInput(f"this expression goes on with {self.tokens[self.at][1]!r} where it should end", fix=_FIX)
        return found

    def expression(self) -> Any:
        left = self.chain(self.product, ("+", "-"))
        sign = self.peek()
        if sign in COMPARE:
            self.take()
            return each(lambda a, b: compare(sign, a, b), left, self.chain(self.product, ("+", "-")))
        return left

    def product(self) -> Any:
        return self.chain(self.unary, ("*", "/"))

    def chain(self, inner: Callable[[], Any], signs: tuple[str, str]) -> Any:
        left = inner()
        while (sign := self.peek()) in signs:
            self.take()
            left = each(lambda a, b, sign=sign: arithmetic(sign, a, b), left, inner())
        return left

    def unary(self) -> Any:
        kind, text = self.take()
        if text == "-" and kind == "sign":
            return each(lambda a, _: -number(a), self.nested(self.unary), None)
        if kind == "number":
            return float(text) if re.search(r"[.eE]", text) else int(text)
        if kind == "text":
            return text[1:-1]
        if text == "(" and kind == "sign":
            found = self.nested(self.expression)
            self.expect(")")
            return found
        if kind == "name" and self.peek() == ":":
            self.take()
            self.choose(text)
            return self.nested(self.unary)
        if kind == "name" and self.peek() == "(":
            return self.call(text)
        if kind == "name":
            return self.path(text)
        raise BadInput(f"{text!r} stands where a path or a number should", fix=_FIX)

    def call(self, name: str) -> Any:
        if name not in FUNCTIONS:
            raise BadInput(f"there is no function {name}()", fix=f"use one of {', '.join(FUNCTIONS)}")
        self.expect("(")
        found = self.nested(self.expression)
        self.expect(")")
        return FUNCTIONS[name](found)

    def choose(self, name: str) -> None:
        if name not in self.runs:
            named = ", ".join(self.runs) or "none; name one under [runs]"
            raise BadInput(f"the article names no run {name!r}", fix=f"its runs are {named}")
        self.run = self.runs[name]

    def path(self, name: str) -> Any:
        if self.run is None:
            raise BadInput(f"{name!r} does not say of which run", fix=f"write RUN: {name}")
        steps: list[Step] = [name]
        while self.peek() in (".", "["):
            _, sign = self.take()
            if sign == ".":
                steps.append(self.take("name")[1])
                continue
            steps.append(self.position())
            self.expect("]")
        found = self.run.get(tuple(steps))
        self.sources.append(Source(self.run.name, self.run.file(tuple(steps)), written(tuple(steps))))
        return found

    def position(self) -> Step:
        kind, text = self.take()
        if text == "-" and kind == "sign":
            return -int(self.take("number")[1])
        if kind == "number" and text.isdecimal():
            return int(text)
        if kind == "text":
            return text[1:-1]
        if text == "*":
            return None
        raise BadInput(f"[{text}] is no position", fix="write [0], ['NAME'] or [*]")

    def nested(self, inner: Callable[[], Any]) -> Any:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise BadInput("this expression is nested too deeply", fix=_FIX)
        found = inner()
        self.depth -= 1
        return found

    def peek(self) -> str:
        kind, text = self.tokens[self.at] if self.at < len(self.tokens) else ("sign", "")
        return text if kind == "sign" else ""

    def take(self, kind: str | None = None) -> tuple[str, str]:
        if self.at == len(self.tokens):
            raise BadInput("this expression ends too early", fix=_FIX)
        token = self.tokens[self.at]
        if kind is not None and token[0] != kind:
            raise BadInput(f"{token[1]!r} stands where a {kind} should", fix=_FIX)
        self.at += 1
        return token

    def expect(self, sign: str) -> None:
        if self.peek() != sign:
            found = repr(self.tokens[self.at][1]) if self.at < len(self.tokens) else "the end"
            raise BadInput(f"{found} stands where {sign!r} should", fix=_FIX)
        self.at += 1


_FIX = "write RUN: DOCUMENT.FIELD['NAME'][0], with + - * / and median(), say"


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at, end)
        if match is None:
            raise BadInput(f"{text[at:end].strip()[:1]!r} has no meaning in an expression", fix=_FIX)
        found.append((match.lastgroup or "", match[match.lastgroup or ""]))
        at = match.end()
    return found
