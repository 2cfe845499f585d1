"""A ring in shared memory, seen from Python: one message at a time, or batches as NumPy arrays.

A Ring is one end's view. Each ring has one producer (`put…`) and one consumer (`get…`, `advance`), in any two
processes; docs/message-way.md explains what either finds after the other was killed.
"""

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from .native import check, ffi, lib

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CELL: int = lib.RING_CELL
PAYLOAD: int = lib.RING_PAYLOAD
"""Bytes of payload in one cell."""
MESSAGE_MAX: int = lib.RING_MESSAGE_MAX
"""Bytes of the longest message."""
EVERY_LISTENER = 255
"""A target: every listener of the core."""

TELL: int = lib.MESSAGE_TELL
ASK: int = lib.MESSAGE_ASK
REPLY: int = lib.MESSAGE_REPLY
EVENT: int = lib.MESSAGE_EVENT

TAG_BITS = 24
RUN_MOST = 256
"""Messages of a run, unless told otherwise."""
RUN_BYTES = RUN_MOST * PAYLOAD

HEADER = struct.Struct("=HHBBxxI")
"""struct ring_message: type, length, kind, target, tag. A field as an attribute of a C struct costs 60 ns."""
_HEADER = [("type", "u2"), ("length", "u2"), ("kind", "u1"), ("target", "u1"), ("tag", "u4")]


def ring_bytes(cells: int) -> int:
    """Bytes that a ring of so many cells takes; a multiple of 64."""
    return int(lib.ring_bytes(cells))


class RingLevel(NamedTuple):
    """How full a ring is: `used` of `cells`; `refused` puts since the start found no room."""

    used: int
    cells: int
    refused: int


def ring_level(memory: Any, offset: int) -> RingLevel:
    """The level of the formatted ring at `offset` of `memory`, which may be read-only. Its ends may move meanwhile."""
    ring = ffi.cast("struct ring *", ffi.from_buffer(memory) + offset)
    return RingLevel(int(lib.ring_fill(ring)), int(ring.cells), int(ring.refused))


def header_dtype() -> "np.dtype[np.void]":
    """struct ring_message as a NumPy type."""
    import numpy as np

    return np.dtype(
        {
            "names": [name for name, _ in _HEADER],
            "formats": [kind for _, kind in _HEADER],
            "offsets": [ffi.offsetof("struct ring_message", name) for name, _ in _HEADER],
            "itemsize": ffi.sizeof("struct ring_message"),
        }
    )


class Received(NamedTuple):
    """One message out of a ring."""

    type: int
    kind: int
    target: int
    tag: int
    payload: bytes


class Run(NamedTuple):
    """Messages alike in all but their payloads, which lie in `data` one after the other without gaps."""

    type: int
    kind: int
    target: int
    tag: int
    length: int
    """Bytes of each."""
    many: int
    """How many messages."""
    data: bytes

    def split(self, room: int) -> "tuple[Run | None, Run | None]":
        """The first `room` of them, and the rest; None for none."""
        if room <= 0:
            return None, self
        if room >= self.many:
            return self, None
        cut = room * self.length
        return (
            self._replace(many=room, data=self.data[:cut]),
            self._replace(many=self.many - room, data=self.data[cut:]),
        )


class Batch:
    """Room for messages got at once: `headers[:count]` and `rows[:count]`, both overwritten by the next get_batch.

    `rows` is a (size, stride) array of bytes. A run of one type is read without copying by
    `batch.view(begin, end, dtype)`.
    """

    __slots__ = ("_headers_pointer", "_rows_pointer", "count", "headers", "rows", "size", "stride")

    def __init__(self, size: int = 256, stride: int = PAYLOAD) -> None:
        """Room for `size` messages of up to `stride` bytes each."""
        import numpy as np

        self.size, self.stride, self.count = size, stride, 0
        self.headers: npt.NDArray[np.void] = np.zeros(size, header_dtype())
        self.rows: npt.NDArray[np.uint8] = np.zeros((size, stride), np.uint8)
        self._headers_pointer = ffi.from_buffer("struct ring_message[]", self.headers)
        self._rows_pointer = ffi.from_buffer(self.rows)

    def view(self, begin: int, end: int, dtype: "np.dtype[Any]") -> "npt.NDArray[Any]":
        """Rows begin..end as an array of `dtype`, whose size is at most the stride; no copy."""
        return self.rows[begin:end, : dtype.itemsize].view(dtype)[:, 0]


