"""The controller's part in the life of processes: it starts a launcher, hears what becomes of the workers, and stops
them by a word in their arenas. When this process is killed the kernel ends the launcher, and that one's workers.
"""

import asyncio
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..dataplane.core_state import DRAINING, STOPPED
from .boot import Lines
from .errors import ActorError, Problem, SplitplaneError, StartError
from .holdings import Holdings
from .private import keep_private

LAUNCHER = f"{__name__.rpartition('.')[0]}.launcher"
LAUNCHER_PATIENCE = 60.0
"""Seconds a launcher that replaced a dead one must live before another may."""
STOP_MARGIN = 2.0
"""Seconds beyond the drain deadline after which a worker is killed."""
QUIET_LIBRARIES = ("OPENBLAS", "OMP", "MKL", "BLIS", "NUMBA")
"""Libraries that start threads when imported, unless told how many."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to a process.

    `kind`: step, running, died, stalled, gave_up, quarantined, finished, launcher_died.
    """

    kind: str
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class WorkerSeat:
    """A core's worker as the controller knows it: `pid` 0 while there is none, `outage` in seconds."""

    pid: int = 0
    deaths: int = 0
    outage: float = 0.0
    lost_at: float = 0.0
    """When its launcher died, if nobody has taken the worker's place since."""


