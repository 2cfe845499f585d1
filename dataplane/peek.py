"""A core as any process may see it: counters, pools, histograms and connections, over a read-only map of its arena.

Nothing is stored in the arena and no core is called: a reader that dies, sleeps or never comes back changes nothing.
"""

import os
from dataclasses import dataclass
from functools import cache
from mmap import MAP_SHARED, PROT_READ, mmap
from typing import TYPE_CHECKING, Any

from .core_state import CoreWords
from .native import check, ffi, lib

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

NEVER: int = lib.PEEK_NEVER
"""A timer that is not set."""
HISTOGRAMS = {"handler": lib.HISTOGRAM_HANDLER, "turn": lib.HISTOGRAM_TURN}
STATES = tuple(
    name.removeprefix("STATE_").lower().replace("_", "-")
    for _, name in sorted(ffi.typeof("enum record_state").elements.items())
)
"""Names of a connection's states by number, as ss writes them."""
FLAGS = {
    name.removeprefix("FLAG_").lower(): number
    for number, name in ffi.typeof("enum record_flag").elements.items()
}
"""Bits of a connection's flags by name (dataplane/record.h)."""
_KINDS = {
    "int64_t": "i8",
    "int32_t": "i4",
    "uint32_t": "u4",
    "uint16_t": "u2",
    "uint8_t": "u1",
}
_FIELDS = {name: field for name, field in ffi.typeof("struct peek_row").fields if name != "spare"}
ROW_FIELDS = tuple(_FIELDS)
"""Names of a row's fields (struct peek_row)."""
_INDEX_BITS: int = lib.RECORD_INDEX_BITS
_GENERATION_BITS: int = lib.RECORD_GENERATION_BITS


@dataclass(frozen=True, slots=True)
class Histogram:
    """`bounds`: the upper ends of the buckets but the last, in seconds; `counts` of every bucket; `total` seconds."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    def quantile(self, part: float) -> float:
        """The bound, in seconds, that `part` of all took less than; 0 when nothing was counted."""
        wanted, seen = part * sum(self.counts), 0
        for bound, count in zip((*self.bounds, self.bounds[-1] * 2), self.counts, strict=True):
            seen += count
            if count and seen >= wanted:
                return bound
        return 0.0

    def since(self, before: "Histogram") -> "Histogram":
        """What was added after `before`."""
        counts = (now - then for now, then in zip(self.counts, before.counts, strict=True))
        return Histogram(self.bounds, tuple(counts), self.total - before.total)


@cache
def row_dtype() -> "np.dtype[np.void]":
    """`struct peek_row` as a NumPy type: a connection (docs/records.md has each field)."""
    import numpy as np

    return np.dtype(
        {
            "names": list(ROW_FIELDS),
            "formats": [_KINDS[field.type.cname] for field in _FIELDS.values()],
            "offsets": [field.offset for field in _FIELDS.values()],
            "itemsize": ffi.sizeof("struct peek_row"),
        }
    )


def split_handle(handle: int) -> tuple[int, int, int]:
    """(core, generation, index) of a handle."""
    index = handle & ((1 << _INDEX_BITS) - 1)
    generation = handle >> _INDEX_BITS & ((1 << _GENERATION_BITS) - 1)
    return handle >> (_INDEX_BITS + _GENERATION_BITS), generation, index


class CorePeek(CoreWords):
    """One core, over a descriptor of its arena that need not be writable. Maps all of it."""

    def __init__(self, descriptor: int) -> None:
        """Raises OSError: EBADMSG (no arena), EPROTO (of another version), EINVAL (not of its own size)."""
        size = os.fstat(descriptor).st_size
        if size < lib.ARENA_HEADER_BYTES:
            check(-22, f"descriptor {descriptor}: an arena")
        mapped = mmap(descriptor, size, MAP_SHARED, PROT_READ)
        base = ffi.from_buffer(mapped)
        try:
            check(lib.peek_check(base, size), f"descriptor {descriptor}: an arena")
        except OSError:
            ffi.release(base)
            mapped.close()
            raise
        ffi.release(base)
        super().__init__(mapped)
        header = ffi.cast("struct arena_header *", self._base)
        self._histograms = ffi.cast(
            "struct histogram *", self._base + header.sections[lib.SECTION_HISTOGRAMS].offset
        )
        self.size = size

    @property
    def now(self) -> int:
        """Nanoseconds of CLOCK_MONOTONIC when the last turn began."""
        return int(self._state.now)

    @property
    def end(self) -> int:
        """The record indexes in use so far are below this."""
        return int(lib.peek_end(self._base))

    def sections(self) -> dict[str, int]:
        """Bytes of each section of the arena by its name."""
        header = ffi.cast("struct arena_header *", self._base)
        return {
            name.removeprefix("SECTION_").lower(): int(header.sections[number].bytes)
            for number, name in sorted(ffi.typeof("enum arena_section").elements.items())
            if name != "SECTION_COUNT"
        }

    def fill(self) -> dict[str, int]:
        """How full its pools are: `struct peek_fill` by field; the most that fits is under NAME_most."""
        found = ffi.new("struct peek_fill *")
        lib.peek_fill(self._base, found)
        return {
            name: int(getattr(found, name)) for name, _ in ffi.typeof("struct peek_fill").fields
        }

    def histogram(self, name: str) -> Histogram:
        """`handler` or `turn`: how long calls of handlers, and turns that found work, took."""
        found = self._histograms[HISTOGRAMS[name]]
        bounds = (2 ** (lib.HISTOGRAM_LEAST + i) / 1e9 for i in range(lib.HISTOGRAM_BUCKETS - 1))
        return Histogram(tuple(bounds), tuple(map(int, found.buckets)), found.sum / 1e9)

    def rows(self, first: int, into: "npt.NDArray[np.void]") -> int:
        """Puts the live connections among the records from index `first` on, as many as `into` has rows, there."""
        target = ffi.from_buffer("struct peek_row[]", into, require_writable=True)
        return int(lib.peek_rows(self._base, first, len(into), target))

    def row(self, handle: int) -> Any:
        """The connection of a handle as a row, or None when it is gone or another core's."""
        import numpy as np

        found = np.zeros(1, row_dtype())
        target = ffi.from_buffer("struct peek_row[]", found, require_writable=True)
        return found[0] if lib.peek_handle(self._base, handle, target) else None
