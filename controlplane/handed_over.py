"""Connections that an actor under test hands over: the real control plane's end, played by the test without a loop.

Streams and transports are those of a service. What they would have an event loop call soon runs when the bench settles.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from ..dataplane import relay
from ..dataplane.bench import BenchCore
from ..dataplane.ring import Received, Run
from .streams import Streams

__all__ = ["HandOvers", "HandedOver"]

LISTENER = 0
"""The bench's only one."""


class HandedOver(asyncio.Protocol):
    """The control plane's end of a connection that a handler handed over. It reads whatever comes.

    Attributes: `first_bytes` that the handler gave along; `ended`: the peer sends no more; `closed`: it is over, and if
    not by both ends' will, then `error` says why.
    """

    def __init__(self, settle: Callable[[], None], first: int) -> None:
        self.first_bytes = b""
        self.ended = self.closed = False
        self.error: Exception | None = None
        self._settle, self._first = settle, first
        self._received = b""
        self._transport: asyncio.Transport

    @property
    def received(self) -> bytes:
        """What a stream would have read so far: the first bytes, what the handler left, and all that came since."""
        return self._received

    def take(self) -> bytes:
        """What it received since the last take."""
        data, self._received = self._received, b""
        return data

    def send(self, data: bytes) -> None:
        """Sends `data` to the peer. OSError if the connection is over, RuntimeError after `end`."""
        if self._transport.is_closing():
            raise self.error or ConnectionResetError("the connection is closed")
        self._transport.write(data)
        self._settle()

    @property
    def unsent(self) -> int:
        """Bytes sent that the core has no room for yet, because the peer doesn't read."""
        return self._transport.get_write_buffer_size()

    def end(self) -> None:
        """Sends no more (FIN), and reads on."""
        self._transport.write_eof()
        self._settle()

    def close(self) -> None:
        """Sends what waits, then ends the connection; reads no more."""
        self._transport.close()
        self._settle()

    def reset(self) -> None:
        """Resets the connection (RST)."""
        self._transport.abort()
        self._settle()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """asyncio's."""
        self.first_bytes += data[: self._first - len(self.first_bytes)]
        self._received += data

    def eof_received(self) -> bool:
        """asyncio's: the test says when it closes."""
        self.ended = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's."""
        self.closed, self.error = True, exc


class Soon:
    """As much of an event loop as a transport asks for."""

    def __init__(self) -> None:
        self.calls: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self.stopped = False

    def call_soon(self, function: Callable[..., object], *arguments: object) -> None:
        """Keeps the call."""
        self.calls.append((function, arguments))

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A test hears of it."""
        raise context["exception"]

    def is_closed(self) -> bool:
        """Whether the bench is through."""
        return self.stopped

    def run(self) -> bool:
        """Makes the calls; whether there were any."""
        found = bool(self.calls)
        while self.calls:
            function, arguments = self.calls.popleft()
            function(*arguments)
        return found


class HandOvers:
    """All of a bench: of its core; `settle` lets that work until nothing is left to do."""

    def __init__(self, core: BenchCore, settle: Callable[[], None]) -> None:
        self._settle, self._soon, self._streams = settle, Soon(), Streams()
        self._streams.loop = cast("asyncio.AbstractEventLoop", self._soon)
        out, into = core.from_control, core.to_control
        self._streams.add_core(0, out, into, lambda _core, _ring, _cells: None)
        self._streams.serve((LISTENER,), self._make)
        self._opening = (0, 0)
        self._by_handle: dict[int, HandedOver] = {}
        self._heard = False

    def _make(self) -> HandedOver:
        handle, first = self._opening
        made = self._by_handle[handle] = HandedOver(self._settle, first)
        return made

    def of(self, handle: int) -> HandedOver | None:
        """The one whose connection had this handle."""
        return self._by_handle.get(handle)

    def take(self, message: Received) -> None:
        """A message of the core's relay."""
        self._heard = True
        data = message.payload
        if message.target == relay.OPEN:
            opened = relay.read_open(data)
            self._opening = (opened.generation << relay.INDEX_BITS | message.tag, opened.handed)
        run = Run(message.type, message.kind, message.target, message.tag, len(data), 1, data)
        self._streams.cores[0].take(run)

    def turn(self) -> bool:
        """Does what is due; whether the core may have to work on it."""
        heard, self._heard = self._heard, False
        core = self._streams.cores[0]
        waiting = core.waiting
        if waiting:
            core.flush()
        return self._soon.run() or heard or waiting

    def stop(self) -> None:
        """The bench is through: whoever still has a connection is told, as at a runtime's end."""
        self._streams.stop()
        self._soon.run()
        self._soon.stopped = True
