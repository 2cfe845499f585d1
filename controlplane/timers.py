"""A control actor's timers: `self.after(…)` and `self.every(…)`. What they call runs in the actor's mailbox, among its
messages and never beside them.
"""

import asyncio
from collections.abc import Awaitable, Callable

Due = Callable[[], Awaitable[None]]


class Timer:
    """One of them; `cancel()` ends it. A period that passes while the last call still waits is skipped."""

    __slots__ = ("_handle", "_loop", "_post", "_waits", "call", "period", "timers")

    def __init__(
        self,
        timers: "Timers",
        post: Callable[["Timer"], None],
        seconds: float,
        call: Due,
        period: float | None,
    ) -> None:
        self.timers, self.call, self.period = timers, call, period
        self._post, self._waits = post, False
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = self._loop.call_later(seconds, self._due)

    @property
    def cancelled(self) -> bool:
        """Whether it is over."""
        return self._handle is None

    def cancel(self) -> None:
        """It calls no more; a call that waits in the mailbox is dropped too."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self.timers.forget(self)

    def _due(self) -> None:
        if not self._waits:
            self._waits = True
            self._post(self)
        if self.period is not None:
            self._handle = self._loop.call_later(self.period, self._due)

    async def run(self) -> None:
        """What the mailbox does when its turn comes."""
        self._waits = False
        if self.cancelled:
            return
        if self.period is None:
            self.cancel()
        await self.call()


class Timers:
    """All of one actor."""

    def __init__(self, post: Callable[[Timer], None]) -> None:
        """`post` puts one that is due into the mailbox."""
        self._post = post
        self._live: set[Timer] = set()

    def start(self, seconds: float, call: Due, *, repeat: bool) -> Timer:
        """A new one. ValueError for a time that can't be, TypeError for what isn't a coroutine function."""
        if not seconds >= 0 or (repeat and not seconds > 0):
            raise ValueError(f"{seconds} seconds: a timer's time is positive")
        if not asyncio.iscoroutinefunction(call):
            raise TypeError(f"{call!r} is no coroutine function: write async def")
        timer = Timer(self, self._post, seconds, call, seconds if repeat else None)
        self._live.add(timer)
        return timer

    def forget(self, timer: Timer) -> None:
        """It is over."""
        self._live.discard(timer)

    def cancel(self) -> None:
        """Ends them all."""
        for timer in tuple(self._live):
            timer.cancel()
