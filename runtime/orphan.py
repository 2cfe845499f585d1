"""A launcher whose controller was killed, under `on_controller_loss = "serve"`: it goes on alone until SIGTERM.

It takes over the claims, so that whoever is refused learns its pid, and says on standard error what becomes of its
workers. Nobody reads the messages of the cores any more: their rings fill up, and `tell` says False.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

import structlog

from ..dataplane.core_state import DRAINING, STOPPED, CoreState
from .boot import Boot
from .claim import take_over
from .controller import Event
from .runtime import log_event

DEATH_TOLD = 1000
"""Milliseconds from the closing of a dead controller's descriptors within which Linux calls it dead."""
STOP_MARGIN = 2.0
"""Seconds beyond the drain deadline after which connections are reset, and again after which workers are killed."""
LINE_MOST = select.PIPE_BUF
"""Bytes of a line: a pipe that poll(2) calls writable takes so many without waiting."""


class Seat(Protocol):
    """A core, as far as this file knows it."""

    @property
    def state(self) -> CoreState:
        """Its state in shared memory."""


class Orphan:
    """What stands in for the controller: hears the launcher's words (`send`, as of Lines) and obeys signals."""

    def __init__(self, boot: Boot, controller: int) -> None:
        """`controller`: a pidfd of it."""
        self._boot, self._controller = boot, controller
        self._alone = False
        self._signals = 0
        self._deadline = 0.0
        self._stopping = 0
        self._published: Any = None
        self._log: Any = None

    def is_alone(self) -> bool:
        """Whether the controller's process is dead, and has not merely closed its line: then the runtime was dropped."""
        poller = select.poll()
        poller.register(self._controller, select.POLLIN)
        return bool(poller.poll(DEATH_TOLD))

    def begin(self) -> None:
        """From here on nobody else answers for this runtime."""
        self._alone = True
        self._log = structlog.wrap_logger(
            Lines(),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso"),
                structlog.dev.ConsoleRenderer(colors=False),
            ],
        )
        with suppress(OSError):
            self._published = take_over(self._boot.claims, self._boot.name)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        pid = os.getpid()
        self._log.error(
            "controller_lost", name=self._boot.name, launcher=pid, serving="on", end=f"kill {pid}"
        )

    def send(self, **message: Any) -> bool:
        """What the controller would have been told is logged, in its words."""
        kind = message.pop("event")
        log_event(Event(kind, message), self._log)
        return True

    def obeys(self, seats: Iterable[Seat], stop: Callable[[], None]) -> bool:
        """Does what signals want: the first drains, the second resets what is left. False when it is time to kill."""
        if not self._alone or not self._signals:
            return True
        now = time.monotonic()
        if not self._stopping:
            self._stopping = 1
            longest = max((core.drain_milliseconds for core in self._boot.cores), default=0)
            self._deadline = now + longest / 1000 + STOP_MARGIN
            self._log.info("stopping")
            stop()
            self._ask(seats, DRAINING)
        if self._stopping == 1 and (self._signals > 1 or now > self._deadline):
            self._stopping = 2
            self._deadline = now + STOP_MARGIN
            self._ask(seats, STOPPED)
        return self._stopping == 1 or now <= self._deadline

    def _ask(self, seats: Iterable[Seat], wanted: int) -> None:
        for seat in seats:
            seat.state.wanted = wanted

    def _signalled(self, *_: object) -> None:
        self._signals += 1


class Lines:
    """Standard error, for structlog. A line that nobody takes now, or ever, is dropped: the cores must not wait for it."""

    def __init__(self) -> None:
        self._poller = select.poll()
        self._poller.register(2, select.POLLOUT)

    def msg(self, text: str) -> None:
        """Writes one line, or none of it."""
        with suppress(OSError):
            for _, events in self._poller.poll(0):
                if events & select.POLLOUT:
                    os.write(2, text.encode(errors="replace")[: LINE_MOST - 1] + b"\n")

    debug = info = warning = error = critical = msg
