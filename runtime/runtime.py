"""`async with splitplane.start("layout.toml") as runtime:`: a layout's processes and control plane in your own loop."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .live import Live

if TYPE_CHECKING:
    from ..controlplane.make import GiveUp
    from ..controlplane.peer import GroupPeer
    from ..controlplane.reload import Door
    from ..controlplane.routes import RouteWatches
    from ..controlplane.service import Service
    from .attached import Attached, Rows
    from .controller import Controller, Event
    from .holdings import Holdings
    from .layout import Layout
    from .presence import Presence


@dataclass(frozen=True, slots=True)
class Worker:
    """A core's worker: `pid` is 0 while it is being replaced, `outage` the seconds that the last replacement took."""

    core: int
    group: str
    cpu: int
    pid: int
    deaths: int
    outage: float


def start(layout: str | Path | Layout, overrides: Iterable[str] = ()) -> Runtime:
    """A runtime of `layout`, a TOML file or a Layout; it starts when entered with `async with`.

    `overrides` are `KEY=VALUE` as for `--set`. Raises LayoutError here; entering it raises MachineError, ActorError or
    StartError with everything that is wrong, and leaves nothing behind.
    """
    from .layout import Layout
    from .load import load_layout

    if not isinstance(layout, Layout):
        layout = load_layout(Path(layout), list(overrides))
    return Runtime(layout)


class Runtime(Live):
    """A running layout. `runtime["web"]` tells and asks a group's cores; see also `workers`, `counters`, `wait`."""

    def __init__(self, layout: Layout, *, verbose: bool = False, alone: bool = False) -> None:
        """Nothing is started yet.

        `verbose` adds the compiler's own words to what it refuses. `alone`: this process does nothing else, so it moves
        to the control plane's CPUs.
        """
        self.layout = layout
        self._verbose, self._alone = verbose, alone
        self._listeners: list[Callable[[Event], None]] = []
        self._holdings: Holdings | None = None
        self._controller: Controller | None = None
        self._service: Service | None = None
        self._routes: RouteWatches | None = None
        self._presence: Presence | None = None
        self._door: Door | None = None
        self._last: list[dict[str, int]] = []
        self._taken = 0

    async def __aenter__(self) -> Self:
        from .controller import Controller
        from .holdings import Holdings

        self._holdings = Holdings(self.layout)
        try:
            if self._alone:
                os.sched_setaffinity(0, self._holdings.control_cpus)
            self._service = make_service(self._holdings, self._give_up)
            await self._service.start()
            self._routes = await watch_routes(self._holdings, self._service)
            started = Controller(self._holdings, self._hear, verbose=self._verbose)
            self._controller = started
            self._presence = self._present()
            await started.start()
            self._presence.begin(self._service, lambda: (started.workers, started.launcher_pid))
            self._door = await self._open_door()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Drains and ends the processes, lets the control actors finish, gives memory and ports back.

        Cancelled, or by a second Ctrl-C, it drains no more, and gives all back just the same.
        """
        try:
            if self._controller:
                await self._controller.stop()
        finally:
            await self._close()

    def stop_at_once(self) -> None:
        """Resets the connections that a running `stop` still waits for."""
        if self._controller:
            self._controller.stop_at_once()

    async def wait(self) -> None:
        """Until the runtime is stopped. Raises StartError when a process can't be replaced any more."""
        await self._started.wait()

    def listen(self, hear: Callable[[Event], None]) -> None:
        """`hear` is called with every Event of the processes from now on: steps of the start, deaths, replacements."""
        self._listeners.append(hear)

    @property
    def workers(self) -> tuple[Worker, ...]:
        """A Worker for each core, as of now."""
        return tuple(
            Worker(
                held.order.number,
                held.order.group,
                held.order.cpu,
                seat.pid,
                seat.deaths,
                seat.outage,
            )
            for held, seat in zip(self._held.cores, self._started.workers, strict=True)
        )

    @property
    def quarantined(self) -> frozenset[str]:
        """The groups that are served no more, because a core's workers died too often."""
        return frozenset(self._held.quarantined)

    @property
    def launcher_pid(self) -> int:
        """The launcher's pid; 0 while it is being replaced."""
        return self._started.launcher_pid

    @property
    def steps(self) -> dict[str, float]:
        """Seconds that each step of the start took."""
        return dict(self._started.steps)

    def counters(self, core: int) -> dict[str, int]:
        """A core's counters by name, those at 0 too; after the end, as they were then."""
        if self._last:
            return self._last[core]
        return self._held.cores[core].state.counters()

    def live(self, core: int) -> int:
        """How many connections a core has now."""
        return self._held.cores[core].state.live

    @property
    def control_messages(self) -> int:
        """Messages that the control plane has taken out of its rings."""
        return self._service.taken if self._service else self._taken

    @property
    def page_size(self) -> int:
        """Bytes of the pages that the arenas stand on; the smallest when they differ."""
        return min(held.arena.page_size for held in self._held.cores)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What this machine lacks and what that costs; empty when all is as wanted."""
        arenas = filter(None, (held.arena.warning for held in self._held.cores))
        unseen = [self._presence.warning] if self._presence and self._presence.warning else []
        return (*self._held.warnings, *dict.fromkeys(arenas), *unseen)

    @property
    def seen(self) -> Attached:
        """Counters, pools and connections as `splitplane.attach` shows them to others, without leaving this process."""
        if self._presence is None:
            raise RuntimeError(
                "the runtime isn't running: async with splitplane.start(…) as runtime"
            )
        return self._presence.seen

    def connections(self, group: str | None = None) -> Rows:
        """The live connections of a group, or all, as a read-only NumPy structured array: see Attached.connections."""
        return self.seen.connections(group)

    def wire(self, core: int) -> int:
        """The descriptor of a core's memory wire; our side of it is 1 (nic/memory.py). -1 with another driver."""
        return self._held.cores[core].order.wire

    def interface(self, group: str) -> dict[str, Any]:
        """How a group's interface is had: `xdp_mode` (native, skb), `zero_copy`, `queues`; empty without one."""
        front = self._held.fronts.get(group)
        return front.facts if front else {}

    def held_queues(self, group: str) -> list[tuple[int, int]]:
        """(socket, address of its region in this process) of each AF_XDP queue of a group: for nic.afxdp.audit."""
        return [
            (queue[1], held.arena.address + queue[2])
            for held in self._held.cores
            if held.order.group == group and held.order.front and held.order.driver == "afxdp"
            for queue in held.order.front.queues
        ]

    def __getitem__(self, group: str) -> GroupPeer:
        """The cores of a group, to tell and ask. KeyError, naming those there are, if there is none of that name."""
        return self._running.group(group)

    @property
    def _started(self) -> Controller:
        if self._controller is None:
            raise RuntimeError(
                "the runtime isn't running: async with splitplane.start(…) as runtime"
            )
        return self._controller

    @property
    def _held(self) -> Holdings:
        if self._holdings is None:
            raise RuntimeError(
                "the runtime isn't running: async with splitplane.start(…) as runtime"
            )
        return self._holdings

    def _present(self) -> Presence:
        from .presence import Presence

        return Presence(self._held)

    async def _open_door(self) -> Door | None:
        from ..controlplane.reload import Door

        return await Door.open(self) if self.layout.source else None

    async def _close(self) -> None:
        door, self._door = self._door, None
        if door:
            door.close()
        presence, self._presence = self._presence, None
        if presence:
            presence.close()
        service, self._service = self._service, None
        if service:
            await service.stop()
            self._taken = service.taken
        if self._routes:
            self._routes.stop()
        if self._holdings:
            self._last = [held.state.counters() for held in self._holdings.cores]
            self._holdings.close()

    def _give_up(self, name: str, error: BaseException) -> None:
        from .errors import Problem, StartError

        supervision = self.layout.supervision
        text = (
            f"its actor raised more than {supervision.restarts} times within "
            f"{supervision.restart_seconds:g} s (supervision.restarts); the last error: "
            f"{type(error).__name__}: {error}"
        )
        self._started.fail(StartError(Problem(self.layout.file, text, f"control.{name}")))

    def _hear(self, event: Event) -> None:
        if event.kind == "quarantined" and self._service:
            from .controller import quarantine_text

            self._service.quarantine(event.fields["group"], quarantine_text(event.fields))
        log_event(event)
        self._publish(event)
        if self._presence:
            self._presence.hear(event)
        for listener in self._listeners:
            listener(event)


