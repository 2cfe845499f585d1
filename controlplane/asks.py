"""The asks of one core that wait for their reply, by tag, and until when. Knows no ring."""

import asyncio
import math
from typing import NamedTuple

from ..dataplane.ring import TAG_BITS
from ..runtime.errors import AskError
from ..runtime.fixed import Fixed
from ..runtime.message import Message, reply_of
from ..runtime.shape import shape_of

TAGS = (1 << TAG_BITS) - 1
"""Tags from 1 on; 0 is none."""


class Kind(NamedTuple):
    """A request type: its name, what it is answered with, and that one's bytes."""

    name: str
    reply: type[Fixed]
    size: int


class _Ask(NamedTuple):
    future: asyncio.Future[Fixed]
    kind: Kind
    deadline: float
    timeout: float


class Asks:
    """Attribute: `late`, replies that nobody waited for any more."""

    def __init__(self, core_id: int) -> None:
        self.late = 0
        self._core_id = core_id
        self._kinds: dict[type[Message], Kind] = {}
        self._waiting: dict[int, _Ask] = {}
        self._next_tag = 1
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf

    def __len__(self) -> int:
        return len(self._waiting)

    def kind(self, request: type[Message]) -> Kind:
        """What is known of a request's type. TypeError for a message without a reply."""
        known = self._kinds.get(request)
        if known is None:
            reply, name = reply_of(request), request.__qualname__
            if reply is None:
                raise TypeError(f"{name} is a plain Message: only a Request has a reply; tell it")
            known = self._kinds[request] = Kind(name, reply, shape_of(reply).size)
        return known

    def tag(self) -> int:
        """One that no ask waits under."""
        while self._next_tag in self._waiting:
            self._next_tag = self._next_tag % TAGS + 1
        tag = self._next_tag
        self._next_tag = tag % TAGS + 1
        return tag

    def begin(self, tag: int, kind: Kind, timeout: float) -> asyncio.Future[Fixed]:
        """The reply to come under this tag; TimeoutError after so many seconds."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Fixed] = loop.create_future()
        deadline = loop.time() + timeout
        self._waiting[tag] = _Ask(future, kind, deadline, timeout)
        if deadline < self._due:
            self._watch(loop, deadline)
        return future

    def end(self, tag: int) -> None:
        """Nobody waits any more."""
        del self._waiting[tag]

    def replied(self, tag: int, number: int, payload: bytes) -> None:
        """A REPLY came."""
        found = self._waiting.get(tag)
        if found is None or found.future.done():
            self.late += 1
            return
        name, reply, size = found.kind
        if number and len(payload) == size:
            found.future.set_result(reply.from_bytes(payload))
            return
        why = "no actor there takes it, or its handler failed"
        error = AskError(f"core {self._core_id} could not answer {name}: {why}")
        found.future.set_exception(error)

    def hang_up(self, why: str, error: type[Exception]) -> None:
        """Whoever waits gets an `error` that says `why`."""
        for ask in self._waiting.values():
            if not ask.future.done():
                ask.future.set_exception(error(why))
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = None, math.inf

    def _watch(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        """One timer for all: most asks are answered long before, and setting a timer costs as much as the rest."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = loop.call_at(deadline, self._expire), deadline

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        now, nearest = max(loop.time(), self._due), math.inf
        self._timer, self._due = None, math.inf
        for future, kind, deadline, timeout in self._waiting.values():
            if future.done():
                continue
            if deadline <= now:
                text = f"core {self._core_id} did not answer {kind.name} within {timeout:g} s"
                future.set_exception(TimeoutError(text))
            else:
                nearest = min(nearest, deadline)
        if nearest != math.inf:
            self._watch(loop, nearest)
