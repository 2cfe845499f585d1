"""Expressions of a handler: each becomes an expression that Numba takes, with its kind known beforehand."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from numba.core import types as numba_types

from ..types import LOWEST, wrap
from . import connection, integers, view
from .names import Static, frozen, lookup
from .source import Refusal
from .types import ConnectionKind, ViewKind, boolean, describe, int64, none

__all__ = ["Expressions", "Value", "is_number", "seen"]

REFUSED = {
    ast.List: ("a list needs memory of its own", "use an Array field of a State, or a tuple"),
    ast.Dict: ("a dict needs memory of its own", "keep a fixed table in self.core"),
    ast.Set: ("a set needs memory of its own", "compare with a tuple of constants"),
    ast.ListComp: ("a comprehension makes a list", "write a for loop"),
    ast.SetComp: ("a comprehension makes a set", "write a for loop"),
    ast.DictComp: ("a comprehension makes a dict", "write a for loop"),
    ast.GeneratorExp: ("a generator cannot run in a handler", "write a for loop"),
    ast.JoinedStr: ("an f-string makes a str", 'send the parts: send(b"…") and send_int(number)'),
    ast.Lambda: ("a lambda cannot compile", "write a function in the module"),
    ast.Await: ("a data actor's handler never waits", "tell a control actor"),
    ast.Yield: ("a handler cannot be a generator", "return, and go on in the next call"),
    ast.YieldFrom: ("a handler cannot be a generator", "return, and go on in the next call"),
    ast.NamedExpr: (":= cannot compile", "assign in a line of its own, before"),
    ast.Starred: ("* works only in a function's own call", "write the arguments one by one"),
}


class Value(NamedTuple):
    """A translated expression and its kind: a Numba type, or a Static."""

    node: ast.expr
    kind: Any


def seen(value: Any) -> Static:
    """A constant as handlers see it: integers have 64 bits."""
    return Static(wrap(value) if type(value) is int else value)


def is_number(kind: Any) -> bool:
    """Whether it is an int or a bool."""
    return isinstance(kind, (numba_types.Integer, numba_types.Boolean))


class Expressions:
    """Translates expressions; `names` holds the kinds of local variables, `scope` what the new function's names are."""

    function: Callable[..., Any]
    names: dict[str, Any]
    scope: dict[str, Any]
    sure: set[str]

    def bind(self, value: Any, name: str) -> str:
        """A name in the new function's globals for `value`."""
        bound = f"{name}·{len(self.scope)}"
        self.scope[bound] = value
        return bound

    def run(self, at: ast.AST, operation: Any, *arguments: ast.expr, returns: Any = None) -> Value:
        """A call of an operation, standing where `at` stands."""
        made = self.called(at, self.bind(operation, operation.name), arguments)
        return Value(made, operation.returns if returns is None else returns)

    def called(self, at: ast.AST, name: str, arguments: Sequence[ast.expr]) -> ast.expr:
        """name(*arguments)"""
        made = ast.Call(ast.Name(name, ast.Load()), list(arguments), [])
        for part in (made, made.func):
            ast.copy_location(part, at)
        return made

    def expression(self, node: ast.expr) -> Value:
        """Any expression; its kind may be Static."""
        name = type(node).__name__.lower()
        found = getattr(self, f"on_{name}", None)
        if found is None:
            sentence, remedy = REFUSED.get(type(node), (f"{name} cannot be used in a handler", ""))
            raise Refusal(node, sentence, remedy)
        result: Value = found(node)
        return result

    def value(self, node: ast.expr) -> Value:
        """An expression with a value at run time: constants become literals."""
        return self.settled(node, self.expression(node))

    def settled(self, node: ast.expr, got: Value) -> Value:
        """The same with a constant made a literal."""
        if isinstance(got.kind, Static):
            return self.literal(node, frozen(node, ast.unparse(node), got.kind.value))
        return got

    def literal(self, at: ast.expr, constant: Any) -> Value:
        """A frozen constant."""
        if isinstance(constant, bytes):
            return self.run(at, view.constant(constant))
        if isinstance(constant, tuple):
            parts = [self.literal(at, each) for each in constant]
            made = ast.Tuple([part.node for part in parts], ast.Load())
            return Value(
                ast.copy_location(made, at),
                numba_types.BaseTuple.from_types([part.kind for part in parts]),
            )
        if isinstance(constant, bool):
            return Value(ast.copy_location(ast.Constant(constant), at), boolean)
        whole = wrap(constant)
        node = ast.copy_location(ast.Constant(whole), at)
        # Numba takes the lowest number for an unsigned one.
        return self.run(at, integers.to_int, node) if whole == LOWEST else Value(node, int64)

    def number(self, node: ast.expr, what: str) -> Value:
        """An expression that must be a number; bools become ints."""
        return self.whole(node, self.value(node), what)

    def whole(self, node: ast.expr, got: Value, what: str) -> Value:
        """The same as an int."""
        if not is_number(got.kind):
            raise Refusal(node, f"{what} takes an int, not {describe(got.kind)}")
        return self.run(node, integers.to_int, got.node) if got.kind == boolean else got

    def test(self, node: ast.expr) -> ast.expr:
        """An expression as a condition."""
        if isinstance(node, ast.BoolOp):
            made = ast.BoolOp(node.op, [self.test(each) for each in node.values])
            return ast.copy_location(made, node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ast.copy_location(ast.UnaryOp(ast.Not(), self.test(node.operand)), node)
        got = self.value(node)
        if is_number(got.kind):
            return got.node
        if isinstance(got.kind, ViewKind):
            return self.run(node, view.view_length, got.node).node
        if isinstance(got.kind, ConnectionKind):
            return self.run(node, connection.alive(got.kind), got.node).node
        raise Refusal(node, f"{describe(got.kind)} is neither true nor false")

    def on_constant(self, node: ast.Constant) -> Value:
        if node.value is None:
            return Value(node, none)
        return Value(node, seen(node.value))

    def on_name(self, node: ast.Name) -> Value:
        if node.id in self.names:
            kind = self.names[node.id]
            if kind is None:
                raise Refusal(node, "")
            if node.id not in self.sure:
                sentence = f"{node.id} has no value on some way here"
                raise Refusal(node, sentence, "give it one before the branch")
            return Value(node, kind)
        if node.id in self.function.__code__.co_varnames:
            raise Refusal(node, f"{node.id} has no value yet")
        return Value(node, seen(lookup(node, self.function).value))

    def on_tuple(self, node: ast.Tuple) -> Value:
        parts = [self.expression(each) for each in node.elts]
        if parts and all(isinstance(part.kind, Static) for part in parts):
            return Value(node, Static(tuple(part.kind.value for part in parts)))
        parts = [self.settled(each, part) for each, part in zip(node.elts, parts, strict=True)]
        made = ast.Tuple([part.node for part in parts], ast.Load())
        return Value(
            ast.copy_location(made, node),
            numba_types.BaseTuple.from_types([part.kind for part in parts]),
        )

    def define(self, target: ast.Name, kind: Any) -> None:
        """A local variable takes a value of `kind`."""
        raise NotImplementedError
