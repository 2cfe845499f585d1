"""The messages of connections that the control plane serves, as Python packs and reads them (relay.h)."""

import struct
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import IPv4Address
from typing import Any, NamedTuple

from .native import ffi, lib
from .ring import Ring

EVENT_STREAM: int = lib.EVENT_STREAM
WINDOW: int = lib.RELAY_WINDOW
"""Bytes that either side may send before it is told of more."""
PIECE: int = lib.RELAY_PIECE
"""Bytes of a stream in one message."""
ERRNO: int = lib.RELAY_ERRNO

OPEN: int = lib.RELAY_OPEN
DATA: int = lib.RELAY_DATA
END: int = lib.RELAY_END
CLOSED: int = lib.RELAY_CLOSED
CREDIT: int = lib.RELAY_CREDIT
GONE: int = lib.RELAY_GONE
CONNECTING: int = lib.RELAY_CONNECTING
RESYNC: int = lib.RELAY_RESYNC

WRITE: int = lib.RELAY_WRITE
FINISH: int = lib.RELAY_FINISH
CLOSE: int = lib.RELAY_CLOSE
ABORT: int = lib.RELAY_ABORT
GRANT: int = lib.RELAY_GRANT
SYNC: int = lib.RELAY_SYNC
CONNECT: int = lib.RELAY_CONNECT

WRITING: int = lib.RELAY_WRITING
FINISHED: int = lib.RELAY_FINISHED
HAS_CLOSED: int = lib.RELAY_HAS_CLOSED
HAS_ABORTED: int = lib.RELAY_HAS_ABORTED

HEAD = struct.Struct("=II")
"""struct relay_head: generation, place."""
SYNC_HEAD = struct.Struct("=IIII")
"""struct relay_sync: generation, written, granted, ending."""
_OPEN = struct.Struct("=II4s4s2s2sII")
_HEARD = struct.Struct("=QIIII")
_CONNECT = struct.Struct("=I4s2s6s")
HEAD_BYTES = HEAD.size
MASK = 0xFFFFFFFF
INDEX_BITS: int = lib.RECORD_INDEX_BITS
CORE_SHIFT: int = lib.RECORD_INDEX_BITS + lib.RECORD_GENERATION_BITS


class Opened(NamedTuple):
    """struct relay_open; `listener` is its number in the layout, `handed` how many bytes came by hand_over."""

    generation: int
    listener: int
    remote: tuple[str, int]
    local: tuple[str, int]
    active: bool
    handed: int


def read_open(data: bytes) -> Opened:
    """The body of an OPEN."""
    generation, listener, remote, local, remote_port, local_port, active, handed = _OPEN.unpack(
        data
    )
    return Opened(
        generation,
        listener,
        (str(IPv4Address(remote)), int.from_bytes(remote_port, "big")),
        (str(IPv4Address(local)), int.from_bytes(local_port, "big")),
        bool(active),
        handed,
    )


class Hearing:
    """Messages of the connections of one core, many at a time (line.h)."""

    __slots__ = ("_bytes", "_hear", "_heard", "_heard_view", "_ring", "view")

    def __init__(self, ring: Ring) -> None:
        """`ring` is the core's to the control plane; its only consumer's."""
        self._ring = ring
        self._heard = ffi.new("struct line_heard[]", lib.LINE_HEARD)
        self._heard_view = ffi.buffer(self._heard)
        self._bytes = ffi.new("uint8_t[]", lib.LINE_BYTES)
        self._hear = partial(lib.line_hear, ring.pointer, self._heard, self._bytes)
        self.view: Any = ffi.buffer(self._bytes)
        """Where the bytes lie until the next `take`."""

    def take(self) -> tuple[int, Iterator[tuple[int, int, int, int, int]]]:
        """How many come next, merged where bytes follow on bytes, and for each: key, what, at, and where in `view` its
        bytes begin and end.
        """
        count = self._hear()
        return count, _HEARD.iter_unpack(self._heard_view[0 : count * _HEARD.size])


def writer(ring: Ring) -> Callable[[int, int, int, Any, int], int]:
    """Puts WRITEs into the ring to a core: (index, generation, place, bytes, how many of them); how many went."""
    return partial(lib.line_write, ring.pointer, ring.bell)


def as_bytes(data: Any) -> Any:
    """What `writer` takes of a bytes-like object other than bytes."""
    return ffi.from_buffer("uint8_t[]", data)


def pack_connect(cookie: int, address: IPv4Address, port: int, next_hop: bytes) -> bytes:
    """The body of a CONNECT; `next_hop` is a MAC address, used by frame drivers."""
    return _CONNECT.pack(cookie, address.packed, port.to_bytes(2, "big"), next_hop)
