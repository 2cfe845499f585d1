"""DataActor, ControlActor and what their handlers are handed. docs/actors.md is the guide to all of this.

In compiled handlers these classes only stand for types; interpreted ones get the subclasses of interpret.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar, overload

from .config import Config
from .fixed import Fixed
from .message import Message, Request
from .state import State
from .view import View

if TYPE_CHECKING:
    import asyncio

    import numpy

    from ..controlplane.push import Pushes
    from ..controlplane.timers import Timer, Timers

__all__ = [
    "CloseReason",
    "Connection",
    "ControlActor",
    "DataActor",
    "Endpoint",
    "On",
    "Sender",
    "Writer",
    "on",
]

S_co = TypeVar("S_co", bound=State, covariant=True)
M = TypeVar("M", bound=Message)
M_co = TypeVar("M_co", bound=Message, covariant=True)
R = TypeVar("R", bound=Fixed)
A = TypeVar("A")
Method = TypeVar("Method", bound=Callable[..., Any])

OUTSIDE = "is there only while a handler runs"


class CloseReason(IntEnum):
    """Why a connection ended: the `reason` of `on_close` (enum close_reason of dataplane/actor.h)."""

    LOCAL = 0  # the actor closed and the peer agreed
    PEER = 1  # the peer closed first
    RESET = 2  # reset by the peer
    ABORTED = 3  # connection.abort()
    FAULT = 4  # a handler failed
    TIMEOUT = 5  # retransmissions or keepalives went unanswered
    OVERFLOW = 6  # max_unconsumed bytes kept and still nothing consumed
    WORKER_LOST = 7  # the worker died and the transport can't continue it
    SHUTDOWN = 8  # the runtime is stopping


class Endpoint(NamedTuple):
    """One end of a connection."""

    address: int
    """The IPv4 address as a number (10.0.0.1 is 0x0A000001)."""
    port: int


class Writer:
    """Space that `connection.reserve(n)` set aside in what goes out; filled front to back, sent by `commit`.

    Writing past the reserved bytes raises IndexError. Numbers are cut to their width. Without `commit` nothing is sent.
    """

    __slots__ = ()

    def u8(self, value: int) -> None:
        """One byte."""
        raise NotImplementedError(f"a Writer {OUTSIDE}")

    def u16be(self, value: int) -> None:
        """Two bytes, most significant first."""
        raise NotImplementedError(f"a Writer {OUTSIDE}")

    def u32be(self, value: int) -> None:
        """Four bytes, most significant first."""
        raise NotImplementedError(f"a Writer {OUTSIDE}")

    def u64be(self, value: int) -> None:
        """Eight bytes, most significant first."""
        raise NotImplementedError(f"a Writer {OUTSIDE}")

    def put(self, data: bytes | View) -> None:
        """All of `data`."""
        raise NotImplementedError(f"a Writer {OUTSIDE}")

    def commit(self) -> None:
        """Sends what was written so far; the rest of the space is given back. At most once."""
        raise NotImplementedError(f"a Writer {OUTSIDE}")


class Connection(Generic[S_co]):
    """One connection of this core, in the hands of a handler; it can't be stored: keep its `handle`.

    `bool(connection)` is False if `self.connection(handle)` found it gone; using it then raises LookupError.
    Nothing here acts at once: sends, closes and timers take effect when the handler has returned.
    """

    __slots__ = ()

    def __bool__(self) -> bool:
        raise NotImplementedError(f"a Connection {OUTSIDE}")

    @property
    def state(self) -> S_co:
        """The actor's state of this connection."""
        raise NotImplementedError(f"a Connection {OUTSIDE}")

    @property
    def handle(self) -> int:
        """A number that names this connection for its whole life, on every core and in messages; never 0."""
        raise NotImplementedError(f"a Connection {OUTSIDE}")

    @property
    def remote(self) -> Endpoint:
        """The peer's address and port."""
        raise NotImplementedError(f"a Connection {OUTSIDE}")

    @property
    def local(self) -> Endpoint:
        """Our address and port."""
        raise NotImplementedError(f"a Connection {OUTSIDE}")

    def send(self, *parts: bytes | View) -> None:
        """Queues all of `parts` in order, or none of them.

        BufferError (a fault) if there is no room; `on_data` runs only while `reply_reserve` bytes
        are free, so up to there it can't fail.
        """
        raise NotImplementedError(f"a Connection {OUTSIDE}")

    def try_send(self, *parts: bytes | View) -> bool:
        """Like `send`, but False when there is no room; `on_writable` then runs when there is."""
        raise NotImplementedError(f"a Connection {OUTSIDE}")

    def send_int(self, number: int) -> None:
        """Sends `number`, a signed 64-bit one, in decimal digits."""
        raise NotImplementedError(f"a Connection {OUTSIDE}")

    def reserve(self, length: int) -> Writer:
        """Space for `length` bytes to fill in place. BufferError if there is no room. One at a time."""
        raise NotImplementedError(f"a Connection {OUTSIDE}")

    @property
    def room(self) -> int:
        """Bytes that `send` can still take."""
        raise NotImplementedError(f"a Connection {OUTSIDE}")

    def need(self, length: int) -> None:
        """In on_data that then returns 0: don't call it again before `length` bytes are there."""
        raise NotImplementedError(f"a Connection {OUTSIDE}")

    def close(self) -> None:
        """Sends what is queued, then ends the connection; no more on_data."""
        raise NotImplementedError(f"a Connection {OUTSIDE}")

    def abort(self) -> None:
        """Drops what is queued and resets the connection."""
        raise NotImplementedError(f"a Connection {OUTSIDE}")

    def hand_over(self, first_bytes: bytes | View) -> bool:
        """Gives the connection to the control plane, which serves it as an asyncio stream: it reads `first_bytes`,
        what was read here already, then what this handler leaves unconsumed. No handler of this actor runs for it again.

        False, counted, if it did not work: the ring is full, `first_bytes` are more than 128 KiB, or it is another
        connection than the handler's own.
        """
        raise NotImplementedError(f"a Connection {OUTSIDE}")

    def set_timer(self, *, milliseconds: int) -> None:
        """Calls `on_timer` once, that much later (1 to 2**31 - 1; less counts as 1); replaces an older timer."""
        raise NotImplementedError(f"a Connection {OUTSIDE}")

    def cancel_timer(self) -> None:
        """Drops the timer, if one is set."""
        raise NotImplementedError(f"a Connection {OUTSIDE}")


