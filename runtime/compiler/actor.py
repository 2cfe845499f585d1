"""What `self` can do, and how a handler begins and ends: its arguments out of the call, its result into it."""

from __future__ import annotations

from functools import cache
from typing import Any

from ..shape import Shape
from ..types import wrap
from .emit import I64, POINTER, Emit, operation
from .types import (
    ActorKind,
    OtherKind,
    OwnKind,
    RecordKind,
    boolean,
    int64,
    none,
    pointer,
    view,
)

__all__ = [
    "argument",
    "as_kind",
    "connection",
    "data",
    "finish",
    "finish_data",
    "memory",
    "message",
    "reply",
    "restarted",
    "tell",
    "tell_cores",
    "word",
]


@cache
def as_kind(kind: ActorKind | OwnKind) -> Any:
    """The call as `self`, or as the connection it is for."""

    @operation(kind, pointer)
    def convert(emit: Emit, call: Any) -> Any:
        return call

    return convert


@operation(view, pointer)
def data(emit: Emit, call: Any) -> Any:
    """on_data's bytes."""
    return emit.view(emit.call_address(call, "data"), emit.call_word(call, "length"))


@operation(int64, pointer)
def argument(emit: Emit, call: Any) -> Any:
    """on_close's reason."""
    return emit.call_word(call, "argument")


@operation(boolean, pointer)
def restarted(emit: Emit, call: Any) -> Any:
    """on_start's argument."""
    return emit.compare(emit.call_word(call, "argument"), "!=", 0)


@cache
def message(kind: RecordKind) -> Any:
    """The message that an @on method got, where it lies."""

    @operation(kind, pointer)
    def get(emit: Emit, call: Any) -> Any:
        return emit.call_address(call, "data")

    return get


@cache
def memory(kind: ActorKind, name: str, record: RecordKind) -> Any:
    """self.core, self.config"""

    @operation(record, kind)
    def get(emit: Emit, self: Any) -> Any:
        return emit.call_address(self, {"core": "core_state", "config": "config"}[name])

    return get


@cache
def word(kind: ActorKind, name: str) -> Any:
    """self.now, self.core_id"""

    @operation(int64, kind)
    def get(emit: Emit, self: Any) -> Any:
        return emit.call_word(self, name)

    return get


@cache
def connection(kind: ActorKind, shape: Shape | None) -> Any:
    """self.connection(handle)"""
    other = OtherKind(shape)

    @operation(other, kind, int64)
    def look_up(emit: Emit, self: Any, handle: Any) -> Any:
        record = emit.symbol("call_connection", self, handle, returns=POINTER)
        made = emit.blank(other)
        made.call, made.record = self, record
        return made._getvalue()

    return look_up


@cache
def tell(kind: ActorKind, record: RecordKind, number: int) -> Any:
    """self.tell(message, to=...)"""

    @operation(boolean, kind, record, int64)
    def send(emit: Emit, self: Any, message: Any, to: Any) -> Any:
        size = I64(record.shape.size)
        return emit.compare(emit.symbol("call_tell", self, I64(number), to, message, size), "!=", 0)

    return send


@cache
def tell_cores(kind: ActorKind, record: RecordKind, number: int, cores: int) -> Any:
    """self.tell(message, to="group")"""

    @operation(boolean, kind, record)
    def send(emit: Emit, self: Any, message: Any) -> Any:
        bits, size = I64(wrap(cores)), I64(record.shape.size)
        told = emit.symbol("call_tell_cores", self, I64(number), bits, message, size)
        return emit.compare(told, "!=", 0)

    return send


@operation(none, pointer)
def finish(emit: Emit, call: Any) -> None:
    """The last act of a handler."""
    emit.set_call_word(call, "ok", I64(1))


@operation(none, pointer, int64)
def finish_data(emit: Emit, call: Any, consumed: Any) -> None:
    """The last act of on_data."""
    emit.set_call_word(call, "result", consumed)
    emit.set_call_word(call, "ok", I64(1))


@cache
def reply(record: RecordKind) -> Any:
    """The last act of an @on method that answers."""

    @operation(none, pointer, record)
    def finish_request(emit: Emit, call: Any, answer: Any) -> None:
        size = record.shape.size
        emit.copy(emit.call_address(call, "reply"), answer, I64(size))
        emit.set_call_word(call, "result", I64(size))
        emit.set_call_word(call, "ok", I64(1))

    return finish_request
