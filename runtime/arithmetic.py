"""The one integer model, for interpreted handlers: results of arithmetic wrap to signed 64 bits, as in compiled ones.

`//` and `%` round towards minus infinity as Python does; dividing by zero and shifting by a negative count are faults; a
shift by 64 or more leaves 0, or -1 to the right of a negative number. rewrite.py puts these in place of the operators.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from .types import wrap

__all__ = ["BUILTINS", "OPERATORS"]


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, with integer results wrapped."""

    def apply(*values: Any) -> Any:
        result = function(*values)
        return wrap(result) if type(result) is int else result

    apply.__name__ = function.__name__
    return apply


def shift_left(left: Any, right: Any) -> Any:
    """left << right"""
    if isinstance(right, int) and right > 63 and isinstance(left, int):
        return 0
    return left << right


def power(left: Any, right: Any) -> Any:
    """left ** right, modulo 2**64"""
    if isinstance(left, int) and isinstance(right, int):
        if right < 0:
            raise ValueError("negative exponent")
        return pow(left, right, 1 << 64)
    return left**right


OPERATORS: dict[type[ast.AST], tuple[str, Callable[..., Any]]] = {
    kind: (f"_splitplane_{function.__name__}", wrapped(function))
    for kind, function in (
        (ast.Add, operator.add),
        (ast.Sub, operator.sub),
        (ast.Mult, operator.mul),
        (ast.FloorDiv, operator.floordiv),
        (ast.Mod, operator.mod),
        (ast.LShift, shift_left),
        (ast.RShift, operator.rshift),
        (ast.BitAnd, operator.and_),
        (ast.BitOr, operator.or_),
        (ast.BitXor, operator.xor),
        (ast.Div, operator.truediv),
        (ast.Pow, power),
        (ast.USub, operator.neg),
    )
}
"""For each operator of the syntax tree: a name, and the function that does it in a handler."""

BUILTINS: dict[str, Callable[..., Any]] = {
    "abs": wrapped(abs),
    "pow": wrapped(power),
    "sum": wrapped(sum),
}
"""Built-in functions that can leave 64 bits."""
