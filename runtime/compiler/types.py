"""The kinds of value a handler can hold, as Numba types and their machine form. Knows no operation on them."""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import models, register_model

from ..shape import Row, Shape

__all__ = [
    "ActorKind",
    "ConnectionKind",
    "OtherKind",
    "OwnKind",
    "RecordKind",
    "RowKind",
    "ViewKind",
    "WriterKind",
    "boolean",
    "describe",
    "int64",
    "none",
    "pointer",
    "view",
    "writer",
]

int64: Any = types.int64
boolean: Any = types.boolean
none: Any = types.none
pointer: Any = types.voidptr


class ViewKind(types.Type):
    """Bytes that somebody else owns: where they start and how many they are. Bytes constants too."""

    def __init__(self) -> None:
        super().__init__(name="splitplane.View")


class RecordKind(types.Type):
    """A State, Message or Config in memory: its address. `local`: on the handler's own stack."""

    def __init__(self, shape: Shape, *, writable: bool, local: bool = False) -> None:
        self.shape = shape
        self.writable = writable
        self.local = local
        name = f"{shape.owner.__module__}.{shape}#{id(shape)}"
        super().__init__(name=f"splitplane.Record({name}, {writable}, {local})")


class RowKind(types.Type):
    """An array inside a record: its address."""

    def __init__(self, row: Row, *, writable: bool, local: bool = False) -> None:
        self.row = row
        self.writable = writable
        self.local = local
        element = f"{row}#{id(row.element) if isinstance(row.element, Shape) else ''}"
        super().__init__(name=f"splitplane.Row({element}, {writable}, {local})")


class ConnectionKind(types.Type):
    """A connection in the hands of a handler; `shape` is that of its state."""

    def __init__(self, shape: Shape | None) -> None:
        self.shape = shape
        name = f"{shape}#{id(shape)}" if shape else "none"
        super().__init__(name=f"splitplane.{type(self).__name__}({name})")


class OwnKind(ConnectionKind):
    """The connection that the handler was called for: the address of the call."""


class OtherKind(ConnectionKind):
    """One that `self.connection(handle)` looked up: the call, and the record or NULL."""


class ActorKind(types.Type):
    """`self`: the address of the call."""

    def __init__(self, actor: type) -> None:
        self.actor = actor
        super().__init__(
            name=f"splitplane.Actor({actor.__module__}.{actor.__qualname__}#{id(actor)})"
        )


class WriterKind(types.Type):
    """What `connection.reserve` gives: the address of a cell on the stack with the call, the record,
    the start of the reserved bytes, the position and the end."""

    OFFSETS = (0, 8, 16, 24, 32)
    SIZE = 40

    def __init__(self) -> None:
        super().__init__(name="splitplane.Writer")


view = ViewKind()
writer = WriterKind()


@register_model(ViewKind)
class ViewModel(models.StructModel):
    """Address and length."""

    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, [("data", pointer), ("length", int64)])


@register_model(OtherKind)
class OtherModel(models.StructModel):
    """Two addresses."""

    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, [("call", pointer), ("record", pointer)])


@register_model(RecordKind)
@register_model(RowKind)
@register_model(ActorKind)
@register_model(OwnKind)
@register_model(WriterKind)
class AddressModel(models.OpaqueModel):
    """One address."""


def describe(kind: Any) -> str:
    """`kind` in the words of whoever writes actors."""
    if isinstance(kind, types.Boolean):
        return "a bool"
    if isinstance(kind, types.Integer):
        return "an int"
    if isinstance(kind, types.NoneType):
        return "None"
    if isinstance(kind, (types.NamedTuple, types.NamedUniTuple)):
        name = kind.instance_class.__name__
        return f"an {name}" if name[0] in "AEIOU" else f"a {name}"
    if isinstance(kind, types.BaseTuple):
        return "a tuple"
    if isinstance(kind, RecordKind):
        return f"a {kind.shape}"
    if isinstance(kind, RowKind):
        return f"an {kind.row}"
    if isinstance(kind, ActorKind):
        return f"the actor {kind.actor.__name__}"
    if isinstance(kind, OtherKind):
        return "a Connection found by its handle"
    if isinstance(kind, OwnKind):
        return "a Connection"
    names = {ViewKind: "a View", WriterKind: "a Writer"}
    return names.get(type(kind), str(kind))
