"""One connection that the control plane serves: an asyncio.Transport over the rings to and from its core.

What a socket is to asyncio's own transport, `Line` is to this one: it puts messages into the core's ring. Bytes are
counted in both directions; either side sends up to the limit that the other named (dataplane/relay.h).
"""

import asyncio
import errno
import os
import warnings
from asyncio import constants, transports
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from ..dataplane import relay
from ..dataplane.relay import MASK, WINDOW, Opened, as_bytes
from ..runtime.actor import CloseReason

CLEAN = (CloseReason.LOCAL, CloseReason.PEER)
ERRORS: dict[int, tuple[type[OSError], int, str]] = {
    CloseReason.TIMEOUT: (TimeoutError, errno.ETIMEDOUT, "the peer answers no more"),
    CloseReason.SHUTDOWN: (ConnectionAbortedError, errno.ECONNABORTED, "the runtime is stopping"),
    CloseReason.OVERFLOW: (ConnectionResetError, errno.ECONNRESET, "the core's buffers ran out"),
    CloseReason.WORKER_LOST: (ConnectionResetError, errno.ECONNRESET, "its core's worker died"),
    CloseReason.FAULT: (ConnectionResetError, errno.ECONNRESET, "its actor failed"),
}
RESET = (ConnectionResetError, errno.ECONNRESET, "Connection reset by peer")


class Line(Protocol):
    """The way to a stream's core."""

    core_id: int

    write: Callable[[int, int, int, Any, int], int]
    """Puts bytes: index, generation, place, the bytes, how many of them; how many went before the ring was full."""

    def put(self, what: int, index: int, payload: bytes) -> bool:
        """One message; False if the ring is full now."""

    def want(self, stream: "StreamTransport") -> None:
        """Calls `stream.flush` when there is room again."""

    def leave(self, stream: "StreamTransport") -> None:
        """The core has nothing more of this connection."""


def error_of(reason: int) -> OSError:
    """What a connection that closed for `reason` raises: a CloseReason, or relay.ERRNO plus an errno."""
    if reason >= relay.ERRNO:
        return OSError(reason - relay.ERRNO, os.strerror(reason - relay.ERRNO))
    kind, number, text = ERRORS.get(reason, RESET)
    return kind(number, text)


