"""The control plane's connections: what each core says of its own, who serves them, and opening new ones.

Knows neither files nor layouts: a listener is a number here, and `serve` says which protocols its connections get.
"""

import asyncio
import errno
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address

from ..dataplane import relay
from ..dataplane.relay import DATA, EVENT_STREAM, HEAD, Hearing, Opened, read_open, writer
from ..dataplane.ring import EVENT, MESSAGE_MAX, PAYLOAD, Ring, Run
from ..runtime.actor import CloseReason
from .stream import CLEAN, StreamTransport, error_of

Factory = Callable[[], asyncio.BaseProtocol]

BACKLOG = 128
"""Connections of one listener that wait until somebody serves it; further ones are reset, counted."""
WANTED_CELLS = MESSAGE_MAX // PAYLOAD


class Streams:
    """All of them. `cores` in the order of their numbers; since the start `opened`, `refused` and `stale`."""

    loop: asyncio.AbstractEventLoop
    """Where protocols run; set before the first message."""

    def __init__(self) -> None:
        self.cores: list[CoreStreams] = []
        self.opened = self.refused = self.stale = 0
        self._factories: dict[int, Factory] = {}
        self._backlogs: dict[int, deque[StreamTransport]] = {}
        self._closed: set[int] = set()

    def add_core(
        self, core_id: int, out: Ring, into: Ring, want: Callable[[int, Ring, int], None]
    ) -> None:
        """The next core, its rings from and to us; `want(core_id, out, cells)` has `flush` called when so many are free."""
        self.cores.append(CoreStreams(self, core_id, out, into, want))

    @property
    def live(self) -> int:
        """Connections that the cores have for us."""
        return sum(len(core.streams) for core in self.cores)

    def serve(self, listeners: Iterable[int], factory: Factory) -> None:
        """Connections of these listeners, also those that wait, get what `factory` makes. RuntimeError if served."""
        listeners = tuple(listeners)
        if any(listener in self._factories for listener in listeners):
            raise OSError(errno.EADDRINUSE, "somebody serves this port already")
        for listener in listeners:
            self._factories[listener] = factory
            self._closed.discard(listener)
            for stream in self._backlogs.pop(listener, ()):
                if not stream.is_closing():
                    self._begin(stream, factory)

    def refuse(self, listeners: Iterable[int]) -> None:
        """New connections of these listeners are reset from now on."""
        for listener in listeners:
            self._factories.pop(listener, None)
            self._closed.add(listener)

    def accept(self, stream: StreamTransport, listener: int) -> None:
        """A connection came."""
        self.opened += 1
        factory = self._factories.get(listener)
        if factory is not None:
            self._begin(stream, factory)
            return
        backlog = self._backlogs.setdefault(listener, deque())
        if listener in self._closed or len(backlog) >= BACKLOG:
            self.refused += 1
            stream.abort()
        else:
            stream.pause_reading()
            backlog.append(stream)

    def _begin(self, stream: StreamTransport, factory: Factory) -> None:
        try:
            protocol = factory()
        except Exception as error:  # noqa: BLE001 - a user's factory may raise anything
            context = {"message": "a protocol factory failed", "exception": error}
            self.loop.call_exception_handler(context)
            stream.abort()
            return
        stream.resume_reading()
        stream.begin(protocol)

    def stop(self) -> None:
        """The cores have stopped: whoever still has a connection is told."""
        for core in self.cores:
            core.stop()


def named(asked: "asyncio.Future[int]") -> bool:
    """Whether the core has named the connection that it opens: perhaps to somebody whose wait was cancelled since."""
    return asked.done() and not asked.cancelled() and asked.exception() is None