class Controller:
    """Starts, watches and stops the processes of one runtime. Lives in one event loop."""

    def __init__(
        self,
        holdings: Holdings,
        hear: Callable[[Event], None] = lambda _: None,
        *,
        verbose: bool = False,
    ) -> None:
        self.holdings = holdings
        self._verbose = verbose
        self.workers = [WorkerSeat() for _ in holdings.cores]
        self.steps: dict[str, float] = {}
        """Seconds that each step of the start took: interpreter, import, compile, fork, ready."""
        self.failure: SplitplaneError | None = None
        self._hear = hear
        self._changed = asyncio.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: Lines | None = None
        self._pidfd = -1
        self._launched = 0.0
        self._relaunched = -math.inf
        self._started = self._stopping = False
        keep_private(self)

    @property
    def launcher_pid(self) -> int:
        """The launcher's pid; 0 while there is none."""
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        """Whether every core has its worker, those of quarantined groups left out."""
        quarantined = self.holdings.quarantined
        return all(
            seat.pid or core.order.group in quarantined
            for seat, core in zip(self.workers, self.holdings.cores, strict=True)
        )

    @property
    def private(self) -> tuple[int, ...]:
        """What a process that this one forks must not keep."""
        return (self._lines.fileno(), self._pidfd) if self._lines else ()

    def forked(self) -> None:
        """In such a process: the launcher is somebody else's."""
        self._lines = None

    async def start(self) -> None:
        """Until every core runs. Raises ActorError when the actors can't be compiled, StartError for anything else."""
        self._launch(adopt=False)
        try:
            await self._until(lambda: self.running)
            self._started = True
            before = sum(self.steps.values())
            self.steps["ready"] = time.monotonic() - self._launched - before
        except BaseException:
            self._stopping = True
            if self._process:
                self._process.kill()
            self._close_launcher()
            raise

    async def stop(self) -> None:
        """Drains every core within the layout's deadline, then ends the launcher. Returns when no process is left.

        Cancelled, it drains no more.
        """
        supervision = self.holdings.layout.supervision
        self._stopping = True
        self._ask(DRAINING)
        try:
            await self._ends_within(supervision.drain_seconds + STOP_MARGIN)
            self.stop_at_once()
            await self._ends_within(STOP_MARGIN)
        finally:
            self._close_launcher()

    def stop_at_once(self) -> None:
        """Resets what connections are left, without waiting: a second Ctrl-C. `stop` returns soon after."""
        self._stopping = True
        self._ask(STOPPED)

    async def wait(self) -> None:
        """Until the runtime is stopped. Raises StartError when it fails before."""
        await self._until(lambda: self._stopping and self._process is None)

    def kill(self, core: int, reason: str) -> None:
        """Has the launcher kill a core's worker and put the standby in its place."""
        if self._lines:
            self._lines.send(do="kill", core=core, reason=reason)

    def _ask(self, wanted: int) -> None:
        if self._lines:
            self._lines.send(do="stop")
        for core in self.holdings.cores:
            core.state.wanted = wanted

    async def _until(self, true: Callable[[], bool]) -> None:
        while not true() and self.failure is None:
            self._changed.clear()
            await self._changed.wait()
        if self.failure is not None:
            raise self.failure

    async def _ends_within(self, seconds: float) -> None:
        with suppress(TimeoutError, SplitplaneError):
            async with asyncio.timeout(seconds):
                await self._until(lambda: self._process is None)

    def _launch(self, *, adopt: bool) -> None:
        """Starts a launcher and hands it its order; what becomes of it arrives at _read and _died."""
        boot = self.holdings.boot(adopt=adopt, verbose=self._verbose)
        self._launched = time.monotonic()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", LAUNCHER, str(theirs.fileno()), str(os.getpid())],
                pass_fds=(theirs.fileno(), *boot.descriptors),
                env=launcher_environment(),
                stdin=subprocess.DEVNULL,
                stdout=error_stream(),
                start_new_session=True,
            )
        self._lines = Lines(ours)
        self._lines.send(boot=boot.to_json(), started=self._launched)
        ours.setblocking(False)
        self._pidfd = os.pidfd_open(self._process.pid)
        loop = asyncio.get_running_loop()
        loop.add_reader(ours, self._read)
        loop.add_reader(self._pidfd, self._died)

    def _read(self) -> None:
        messages = self._lines.receive() if self._lines else None
        if messages is None:
            if self._lines:
                asyncio.get_running_loop().remove_reader(self._lines.stream)
            return
        for message in messages:
            self._take(Event(message.pop("event"), message))
        self._changed.set()

    def _take(self, event: Event) -> None:
        """Keeps what an event says, and passes it on."""
        fields = event.fields
        seat = self.workers[fields["core"]] if "core" in fields else WorkerSeat()
        match event.kind:
            case "step":
                self.steps[fields["step"]] = fields["seconds"]
            case "running":
                if fields["outage"] is None and seat.lost_at:
                    fields["outage"] = time.monotonic() - seat.lost_at
                seat.pid, seat.lost_at = fields["pid"], 0.0
                seat.outage = fields["outage"] or 0.0
            case "died":
                seat.pid = 0
                seat.deaths += 1
            case "finished":
                seat.pid = 0
            case "gave_up":
                self._fail(StartError(self._problem(fields["core"], fields["cause"])))
            case "quarantined":
                self._quarantine(fields)
            case "refused":
                self._fail(ActorError(Problem(**problem) for problem in fields["problems"]))
            case "broken":
                self._fail(StartError(Problem(self.holdings.layout.file, fields["text"])))
        self._hear(event)

    def _quarantine(self, fields: dict[str, Any]) -> None:
        """A group is given up: the rest serves on, if there is a rest and it had started."""
        self.holdings.withdraw(fields["group"])
        if not self._started or self.holdings.quarantined.issuperset(self.holdings.layout.group):
            self._fail(StartError(self._problem(fields["core"], quarantine_text(fields))))

    def _problem(self, core: int, text: str) -> Problem:
        order = self.holdings.cores[core].order
        return Problem(
            self.holdings.layout.file,
            text,
            f"group.{order.group}.cpus",
            order.cpu,
            "see the log above",
        )

    def fail(self, error: SplitplaneError) -> None:
        """The runtime can't go on: `wait` raises `error`."""
        self._fail(error)
        self._changed.set()

    def _fail(self, error: SplitplaneError) -> None:
        self.failure = self.failure or error

    def _died(self) -> None:
        """The launcher is dead, and the kernel has ended its workers: start another once, or fail."""
        process = self._process
        if process is None:
            return
        self._read()
        status = process.wait()
        self._release()
        was_running = self.running
        for seat in self.workers:
            seat.pid, seat.lost_at = 0, time.monotonic()
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
        if not self._stopping and self.failure is None:
            self._take(Event("launcher_died", {"pid": process.pid, "exit": how}))
            now = time.monotonic()
            if was_running and now - self._relaunched > LAUNCHER_PATIENCE:
                self._relaunched = now
                self._launch(adopt=True)
                self._take(Event("launcher_running", {"pid": self.launcher_pid}))
            else:
                text = f"the launcher ended ({how}) " + (
                    "again soon after it was replaced" if was_running else "before every core ran"
                )
                self._fail(StartError(Problem(self.holdings.layout.file, text)))
        self._changed.set()

    def _release(self) -> None:
        """Forgets a dead launcher's descriptors."""
        loop = asyncio.get_running_loop()
        if self._lines:
            loop.remove_reader(self._lines.stream)
            self._lines.close()
        loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process, self._lines, self._pidfd = None, None, -1

    def _close_launcher(self) -> None:
        """Ends the launcher: it kills and reaps its workers when its line closes; one that doesn't is killed."""
        process = self._process
        if process is None:
            return
        if self._lines:
            self._lines.stream.shutdown(socket.SHUT_RDWR)
        try:
            process.wait(STOP_MARGIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._release()
        for seat in self.workers:
            seat.pid = 0
        self._changed.set()


def quarantine_text(fields: dict[str, Any]) -> str:
    """An event `quarantined` in one sentence."""
    return (
        f"group {fields['group']} is quarantined: the worker of core {fields['core']} died "
        f"{fields['count']} times within {fields['seconds']:g} s "
        f"(supervision.restarts = {fields['restarts']}); the last one: {fields['cause']}"
    )


def launcher_environment() -> dict[str, str]:
    """This process's environment and import path, and libraries told to start no threads."""
    quiet = {f"{library}_NUM_THREADS": "1" for library in QUIET_LIBRARIES}
    path = [str(Path(entry or ".").resolve()) for entry in sys.path]
    return {**os.environ, **quiet, "PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1"}


def error_stream() -> int:
    """Where what the launcher prints goes: never to our standard output, which may carry JSON."""
    try:
        ours = not os.get_inheritable(
            2
        )  # standard error was closed, and something else has its number
    except OSError:
        ours = True
    return subprocess.DEVNULL if ours else 2