def log_event(event: Event, log: Any = None) -> None:
    """Deaths and replacements go to structlog's logger `splitplane`, or another."""
    import structlog

    log = log or structlog.get_logger("splitplane")
    match event.kind:
        case "died" | "stalled":
            log.warning("worker_lost" if event.kind == "died" else "worker_stalled", **event.fields)
        case "running" if event.fields["outage"] is not None:
            log.info("worker_replaced", **event.fields)
        case "launcher_running":
            log.info("launcher_replaced", **event.fields)
        case "gave_up" | "quarantined" | "launcher_died" | "no_standby":
            log.error(event.kind, **event.fields)


def make_service(held: Holdings, give_up: GiveUp | None = None) -> Service:
    """The control plane of what is held, not yet started. ActorError if a control actor's config does not fit it.

    `give_up(name, error)` is called when a control actor raises too often.
    """
    from ..controlplane.make import service_of
    from .mesh import CONTROL
    from .schema import schema_of

    schema = schema_of(held.actors.all, more=held.actors.messages)
    for core in held.cores:
        held.mesh.ring(CONTROL, core.order.number).wake_by(core.order.bell)
    return service_of(held.layout, held.actors, held.mesh, schema, give_up)


async def watch_routes(held: Holdings, service: Service) -> RouteWatches:
    """Begins to keep the cores in the picture of Linux's routes and neighbours."""
    import structlog

    from ..controlplane.routes import RouteWatches

    watches = RouteWatches(held, structlog.get_logger("splitplane"))
    service.on_doubt = watches.doubt
    await watches.start()
    return watches
