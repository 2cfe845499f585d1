"""`async for message in runtime.messages(Visit)`: messages of one type, wherever the cores sent them, kept until read."""

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from typing import Generic, Self, TypeVar

from ..dataplane.ring import Run
from ..runtime.actor import Sender
from ..runtime.message import Message
from ..runtime.shape import shape_of

M = TypeVar("M", bound=Message)


def _run(calls: list[Callable[[], None]]) -> None:
    waiting = calls[:]
    calls.clear()
    for call in waiting:
        call()


def _end(leave: Callable[[], None], calls: list[Callable[[], None]]) -> None:
    leave()
    _run(calls)


class Messages(Generic[M]):
    """The messages of type `type`, from the moment it is made. At most `limit`, and what the rings hold, wait in it: while
    it is full, `tell` of the cores that send such messages says False.

    Ends when the runtime stops. Dropped, or after `close`, it takes no more.
    """

    def __init__(self, message: type[M], limit: int, leave: Callable[[], None]) -> None:
        self.type, self.limit = message, limit
        self.waiting = 0
        """Messages not read yet."""
        self.refusing = 0
        self.sender: Sender | None = None
        """Who sent the message that was read last."""
        self._on_room: list[Callable[[], None]] = []
        self._queue: deque[tuple[Run, Sender]] = deque()
        self._ready: deque[tuple[bytes, Sender]] = deque()
        self._arrived = asyncio.Event()
        self._closed = False
        self._leave = weakref.finalize(self, _end, leave, self._on_room)
        self._leave.atexit = False

    def room(self, run: Run) -> int:
        """How many more it takes; a message of another size is nobody's."""
        if self._closed or run.length != shape_of(self.type).size:
            return run.many
        return self.limit - self.waiting

    def offer(self, run: Run, sender: Sender, beyond: int = 0) -> Run | None:
        """Takes what fits, or up to `beyond` messages more; returns the rest of the run, or None."""
        if self._closed or run.length != shape_of(self.type).size:
            return None
        head, rest = run.split(self.limit + beyond - self.waiting)
        if head is not None:
            self.waiting += head.many
            self._queue.append((head, sender))
            self._arrived.set()
        return rest

    def when_room(self, call: Callable[[], None]) -> None:
        """`call` runs once when half of it is free."""
        self._on_room.append(call)

    def refuse(self, by: int) -> None:
        """So many more cores refuse what goes to it."""
        self.refusing += by

    def close(self) -> None:
        """Takes no more; what waits can still be read."""
        self._closed = True
        self._leave()
        self._arrived.set()
        self._tell_room()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> M:
        while not self._ready:
            if self._queue:
                run, sender = self._queue.popleft()
                length = run.length
                pieces = (run.data[at * length : (at + 1) * length] for at in range(run.many))
                self._ready.extend((piece, sender) for piece in pieces)
            elif self._closed:
                raise StopAsyncIteration
            else:
                self._arrived.clear()
                await self._arrived.wait()
        data, self.sender = self._ready.popleft()
        self.waiting -= 1
        if self._on_room and self.waiting * 2 <= self.limit:
            self._tell_room()
        return self.type.from_bytes(data)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def _tell_room(self) -> None:
        _run(self._on_room)
