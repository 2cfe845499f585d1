"""Elements, slices and attributes in a handler: of views, arrays, records, connections, `self`, and constants."""

from __future__ import annotations

import ast
from types import FunctionType
from typing import Any

from numba.core import types as numba_types

from ..actor import DataActor
from ..types import wrap
from . import actor, connection, integers, records, view, writer
from .expressions import Value, seen
from .names import Static, frozen, member, near
from .operators import Operators
from .source import Refusal
from .types import (
    ActorKind,
    ConnectionKind,
    RecordKind,
    RowKind,
    ViewKind,
    WriterKind,
    describe,
)

__all__ = ["ROW_METHODS", "Attributes", "member_of_actor"]


class Attributes(Operators):
    """Translates elements and attributes."""

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
        if isinstance(kind, numba_types.BaseTuple):
            known = dict.fromkeys(getattr(kind, "fields", ()))
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
    names = dict.fromkeys(
        ["core", "config", "now", "core_id", "tell", "connection", "subscribe", "unsubscribe"]
    )
    for cls in reversed(owner.__mro__[: owner.__mro__.index(DataActor)]):
        names.update(dict.fromkeys(name for name in vars(cls) if not name.startswith("_")))
    try:
        return member(node, owner)
    except Refusal:
        raise Refusal(
            node, f"{owner.__name__} has no {node.attr}", near(node.attr, names)
        ) from None
