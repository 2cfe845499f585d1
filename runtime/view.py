"""View: received bytes, looked at where they lie. The compiled form of every method is in compiled handlers; this class is
what interpreted handlers and the control plane get, and what type checkers read.
"""

from __future__ import annotations

from typing import Any, overload

from .errors import StaleError
from .types import wrap

__all__ = ["View"]


STALE = "this View was of an earlier call: a View lives as long as the call it came with; copy what you need into State"
HASH_START, HASH_FACTOR = 0xCBF29CE484222325, 0x100000001B3
DIGITS_MAX = 18


class View:
    """Bytes that somebody else owns, as `bytes` would show them: `len`, index, slice, `==`, `find`, `startswith`.

    A View is good until the handler returns and can't be stored: copy what must stay into an `Array` of a State.
    Indexes and offsets outside the view raise IndexError; slices clamp, as everywhere in Python. No step.
    """

    __slots__ = ("_memory", "_start", "_stop")
    __iter__ = None
    __contains__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, memory: memoryview, start: int = 0, stop: int | None = None) -> None:
        self._memory = memory
        self._start = start
        self._stop = len(memory) if stop is None else stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __bool__(self) -> bool:
        return self._stop > self._start

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> View: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            if index.step not in (None, 1):
                raise ValueError("a View has no steps: [start:stop] only")
            start, stop, _ = index.indices(len(self))
            return View(self._memory, self._start + start, self._start + max(start, stop))
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(f"index {index} of {len(self)} bytes")
        return self._read(at, 1)[0]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (bytes, View)):
            return bytes(self) == bytes(other)
        return NotImplemented

    def __bytes__(self) -> bytes:
        """A copy. Not in handlers that are to be compiled."""
        return self._read(0, len(self))

    def __repr__(self) -> str:
        return f"View({bytes(self)!r})"

    def _read(self, at: int, count: int) -> bytes:
        if at < 0 or at + count > len(self):
            raise IndexError(f"{count} bytes at {at} of {len(self)}")
        try:
            return bytes(self._memory[self._start + at : self._start + at + count])
        except ValueError:
            raise StaleError(STALE) from None

    def find(self, what: bytes | View, start: int = 0) -> int:
        """Index of the first `what` at or after `start`; -1: none. A negative start counts from the end."""
        return bytes(self).find(bytes(what), start)

    def startswith(self, prefix: bytes | View) -> bool:
        """Whether the first bytes are `prefix`."""
        return bytes(self).startswith(bytes(prefix))

    def endswith(self, suffix: bytes | View) -> bool:
        """Whether the last bytes are `suffix`."""
        return bytes(self).endswith(bytes(suffix))

    def equals_ignore_case(self, other: bytes | View) -> bool:
        """Whether both are the same, ASCII letters compared without case."""
        return bytes(self).lower() == bytes(other).lower()

    def span(self, allowed: bytes, start: int = 0) -> int:
        """Index of the first byte at or after `start` that `allowed` does not allow; `len(self)`: all are allowed.

        `allowed` is a table of 256 bytes: nonzero at index b means that byte b is allowed (a module constant, as made by
        `splitplane.protocols.table`). ValueError if it has another length, IndexError if start is outside.
        """
        if len(allowed) != 256:
            raise ValueError("span wants a table of 256 bytes")
        if not 0 <= start <= len(self):
            raise IndexError(f"span from {start} of {len(self)} bytes")
        for at, byte in enumerate(self._read(start, len(self) - start), start):
            if not allowed[byte]:
                return at
        return len(self)

    def to_int(self, default: int = -1) -> int:
        """The decimal number that all of these bytes spell: 1 to 18 digits, nothing else; otherwise `default`."""
        text = bytes(self)
        if 0 < len(text) <= DIGITS_MAX and text.isdigit():
            return int(text)
        return default

    def hash(self) -> int:
        """A 64-bit hash (FNV-1a) as a signed number; the same in every process. Not keyed."""
        value = HASH_START
        for byte in bytes(self):
            value = ((value ^ byte) * HASH_FACTOR) & 0xFFFFFFFFFFFFFFFF
        return wrap(value)

    def u8(self, at: int) -> int:
        """The byte at `at`; `at` is never negative, unlike an index."""
        return self._read(at, 1)[0]

    def u16be(self, at: int) -> int:
        """Two bytes at `at`, most significant first."""
        return int.from_bytes(self._read(at, 2), "big")

    def u32be(self, at: int) -> int:
        """Four bytes at `at`, most significant first."""
        return int.from_bytes(self._read(at, 4), "big")

    def u64be(self, at: int) -> int:
        """Eight bytes at `at`, most significant first, as a signed 64-bit number."""
        return wrap(int.from_bytes(self._read(at, 8), "big"))

    def u16le(self, at: int) -> int:
        """Two bytes at `at`, least significant first."""
        return int.from_bytes(self._read(at, 2), "little")

    def u32le(self, at: int) -> int:
        """Four bytes at `at`, least significant first."""
        return int.from_bytes(self._read(at, 4), "little")

    def u64le(self, at: int) -> int:
        """Eight bytes at `at`, least significant first, as a signed 64-bit number."""
        return wrap(int.from_bytes(self._read(at, 8), "little"))
