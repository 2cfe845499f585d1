"""A control actor's bounded mailbox, and the task that hands its messages to the actor's `@on` methods in order.

An actor that raises is logged and counted, and goes on, or is replaced by a new instance (restarts.py). Knows no ring:
the service offers runs of messages, and inbox.py sees to it that a full mailbox is sent no more.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from ..dataplane.ring import Run
from ..runtime.actor import ControlActor, Sender
from ..runtime.message import Message
from ..runtime.shape import shape_of
from ..runtime.spec import Handler, spec_of
from .restarts import Restarts
from .timers import Timer, Timers

ERRORS_LOGGED = 10
"""Errors of one actor that are logged in a second; the rest are counted in the next."""
LOOKS = 16
"""Messages between two looks at the clock."""
SLICE = 0.002
"""Seconds that an actor may work through its mailbox before others get the event loop."""


class Mailbox:
    """The messages that wait for one control actor.

    Attributes: `number` and `name` in the layout, `actor`, `limit` in messages, `waiting` now, and since the start
    `handled`, `failed` (the actor raised), `restarted` and `unknown` (no `@on` method for their type, or of another
    length); `refusing`: cores told to refuse what goes to it.
    """

    def __init__(
        self,
        number: int,
        name: str,
        actor: ControlActor,
        limit: int,
        number_of: Callable[[type[Message]], int],
        log: Any,
        restarts: Restarts | None = None,
    ) -> None:
        """`number_of` gives a message type's number in this runtime."""
        self.number, self.name, self.actor, self.limit = number, name, actor, limit
        self.waiting = self.handled = self.failed = self.unknown = self.restarted = 0
        self.refusing = 0
        self._on_room: list[Callable[[], None]] = []
        self._log = log.bind(mailbox=name, actor=type(actor).__qualname__)
        self._handlers: dict[int, Handler] = {
            number_of(handler.message): handler for handler in spec_of(type(actor)).messages
        }
        self._queue: deque[tuple[Run, Sender] | Timer] = deque()
        self._arrived = asyncio.Event()
        self._timers = Timers(self._due)
        self._restarts, self._broken = restarts, False
        self._closed = False
        self._slice_end = 0.0
        self._second = self._logged = self._unlogged = 0
        actor.__timers__ = self._timers

    def is_broken(self) -> bool:
        """Its actor raised too often: messages are counted, and nobody has them."""
        return self._broken

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the message types that it takes."""
        return tuple(self._handlers)

    def takes(self, run: Run) -> bool:
        """Whether there is an `@on` method for it."""
        handler = self._handlers.get(run.type)
        return handler is not None and run.length == shape_of(handler.message).size

    def room(self, run: Run) -> int:
        """How many more it takes; those that it takes none of find any room."""
        return self.limit - self.waiting if self.takes(run) and not self._closed else run.many

    def offer(self, run: Run, sender: Sender, beyond: int = 0) -> Run | None:
        """Takes what fits, or up to `beyond` messages more; returns the rest of the run, or None."""
        if not self.takes(run):
            if not self.unknown:
                self._log.warning(
                    "message_unknown", type=run.type, length=run.length, core=sender.core_id
                )
            self.unknown += run.many
            return None
        head, rest = run.split(self.limit + beyond - self.waiting)
        if head is not None:
            self.waiting += head.many
            self._queue.append((head, sender))
            self._arrived.set()
        return rest

    def when_room(self, call: Callable[[], None]) -> None:
        """`call` runs once when half of it is free again."""
        self._on_room.append(call)

    def refuse(self, by: int) -> None:
        """So many more cores refuse what goes to it."""
        self.refusing += by

    async def start(self) -> None:
        """The actor's `on_start`; an error passes through."""
        await self.actor.on_start()

    async def serve(self) -> None:
        """Hands messages to the actor until `close`, then those that are left."""
        while True:
            self._slice_end = time.monotonic() + SLICE
            while self._queue:
                entry = self._queue.popleft()
                if isinstance(entry, Timer):
                    await self._timer(entry)
                else:
                    run, sender = entry
                    handler = self._handlers[run.type]
                    if handler.batch:
                        await self._batch(handler, self._joined(run))
                    else:
                        await self._each(handler, run, sender)
                await self._breathe()
            if self._closed:
                return
            self._arrived.clear()
            await self._arrived.wait()

    def close(self) -> None:
        """`serve` ends when the mailbox is empty; no timer runs out any more."""
        self._closed = True
        self._timers.cancel()
        self._arrived.set()

    async def stop(self) -> None:
        """The actor's `on_stop`; an error is logged."""
        self._timers.cancel()
        if self._broken:
            return
        try:
            await self.actor.on_stop()
        except Exception:
            self._log.exception("actor_error", handler="on_stop")
        self._timers.cancel()

    def _due(self, timer: Timer) -> None:
        self._queue.append(timer)
        self._arrived.set()

    def _joined(self, run: Run) -> Run:
        """The run and those queued behind it that hold the same type."""
        runs = [run]
        while self._queue:
            entry = self._queue[0]
            if isinstance(entry, Timer) or entry[0].type != run.type:
                break
            runs.append(entry[0])
            self._queue.popleft()
        data = b"".join(each.data for each in runs)
        return run._replace(data=data, many=sum(each.many for each in runs))

    async def _timer(self, timer: Timer) -> None:
        try:
            await timer.run()
        except (Exception, asyncio.CancelledError) as error:
            self._failed(getattr(timer.call, "__name__", "timer"), 1)
            await self._restart(error)

    async def _batch(self, handler: Handler, run: Run) -> None:
        import numpy as np

        dtype = handler.message.dtype()
        rows = np.frombuffer(run.data, dtype) if run.length else np.zeros(run.many, dtype)
        try:
            if not self._broken:
                await handler.function(self.actor, rows)
        except (Exception, asyncio.CancelledError) as error:
            self._failed(handler.name, run.many)
            await self._restart(error)
        self._took(run.many)

    async def _each(self, handler: Handler, run: Run, sender: Sender) -> None:
        messages, left = handler.message.each(run.data, run.many), run.many
        while left and not self.is_broken():
            left -= await self._some(handler, islice(messages, min(left, LOOKS)), sender)
            await self._breathe()
        self._took(left)

    async def _breathe(self) -> None:
        """Others get the event loop after each slice."""
        if time.monotonic() >= self._slice_end:
            await asyncio.sleep(0)
            self._slice_end = time.monotonic() + SLICE

    async def _some(self, handler: Handler, messages: Iterable[Message], sender: Sender) -> int:
        """Hands these over, until one fails; how many that were. Millions come this way each second."""
        method, actor, done = handler.function, self.actor, 0
        try:
            for message in messages:
                done += 1
                await method(actor, message, sender)
                self.handled += 1
                self.waiting -= 1
                if self._on_room:
                    self._took(0)
        except (Exception, asyncio.CancelledError) as error:
            self._failed(handler.name, 1)
            await self._restart(error)
            self._took(1)
        return done

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

    async def _restart(self, error: BaseException) -> None:
        """A new instance in the actor's place, if it is supervised so."""
        restarts = self._restarts
        while restarts is not None and not self._broken:
            self._timers.cancel()
            if not restarts.allowed(time.monotonic()):
                self._broken = True
                restarts.give_up(self.name, error)
                return
            try:
                before, self.actor = self.actor, restarts.make()
                self.actor.__timers__ = self._timers
                self.actor.__pushes__ = before.__pushes__
                if hasattr(before, "config"):  # as changed since the start
                    # ControlActor doesn't declare it: only an actor with a Config has one.
                    self.actor.config = before.config  # type: ignore[attr-defined]
                await self.actor.on_start()
                self.restarted += 1
                return
            except Exception as again:
                self._failed("on_start", 0)
                error = again

    def _took(self, count: int) -> None:
        self.handled += count
        self.waiting -= count
        if self._on_room and self.waiting * 2 <= self.limit:
            self.free()

    def free(self) -> None:
        """Whoever waits for room looks again."""
        calls, self._on_room = self._on_room, []
        for call in calls:
            call()