class CoreStreams:
    """One core's connections; what a StreamTransport calls its line."""

    def __init__(
        self,
        streams: Streams,
        core_id: int,
        out: Ring,
        into: Ring,
        want: Callable[[int, Ring, int], None],
    ) -> None:
        self.core_id = core_id
        self.streams: dict[int, StreamTransport] = {}
        self.write = writer(out)
        self._all, self._ring, self._want = streams, out, want
        self._hearing = Hearing(into)
        self._rest: Iterator[tuple[int, int, int, int, int]] = iter(())
        self._waiting: dict[StreamTransport, None] = {}
        self._asked: dict[int, asyncio.Future[int]] = {}
        self._opening: dict[int, asyncio.Future[StreamTransport]] = {}
        self._letters: deque[tuple[int, int, bytes]] = deque()
        self._cookie = 0
        self._stopped: CloseReason | None = None

    # What streams call.

    def put(self, what: int, index: int, payload: bytes) -> bool:
        """One message to the core; False if its ring is full."""
        return self._ring.put(EVENT_STREAM, payload, kind=EVENT, target=what, tag=index)

    def want(self, stream: StreamTransport) -> None:
        """`stream` waits for room."""
        self._waiting[stream] = None
        self._want(self.core_id, self._ring, WANTED_CELLS)

    def leave(self, stream: StreamTransport) -> None:
        """The core has closed it."""
        self.streams.pop(stream.key, None)
        self._waiting.pop(stream, None)

    # What the service calls.

    @property
    def waiting(self) -> bool:
        """Whether anything waits for room in the ring."""
        return bool(self._waiting or self._letters)

    def flush(self) -> None:
        """There may be room: everybody who waits gets a turn, in order."""
        while self._letters:
            if not self.put(*self._letters[0]):
                self._want(self.core_id, self._ring, WANTED_CELLS)
                return
            self._letters.popleft()
        for _ in range(len(self._waiting)):
            stream = next(iter(self._waiting))
            del self._waiting[stream]
            stream.flush()
            if stream in self._waiting:
                return
        self._want(self.core_id, self._ring, 0)

    def hear(self) -> int:
        """What the core says next of connections that we know, up to a bound; how many messages that were."""
        self._hear(self._rest)  # of a call that an error ended
        count, self._rest = self._hearing.take()
        self._hear(self._rest)
        return count

    def _hear(self, heard: Iterator[tuple[int, int, int, int, int]]) -> None:
        streams, view = self.streams, self._hearing.view
        for key, what, at, begin, end in heard:
            stream = streams.get(key)
            if what == DATA and stream is not None:
                stream.data_came(at, view[begin:end])
            else:
                self._told(stream, key, what, at)

    def _told(self, stream: StreamTransport | None, key: int, what: int, at: int) -> None:
        if stream is None:
            self._unknown(what, key, at)
        elif what == relay.CREDIT:
            stream.credit_came(at)
        elif what == relay.END:
            stream.end_came()
        elif what == relay.CLOSED:
            stream.closed(at)
        elif what == relay.GONE:
            stream.gone()

    def take(self, run: Run) -> None:
        """Messages of the core that are alike in all but their payloads, and that `hear` leaves."""
        what, index, data, length = run.target, run.tag, run.data, run.length
        for start in range(0, len(data), length) if length else (0,):
            one = data if run.many == 1 else data[start : start + length]
            if what == relay.OPEN:
                self._opened(index, read_open(one))
            elif what == relay.CONNECTING:
                self._connecting(index, *HEAD.unpack_from(one))
            elif what == relay.RESYNC:
                self._resync()
            else:  # it came after `hear` had looked
                generation, at = HEAD.unpack_from(one)
                key = generation << relay.INDEX_BITS | index
                stream = self.streams.get(key)
                if what == DATA and stream is not None:
                    stream.data_came(at, one[relay.HEAD_BYTES :])
                else:
                    self._told(stream, key, what, at)

    def stop(self, why: CloseReason = CloseReason.SHUTDOWN) -> None:
        """The core has stopped."""
        self._stopped = why
        for stream in tuple(self.streams.values()):
            stream.closed(why)
        futures: list[asyncio.Future[int] | asyncio.Future[StreamTransport]] = []
        futures += [*self._asked.values(), *self._opening.values()]
        for future in futures:
            if not future.done():
                future.set_exception(error_of(why))

    async def connect(self, address: IPv4Address, port: int, next_hop: bytes) -> StreamTransport:
        """A new connection to `address`, without a protocol yet; OSError if there is none."""
        if self._stopped is not None:
            raise error_of(self._stopped)
        self._cookie = (self._cookie + 1) & relay.MASK
        cookie = self._cookie
        asked: asyncio.Future[int] = self._all.loop.create_future()
        self._asked[cookie] = asked
        self._post(relay.CONNECT, 0, relay.pack_connect(cookie, address, port, next_hop))
        try:
            return await self._opening[await asked]
        except asyncio.CancelledError:
            if named(asked):
                self._forget(asked.result())
            raise
        finally:
            self._asked.pop(cookie, None)
            if named(asked):
                self._opening.pop(asked.result(), None)

    def _post(self, what: int, index: int, payload: bytes) -> None:
        """A message that belongs to no stream; waits if it must."""
        if self._letters or not self.put(what, index, payload):
            self._letters.append((what, index, payload))
            self._want(self.core_id, self._ring, WANTED_CELLS)

    def _forget(self, key: int) -> None:
        """A connection that nobody wants."""
        index, generation = key & ((1 << relay.INDEX_BITS) - 1), key >> relay.INDEX_BITS
        self._post(relay.ABORT, index, HEAD.pack(generation, 0))

    # What the core says.

    def _opened(self, index: int, opened: Opened) -> None:
        stream = StreamTransport(self._all.loop, self, index, opened)
        if opened.active:
            future = self._opening.get(stream.key)
            if future is None or future.done():
                self._forget(stream.key)
                return
            self.streams[stream.key] = stream
            stream.pause_reading()
            future.set_result(stream)
            return
        self.streams[stream.key] = stream
        self._all.accept(stream, opened.listener)

    def _connecting(self, index: int, generation: int, cookie: int) -> None:
        future = self._asked.pop(cookie, None)
        wanted = future is not None and not future.done()
        if not index:
            if wanted:
                assert future is not None
                future.set_exception(OSError(generation, os.strerror(generation)))
            return
        key = generation << relay.INDEX_BITS | index
        if future is None or not wanted:
            self._forget(key)
            return
        self._opening[key] = self._all.loop.create_future()
        future.set_result(key)

    def _unknown(self, what: int, key: int, at: int) -> None:
        opening = self._opening.get(key)
        if opening is None:
            # RELAY_GONE answers a comparison that crossed the connection's end.
            self._all.stale += what not in {relay.CLOSED, relay.GONE}
        elif what in {relay.CLOSED, relay.GONE} and not opening.done():
            why = CloseReason.WORKER_LOST if what == relay.GONE or at in CLEAN else at
            opening.set_exception(error_of(why))

    def _resync(self) -> None:
        """The core's worker died, or the ring was too full for the end of a connection."""
        for stream in tuple(self.streams.values()):
            stream.compare()
        for key in self._opening:
            index, generation = key & ((1 << relay.INDEX_BITS) - 1), key >> relay.INDEX_BITS
            body = relay.SYNC_HEAD.pack(generation, 0, relay.WINDOW, relay.WRITING)
            self._post(relay.SYNC, index, body)
        for future in self._asked.values():
            if not future.done():
                future.set_exception(error_of(CloseReason.WORKER_LOST))
