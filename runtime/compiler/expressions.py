"""Expressions of a handler: each becomes an expression that Numba takes, with its kind known beforehand."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, NamedTuple

from numba.core import types as numba_types

from ..types import LOWEST, wrap
from . import actor, connection, integers, records, view, writer
from .names import Static, frozen, lookup, member, near
from .source import Refusal
from .types import (
    ActorKind,
    ConnectionKind,
    RecordKind,
    RowKind,
    ViewKind,
    WriterKind,
    boolean,
    describe,
    int64,
    none,
)

__all__ = ["Expressions", "Value", "is_number"]

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


CONSTANT_MAX = 1 << 20  # bytes


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

    def on_subscript(self, node: ast.Subscript) -> Value:
        owner = self.expression(node.value)
        constant = owner.kind.value if isinstance(owner.kind, Static) else None
        if isinstance(constant, tuple):
            return self.pick(node, constant)
        if isinstance(constant, bytes):
            owner = self.settled(node.value, owner)
        if isinstance(owner.kind, ViewKind):
            return self.of_view(node, owner)
        if isinstance(owner.kind, RowKind):
            if isinstance(node.slice, ast.Slice):
                raise Refusal(
                    node, "an array has no slices", "write array.head(length), then slice that"
                )
            index = self.number(node.slice, "an index")
            return self.run(node, records.row_at(owner.kind), owner.node, index.node)
        if isinstance(owner.kind, numba_types.BaseTuple):
            return self.of_tuple(node, owner)
        owner = self.settled(node.value, owner)
        raise Refusal(node, f"{describe(owner.kind)} has no elements")

    def of_tuple(self, node: ast.Subscript, owner: Value) -> Value:
        """tuple[constant]"""
        at = self.expression(node.slice)
        index = at.kind.value if isinstance(at.kind, Static) else None
        if not isinstance(index, int) or not -len(owner.kind) <= index < len(owner.kind):
            raise Refusal(
                node, f"the index of a tuple made here is a constant below {len(owner.kind)}"
            )
        made = ast.Subscript(owner.node, ast.copy_location(ast.Constant(index), node), ast.Load())
        return Value(ast.copy_location(made, node), owner.kind.types[index])

    def pick(self, node: ast.Subscript, values: tuple[Any, ...]) -> Value:
        """An element of a constant tuple."""
        at = self.expression(node.slice)
        if isinstance(at.kind, Static) and isinstance(at.kind.value, int):
            if not -len(values) <= at.kind.value < len(values):
                raise Refusal(node, f"index {at.kind.value} of a tuple of {len(values)}")
            return Value(node, Static(values[at.kind.value]))
        held = frozen(node.value, ast.unparse(node.value), values)
        if not all(isinstance(each, int) for each in values) or not values:
            raise Refusal(
                node, "only a tuple of ints can be indexed by a variable", "write if/elif"
            )
        index = self.number(node.slice, "an index")
        return self.run(node, integers.table(tuple(wrap(each) for each in held)), index.node)  # type: ignore[union-attr]

    def of_view(self, node: ast.Subscript, owner: Value) -> Value:
        """view[index] or view[start:stop]"""
        if not isinstance(node.slice, ast.Slice):
            index = self.number(node.slice, "an index")
            return self.run(node, view.view_at, owner.node, index.node)
        cut = node.slice
        if cut.step is not None:
            raise Refusal(cut.step, "a View has no steps", "write view[start:stop]")
        zero = ast.copy_location(ast.Constant(0), node)
        start = self.number(cut.lower, "a slice").node if cut.lower else zero
        if cut.upper is None:
            return self.run(node, view.view_from, owner.node, start) if cut.lower else owner
        stop = self.number(cut.upper, "a slice").node
        return self.run(node, view.view_slice, owner.node, start, stop)

    def on_attribute(self, node: ast.Attribute) -> Value:
        owner = self.expression(node.value)
        kind = owner.kind
        if isinstance(kind, Static):
            return Value(node, seen(member(node, kind.value).value))
        if isinstance(kind, ActorKind):
            return self.of_actor(node, owner)
        if isinstance(kind, ConnectionKind):
            return self.of_connection(node, owner)
        if isinstance(kind, RecordKind):
            field = kind.shape.by_name.get(node.attr)
            if field is None:
                known = near(node.attr, kind.shape.by_name)
                raise Refusal(node, f"{kind.shape} has no field {node.attr}", known)
            return self.run(node, records.field_get(kind, field), owner.node)
        if isinstance(kind, numba_types.BaseTuple) and node.attr in getattr(kind, "fields", ()):
            made = ast.copy_location(ast.Attribute(owner.node, node.attr, ast.Load()), node)
            return Value(made, kind.types[kind.fields.index(node.attr)])
        raise self.no_attribute(node, kind)

    def no_attribute(self, node: ast.Attribute, kind: Any) -> Refusal:
        """What to say of an attribute that `kind` doesn't have."""
        known = {ViewKind: view.METHODS, WriterKind: writer.METHODS, RowKind: ROW_METHODS}.get(
            type(kind), {}
        )
        if node.attr in known:
            return Refusal(node, f"{node.attr} is a method", f"call it: {node.attr}(…)")
        what = describe(kind)
        return Refusal(node, f"{what} has no {node.attr}", near(node.attr, known))

    def of_connection(self, node: ast.Attribute, owner: Value) -> Value:
        """connection.state and its properties."""
        if node.attr == "state":
            if owner.kind.shape is None:
                remedy = "annotate the handler's connection: Connection[YourState]"
                raise Refusal(node, "this actor's connections have no state", remedy)
            return self.run(node, connection.state(owner.kind), owner.node)
        if node.attr in connection.PROPERTIES:
            return self.run(node, connection.property_of(owner.kind, node.attr), owner.node)
        known = ["state", *connection.PROPERTIES, "send", "try_send", *connection.METHODS]
        if node.attr in known:
            raise Refusal(node, f"{node.attr} is a method", f"call it: {node.attr}(…)")
        raise Refusal(node, f"a Connection has no {node.attr}", near(node.attr, known))

    def of_actor(self, node: ast.Attribute, owner: Value) -> Value:
        """self.core, .config, .now, .core_id, and constants of the class."""
        if node.attr in {"now", "core_id"}:
            return self.run(node, actor.word(owner.kind, node.attr), owner.node)
        if node.attr in {"core", "config"}:
            shape = self.actor_memory(node)
            kind = RecordKind(shape, writable=node.attr == "core")
            return self.run(node, actor.memory(owner.kind, node.attr, kind), owner.node)
        found = member_of_actor(node, owner.kind.actor)
        if isinstance(found.value, FunctionType):
            raise Refusal(node, f"{node.attr} is a method", f"call it: self.{node.attr}(…)")
        return Value(node, seen(found.value))

    def actor_memory(self, node: ast.Attribute) -> Any:
        """The shape of self.core or self.config."""
        raise NotImplementedError


ROW_METHODS = {"head": records.row_head, "copy_from": records.row_copy, "fill": records.row_fill}


def member_of_actor(node: ast.Attribute, owner: type) -> Static:
    """A constant or method of the actor's class."""
    names = dict.fromkeys(["core", "config", "now", "core_id", "tell", "connection"])
    for cls in reversed(owner.__mro__[:-1]):
        names.update(dict.fromkeys(name for name in vars(cls) if not name.startswith("_")))
    try:
        return member(node, owner)
    except Refusal:
        raise Refusal(
            node, f"{owner.__name__} has no {node.attr}", near(node.attr, names)
        ) from None
