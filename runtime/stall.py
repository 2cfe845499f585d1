"""When a loop that doesn't turn is stuck, and when it is only waiting for a CPU.

A worker that shares its CPU may stand still for seconds by the wall clock and be well; one that burns CPU time without
a turn sits in a handler that doesn't return. So the limit is one of the worker's own CPU time. A worker that neither
turns nor burns is looked at by its process state: stopped or asleep in the kernel, it is given up after a longer wait.
"""

import time
from collections.abc import Callable

from . import system

WALL_FACTOR = 2
"""Stopped or blocked for this many limits of wall time is given up."""
WALL_LEAST = 1.0
"""Seconds of wall time that it is given at the least."""


class StallWatch:
    """Watches one worker's heartbeat; `limit` in milliseconds of CPU time."""

    def __init__(
        self,
        limit: int,
        cpu_time: Callable[[int], int] = system.cpu_time,
        clock: Callable[[], float] = time.monotonic,
        status: Callable[[int], system.ProcessStatus | None] = system.process_status,
    ) -> None:
        self.limit = limit
        self._cpu_time, self._clock, self._status = cpu_time, clock, status
        self._pid = 0
        self._heartbeat = -1
        self._used = 0
        self._since = 0.0

    def start(self, pid: int) -> None:
        """Another worker from here on."""
        self._pid = pid
        self._heartbeat = -1

    def stop(self) -> None:
        """No worker."""
        self._pid = 0

    def look(self, heartbeat: int) -> str:
        """Why the worker is stuck, or an empty text: it turns, waits for a CPU, or is held by a debugger."""
        if not self._pid:
            return ""
        if heartbeat != self._heartbeat:
            self._heartbeat = heartbeat
            self._used = self._cpu_time(self._pid)
            self._since = self._clock()
            return ""
        used = self._cpu_time(self._pid) - self._used
        if used >= self.limit * 1_000_000:
            return f"its loop stood still for {used // 1_000_000} ms of CPU time: a handler doesn't return"
        waited = self._clock() - self._since
        if waited < max(WALL_LEAST, WALL_FACTOR * self.limit / 1000):
            return ""
        status = self._status(self._pid)
        if status is None or status.state not in "TDS":
            return ""
        words = {
            "T": "stopped by a signal",
            "D": "waiting for a disk",
            "S": "blocked in a system call",
        }
        return f"its loop stood still for {waited:.1f} s, {words[status.state]}"
