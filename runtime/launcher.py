"""The launcher: `python -m splitplane.runtime.launcher DESCRIPTOR CONTROLLER_PID`, exec'd by the controller.

Imports the actors, compiles them once, then forks: one worker a core and one standby beside it, which has everything
mapped and waits. It has one thread, because a fork copies only the caller's. A dead worker's standby takes over within
milliseconds; a group whose workers die too often is quarantined. When the controller is gone the kernel ends the
launcher, and with it every worker, unless the layout wants them to serve on (orphan.py).
"""

import gc
import json
import math
import os
import resource
import select
import signal
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dataplane.core_state import CoreState
from . import system, worker
from .boot import Boot, BootCore, Lines
from .errors import SplitplaneError
from .imports import import_actors
from .layout import Layout
from .mesh import Mesh
from .program import Compiled
from .schema import schema_of
from .stall import StallWatch
from .steps import Steps

if TYPE_CHECKING:
    from .orphan import Orphan

WATCH_SECONDS = 0.01
"""How often the loops' heartbeats are looked at."""
BREATH = 0.01
"""Seconds that a new worker has for what waited for it, before the next standby is made and takes CPU time."""
STANDBY_ATTEMPTS = 3
"""A core whose fresh workers die this often before they are ready is given up."""
STANDBY_PAUSE = 5.0
"""Seconds until a standby that can't be had is tried again, while the worker runs without one."""


@dataclass(slots=True)
class Child:
    """One forked process of a core: first a standby, then its worker."""

    pid: int
    pidfd: int
    lines: Lines
    waiting: bool = False
    watching: bool = False
    running: bool = False
    reason: str = ""
    dead: bool = False
    found: tuple[int, str] | None = None
    """What its predecessor had in hand, record and handler, as this one found it before it adopted the core."""


@dataclass(slots=True)
class Seat:
    """A core as the launcher sees it."""

    core: BootCore
    state: CoreState
    watch: StallWatch
    adopt: bool
    worker: Child | None = None
    standby: Child | None = None
    deaths: deque[float] = field(default_factory=deque)
    failures: int = 0
    died_at: float = 0.0
    fork_at: float = math.inf
    ran: bool = False
    quarantined: bool = False
    finished: bool = False


