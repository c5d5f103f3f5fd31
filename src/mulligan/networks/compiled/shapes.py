"""For which shapes a graph holds: what torch.export assumed of sizes while it made the graph, asked of every batch.

A branch on a length is burnt into a graph; torch writes down what it assumed, as comparisons of the inputs' sizes. They
are text in a file, so they are never evaluated as code: only comparisons of sums, products and remainders are read.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Sizes = Mapping[str, Sequence[int]]
_Rule = Callable[[Sizes], Any]

_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod, ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge, ast.USub: operator.neg, ast.Not: operator.not_,
}  # fmt: skip


class ShapeRules:
    """Comparisons such as `L['x'].size()[1] <= 512`.

    Raises:
        ValueError: if one is anything else.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = tuple(texts)
        try:
            self._rules = [_read(ast.parse(text, mode="eval").body) for text in self.texts]
        except (SyntaxError, RecursionError) as error:
            raise ValueError("not a comparison of sizes") from error

    def allow(self, sizes: Sizes) -> bool:
        """Whether inputs of these shapes, by name, are what the graph was made for."""
        try:
            return all(rule(sizes) for rule in self._rules)
        except (KeyError, IndexError, ZeroDivisionError):
            return False


def _read(node: ast.AST) -> _Rule:
    match node:
        case ast.Constant(value=int() as number):
            return lambda sizes: number
        case ast.Subscript(
            value=ast.Call(
                func=ast.Attribute(
                    value=ast.Subscript(value=ast.Name(id="L"), slice=ast.Constant(value=str() as name)), attr="size"
                ),
                args=[],
                keywords=[],
            ),
            slice=ast.Constant(value=int() as axis),
        ):
            return lambda sizes: sizes[name][axis]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            act, inner = _OPERATORS[type(op)], _read(operand)
            return lambda sizes: act(inner(sizes))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _pair(_OPERATORS[type(op)], _read(left), _read(right))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
            return _pair(_OPERATORS[type(op)], _read(left), _read(right))
        case ast.BoolOp(op=op, values=values):
            parts = [_read(value) for value in values]
            whole = all if isinstance(op, ast.And) else any
            return lambda sizes: whole(part(sizes) for part in parts)
    raise ValueError(f"not a comparison of sizes: {ast.unparse(node)}")


def _pair(act: Callable[..., Any], left: _Rule, right: _Rule) -> _Rule:
    return lambda sizes: act(left(sizes), right(sizes))
