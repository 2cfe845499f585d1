"""What a Writer can do: fill the second half of the core's staging buffer front to back, then send it at once."""

from __future__ import annotations

from typing import Any

from .emit import I64, Emit, operation
from .types import WriterKind, int64, none, view, writer

__all__ = ["METHODS"]

CALL, RECORD, START, POSITION, END = WriterKind.OFFSETS
FULL = "more written than was reserved"


def advance(emit: Emit, cell: Any, length: Any) -> Any:
    """Where the next `length` bytes go; faults if they were not reserved."""
    builder = emit.builder
    at = emit.load_address(cell, POSITION)
    room = builder.sub(
        builder.ptrtoint(emit.load_address(cell, END), I64), builder.ptrtoint(at, I64)
    )
    emit.fault_if(emit.compare(length, ">", room), IndexError, FULL)
    emit.store_address(cell, POSITION, emit.address(at, length))
    return at


def number(bits: int) -> Any:
    """An operation that writes an integer, most significant byte first."""

    @operation(none, writer, int64)
    def write(emit: Emit, self: Any, value: Any) -> None:
        emit.store(advance(emit, self, I64(bits // 8)), 0, bits, value, big=True)

    return write


@operation(none, writer, view)
def put(emit: Emit, self: Any, data: Any) -> None:
    """writer.put(data)"""
    parts = emit.parts(view, data)
    emit.copy(advance(emit, self, parts.length), parts.data, parts.length)


@operation(none, writer)
def commit(emit: Emit, self: Any) -> None:
    """writer.commit()"""
    builder = emit.builder
    start, at = emit.load_address(self, START), emit.load_address(self, POSITION)
    length = builder.sub(builder.ptrtoint(at, I64), builder.ptrtoint(start, I64))
    call, record = emit.load_address(self, CALL), emit.load_address(self, RECORD)
    sent = emit.symbol("call_send", call, record, start, length)
    emit.fault_if(emit.compare(sent, "==", 0), BufferError, "no room to send")
    emit.store_address(self, POSITION, start)
    emit.store_address(self, END, start)


METHODS = {
    "u8": number(8),
    "u16be": number(16),
    "u32be": number(32),
    "u64be": number(64),
    "put": put,
    "commit": commit,
}
"""Name: the operation."""
