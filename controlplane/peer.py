"""What the control plane tells and asks data actors: `runtime["web"].tell(m)`, `await runtime["web"][0].ask(r)`.

Messages to one core keep their order. Whatever does not fit its ring waits here, bounded, until there is room.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from ..dataplane.pushes import EVENT_PUSH, parts
from ..dataplane.ring import ASK, EVENT, EVERY_LISTENER, PAYLOAD, TELL, Ring
from ..runtime.actor import Sender
from ..runtime.fixed import Fixed
from ..runtime.message import Message, Request
from ..runtime.schema import Schema
from .asks import Asks

R = TypeVar("R", bound=Fixed)

WAITING_MAX = 4096
"""Messages that may wait for one core's ring; one more raises QueueFull."""
ASKS_MAX = 65_536
"""Asks that one core may have unanswered."""


class _Done:
    """An awaitable that is through already; the same one for everybody, because telling must be cheap."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


DONE = _Done()


class _Letter(NamedTuple):
    """A message that waits for room."""

    number: int
    payload: bytes
    kind: int
    target: int
    tag: int
    sent: asyncio.Future[None]


class CorePeer:
    """One core, as the control plane reaches it. Used in the service's own event loop only (ring.h: one producer).

    Attributes: `core_id`; since the start `told`, `asked`, `waited` (found the ring full) and `late` (replies after
    their deadline, dropped).
    """

    def __init__(
        self,
        core_id: int,
        ring: Ring,
        schema: Schema,
        want: Callable[[int, Ring, int], None],
        asking: Callable[[], None],
    ) -> None:
        """`want(core_id, ring, cells)` has `flush` called when the ring has room for so many; 0 cells = no more.

        `asking()` tells that somebody waits for a reply from now on.
        """
        self.core_id = core_id
        self.told = self.asked = self.waited = 0
        self._ring, self._schema, self._want, self._asking = ring, schema, want, asking
        self._letters: deque[_Letter] = deque()
        self._asks = Asks(core_id)
        self._pushed = 0
        self._thread = threading.get_ident()
        self._closed = self._hung_up = ""
        self._error: type[Exception] = RuntimeError

    @property
    def asks(self) -> int:
        """How many asks wait for their reply."""
        return len(self._asks)

    @property
    def waiting(self) -> int:
        """How many messages wait for room in the ring."""
        return len(self._letters)

    def tell(self, message: Message, *, target: int = EVERY_LISTENER) -> Awaitable[None]:
        """Sends `message` to the core's actors that take it; `target` names one listener.

        It is sent at once, or queued in order when the ring is full: then awaiting the result waits for room.
        asyncio.QueueFull if WAITING_MAX wait already, ActorError for a type that no actor of the layout takes.
        """
        self.told += 1
        return self._send(message, TELL, target, 0)

    async def ask(
        self, request: Request[R], *, timeout: float = 5.0, target: int = EVERY_LISTENER
    ) -> R:
        """Sends `request` and returns the reply of the core's actor that takes it.

        TimeoutError after `timeout` seconds; AskError if no actor there takes it, or its handler failed.
        """
        self._ring.rouse()
        kind = self._asks.kind(type(request))
        if self._hung_up:
            raise self._error(self._hung_up)
        if len(self._asks) >= ASKS_MAX:
            raise asyncio.QueueFull(f"{ASKS_MAX} asks to core {self.core_id} have no reply yet")
        tag = self._asks.tag()
        sent = self._send(request, ASK, target, tag)
        future = self._asks.begin(tag, kind, timeout)
        self.asked += 1
        self._asking()
        try:
            # The future's type can't say that `kind` is this request's reply.
            return await future  # type: ignore[return-value]
        finally:
            self._asks.end(tag)
            if isinstance(sent, asyncio.Future):
                sent.cancel()  # if it waits for room, nobody wants it any more

    def replied(self, tag: int, number: int, payload: bytes) -> None:
        """A REPLY came."""
        self._asks.replied(tag, number, payload)

    @property
    def late(self) -> int:
        """Replies after their deadline, dropped, since the start."""
        return self._asks.late

    def flush(self) -> None:
        """There may be room: sends what waits, in order."""
        if not self._letters:
            return
        while self._letters:
            letter = self._letters[0]
            if not letter.sent.cancelled():
                if not self._put(letter):
                    self._want(self.core_id, self._ring, -(-len(letter.payload) // PAYLOAD) or 1)
                    return
                letter.sent.set_result(None)
            self._letters.popleft()
        self._want(self.core_id, self._ring, 0)

    def hang_up(self, why: str, error: type[Exception] = RuntimeError) -> None:
        """The core will answer no more: asks, those waiting and those to come, get an `error` that says `why`."""
        self._hung_up, self._error = why, error
        self._asks.hang_up(why, error)

    def close(self, why: str, error: type[Exception] = RuntimeError) -> None:
        """Whoever waits, and whoever comes later, gets an `error` that says `why`."""
        self.hang_up(why, error)
        self._closed = why
        for letter in self._letters:
            _fail(letter.sent, error(why))
        if self._letters:
            self._letters.clear()
            self._want(self.core_id, self._ring, 0)

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return bool(self._closed)

    def push(self, kind: int, to: int, data: bytes) -> Awaitable[None]:
        """Sends a push (dataplane/pushes.py) as so many messages as it takes: all of them, or none (QueueFull)."""
        self._may_send()
        self._pushed = (self._pushed + 1) & 0xFFFFFFFF
        pieces = list(parts(kind, to, self._pushed, data))
        if len(self._letters) + len(pieces) > WAITING_MAX:
            raise asyncio.QueueFull(self._too_many())
        sent: Awaitable[None] = DONE
        for piece in pieces:
            sent = self._post(EVENT_PUSH, piece, EVENT)
        return sent

    def _may_send(self) -> None:
        if threading.get_ident() != self._thread:
            raise RuntimeError(
                "what the runtime does belongs to its event loop: call_soon_threadsafe"
            )
        if self._closed:
            raise self._error(self._closed)

    def _too_many(self) -> str:
        return f"{WAITING_MAX} messages wait for core {self.core_id} already: await each tell"

    def _send(self, message: Message, kind: int, target: int, tag: int) -> Awaitable[None]:
        self._may_send()
        return self._post(self._schema.number(type(message)), message.to_bytes(), kind, target, tag)

    def _post(
        self, number: int, payload: bytes, kind: int, target: int = 0, tag: int = 0
    ) -> Awaitable[None]:
        if not self._letters and self._ring.put(number, payload, kind=kind, target=target, tag=tag):
            return DONE
        if len(self._letters) >= WAITING_MAX:
            raise asyncio.QueueFull(self._too_many())
        self.waited += 1
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sent.add_done_callback(_seen)  # nobody need await a tell
        self._letters.append(_Letter(number, payload, kind, target, tag, sent))
        if len(self._letters) == 1:
            self.flush()
        return sent

    def _put(self, letter: _Letter) -> bool:
        return self._ring.put(
            letter.number, letter.payload, kind=letter.kind, target=letter.target, tag=letter.tag
        )


class CoreSender(Sender):
    """The data actor that told a control actor something: one listener of one core."""

    __slots__ = ("_peer", "_target")

    def __init__(self, peer: CorePeer, tag: int) -> None:
        """`tag`: what its message carried, its listener + 1."""
        self._peer = peer
        self._target = tag - 1 if tag else EVERY_LISTENER

    @property
    def core_id(self) -> int:
        """The number of the core in the layout."""
        return self._peer.core_id

    def tell(self, message: Message) -> Awaitable[None]:
        """Sends `message` to the actor that sent; awaiting it waits while the ring is full."""
        return self._peer.tell(message, target=self._target)

    async def ask(self, request: Request[R], *, timeout: float = 5.0) -> R:
        """Sends `request` to the actor that sent and returns its reply. TimeoutError after `timeout` seconds."""
        return await self._peer.ask(request, timeout=timeout, target=self._target)


class GroupPeer(Sequence[CorePeer]):
    """The cores of a group: `group[0]` is its first core."""

    def __init__(self, name: str, cores: Sequence[CorePeer]) -> None:
        self.name = name
        self._cores = tuple(cores)

    def tell(self, message: Message) -> Awaitable[None]:
        """Sends `message` to each core of the group; awaiting it waits until all have room for it."""
        waits = [wait for core in self._cores if (wait := core.tell(message)) is not DONE]
        # gather's future is of a list: nobody looks at what awaiting it gives.
        return asyncio.gather(*waits) if waits else DONE  # type: ignore[return-value]

    async def ask_all(self, request: Request[R], *, timeout: float = 5.0) -> list[R]:
        """Asks all cores of the group at once; the replies in their order.

        Waits for all of them. If some fail, an ExceptionGroup has the error of each, as `ask` of one core raises it.
        """
        asks = [core.ask(request, timeout=timeout) for core in self._cores]
        replies = await asyncio.gather(*asks, return_exceptions=True)
        errors = [reply for reply in replies if isinstance(reply, BaseException)]
        if errors:
            text = f"{len(errors)} of {len(replies)} cores of group {self.name} did not answer"
            raise BaseExceptionGroup(text, errors)
        return [reply for reply in replies if not isinstance(reply, BaseException)]

    # Sequence wants slices too: a part of a group is no group.
    def __getitem__(self, place: int) -> CorePeer:  # type: ignore[override]
        return self._cores[place]

    def __iter__(self) -> Iterator[CorePeer]:
        return iter(self._cores)

    def __len__(self) -> int:
        return len(self._cores)


def _seen(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
