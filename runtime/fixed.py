"""What State, Message and Config share: values in a few fixed bytes, the same on both planes, readable by name.
Knows its Shape (shape.py) and leaves each field to field.py.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import TYPE_CHECKING, Any, ClassVar, Self

from .field import store
from .shape import Shape, shape_of

if TYPE_CHECKING:
    import numpy

__all__ = ["Fixed"]

in_handler = (
    False  # an interpreted handler runs now: values wrap instead of being refused (interpret.py)
)


def set_in_handler(now: bool) -> bool:
    """Switches the integer model for values made from now on; returns what it was."""
    global in_handler
    before, in_handler = in_handler, now
    return before


class Fixed:
    """Fixed-layout values. Derive from State, Message or Config instead."""

    __slots__ = ("_handler", "_memory")
    if TYPE_CHECKING:
        _handler: bool
        _memory: Any
    __limit__: ClassVar[int] = 0  # bytes
    __limit_of__: ClassVar[str] = "a value"
    __frozen__: ClassVar[bool] = False
    __defaults_allowed__: ClassVar[bool] = False

    def __init__(self, **values: Any) -> None:
        cls = type(self)
        shape = shape_of(cls)
        if cls.__frozen__ and not in_handler and self._packed(shape, values):
            return
        memory = bytearray(shape.size)
        missing = []
        for field in shape.fields:
            value = values.pop(field.name, field.default)
            if value is not None:
                store(field, cls, memory, value, in_handler)
            elif cls.__defaults_allowed__:
                missing.append(field.name)
        if missing or values:
            raise TypeError(explain(cls, missing, list(values)))
        _set_memory(self, bytes(memory) if cls.__frozen__ else memory)
        _set_handler(self, in_handler)

    def _packed(self, shape: Shape, values: dict[str, Any]) -> bool:
        """Takes `values` at once if they are integers in range and there are all of them; the short way."""
        if shape.packer is None or len(values) != len(shape.fields):
            return False
        try:
            memory = shape.packer.pack(*[values[each.name] for each in shape.fields])
        except (KeyError, struct.error):
            return False
        _set_memory(self, memory)
        _set_handler(self, False)
        return True

    @classmethod
    def attach(cls, memory: Any, handler: bool = False) -> Self:
        """The values that lie in `memory` (a buffer of exactly their size), not a copy."""
        self = _new(cls)
        _set_memory(self, memory)
        _set_handler(self, handler)
        return self

    @classmethod
    def each(cls, data: bytes, count: int) -> Iterator[Self]:
        """`count` values that lie in `data` one after the other without gaps, as `from_bytes` makes them."""
        size = shape_of(cls).size
        rows = struct.iter_unpack(f"{size}s", data) if size else repeat((b"",), count)
        for (memory,) in rows:
            self = _new(cls)
            _set_memory(self, memory)
            _set_handler(self, False)
            yield self

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> Self:
        """The values that `to_bytes` made `data` of. ValueError if the length is another."""
        size = shape_of(cls).size
        if len(data) != size:
            raise ValueError(f"{cls.__qualname__}: {len(data)} bytes given, {size} wanted")
        return cls.attach(bytes(data) if cls.__frozen__ else bytearray(data))

    def to_bytes(self) -> bytes:
        """The bytes that travel: little-endian, laid out as in C, gaps zero."""
        return bytes(self._memory)

    @classmethod
    def dtype(cls) -> numpy.dtype[Any]:
        """The layout as a NumPy structured type."""
        return shape_of(cls).dtype

    if not TYPE_CHECKING:  # else every misspelt field would be Any

        def __setattr__(self, name: str, value: Any) -> None:
            cls = type(self)
            field = shape_of(cls).by_name.get(name)
            if field is None:
                raise AttributeError(explain(cls, [], [name]))
            if cls.__frozen__ or memoryview(self._memory).readonly:
                raise AttributeError(
                    f"{cls.__qualname__}.{name}: a message cannot be changed: make a new one"
                )
            store(field, cls, self._memory, value, self._handler)

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(explain(type(self), [], [name]))

    def __eq__(self, other: object) -> bool:
        if type(other) is type(self):
            return self.to_bytes() == other.to_bytes()
        return NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), self.to_bytes()))

    def __repr__(self) -> str:
        values = ", ".join(
            f"{each.name}={getattr(self, each.name)!r}" for each in shape_of(type(self)).fields
        )
        return f"{type(self).__qualname__}({values})"


# A class that refuses assignment is filled through its slots; object.__setattr__ would take twice as long.
_new = object.__new__
_set_memory: Callable[[Fixed, Any], None] = Fixed.__dict__["_memory"].__set__
_set_handler: Callable[[Fixed, bool], None] = Fixed.__dict__["_handler"].__set__


def explain(cls: type, missing: list[str], unknown: list[str]) -> str:
    """One sentence on fields that were not given or do not exist."""
    names = ", ".join(each.name for each in shape_of(cls).fields) or "none"
    parts = [f"field {name} is missing" for name in missing] + [
        f"no field {name}" for name in unknown
    ]
    return f"{cls.__qualname__}: {'; '.join(parts)} (its fields: {names})"
