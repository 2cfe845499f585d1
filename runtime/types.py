"""The integers and arrays that states, messages and configs are made of.

Inside a handler every `int` is a signed 64-bit number in two's complement: sums, products and shifts wrap around, and a
store into a narrower field keeps the low bits. A `u64` field of 2**63 or more therefore reads as a negative number in a
handler; `below` compares such values as unsigned ones. Outside handlers (the control plane, tests) fields read and are
checked by their declared range.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

if TYPE_CHECKING:
    from .view import View

__all__ = ["Array", "Integer", "below", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"]

Element = TypeVar("Element")
Length = TypeVar("Length", bound=int)

BITS_64 = (1 << 64) - 1
LOWEST = -(1 << 63)


@dataclass(frozen=True, slots=True)
class Integer:
    """How a field holds an integer: `bits` of 8, 16, 32 or 64; two's complement if `signed`, little-endian."""

    bits: int
    signed: bool

    @property
    def size(self) -> int:
        """Bytes; also its alignment."""
        return self.bits // 8

    @property
    def low(self) -> int:
        """The smallest number it holds."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """The largest number it holds."""
        return (1 << (self.bits - self.signed)) - 1

    @property
    def code(self) -> str:
        """Its letter in the `struct` module."""
        letter = {8: "b", 16: "h", 32: "i", 64: "q"}[self.bits]
        return letter if self.signed else letter.upper()

    def narrow(self, value: int) -> int:
        """`value` with only the low bits kept: what a store in a handler leaves in the field."""
        value &= (1 << self.bits) - 1
        return value - (1 << self.bits) if value > self.high else value

    def __str__(self) -> str:
        return f"{'i' if self.signed else 'u'}{self.bits}"


u8 = Annotated[int, Integer(8, signed=False)]
u16 = Annotated[int, Integer(16, signed=False)]
u32 = Annotated[int, Integer(32, signed=False)]
u64 = Annotated[int, Integer(64, signed=False)]
i8 = Annotated[int, Integer(8, signed=True)]
i16 = Annotated[int, Integer(16, signed=True)]
i32 = Annotated[int, Integer(32, signed=True)]
i64 = Annotated[int, Integer(64, signed=True)]


def wrap(value: int) -> int:
    """`value` as a signed 64-bit number in two's complement: the integer model of handlers."""
    if LOWEST <= value <= -LOWEST - 1:
        return value
    value &= BITS_64
    return value - (1 << 64) if value >= -LOWEST else value


def below(left: int, right: int) -> bool:
    """Whether `left` < `right` when both are read as unsigned 64-bit numbers. Also works in handlers."""
    if (left < 0) == (right < 0):
        return left < right
    return right < 0


class Array(Generic[Element, Length]):
    """A field of `Length` equal elements inside a State, Message or Config: `Array[u8, Literal[32]]`.

    `Array(source)` makes the value for such a field in a message: bytes, a View or integers, zero-filled at the end.
    Indexes are checked; negative ones count from the end.
    """

    __slots__ = ("_count", "_element", "_handler", "_memory", "_owner", "_source", "_start")
    __iter__ = None
    _owner: Any
    _source: Any
    _memory: Any
    _element: Any
    _start: int
    _count: int
    _handler: bool

    def __init__(self, source: bytes | View | Iterable[int] = b"") -> None:
        self._source = source
        self._owner = None

    def __len__(self) -> int:
        return len(self._source) if self._owner is None else self._count

    def __getitem__(self, index: int) -> Element:
        from .field import array_get

        return array_get(self, index)  # type: ignore[no-any-return]

    def __setitem__(self, index: int, value: Element) -> None:
        from .field import array_set

        array_set(self, index, value)

    def head(self, length: int) -> View:
        """The first `length` bytes of an array of u8, as a View. IndexError if it has fewer."""
        from .field import array_head

        return array_head(self, length)

    def copy_from(self, source: View | bytes, at: int = 0) -> None:
        """Copies all of `source` into an array of u8, from index `at`. IndexError if it does not fit."""
        from .field import array_copy

        array_copy(self, source, at)

    def fill(self, value: int) -> None:
        """Sets every element of an array of integers to `value`."""
        from .field import array_fill

        array_fill(self, value)

    def tolist(self) -> list[Element]:
        """The elements as a list. Not in handlers."""
        return [self[index] for index in range(len(self))]

    def __bytes__(self) -> bytes:
        from .field import array_bytes

        return array_bytes(self)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (Array, bytes)):
            return bytes(self) == bytes(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Array({bytes(self)!r})"