class DataActor:
    """Serves connections on data-plane cores. Derive from it, annotate `core` and `config` if you want them, and define
    the handlers you need; each listener of each core has one, and its memory is `self.core` and the connections' states.

    Handlers compile (docs/actors.md says what may stand in them). They never nest and never wait. An exception in one is a
    fault: that connection is reset, counted and reported; others go on.
    """

    core: State
    config: Config

    @property
    def now(self) -> int:
        """Nanoseconds of the monotonic clock, read once a turn."""
        raise NotImplementedError(f"self.now {OUTSIDE}")

    @property
    def core_id(self) -> int:
        """The number of this core in the layout, from 0."""
        raise NotImplementedError(f"self.core_id {OUTSIDE}")

    def tell(self, message: Message, *, to: int | str = -1) -> bool:
        """Sends `message` to the listener's `reports_to`, or to core number `to`, or to the core of handle `to`, or to
        every core of the group called `to` (a constant), this one included if it belongs to it.

        False when a mailbox is full (counted): the message did not get there. Of a group, the others have it.
        """
        raise NotImplementedError(f"self.tell {OUTSIDE}")

    def subscribe(self, connection: Connection[Any], topic: int) -> bool:
        """From now on `connection` gets what `runtime.publish(topic, …)` sends, until it unsubscribes or closes.

        A topic is any 64-bit number; the topic of a text is `view.hash()`. True also if it had subscribed before; False,
        counted, when the core holds as many `subscriptions` as its group may have.
        """
        raise NotImplementedError(f"self.subscribe {OUTSIDE}")

    def unsubscribe(self, connection: Connection[Any], topic: int) -> bool:
        """No more of that topic for `connection`. False if it had not subscribed."""
        raise NotImplementedError(f"self.unsubscribe {OUTSIDE}")

    def connection(self, handle: int) -> Connection[Any]:
        """The connection of that handle on this core and of this actor; falsy if it is gone or elsewhere."""
        raise NotImplementedError(f"self.connection {OUTSIDE}")

    def on_start(self, restarted: bool) -> None:
        """Once before anything else; `restarted`: this worker took over the core of one that died."""

    def on_tick(self) -> None:
        """Every `tick` milliseconds of the layout."""

    def on_open(self, connection: Connection[Any]) -> None:
        """A connection is there; its state is zeros."""

    def on_data(self, connection: Connection[Any], data: View) -> int:
        """Bytes came, in order: all that were not consumed yet. Returns how many are consumed now.

        0 waits for more; after any progress the handler runs again with the rest. A result outside 0…len is a fault.
        """
        return len(data)

    def on_writable(self, connection: Connection[Any]) -> None:
        """There is room again after a `try_send` that returned False."""

    def on_end(self, connection: Connection[Any]) -> None:
        """The peer will send no more. Without this handler the connection closes."""

    def on_close(self, connection: Connection[Any], reason: int) -> None:
        """The connection is over, exactly once, whatever the `reason` (a CloseReason); sends go nowhere."""

    def on_timer(self, connection: Connection[Any]) -> None:
        """The connection's timer ran out."""


