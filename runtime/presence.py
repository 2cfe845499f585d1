"""A running runtime's own part in being seen: its entry in the registry, kept up to date, and its own view of its memory.

Nothing here can stop a runtime from running: where the machine gives no shared memory it is only not found by others.
"""

import asyncio
import subprocess
import time
from array import array
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from .attached import Attached, own_memory
from .facts import Facts, Words
from .holdings import Holdings
from .private import keep_private
from .registry import Entry
from .sweeper import start as start_sweeper

if TYPE_CHECKING:
    from ..controlplane.metrics import Metrics
    from ..controlplane.service import Service
    from .controller import Event, WorkerSeat

PERIOD = 1.0
"""Seconds between two refreshes."""


class Presence:
    """`seen` is the runtime's view of itself; `warning` says why others can't find it, "" when they can."""

    def __init__(self, held: Holdings) -> None:
        """Publishes it: before the launcher starts, which keeps the entry's lock for as long as it serves."""
        self._held = held
        self._facts = Facts.of(held)
        self._entry: Entry | None = None
        self._sweeper: subprocess.Popen[bytes] | None = None
        self._launcher_deaths = 0
        self._stalls = [0] * len(held.cores)
        self._timer: asyncio.Handle | None = None
        self._metrics: Metrics | None = None
        self.warning = ""
        self._publish()
        keep_private(self)
        self.seen = Attached(self.name, self._facts, self.words, own_memory)

    def begin(
        self, service: "Service", workers: "Callable[[], tuple[list[WorkerSeat], int]]"
    ) -> None:
        """Everything runs: keeps the entry up to date and answers for metrics, from now on. Raises MachineError.

        `workers` gives the cores' seats and the launcher's pid, as of now. Lives in an event loop.
        """
        self._service, self._workers = service, workers
        layout = self._held.layout
        if layout.metrics.listen is not None:
            from ..controlplane.metrics import Metrics

            self._metrics = Metrics(self.seen, layout.metrics.listen, layout.file)
        self._refresh()

    @property
    def name(self) -> str:
        """Under which others find it."""
        return self._entry.name if self._entry else self._facts.name

    @property
    def words(self) -> Words:
        """The numbers others read."""
        return self._entry.words if self._entry else self._private

    def hear(self, event: "Event") -> None:
        """Something happened to a process."""
        if event.kind == "stalled":
            self._stalls[event.fields["core"]] += 1
        elif event.kind == "launcher_died":
            self._launcher_deaths += 1
        if self._timer:
            self._write()

    @property
    def private(self) -> tuple[int, ...]:
        """Its memory is mapped, and the entry sees to itself."""
        return ()

    def forked(self) -> None:
        """In a process that this one forks nothing is seen."""
        self.seen.close()

    def close(self) -> None:
        """Takes the entry away and lets the memory go. Safe to repeat."""
        if self._timer:
            self._timer.cancel()
        if self._metrics:
            self._metrics.close()
        self.seen.close()
        if self._entry:
            self._entry.close()
        if self._sweeper:
            with suppress(subprocess.TimeoutExpired):
                self._sweeper.wait(PERIOD)

    def _publish(self) -> None:
        count = Words.count(len(self._facts.cores), len(self._facts.mailboxes))
        words = memoryview(array("Q", bytes(8 * count)))
        self._private = Words(words, len(self._facts.cores), self._facts.mailboxes)
        try:
            self._entry = Entry(self._facts)
        except (OSError, ValueError) as error:
            self._entry = None
            self.warning = f"`splitplane stats` and `top` can't find this runtime: {error}"
            return
        self._held.kept = self._entry.private
        self._sweeper = start_sweeper(self._entry.path, self._facts.name)

    def _refresh(self) -> None:
        if self._entry and not self._entry.is_there():
            lost, self._entry = self._entry, None
            lost.close()
            self._publish()
            self.seen.words = self.words
        if self._sweeper:
            self._sweeper.poll()
        self._write()
        self._timer = asyncio.get_running_loop().call_later(PERIOD, self._refresh)

    def _write(self) -> None:
        from ..controlplane.tally import counters, levels

        words, service = self.words, self._service
        seats, launcher = self._workers()
        words.set_runtime(
            refreshed=time.monotonic_ns(),
            launcher=launcher,
            launcher_deaths=self._launcher_deaths,
            **counters(service),
            **levels(service),
        )
        for number, seat in enumerate(seats):
            words.set_core(
                number,
                pid=seat.pid,
                deaths=seat.deaths,
                stalls=self._stalls[number],
                outage=round(seat.outage * 1e9),
                quarantined=self._facts.cores[number].group in self._held.quarantined,
            )
        for box in service.mailboxes:
            with suppress(ValueError):  # one that the layout doesn't name
                words.set_mailbox(
                    box.name,
                    waiting=box.waiting,
                    limit=box.limit,
                    full=box.refusing,
                    handled=box.handled,
                    failed=box.failed,
                    unknown=box.unknown,
                    replaced=box.restarted,
                )
