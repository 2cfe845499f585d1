"""What a name or an attribute in a handler stands for, found before anything is compiled: module constants freeze here."""

from __future__ import annotations

import ast
import builtins
import difflib
import enum
import inspect
from collections.abc import Callable, Iterable
from types import FunctionType, ModuleType
from typing import Any

from .source import Refusal

__all__ = ["Static", "frozen", "lookup", "near", "unwrap"]

MUTABLE = (list, dict, set, bytearray)


class Static:
    """A name known before the handler runs: a constant, a function, a class, a module."""

    def __init__(self, value: Any) -> None:
        self.value = value


def near(name: str, known: Iterable[str]) -> str:
    """`did you mean …?` with the closest of the `known` names, or all of them if none is close."""
    names = list(known)
    close = difflib.get_close_matches(name, names, 1, 0.6)
    if close:
        return f"did you mean {close[0]}?"
    return f"there are: {', '.join(names)}" if names else ""


def unwrap(function: Any) -> Any:
    """The plain function inside a staticmethod."""
    return function.__func__ if isinstance(function, staticmethod) else function


def lookup(node: ast.Name, function: Callable[..., Any]) -> Static:
    """The global, closure variable or builtin that a name in `function` stands for."""
    closure = inspect.getclosurevars(function).nonlocals if function.__closure__ else {}
    for scope in (closure, function.__globals__, vars(builtins)):
        if node.id in scope:
            return Static(scope[node.id])
    known = near(node.id, [*function.__globals__, *vars(builtins)])
    remedy = known if known.startswith("did") else ""
    raise Refusal(node, f"the name {node.id} is not defined", remedy)


def member(node: ast.Attribute, owner: Any) -> Static:
    """An attribute of a module, an enum or a class."""
    if not isinstance(owner, (ModuleType, type)):
        raise Refusal(node, f"{node.attr} of a {type(owner).__name__} cannot be used in a handler")
    try:
        found = (
            inspect.getattr_static(owner, node.attr)
            if isinstance(owner, type)
            else getattr(owner, node.attr)
        )
    except AttributeError:
        known = [name for name in dir(owner) if not name.startswith("_")]
        hint = near(node.attr, known)
        remedy = hint if hint.startswith("did") else ""
        raise Refusal(node, f"{owner.__name__} has no {node.attr}", remedy) from None
    if isinstance(owner, enum.EnumMeta):
        found = getattr(owner, node.attr)
    return Static(unwrap(found))


def frozen(node: ast.expr, name: str, value: Any) -> int | bytes | tuple[Any, ...]:
    """The constant that compiled code keeps for `value`; refused if it isn't one."""
    if isinstance(value, enum.Enum) and isinstance(value, int):
        return int(value)
    if isinstance(value, (bool, int, bytes)):
        return value
    if isinstance(value, tuple):
        return tuple(frozen(node, name, each) for each in value)
    if isinstance(value, MUTABLE):
        remedy = "make it a tuple or bytes constant, or keep it in self.core"
        raise Refusal(
            node, f"{name} is a {type(value).__name__}, which compiled code cannot share", remedy
        )
    if isinstance(value, str):
        raise Refusal(
            node, f"{name} is a str, and handlers work on bytes", f'write b"{value[:20]}"'
        )
    if isinstance(value, float):
        raise Refusal(
            node,
            f"{name} is a float, and handlers compute with whole numbers",
            "scale it to an int",
        )
    if isinstance(value, FunctionType):
        raise Refusal(node, f"{name} is a function: it can be called, not kept")
    raise Refusal(node, f"{name} is a {type(value).__name__}, which a handler cannot use")