class Sender:
    """Who sent a message to a control actor: the core, as a door to answer through."""

    @property
    def core_id(self) -> int:
        """The number of the core in the layout."""
        raise NotImplementedError

    def tell(self, message: Message) -> Awaitable[None]:
        """Sends `message` to the actor that sent; `await` waits while its mailbox is full."""
        raise NotImplementedError

    async def ask(self, request: Request[R], *, timeout: float = 5.0) -> R:
        """Sends `request` and waits for the reply. TimeoutError after `timeout` seconds."""
        raise NotImplementedError


class ControlActor:
    """Runs in the control plane's asyncio loop and takes messages with `@on(Type)` methods, one at a time."""

    __timers__: Any = None

    def after(self, seconds: float, call: Callable[[], Awaitable[None]]) -> Timer:
        """Awaits `call()` once, so much later, among the messages: never beside one. `cancel()` the result to drop it.

        ValueError for a negative time, TypeError if `call` is no coroutine function. Timers end with the actor.
        """
        return self._timers().start(seconds, call, repeat=False)

    def every(self, seconds: float, call: Callable[[], Awaitable[None]]) -> Timer:
        """As `after`, again and again; a period that passes while the last call still waits is skipped."""
        return self._timers().start(seconds, call, repeat=True)

    def _timers(self) -> Timers:
        timers: Timers | None = self.__timers__
        if timers is None:
            raise RuntimeError("an actor has timers from its on_start on, once a runtime has it")
        return timers

    async def on_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection of a listener that `reports_to` this actor: `actor = "controlplane"`, or one handed over.

        Each runs in a task of its own, beside the messages and the other connections.
        """
        writer.close()

    __pushes__: Any = None

    @property
    def push(self) -> Pushes:
        """Sends to connections: `self.push.send(handle, data)`, `.broadcast(group, data)`, `.publish(topic, data)`.

        RuntimeError while no runtime runs this actor.
        """
        if self.__pushes__ is None:
            raise RuntimeError(f"no runtime runs this {type(self).__name__}: it can't push")
        pushes: Pushes = self.__pushes__
        return pushes

    async def on_start(self) -> None:
        """Once, before the first message and before the cores start: they answer no ask yet."""

    async def on_stop(self) -> None:
        """Once, after the last message; the cores have stopped."""


class On(Generic[M_co]):
    """What `@on(Type)` returns: takes the method and marks it."""

    def __init__(self, message: type[M_co], batch: bool) -> None:
        self.message = message
        self.batch = batch

    @overload
    def __call__(
        self: On[Request[R]], method: Callable[[A, M_co], R], /
    ) -> Callable[[A, M_co], R]: ...
    @overload
    def __call__(self, method: Callable[[A, M_co], None], /) -> Callable[[A, M_co], None]: ...
    @overload
    def __call__(
        self, method: Callable[[A, M_co, Sender], Awaitable[None]], /
    ) -> Callable[[A, M_co, Sender], Awaitable[None]]: ...
    def __call__(self, method: Any, /) -> Any:
        method.__splitplane_on__ = self
        return method


class OnBatch(On[M_co]):
    """What `@on(Type, batch=True)` returns."""

    def __call__(  # type: ignore[override]
        self, method: Callable[[A, numpy.ndarray[Any, Any]], Awaitable[None]], /
    ) -> Callable[[A, numpy.ndarray[Any, Any]], Awaitable[None]]:
        method.__splitplane_on__ = self  # type: ignore[attr-defined]
        return method


@overload
def on(message: type[M], *, batch: Literal[False] = False) -> On[M]: ...
@overload
def on(message: type[M], *, batch: Literal[True]) -> OnBatch[M]: ...
def on(message: type[M], *, batch: bool = False) -> On[M]:
    """Marks the method of an actor that takes messages of type `message`.

    In a DataActor: `def method(self, message: Type) -> None`, and for a Request `-> Reply`. In a ControlActor:
    `async def method(self, message: Type, sender: Sender) -> None`, or with `batch=True`
    `async def method(self, batch: numpy.ndarray) -> None`, which gets a structured array of all that have come.
    """
    if not (isinstance(message, type) and issubclass(message, Message)):
        raise TypeError(f"@on({message!r}): a class derived from Message is wanted")
    return OnBatch(message, True) if batch else On(message, False)