class Ring:
    """One ring over a writable buffer. `pointer` is the struct ring for C; the buffer stays alive with it."""

    __slots__ = (
        "_bell",
        "_buffer",
        "_header",
        "_header_view",
        "_payload",
        "_payload_view",
        "_run",
        "_run_view",
        "pointer",
    )

    def __init__(self, buffer: Any, offset: int = 0) -> None:
        """The formatted ring at `offset` of `buffer`. ValueError if none fits there."""
        # Not of a memoryview: when both are garbage of one cycle, CPython clears it before cffi lets go of it, and dies.
        self._buffer = ffi.from_buffer(buffer, require_writable=True)
        self.pointer: Any = ffi.cast("struct ring *", self._buffer + offset)
        room = max(len(self._buffer) - offset, 0)
        if room < ring_bytes(0) or room < ring_bytes(self.cells) or not self.cells:
            cells = self.cells if room >= ring_bytes(0) else 0
            raise ValueError(f"no ring at offset {offset}: {room} bytes, {cells} cells")
        self._header = ffi.new("struct ring_message *")
        self._header_view = ffi.buffer(self._header)
        self._payload = ffi.new("uint8_t[]", MESSAGE_MAX)
        self._payload_view = ffi.buffer(self._payload)
        self._run: Any = None
        self._run_view: Any = None
        self._bell = -1

    @classmethod
    def format(cls, buffer: Any, cells: int, offset: int = 0) -> "Ring":
        """Makes an empty ring at `offset` of `buffer`.

        `cells` is a power of two (else OSError, EINVAL). ValueError if the buffer is too small or unaligned.
        """
        whole = ffi.from_buffer(buffer, require_writable=True)
        base, room = whole + offset, max(len(whole) - offset, 0)
        if room < ring_bytes(cells):
            raise ValueError(f"{cells} cells take {ring_bytes(cells)} bytes, here are {room}")
        if int(ffi.cast("uintptr_t", base)) % CELL:
            raise ValueError(f"offset {offset}: a ring starts on a multiple of {CELL} bytes")
        check(lib.ring_format(ffi.cast("struct ring *", base), cells), f"a ring of {cells} cells")
        return cls(buffer, offset)

    @property
    def cells(self) -> int:
        """The capacity."""
        return int(self.pointer.cells)

    @property
    def refused(self) -> int:
        """Puts that found the ring full."""
        return int(self.pointer.refused)

    def fill(self) -> int:
        """Cells in use, estimated: both ends may move meanwhile."""
        return int(lib.ring_fill(self.pointer))

    def put(
        self, number: int, payload: Any, *, kind: int = TELL, target: int = 0, tag: int = 0
    ) -> bool:
        """Puts a message of type `number`; `payload` is bytes-like. False when the ring is full now.

        ValueError, or OSError (EMSGSIZE) in a small ring, when it never fits.
        """
        length = len(payload)
        if length > MESSAGE_MAX:
            raise ValueError(f"a message of {length} bytes: at most {MESSAGE_MAX}")
        HEADER.pack_into(self._header_view, 0, number, length, kind, target, tag)
        data = payload if type(payload) is bytes else ffi.from_buffer(payload)
        went = lib.bell_put(self.pointer, self._header, data, self._bell)
        return went == 1 or bool(check(went, f"a message of {length} bytes"))

    @property
    def bell(self) -> int:
        """The eventfd that `put` wakes its consumer by; -1 for none."""
        return self._bell

    def wake_by(self, bell: int) -> None:
        """From now on `put` wakes a consumer that sleeps, by this eventfd."""
        self._bell = bell

    def rouse(self) -> None:
        """A message comes in a moment: a consumer that sleeps may wake meanwhile."""
        lib.bell_told(self.pointer, self._bell)

    def put_batch(self, headers: "npt.NDArray[np.void]", rows: "npt.NDArray[Any]") -> int:
        """Puts one-cell messages with one publication; returns how many went in, from the first.

        `headers` is a contiguous array of `header_dtype()`, `rows` a contiguous array whose row i holds message i.
        """
        count = len(headers)
        if not headers.flags.c_contiguous or not rows.flags.c_contiguous or len(rows) < count:
            raise ValueError("headers and rows are contiguous, with a row for each header")
        stride = rows.nbytes // max(len(rows), 1)
        return int(
            lib.ring_put_batch(
                self.pointer,
                ffi.from_buffer("struct ring_message[]", headers),
                ffi.from_buffer(rows),
                stride,
                count,
            )
        )

    def get(self) -> Received | None:
        """The next message, or None. It comes again after a crash unless `advance` was called since."""
        if not lib.ring_get(self.pointer, self._header, self._payload):
            return None
        number, length, kind, target, tag = HEADER.unpack_from(self._header_view)
        return Received(number, kind, target, tag, self._payload_view[0:length])

    def get_batch(self, batch: Batch) -> int:
        """Fills `batch` and returns its count. A message longer than its stride ends it: `get` that one."""
        batch.count = lib.ring_get_batch(
            self.pointer, batch._headers_pointer, batch._rows_pointer, batch.stride, batch.size
        )
        return batch.count

    def get_run(self, most: int = RUN_MOST) -> Run | None:
        """The next message and up to `most` - 1 more that follow and are alike in all but their payloads, or None."""
        if self._run is None:
            self._run = ffi.new("uint8_t[]", RUN_BYTES)
            self._run_view = ffi.buffer(self._run)
        count = lib.ring_get_run(self.pointer, self._header, self._run, RUN_BYTES, most)
        if not count:
            return None
        number, length, kind, target, tag = HEADER.unpack_from(self._header_view)
        return Run(number, kind, target, tag, length, count, self._run_view[0 : length * count])

    def advance(self) -> None:
        """Gives the cells of all messages got so far back to the producer."""
        lib.ring_advance(self.pointer)

    def close(self) -> None:
        """Nobody will ever read it again: a data actor's tell into it says False from now on. For any process."""
        self.pointer.closed = 1

    def refuse(self, target: int, full: bool) -> None:
        """Consumer: whether a data actor's tell to `target` says False from now on, though the ring has room."""
        word, bit = divmod(target, 64)
        words = self.pointer.full
        words[word] = words[word] | 1 << bit if full else words[word] & ~(1 << bit)

    def ready(self) -> bool:
        """Consumer: whether `get` would find a message."""
        return bool(lib.ring_ready(self.pointer))

    def room(self, length: int) -> bool:
        """Producer: whether a message of `length` bytes would fit now."""
        return bool(lib.ring_room(self.pointer, length))

    def adopt_producer(self) -> None:
        """The producer was killed, and this process takes its place: whole messages it published count, no others."""
        lib.ring_adopt_producer(self.pointer)

    def adopt_consumer(self) -> None:
        """The consumer was killed, and this process takes its place, after the last message it advanced past."""
        lib.ring_adopt_consumer(self.pointer)
