"""Loading and storing one field of a State, Message or Config in its bytes.

In handlers (`handler` true) integers follow the handlers' model: loads are signed 64-bit, stores keep the low bits.
Elsewhere they read as declared and a number out of range is refused.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from .errors import StaleError
from .shape import Field, Row, Shape
from .types import Array, Integer, wrap

if TYPE_CHECKING:
    from .view import View

CODES = {
    (bits, signed): struct.Struct("<" + Integer(bits, signed=signed).code)
    for bits in (8, 16, 32, 64)
    for signed in (False, True)
}


def reader(field: Field) -> Reader:
    """The descriptor for a field."""
    return IntegerReader(field) if isinstance(field.kind, Integer) else Reader(field)


class Reader:
    """The descriptor of a field in its class."""

    __slots__ = ("field",)

    def __init__(self, field: Field) -> None:
        self.field = field

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        if owner is None:
            return self
        try:
            return load(self.field.kind, owner._memory, self.field.offset, owner._handler)
        except ValueError:
            text = "of an earlier call: a State is good until the handler returns"
            raise StaleError(f"this {cls.__name__ if cls else 'State'} was {text}") from None


class IntegerReader(Reader):
    """The same for an integer: the control plane reads many."""

    __slots__ = ("offset", "unpack")

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        assert isinstance(field.kind, Integer)
        self.offset = field.offset
        self.unpack = CODES[field.kind.bits, field.kind.signed].unpack_from

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        if owner is None or owner._handler:
            return super().__get__(owner, cls)
        return self.unpack(owner._memory, self.offset)[0]


def install(cls: type, shape: Shape) -> None:
    """Puts a Reader for every field into `cls`."""
    for field in shape.fields:
        setattr(cls, field.name, reader(field))


def load(kind: Integer | Shape | Row, memory: Any, offset: int, handler: bool) -> Any:
    """The value of `kind` at `offset`; nested ones stay in `memory`."""
    if isinstance(kind, Integer):
        value: int = CODES[kind.bits, kind.signed].unpack_from(memory, offset)[0]
        return wrap(value) if handler else value
    if isinstance(kind, Shape):
        return kind.owner.attach(memoryview(memory)[offset : offset + kind.size], handler)  # type: ignore[attr-defined]
    return bind(kind, memory, offset, handler)


def store(field: Field, cls: type, memory: Any, value: Any, handler: bool) -> None:
    """Puts `value` into the field. ValueError, TypeError: it does not fit; the message names class and field."""
    try:
        put(field.kind, memory, field.offset, value, handler)
    except (TypeError, ValueError, IndexError) as error:
        raise type(error)(f"{cls.__qualname__}.{field.name} = {shorten(value)}: {error}") from None


def shorten(value: Any) -> str:
    """`value` for an error message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def put(kind: Integer | Shape | Row, memory: Any, offset: int, value: Any, handler: bool) -> None:
    """Stores `value` as `kind` at `offset`."""
    if isinstance(kind, Integer):
        if not isinstance(value, int):
            raise TypeError(f"an integer is wanted, not {type(value).__name__}")
        if not handler and not kind.low <= value <= kind.high:
            raise ValueError(f"{kind} holds {kind.low} to {kind.high}")
        CODES[kind.bits, kind.signed].pack_into(memory, offset, kind.narrow(value))
    elif isinstance(kind, Shape):
        if type(value) is not kind.owner:
            raise TypeError(f"a {kind} is wanted, not {type(value).__name__}")
        memoryview(memory)[offset : offset + kind.size] = bytes(value.to_bytes())  # type: ignore[attr-defined]
    else:
        put_row(kind, memory, offset, value, handler)


def put_row(kind: Row, memory: Any, offset: int, value: Any, handler: bool) -> None:
    """Stores a whole array: bytes, a View, an Array or a sequence of elements; what is left over becomes zero."""
    if isinstance(value, Array) and value._owner is None:
        value = value._source
    if (
        isinstance(kind.element, Integer) and kind.element.size == 1 and hasattr(value, "__bytes__")
    ) or isinstance(value, (bytes, bytearray)):
        raw = bytes(value)
        if len(raw) > kind.size:
            raise IndexError(f"{len(raw)} bytes given, {kind} holds {kind.size}")
        memoryview(memory)[offset : offset + kind.size] = raw.ljust(kind.size, b"\0")
        return
    elements = value.tolist() if isinstance(value, Array) else list(value)
    if len(elements) > kind.count:
        raise IndexError(f"{len(elements)} elements given, {kind} holds {kind.count}")
    memoryview(memory)[offset : offset + kind.size] = bytes(kind.size)
    for index, element in enumerate(elements):
        put(kind.element, memory, offset + index * kind.element.size, element, handler)


def bind(kind: Row, memory: Any, offset: int, handler: bool) -> Array[Any, Any]:
    """The array that lies at `offset` of `memory`."""
    array: Array[Any, Any] = Array.__new__(Array)
    array._owner, array._memory, array._start = kind, memory, offset
    array._count, array._element, array._handler = kind.count, kind.element, handler
    return array


def position(array: Array[Any, Any], index: int) -> int:
    """Where element `index` lies. IndexError if there is none."""
    if array._owner is None:
        raise TypeError("an Array(...) made by hand is only a value for a message's field")
    at = index + array._count if index < 0 else index
    if not 0 <= at < array._count:
        raise IndexError(f"index {index} of an array of {array._count}")
    return int(array._start + at * array._element.size)


def array_get(array: Array[Any, Any], index: int) -> Any:
    """`array[index]`."""
    return load(array._element, array._memory, position(array, index), array._handler)


def array_set(array: Array[Any, Any], index: int, value: Any) -> None:
    """`array[index] = value`."""
    changeable(array)
    put(array._element, array._memory, position(array, index), value, array._handler)


def changeable(array: Array[Any, Any]) -> None:
    """AttributeError if the array belongs to a message or config."""
    if array._owner is not None and memoryview(array._memory).readonly:
        raise AttributeError("an array of a message cannot be changed: make a new message")


def bytes_wanted(array: Array[Any, Any]) -> None:
    """TypeError unless the elements are bytes."""
    if array._owner is not None and array._element != Integer(8, signed=False):
        raise TypeError(f"only an array of u8 has bytes to view or copy, this is {array._owner}")


def array_head(array: Array[Any, Any], length: int) -> View:
    """`array.head(length)`."""
    from .view import View

    bytes_wanted(array)
    if not 0 <= length <= len(array):
        raise IndexError(f"head({length}) of an array of {len(array)}")
    if array._owner is None:
        return View(memoryview(bytes(array._source))[:length])
    return View(memoryview(array._memory)[array._start : array._start + length])


def array_copy(array: Array[Any, Any], source: Any, at: int) -> None:
    """`array.copy_from(source, at)`."""
    bytes_wanted(array)
    changeable(array)
    raw = bytes(source)
    if at < 0 or at + len(raw) > len(array):
        raise IndexError(f"{len(raw)} bytes at {at} of an array of {len(array)}")
    start = array._start + at
    memoryview(array._memory)[start : start + len(raw)] = raw


def array_fill(array: Array[Any, Any], value: int) -> None:
    """`array.fill(value)`."""
    for index in range(len(array)):
        array_set(array, index, value)


def array_bytes(array: Array[Any, Any]) -> bytes:
    """The array's memory."""
    if array._owner is None:
        return bytes(array._source)
    return bytes(memoryview(array._memory)[array._start : array._start + array._owner.size])
