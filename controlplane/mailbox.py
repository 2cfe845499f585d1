"""A control actor's bounded mailbox, and the task that hands its messages to the actor's `@on` methods in order.

An actor that raises is logged and counted and goes on. Knows no ring: the service offers runs of messages, and stops
reading a ring whose next messages do not fit.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ..dataplane.ring import Run
from ..runtime.actor import ControlActor, Sender
from ..runtime.schema import Schema
from ..runtime.shape import shape_of
from ..runtime.spec import Handler, spec_of

ERRORS_LOGGED = 10
"""Errors of one actor that are logged in a second; the rest are counted in the next."""
LOOKS = 16
"""Messages between two looks at the clock."""
SLICE = 0.002
"""Seconds that an actor may work through its mailbox before others get the event loop."""


class Mailbox:
    """The messages that wait for one control actor.

    Attributes: `number` and `name` in the layout, `actor`, `limit` in messages, `waiting` now, and since the start
    `handled`, `failed` (the actor raised) and `unknown` (no `@on` method for their type, or of another length).
    """

    def __init__(
        self, number: int, name: str, actor: ControlActor, limit: int, schema: Schema, log: Any
    ) -> None:
        self.number, self.name, self.actor, self.limit = number, name, actor, limit
        self.waiting = self.handled = self.failed = self.unknown = 0
        self.on_room: Callable[[], None] | None = None
        """Called once when half of it is free again; set by a service that had to hold messages back."""
        self._log = log.bind(mailbox=name, actor=type(actor).__qualname__)
        self._handlers: dict[int, Handler] = {
            schema.number(handler.message): handler for handler in spec_of(type(actor)).messages
        }
        self._queue: deque[tuple[Run, Sender]] = deque()
        self._arrived = asyncio.Event()
        self._closed = False
        self._slice_end = 0.0
        self._second = self._logged = self._unlogged = 0

    def offer(self, run: Run, sender: Sender, beyond: int = 0) -> Run | None:
        """Takes what fits, or up to `beyond` messages more; returns the rest of the run, or None."""
        handler = self._handlers.get(run.type)
        if handler is None or run.length != shape_of(handler.message).size:
            if not self.unknown:
                self._log.warning(
                    "message_unknown", type=run.type, length=run.length, core=sender.core_id
                )
            self.unknown += run.many
            return None
        room = self.limit + beyond - self.waiting
        if room <= 0:
            return run
        rest = None
        if run.many > room:
            cut = room * run.length
            rest = run._replace(many=run.many - room, data=run.data[cut:])
            run = run._replace(many=room, data=run.data[:cut])
        self.waiting += run.many
        self._queue.append((run, sender))
        self._arrived.set()
        return rest

    async def serve(self) -> None:
        """Hands messages to the actor until `close`, then those that are left."""
        while True:
            while self._queue:
                self._slice_end = time.monotonic() + SLICE
                run, sender = self._queue.popleft()
                handler = self._handlers[run.type]
                if handler.batch:
                    await self._batch(handler, self._joined(run))
                else:
                    await self._each(handler, run, sender)
                await asyncio.sleep(0)
            if self._closed:
                return
            self._arrived.clear()
            await self._arrived.wait()

    def close(self) -> None:
        """`serve` ends when the mailbox is empty."""
        self._closed = True
        self._arrived.set()

    def _joined(self, run: Run) -> Run:
        """The run and those queued behind it that hold the same type."""
        runs = [run]
        while self._queue and self._queue[0][0].type == run.type:
            runs.append(self._queue.popleft()[0])
        data = b"".join(each.data for each in runs)
        return run._replace(data=data, many=sum(each.many for each in runs))

    async def _batch(self, handler: Handler, run: Run) -> None:
        import numpy as np

        dtype = handler.message.dtype()
        rows = np.frombuffer(run.data, dtype) if run.length else np.zeros(run.many, dtype)
        try:
            await handler.function(self.actor, rows)
        except (Exception, asyncio.CancelledError):
            self._failed(handler.name, run.many)
        self._took(run.many)

    async def _each(self, handler: Handler, run: Run, sender: Sender) -> None:
        attach, method, actor = handler.message.attach, handler.function, self.actor
        data, length = run.data, run.length
        for number in range(run.many):
            start = number * length
            try:  # offer has checked the length: from_bytes would again
                await method(actor, attach(data[start : start + length]), sender)
            except (Exception, asyncio.CancelledError):
                self._failed(handler.name, 1)
            self._took(1)
            if number % LOOKS == 0 and time.monotonic() >= self._slice_end:
                await asyncio.sleep(0)
                self._slice_end = time.monotonic() + SLICE

    def _failed(self, handler: str, count: int) -> None:
        """Within the exception handler. A flood of errors must not become a flood of tracebacks."""
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise  # noqa: PLE0704 - it is we who are cancelled, not something the actor waited for
        self.failed += count
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._logged = second, 0
        if self._logged >= ERRORS_LOGGED:
            self._unlogged += 1
            return
        self._logged += 1
        more = {"not_logged": self._unlogged} if self._unlogged else {}
        self._unlogged = 0
        self._log.exception("actor_error", handler=handler, **more)

    def _took(self, count: int) -> None:
        self.handled += count
        self.waiting -= count
        if self.on_room is not None and self.waiting * 2 <= self.limit:
            on_room, self.on_room = self.on_room, None
            on_room()