class Launcher:
    """The launcher's loop over its children and its controller."""

    def __init__(self, kit: worker.Kit, controller: Lines, orphan: "Orphan | None" = None) -> None:
        """`orphan`: how to go on without a controller, if that is wanted."""
        self.kit = kit
        self.boot = boot = kit.boot
        self.line = controller
        self.controller: Lines | Orphan = controller
        self.orphan = orphan
        self.stopping = False
        self.poller = select.poll()
        self.poller.register(controller, select.POLLIN)
        self.owners: dict[int, tuple[Seat, Child]] = {}
        self.verdicts: dict[str, dict[str, Any]] = {}
        self.seats = [
            Seat(
                core,
                CoreState(core.arena),
                StallWatch(boot.stall_milliseconds),
                adopt=boot.adopt,
                ran=boot.adopt,
            )
            for core in boot.cores
        ]

    def run(self) -> int:
        """Until every worker has finished, or the controller is gone. Returns the exit code."""
        began = time.monotonic()
        gc.collect()
        gc.freeze()  # no collection, here or in a worker, writes to the pages that all share
        gc.disable()
        for seat in self.seats:
            self.fork(seat)
        self.controller.send(event="step", step="fork", seconds=time.monotonic() - began)
        self.command()
        while not all(seat.finished for seat in self.seats):
            for descriptor, _ in self.poller.poll(WATCH_SECONDS * 1000):
                if descriptor in self.owners:
                    self.look(descriptor)
                elif (
                    descriptor == self.line.fileno() and not self.command() and not self.bereaved()
                ):
                    return self.leave(1)
            for seat in self.seats:
                self.supervise(seat)
            if self.orphan and not self.orphan.obeys(self.seats, self.stop):
                break
        return self.leave(0)

    def command(self) -> bool:
        """What the controller wants; False when it is gone."""
        messages = self.line.receive()
        if messages is None:
            return False
        for message in messages:
            if message["do"] == "stop":
                self.stop()
            elif message["do"] == "kill":
                for seat in self.seats:
                    if message.get("core", seat.core.number) == seat.core.number:
                        self.end(seat.worker, message.get("reason", ""))
        return True

    def stop(self) -> None:
        """Replaces no worker any more; those there are end when their core has drained."""
        self.stopping = True
        for seat in self.seats:
            self.end(seat.standby)
            seat.finished = seat.worker is None and seat.standby is None

    def bereaved(self) -> bool:
        """The controller's line has closed. Whether the cores serve on: wanted, all of them had run, and it is dead."""
        orphan = self.orphan
        if orphan is None or self.stopping or not all(seat.ran for seat in self.seats):
            return False
        if not orphan.is_alone():
            return False
        self.poller.unregister(self.line)
        self.controller = orphan
        orphan.begin()
        return True

    def fork(self, seat: Seat) -> None:
        """Makes a standby for a core, unless it has one."""
        seat.fork_at = math.inf
        if seat.standby is not None or seat.quarantined:
            return
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            worker.main(self.kit, seat.core, theirs)
        theirs.close()
        ours.setblocking(False)
        child = Child(pid, os.pidfd_open(pid), Lines(ours))
        seat.standby = child
        for descriptor in (child.pidfd, ours.fileno()):
            self.owners[descriptor] = (seat, child)
            self.poller.register(descriptor, select.POLLIN)

    def look(self, descriptor: int) -> None:
        """Something happened to a child: it spoke, or it died."""
        seat, child = self.owners[descriptor]
        if descriptor == child.pidfd:
            self.bury(seat, child)
            return
        messages = child.lines.receive()
        if messages is None:
            self.poller.unregister(descriptor)
            del self.owners[descriptor]
            return
        for message in messages:
            self.hear(seat, child, message)

    def hear(self, seat: Seat, child: Child, message: dict[str, Any]) -> None:
        """A child's own words: `waiting`, `running`, or why it fails."""
        what = message.pop("event")
        if what == "waiting":
            child.waiting = True
            if seat.worker is None:
                self.activate(seat)
            else:
                self.license(seat)
        elif what == "watching":
            with suppress(
                OSError
            ):  # asleep by now: it will wake where the worker was, not behind others here
                os.sched_setaffinity(child.pid, {seat.core.cpu})
        elif what == "took":
            child.found = (message["record"], message["handler"])
            self.succeed(seat, child)
        elif what == "running":
            self.succeed(seat, child)
            child.running = seat.adopt = seat.ran = True
            seat.failures = 0
            if self.orphan and all(seat.ran for seat in self.seats):
                system.live_alone()
            seat.watch.start(child.pid)
            outage = None
            if (
                seat.died_at
            ):  # told of the death after the standby had seen it, our time alone is too short
                outage = max(time.monotonic() - seat.died_at, message["seconds"])
            self.tell("running", seat, child, outage=outage, **message)
            seat.fork_at = time.monotonic() + BREATH
        elif what == "failed":
            child.reason = message["text"]

    def succeed(self, seat: Seat, child: Child) -> None:
        """If this standby has seen the worker's death before us, that one is buried first."""
        if child is seat.standby and seat.worker is not None and not seat.worker.dead:
            self.bury(seat, seat.worker)

    def license(self, seat: Seat) -> None:
        """Has the standby go by itself when the worker dies, if that death is one more that is tolerated."""
        worker, standby = seat.worker, seat.standby
        if standby is None or worker is None or not standby.waiting or standby.watching:
            return
        if worker.running and self.deaths_since(seat, time.monotonic()) < self.boot.restarts:
            standby.watching = True
            standby.lines.send(watch=worker.pid)

    def deaths_since(self, seat: Seat, now: float) -> int:
        """How many of a core's workers have died within the time that counts."""
        while seat.deaths and seat.deaths[0] < now - self.boot.restart_seconds:
            seat.deaths.popleft()
        return len(seat.deaths)

    def activate(self, seat: Seat) -> None:
        """The standby becomes the worker."""
        child = seat.standby
        if child is None or not child.waiting or self.stopping or seat.quarantined:
            return
        seat.worker, seat.standby = child, None
        child.lines.send(adopt=seat.adopt)

    def bury(self, seat: Seat, child: Child) -> None:
        """A child is dead: reap it, say so, put the standby in its place."""
        reaped, status = os.waitpid(child.pid, os.WNOHANG)
        if not reaped:
            return  # an event of a descriptor whose number another child has got meanwhile
        child.dead = True
        for message in child.lines.receive() or ():
            self.hear(seat, child, message)
        for descriptor in (child.pidfd, child.lines.fileno()):
            if self.owners.pop(descriptor, None):
                self.poller.unregister(descriptor)
        os.close(child.pidfd)
        child.lines.close()
        if child is seat.standby:
            seat.standby = None
            self.buried_standby(seat, child, status)
        else:
            seat.worker = None
            seat.watch.stop()
            self.buried_worker(seat, child, status)
        seat.finished = seat.worker is None and seat.standby is None and self.ending(seat)
        if seat.quarantined:
            self.withdraw(seat.core.group)

    def ending(self, seat: Seat) -> bool:
        """Whether this core gets no other child."""
        return self.stopping or seat.quarantined

    def buried_standby(self, seat: Seat, child: Child, status: int) -> None:
        """A standby died waiting, which is somebody's kill, or before, which is a fault: then not for ever."""
        if self.ending(seat) or seat.finished:
            return
        if child.waiting:
            self.fork(seat)
            return
        seat.failures += 1
        text = child.reason or system.describe_exit(status)
        if seat.failures < STANDBY_ATTEMPTS:
            self.fork(seat)
        elif seat.worker is None:
            self.give_up(seat, seat.failures, f"{text}, before it ran")
        else:
            seat.fork_at = time.monotonic() + STANDBY_PAUSE
            self.tell("no_standby", seat, child, exit=text)

    def buried_worker(self, seat: Seat, child: Child, status: int) -> None:
        seat.died_at = time.monotonic()
        if self.ending(seat):
            self.tell("finished", seat, child, exit=system.describe_exit(status))
            return
        (index, handler), later = self.in_hand(seat)
        exit_text = child.reason or system.describe_exit(status)
        seat.failures = 0 if child.running else seat.failures + 1
        self.tell("died", seat, child, exit=exit_text, handler=handler, record=index)
        if seat.failures >= STANDBY_ATTEMPTS:
            self.give_up(seat, seat.failures, f"{exit_text}, before it ran")
            return
        seat.deaths.append(seat.died_at)
        deaths = self.deaths_since(seat, seat.died_at)
        if deaths > self.boot.restarts:
            self.give_up(seat, deaths, exit_text)
            return
        self.activate(seat)
        if seat.worker is None:
            self.fork(seat)
            return
        for message in later:
            self.hear(seat, seat.worker, message)

    def in_hand(self, seat: Seat) -> tuple[tuple[int, str], list[dict[str, Any]]]:
        """Record and handler that the dead worker was at, and what the standby said besides.

        A standby that took over by itself may have adopted the core by now. It says what it found before it touches
        anything: so what is read here before its words are looked for holds if that word isn't among them.
        """
        found, standby = seat.state.current, seat.standby
        words = standby.lines.receive() or [] if standby and standby.watching else []
        for message in words:
            if message["event"] == "took" and standby:
                standby.found = (message["record"], message["handler"])
        if standby and standby.found is not None:
            found = standby.found
        return found, [message for message in words if message["event"] != "took"]

    def give_up(self, seat: Seat, count: int, cause: str) -> None:
        """Too many deaths. Of a core that never ran, the start fails; else its group is quarantined."""
        core = seat.core
        if not seat.ran:
            self.controller.send(
                event="gave_up",
                core=core.number,
                cpu=core.cpu,
                cause=f"its worker died {count} times: {cause}",
            )
            self.end(seat.standby)
            seat.finished = True
            return
        self.verdicts[core.group] = {
            "core": core.number,
            "cpu": core.cpu,
            "count": count,
            "seconds": self.boot.restart_seconds,
            "restarts": self.boot.restarts,
            "cause": cause,
        }
        for one in self.of_group(core.group):
            one.quarantined = True
            for child in (one.standby, one.worker):
                self.end(child, f"group {core.group} is quarantined")
            one.finished = one.worker is None and one.standby is None
        self.withdraw(core.group)

    def of_group(self, group: str) -> list[Seat]:
        """Its cores."""
        return [seat for seat in self.seats if seat.core.group == group]

    def withdraw(self, group: str) -> None:
        """Once the last child of a quarantined group is dead: closes the ways by which its clients come, and says so."""
        seats = self.of_group(group)
        if group not in self.verdicts or not all(seat.finished for seat in seats):
            return
        mesh = Mesh.attach(self.boot.mesh, layout_hash=self.boot.digest)
        for seat in seats:
            mesh.quarantine(seat.core.number)
        mesh.close()
        ways = [number for seat in seats for number in seat.core.ways]
        for number in {*ways, *self.boot.held.get(group, ())}:
            os.close(number)
        self.controller.send(event="quarantined", group=group, **self.verdicts.pop(group))

    def supervise(self, seat: Seat) -> None:
        """A loop that stands still is ended; its standby does the rest."""
        if time.monotonic() >= seat.fork_at and not self.stopping:
            self.fork(seat)
        self.license(seat)
        child = seat.worker
        if child is None or not child.running or child.reason:
            return
        reason = seat.watch.look(seat.state.heartbeat)
        if reason:
            self.tell("stalled", seat, child, text=reason)
            self.end(child, reason)

    def end(self, child: Child | None, reason: str = "") -> None:
        """Kills one child; its pidfd says when it is dead."""
        if child is not None:
            child.reason = child.reason or reason
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)

    def leave(self, code: int) -> int:
        """Kills and reaps whoever is left."""
        children = {id(child): child for _, child in self.owners.values()}
        for child in children.values():
            self.end(child)
        for child in children.values():
            with suppress(ChildProcessError):
                os.waitpid(child.pid, 0)
        return code

    def tell(self, event: str, seat: Seat, child: Child, **more: Any) -> None:
        """Tells the controller of a core's child."""
        core = seat.core
        self.controller.send(event=event, core=core.number, cpu=core.cpu, pid=child.pid, **more)


