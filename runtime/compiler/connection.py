"""What a Connection can do. Sends to the handler's own connection copy straight into the call's `out`; everything else
asks the loop (dataplane/call.c)."""

from __future__ import annotations

from functools import cache
from typing import Any

from numba.core.types import NamedUniTuple

from ...dataplane.symbols import constant, offset_of
from ..actor import Endpoint
from ..types import Integer
from .emit import I64, POINTER, VOID, Emit, operation
from .types import (
    ConnectionKind,
    OwnKind,
    RecordKind,
    WriterKind,
    boolean,
    int64,
    none,
    view,
    writer,
)

__all__ = [
    "METHODS",
    "PROPERTIES",
    "alive",
    "call_of",
    "property_of",
    "send",
    "state",
    "subscription",
]

GONE = "this connection is gone: test it first (if connection: ...)"
NO_ROOM = "no room to send"
NUMBERS = ("handle", "room")
PROPERTIES = (*NUMBERS, "remote", "local")
endpoint: Any = NamedUniTuple(int64, 2, Endpoint)


def call_of(emit: Emit, kind: Any, value: Any) -> Any:
    """The call that a connection or an actor came with."""
    return (
        value
        if not isinstance(kind, ConnectionKind) or isinstance(kind, OwnKind)
        else emit.parts(kind, value).call
    )


def record_of(emit: Emit, kind: ConnectionKind, value: Any) -> Any:
    """Its record; faults if it is gone."""
    if isinstance(kind, OwnKind):
        return emit.call_address(value, "record")
    record = emit.parts(kind, value).record
    emit.fault_if(emit.is_null(record), LookupError, GONE)
    return record


@cache
def alive(kind: ConnectionKind) -> Any:
    """bool(connection)"""

    @operation(boolean, kind)
    def is_there(emit: Emit, self: Any) -> Any:
        if isinstance(kind, OwnKind):
            return emit.bit(1)
        return emit.builder.not_(emit.is_null(emit.parts(kind, self).record))

    return is_there


@cache
def state(kind: ConnectionKind) -> Any:
    """connection.state"""
    assert kind.shape is not None

    @operation(RecordKind(kind.shape, writable=True), kind)
    def get(emit: Emit, self: Any) -> Any:
        if isinstance(kind, OwnKind):
            return emit.call_address(self, "state")
        return emit.symbol(
            "call_state", call_of(emit, kind, self), record_of(emit, kind, self), returns=POINTER
        )

    return get


@cache
def property_of(kind: ConnectionKind, name: str) -> Any:
    """connection.handle, .room, .remote, .local"""
    if name not in NUMBERS:
        return end_of(kind, name)

    @operation(int64, kind)
    def get(emit: Emit, self: Any) -> Any:
        if name == "handle" and isinstance(kind, OwnKind):
            return emit.call_word(self, "handle")
        record = record_of(emit, kind, self)
        return emit.symbol(f"call_{name}", call_of(emit, kind, self), record)

    return get


def end_of(kind: ConnectionKind, name: str) -> Any:
    """connection.remote, .local: the record has them in network order"""

    @operation(endpoint, kind)
    def get(emit: Emit, self: Any) -> Any:
        record = record_of(emit, kind, self)

        def load(part: str, bits: int) -> Any:
            offset = offset_of("record", "flow", f"{name}_{part}")
            return emit.load(record, offset, Integer(bits, signed=False), big=True)

        return emit.pair(load("address", 32), load("port", 16))

    return get


def put_own(emit: Emit, call: Any, data: Any, length: Any) -> None:
    """Body of splitplane.put: bytes into the call's own out if they fit there, otherwise through call_send."""
    builder = emit.builder
    used = emit.call_word(call, "out_length")
    fits = emit.compare(length, "<=", builder.sub(emit.call_word(call, "out_space"), used))
    with builder.if_then(fits, likely=True):
        emit.copy(emit.address(emit.call_address(call, "out"), used), data, length)
        emit.set_call_word(call, "out_length", builder.add(used, length))
        builder.ret(emit.bit(1))
    sent = emit.symbol("call_send", call, emit.call_address(call, "record"), data, length)
    builder.ret(emit.compare(sent, "!=", 0))


def room_own(emit: Emit, call: Any, total: Any) -> None:
    """Body of splitplane.room: whether the handler's own connection takes so many bytes."""
    builder = emit.builder
    space = builder.sub(emit.call_word(call, "out_space"), emit.call_word(call, "out_length"))
    with builder.if_then(emit.compare(total, "<=", space), likely=True):
        builder.ret(emit.bit(1))
    room = emit.symbol("call_room", call, emit.call_address(call, "record"))
    builder.ret(emit.compare(total, "<=", room))


def put(emit: Emit, kind: ConnectionKind, call: Any, record: Any, part: Any) -> Any:
    """One part; whether it was taken."""
    if isinstance(kind, OwnKind):
        return emit.shared("splitplane.put", put_own, call, part.data, part.length)
    sent = emit.symbol("call_send", call, record, part.data, part.length)
    return emit.compare(sent, "!=", 0)