class StreamTransport(transports._FlowControlMixin, asyncio.Transport):
    """A connection of a core, for any asyncio protocol.

    `get_extra_info` knows `peername`, `sockname`, `handle` (as data actors see it) and `core` (its number).
    """

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.FALLBACK

    def __init__(
        self, loop: asyncio.AbstractEventLoop, line: Line, index: int, opened: Opened
    ) -> None:
        """`index` and `opened.generation` name the record."""
        handle = line.core_id << relay.CORE_SHIFT | opened.generation << relay.INDEX_BITS | index
        super().__init__(
            {
                "peername": opened.remote,
                "sockname": opened.local,
                "handle": handle,
                "core": line.core_id,
            },
            loop,
        )
        self._loop: asyncio.AbstractEventLoop = loop
        self._line, self._index, self._generation = line, index, opened.generation
        self._protocol: asyncio.BaseProtocol | None = None
        self._buffered_protocol = False
        self._received = self._consumed = 0
        self._granted = self._limit = WINDOW
        self._grant_due = self._sync_due = self._gone = False
        self._paused = False
        self._kept: deque[bytes] = deque()
        self._ended = self._end_due = False
        self._written = 0
        self._buffer: deque[memoryview] = deque()
        self._buffer_size = 0
        self._finishing = False
        self._closing = self._lost = False
        self._ending = relay.WRITING
        """What of it the core was told."""

    def __repr__(self) -> str:
        state = "closing" if self._closing else "open"
        peer = self.get_extra_info("peername")
        return f"<StreamTransport {state} core={self._line.core_id} peer={peer[0]}:{peer[1]}>"

    @property
    def key(self) -> int:
        """Its number on its core: generation and index."""
        return self._generation << relay.INDEX_BITS | self._index

    # What protocols call.

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol that bytes go to."""
        assert self._protocol is not None
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Bytes go to `protocol` from now on."""
        self._protocol = protocol
        self._buffered_protocol = isinstance(protocol, asyncio.BufferedProtocol)

    def is_reading(self) -> bool:
        """Whether bytes go to the protocol as they come."""
        return not self._paused and not self._closing

    def pause_reading(self) -> None:
        """Nothing goes to the protocol; soon the peer's window closes."""
        if not self._closing:
            self._paused = True

    def resume_reading(self) -> None:
        """Undoes pause_reading."""
        if self._paused and not self._closing:
            self._paused = False
            if self._kept or self._end_due:
                self._loop.call_soon(self._deliver)

    def get_write_buffer_size(self) -> int:
        """Bytes that wait here for the peer, or for room in the ring."""
        return self._buffer_size

    def can_write_eof(self) -> bool:
        """True."""
        return True

    def is_closing(self) -> bool:
        """Whether it is closed, or on its way."""
        return self._closing

    def write(self, data: Any) -> None:
        """Sends `data`, bytes-like; what can't go yet waits here. RuntimeError after write_eof."""
        if type(data) is not bytes and not isinstance(data, (bytes, bytearray, memoryview)):
            kind = type(data).__name__
            raise TypeError(f"data argument must be a bytes-like object, not {kind!r}")
        if self._finishing:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._closing or self._gone:
            return
        if not self._buffer:
            if type(data) is memoryview:
                data = data.cast("B")
            sent = self._send(data)
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        rest = memoryview(bytes(data))  # the caller may change what it gave
        self._buffer.append(rest)
        self._buffer_size += len(rest)
        # asyncio's own flow control, which its type stubs leave out.
        self._maybe_pause_protocol()  # type: ignore[attr-defined]

    def write_eof(self) -> None:
        """Ends our half once all is sent; the peer's goes on."""
        if self._finishing or self._closing:
            return
        self._finishing = True
        self.flush()

    def close(self) -> None:
        """Reads no more, sends what waits, then ends the connection."""
        if self._closing:
            return
        self._closing = True
        self._kept.clear()
        self.flush()

    def abort(self) -> None:
        """Resets the connection; what waits is dropped."""
        self._force_close(None)

    def __del__(self) -> None:
        if self._protocol is not None and not self._lost and not self._loop.is_closed():
            warnings.warn(f"unclosed transport {self!r}", ResourceWarning, 2, source=self)

    # What its core says.

    def begin(self, protocol: asyncio.BaseProtocol) -> None:
        """The first that the protocol hears."""
        self.set_protocol(protocol)
        self._call(protocol.connection_made, self)

    def data_came(self, at: int, data: bytes) -> None:
        """Bytes, the first of which is the peer's byte number `at`."""
        if at != self._received:
            error = ConnectionResetError(errno.ECONNRESET, "bytes were lost on the way")
            self._force_close(error)
            return
        self._received = at + len(data) & MASK
        if self._closing:
            return
        if self._paused or self._kept:
            self._kept.append(data)
        else:
            self._give(data)

    def end_came(self) -> None:
        """The peer sends no more."""
        self._end_due = True
        if not self._paused and not self._kept and not self._closing:
            self._tell_end()

    def credit_came(self, limit: int) -> None:
        """The core takes bytes up to `limit`."""
        self._limit = limit
        if self._buffer:
            self.flush()

    def closed(self, reason: int) -> None:
        """The core has no such connection any more."""
        self._gone = True
        self._line.leave(self)
        if reason not in CLEAN:
            self._fail(error_of(reason))
        elif self._closing and not self._lost:
            self._lose(None)

    def gone(self) -> None:
        """The core never heard of it, or has forgotten."""
        self.closed(CloseReason.WORKER_LOST)

    def compare(self) -> None:
        """Messages may be lost: tells the core how far we are; it ends what doesn't fit."""
        self._sync_due = True
        self.flush()

    # The way to the ring.

    def flush(self) -> None:
        """Sends what waits, as far as credit and ring allow."""
        if self._gone:
            if self._closing and not self._lost:
                self._lose(None)
            return
        if not self._put_notes():
            self._line.want(self)
            return
        while self._buffer and self._ending == relay.WRITING:
            piece = self._buffer[0]
            sent = self._send(piece)
            self._buffer_size -= sent
            if sent < len(piece):
                self._buffer[0] = piece[sent:]
                break
            self._buffer.popleft()
        # asyncio's own flow control, which its type stubs leave out.
        self._maybe_resume_protocol()  # type: ignore[attr-defined]
        if not self._buffer and not self._put_end():
            self._line.want(self)

    def _send(self, data: Any) -> int:
        """Puts as much as goes; how much that was."""
        size, written = len(data), self._written
        room = self._limit - written & MASK
        size = min(size, room)
        if room > WINDOW or not size:
            return 0
        whole = data if type(data) is bytes else as_bytes(data)
        sent = self._line.write(self._index, self._generation, written, whole, size)
        self._written = written + sent & MASK
        if sent < size:
            self._line.want(self)
        return sent

    def _put_notes(self) -> bool:
        """Credit and comparison, if due; False if the ring is full."""
        if self._grant_due:
            self._grant_due = not self._put(relay.GRANT, self._granted)
        if self._sync_due:
            told = (self._generation, self._written, self._granted, self._ending)
            body = relay.SYNC_HEAD.pack(*told)
            self._sync_due = not self._line.put(relay.SYNC, self._index, body)
        return not (self._grant_due or self._sync_due)

    def _put_end(self) -> bool:
        """Ends, if due; False if the ring is full."""
        if self._closing:
            if self._ending < relay.HAS_CLOSED:
                if not self._put(relay.CLOSE, self._written):
                    return False
                self._ending = relay.HAS_CLOSED
            if not self._lost:
                self._lose(None)
        elif self._finishing and self._ending == relay.WRITING:
            if not self._put(relay.FINISH, self._written):
                return False
            self._ending = relay.FINISHED
        return True

    def _put(self, what: int, at: int) -> bool:
        return self._line.put(what, self._index, relay.HEAD.pack(self._generation, at))

    # To the protocol.

    def _call(self, function: Any, *arguments: Any) -> Any:
        """A protocol's method; one that raises resets the connection, as asyncio's own transports do."""
        try:
            return function(*arguments)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - a user's protocol may raise anything
            self._failed(function.__name__, error)
            return False

    def _failed(self, name: str, error: BaseException) -> None:
        context = {
            "message": f"Fatal error: protocol.{name}() call failed.",
            "exception": error,
            "transport": self,
            "protocol": self._protocol,
        }
        self._loop.call_exception_handler(context)
        self._force_close(error)

    def _give(self, data: bytes) -> None:
        protocol: Any = self._protocol
        if self._buffered_protocol:
            # What asyncio's own transports call; its type stubs leave it out.
            self._call(asyncio.protocols._feed_data_to_buffered_proto, protocol, data)  # type: ignore[attr-defined]
        else:
            try:  # as _call does, without its call: every message comes here
                protocol.data_received(data)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 - as _call
                self._failed("data_received", error)
        self._consumed = self._consumed + len(data) & MASK
        if (self._granted - self._consumed & MASK) <= WINDOW // 2:
            self._granted = self._consumed + WINDOW & MASK
            self._grant_due = True
            if not self._gone and not self._put_notes():
                self._line.want(self)

    def _deliver(self) -> None:
        while self._kept and not self._paused and not self._closing:
            self._give(self._kept.popleft())
        if self._end_due and not self._kept and not self._paused and not self._closing:
            self._tell_end()

    def _tell_end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if not self._call(self.get_protocol().eof_received):  # type: ignore[attr-defined]
            self.close()

    def _force_close(self, error: BaseException | None) -> None:
        """Also called by asyncio's TLS over this transport."""
        if not self._gone and self._ending != relay.HAS_ABORTED:
            self._ending = relay.HAS_ABORTED
            if not self._put(relay.ABORT, 0):
                self._sync_due = True
                self._line.want(self)
        self._fail(error)

    def _fail(self, error: BaseException | None) -> None:
        self._kept.clear()
        self._buffer.clear()
        self._buffer_size = 0
        self._closing = True
        if not self._lost:
            self._lose(error)

    def _lose(self, error: BaseException | None) -> None:
        self._lost = True
        self._loop.call_soon(self._tell_lost, error)

    def _tell_lost(self, error: BaseException | None) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(error)  # type: ignore[arg-type]