def main(arguments: list[str]) -> int:
    """The process's life; returns its exit code."""
    parent = int(arguments[2])
    system.die_with(parent)
    watched = os.pidfd_open(parent)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    controller = Lines(socket.socket(fileno=int(arguments[1])))
    order = controller.wait()
    if order is None:
        return 1
    controller.send(event="step", step="interpreter", seconds=time.monotonic() - order["started"])
    try:
        boot = Boot.from_json(order["boot"])
        return serve(boot, controller, watched)
    except SplitplaneError as error:
        controller.send(event="refused", problems=[problem.as_dict() for problem in error.problems])
    except OSError as error:
        controller.send(event="broken", text=f"launcher: {error}")
    return 1


def serve(boot: Boot, controller: Lines, watched: int) -> int:
    """Imports, compiles, forks, and watches. Raises SplitplaneError with what is wrong with the actors.

    `watched`: a pidfd of the controller.
    """
    orphan: Any = None
    if boot.serve:
        from .orphan import (
            Orphan,
        )  # before privileges go, with which another user's files can be read

        orphan = Orphan(boot, watched)
    system.name_process(f"{boot.name}:launcher")
    raise_limits()
    if boot.control_cpus:
        with suppress(OSError):
            os.sched_setaffinity(0, boot.control_cpus)
    steps = Steps(controller)
    kit = build(boot, steps)
    steps.refuse_threads()
    system.drop_privileges(system.CAP_IPC_LOCK)  # a standby locks its arena
    controller.stream.setblocking(False)
    return Launcher(kit, controller, orphan).run()


def build(boot: Boot, steps: Steps) -> worker.Kit:
    """Imports and compiles the actors of `boot`'s layout. Raises ActorError with all that is wrong with them."""
    layout = Layout.model_validate_json(json.dumps(boot.layout))
    layout = layout.located(Path(boot.directory), boot.file)
    actors = import_actors(layout)
    schema = schema_of(actors.all, layout.cores_of, actors.messages)
    steps.done("import")
    program = Compiled(actors.all, schema, verbose=boot.verbose)
    steps.done("compile")
    return worker.Kit(boot, layout, actors, schema, program)


def raise_limits() -> None:
    """As many descriptors as this user may have: a kernel driver's connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