def send_parts(emit: Emit, kind: ConnectionKind, self: Any, parts: list[Any]) -> Any:
    """All of `parts` or nothing; whether they were taken."""
    builder = emit.builder
    call, record = call_of(emit, kind, self), record_of(emit, kind, self)
    if len(parts) == 1:
        return put(emit, kind, call, record, parts[0])
    total = I64(0)
    for part in parts:
        total = builder.add(total, part.length)
    if isinstance(kind, OwnKind):
        fits = emit.shared("splitplane.room", room_own, call, total)
    else:
        fits = emit.compare(total, "<=", emit.symbol("call_room", call, record))
    result = emit.flag(0)
    with emit.when(fits):
        taken = emit.bit(1)
        for part in parts:
            taken = builder.and_(taken, put(emit, kind, call, record, part))
        builder.store(taken, result)
    return builder.load(result)


def send_or_fault(emit: Emit, kind: ConnectionKind, self: Any, parts: list[Any]) -> None:
    """All of `parts`, or BufferError."""
    taken = send_parts(emit, kind, self, parts)
    emit.fault_if(emit.builder.not_(taken), BufferError, NO_ROOM)


@cache
def send(kind: ConnectionKind, count: int, *, trying: bool) -> Any:
    """connection.send or try_send of `count` parts"""

    def run(emit: Emit, self: Any, *parts: Any) -> Any:
        held = [emit.parts(view, part) for part in parts]
        if not trying:
            return send_or_fault(emit, kind, self, held)
        taken = send_parts(emit, kind, self, held)
        with emit.when(emit.builder.not_(taken)):
            call, record = call_of(emit, kind, self), record_of(emit, kind, self)
            emit.symbol("call_want_writable", call, record, returns=VOID)
        return taken

    names = ["self", *(f"part{index}" for index in range(count))]
    return operation(boolean if trying else none, kind, *[view] * count, names=names)(run)


@cache
def send_int(kind: ConnectionKind) -> Any:
    """connection.send_int(number)"""
    longest = constant("TEXT_INT")

    @operation(none, kind, int64)
    def run(emit: Emit, self: Any, number: Any) -> None:
        text = emit.stack(longest)
        length = emit.symbol("text_of_int", text, number)
        start = emit.address(text, emit.builder.sub(I64(longest), length))
        send_or_fault(emit, kind, self, [emit.parts(view, emit.view(start, length))])

    return run


@cache
def reserve(kind: ConnectionKind) -> Any:
    """connection.reserve(length)"""

    @operation(writer, kind, int64)
    def run(emit: Emit, self: Any, length: Any) -> Any:
        builder = emit.builder
        call, record = call_of(emit, kind, self), record_of(emit, kind, self)
        full = emit.compare(emit.symbol("call_room", call, record), "<", length)
        most = emit.builder.icmp_unsigned(">", length, I64(constant("CORE_STAGING")))
        emit.fault_if(builder.or_(full, most), BufferError, NO_ROOM)
        core = emit.call_address(call, "core")
        staging = builder.load(
            builder.bitcast(emit.address(core, offset_of("core", "staging")), POINTER.as_pointer())
        )
        start = emit.address(staging, constant("CORE_STAGING"))
        cell = emit.stack(WriterKind.SIZE)
        for offset, value in zip(
            WriterKind.OFFSETS,
            (call, record, start, start, emit.address(start, length)),
            strict=True,
        ):
            emit.store_address(cell, offset, value)
        return cell

    return run


def plain(name: str, *takes: Any) -> Any:
    """A method that is one call of the loop's function `call_NAME` with the record."""

    @cache
    def of(kind: ConnectionKind) -> Any:
        def run(emit: Emit, self: Any, *values: Any) -> None:
            call, record = call_of(emit, kind, self), record_of(emit, kind, self)
            emit.symbol(f"call_{name}", call, record, *values, returns=VOID)

        names = ["self", "milliseconds"][: 1 + len(takes)]
        return operation(none, kind, *takes, names=names)(run)

    return of


@cache
def need(kind: ConnectionKind) -> Any:
    """connection.need(length)"""

    @operation(none, kind, int64)
    def run(emit: Emit, self: Any, length: Any) -> None:
        emit.symbol("call_need", call_of(emit, kind, self), length, returns=VOID)

    return run


@cache
def hand_over(kind: ConnectionKind) -> Any:
    """connection.hand_over(first_bytes)"""

    @operation(boolean, kind, view)
    def run(emit: Emit, self: Any, first_bytes: Any) -> Any:
        call, record = call_of(emit, kind, self), record_of(emit, kind, self)
        part = emit.parts(view, first_bytes)
        taken = emit.symbol("call_hand_over", call, record, part.data, part.length)
        return emit.compare(taken, "!=", 0)

    return run


@cache
def subscription(kind: ConnectionKind, name: str) -> Any:
    """self.subscribe(connection, topic), self.unsubscribe(connection, topic)"""

    @operation(boolean, kind, int64)
    def run(emit: Emit, self: Any, topic: Any) -> Any:
        call, record = call_of(emit, kind, self), record_of(emit, kind, self)
        return emit.compare(emit.symbol(f"call_{name}", call, record, topic), "!=", 0)

    return run


METHODS = {
    "hand_over": hand_over,
    "send_int": send_int,
    "reserve": reserve,
    "need": need,
    "close": plain("close"),
    "abort": plain("abort"),
    "set_timer": plain("set_timer", int64),
    "cancel_timer": plain("cancel_timer"),
}
"""Name: what makes the operation for a kind of connection. `send` and `try_send` stand apart: they take any number."""
