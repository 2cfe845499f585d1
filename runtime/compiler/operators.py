"""Operators and comparisons of a handler: one integer model, bytes that are compared and never joined."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from numba.core import types as numba_types

from ..types import wrap
from . import integers, view
from .expressions import Expressions, Value, is_number
from .names import Static, frozen
from .source import Refusal
from .types import RowKind, ViewKind, boolean, describe, int64

__all__ = ["Operators"]

FOLDED: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.FloorDiv: lambda left, right: left // right,
    ast.Mod: lambda left, right: left % right,
    ast.LShift: lambda left, right: left << min(right, 64),
    ast.RShift: lambda left, right: left >> right,
    ast.BitAnd: lambda left, right: left & right,
    ast.BitOr: lambda left, right: left | right,
    ast.BitXor: lambda left, right: left ^ right,
    ast.Pow: lambda left, right: pow(left, right, 1 << 64) if right >= 0 else left >> right,
}
CHECKED = {
    ast.Add: integers.add,
    ast.Sub: integers.subtract,
    ast.Mult: integers.multiply,
    ast.FloorDiv: integers.floor_divide,
    ast.Mod: integers.remainder,
    ast.LShift: integers.shift_left,
    ast.RShift: integers.shift_right,
}
CONSTANT_MAX = 1 << 20  # bytes


class Operators(Expressions):
    """Translates operators."""

    def on_unaryop(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            return Value(self.test(node), boolean)
        got = self.expression(node.operand)
        if isinstance(got.kind, Static) and isinstance(got.kind.value, int):
            whole = {ast.USub: int.__neg__, ast.Invert: int.__invert__, ast.UAdd: int.__pos__}[
                type(node.op)
            ]
            return Value(node, Static(wrap(whole(int(got.kind.value)))))
        got = self.whole(node.operand, self.settled(node.operand, got), "this operator")
        if isinstance(node.op, ast.USub):
            return self.run(node, integers.negate, got.node)
        return Value(ast.copy_location(ast.UnaryOp(node.op, got.node), node), int64)

    def on_binop(self, node: ast.BinOp) -> Value:
        left, right = self.expression(node.left), self.expression(node.right)
        constants = [side.kind.value for side in (left, right) if isinstance(side.kind, Static)]
        if len(constants) == 2:
            folded = self.fold(node, *constants)
            if folded is not None:
                return folded
        one, two = self.settled(node.left, left), self.settled(node.right, right)
        return self.binary(node, node.op, (node.left, one), (node.right, two))

    def fold(self, node: ast.BinOp, left: Any, right: Any) -> Value | None:
        """An operation on two constants, done now; None if it is not one of these."""
        if isinstance(left, int) and isinstance(right, int) and type(node.op) in FOLDED:
            try:
                return Value(node, Static(wrap(FOLDED[type(node.op)](left, right))))
            except (ValueError, ZeroDivisionError) as error:
                raise Refusal(node, f"this always fails: {error}") from None
        if isinstance(left, bytes) and isinstance(right, bytes) and isinstance(node.op, ast.Add):
            return Value(node, Static(left + right))
        sizes = sorted((left, right), key=lambda each: isinstance(each, int))
        if isinstance(node.op, ast.Mult) and [type(each) for each in sizes] == [bytes, int]:
            if len(sizes[0]) * sizes[1] > CONSTANT_MAX:
                raise Refusal(node, f"a constant of more than {CONSTANT_MAX} bytes")
            return Value(node, Static(sizes[0] * sizes[1]))
        return None

    def binary(
        self,
        at: ast.AST,
        op: ast.operator,
        left: tuple[ast.expr, Value],
        right: tuple[ast.expr, Value],
    ) -> Value:
        """left OP right, of two numbers, each with the node it came from."""
        one, two = left[1], right[1]
        if isinstance(one.kind, ViewKind) and isinstance(two.kind, ViewKind):
            raise Refusal(
                at, "joining bytes makes a new object", "send both: connection.send(first, second)"
            )
        for node, side in (left, right):
            if not is_number(side.kind):
                raise Refusal(node, f"{describe(side.kind)} is no number")
        if isinstance(op, ast.Div):
            raise Refusal(at, "/ makes a float", "write //")
        if isinstance(op, (ast.Pow, ast.MatMult)):
            raise Refusal(at, "this operator works on constants only", "multiply, or shift with <<")
        if type(op) in CHECKED:
            return self.run(at, CHECKED[type(op)], one.node, two.node)
        logic = isinstance(op, (ast.BitAnd, ast.BitOr, ast.BitXor))
        if not (logic and one.kind == boolean and two.kind == boolean):
            one, two = self.whole(*left, "this operator"), self.whole(*right, "this operator")
        kind = boolean if one.kind == boolean else int64
        return Value(ast.copy_location(ast.BinOp(one.node, op, two.node), at), kind)

    def on_boolop(self, node: ast.BoolOp) -> Value:
        parts = [self.value(each) for each in node.values]
        for part, each in zip(parts, node.values, strict=True):
            if not is_number(part.kind):
                raise Refusal(
                    each,
                    f"and/or give {describe(part.kind)} here",
                    "use them in a condition, or write if",
                )
        made = ast.BoolOp(node.op, [part.node for part in parts])
        kind = boolean if all(part.kind == boolean for part in parts) else int64
        if kind == int64:
            whole = [
                self.whole(each, part, "and/or")
                for each, part in zip(node.values, parts, strict=True)
            ]
            made.values = [part.node for part in whole]
        return Value(ast.copy_location(made, node), kind)

    def on_ifexp(self, node: ast.IfExp) -> Value:
        test = self.test(node.test)
        one, two = self.value(node.body), self.value(node.orelse)
        if one.kind != two.kind:
            one, two = (
                self.whole(node.body, one, "if/else"),
                self.whole(node.orelse, two, "if/else"),
            )
        return Value(ast.copy_location(ast.IfExp(test, one.node, two.node), node), one.kind)

    def on_compare(self, node: ast.Compare) -> Value:
        sides = [node.left, *node.comparators]
        if len(node.ops) == 1:
            return self.compare(node, node.ops[0], node.left, node.comparators[0])
        numbers = [self.number(side, "a chained comparison") for side in sides]
        if not all(
            isinstance(op, (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)) for op in node.ops
        ):
            raise Refusal(
                node, "this chained comparison cannot compile", "write two, joined by and"
            )
        made = ast.Compare(numbers[0].node, node.ops, [each.node for each in numbers[1:]])
        return Value(ast.copy_location(made, node), boolean)

    def compare(self, node: ast.Compare, op: ast.cmpop, left: ast.expr, right: ast.expr) -> Value:
        """One comparison."""
        if isinstance(op, (ast.In, ast.NotIn)):
            return self.contains(node, op, left, right)
        if isinstance(op, (ast.Is, ast.IsNot)):
            raise Refusal(node, "nothing in a handler can be None", "test the value itself")
        one, two = self.value(left), self.value(right)
        equal = isinstance(op, (ast.Eq, ast.NotEq))
        if isinstance(one.kind, ViewKind) and isinstance(two.kind, ViewKind) and equal:
            same = self.run(node, view.view_equal, one.node, two.node)
            if isinstance(op, ast.Eq):
                return same
            return Value(ast.copy_location(ast.UnaryOp(ast.Not(), same.node), node), boolean)
        if not (is_number(one.kind) and is_number(two.kind)):
            row = next((side for side in (one, two) if isinstance(side.kind, RowKind)), None)
            remedy = "compare array.head(length)" if row else ""
            if isinstance(one.kind, numba_types.BaseTuple):
                remedy = "compare their parts one by one"
            raise Refusal(
                node, f"{describe(one.kind)} and {describe(two.kind)} cannot be compared so", remedy
            )
        one, two = self.whole(left, one, "a comparison"), self.whole(right, two, "a comparison")
        return Value(ast.copy_location(ast.Compare(one.node, [op], [two.node]), node), boolean)

    def contains(self, node: ast.Compare, op: ast.cmpop, left: ast.expr, right: ast.expr) -> Value:
        """x in (constants)"""
        choices = self.expression(right)
        constant = choices.kind.value if isinstance(choices.kind, Static) else None
        if not isinstance(constant, tuple) or not constant:
            remedy = "for a View: view.find(what) >= 0"
            raise Refusal(right, "in wants a tuple of constants", remedy)
        values = frozen(right, ast.unparse(right), constant)
        assert isinstance(values, tuple)
        got = self.value(left)
        if isinstance(got.kind, ViewKind) and all(isinstance(each, bytes) for each in values):
            found = self.run(node, view.is_one_of(values), got.node)
        elif is_number(got.kind) and all(isinstance(each, int) for each in values):
            held = tuple(wrap(each) for each in values)
            found = self.run(node, integers.is_one_of(held), self.whole(left, got, "in").node)
        else:
            raise Refusal(node, f"{describe(got.kind)} is never one of these")
        if isinstance(op, ast.In):
            return found
        return Value(ast.copy_location(ast.UnaryOp(ast.Not(), found.node), node), boolean)
