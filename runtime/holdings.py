"""What the controller holds for its cores, so that no worker's death detaches anything: claims, arenas, the mesh,
listening sockets and wires. All are descriptors; they vanish with the last process that has them.
"""

import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Self

from ..dataplane.core_state import CoreState
from .arena import Arena
from .boot import Boot, BootCore, BootListener
from .claim import Claims
from .errors import MachineError
from .fit import control_cpus, fit
from .footprint import footprints_of
from .front import Front
from .front_tap import TapFront
from .imports import import_actors
from .layout import Layout, Nic
from .machine import read_machine
from .mesh import Mesh
from .plan import arena_config, half_open_limit, plan
from .private import keep_private
from .references import INTERFACE_DRIVERS

BACKLOG = 4096
"""Connections that Linux keeps for a listener while its worker is being replaced."""


@dataclass(frozen=True, slots=True)
class Holding:
    """One core's descriptors and its state in shared memory."""

    order: BootCore
    arena: Arena
    state: CoreState


class Holdings:
    """Everything of one runtime. Closing it gives this process's part back."""

    def __init__(self, layout: Layout, *, pinned: bool = True) -> None:
        """Opens it all. Raises MachineError or ActorError with every problem; nothing is held then.

        `pinned`: its cores get CPUs of their own, so these are claimed too.
        """
        self.layout = layout
        self.cores: list[Holding] = []
        self.fronts: dict[str, Front | TapFront] = {}
        self.quarantined: set[str] = set()
        self.kept: tuple[int, ...] = ()
        """Descriptors that only have to stay open as long as the launcher lives."""
        self._listening: dict[str, list[socket.socket]] = {}
        self._stack = ExitStack()
        try:
            self.claims = self._stack.enter_context(Claims(layout.name))
            self.actors = import_actors(layout)
            self.machine = read_machine()
            self.footprints = footprints_of(layout, self.actors)
            self._fit(pinned=pinned)
            self._open()
            keep_private(self)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets everything go."""
        self._stack.close()
        self.cores.clear()

    def withdraw(self, group: str) -> None:
        """Lets go of the ways by which clients come to this group, and leaves it out of every later `boot`.

        Its arenas stay: their counters can be read.
        """
        self.quarantined.add(group)
        for listener in self._listening.pop(group, ()):
            listener.close()
        if group in self.fronts:
            self.fronts[group].close()
        for at, core in enumerate(self.cores):
            if core.order.group == group:
                order = replace(core.order, listeners=(), front=None)
                self.cores[at] = replace(core, order=order)

    @property
    def private(self) -> tuple[int, ...]:
        """What a process that this one forks must not keep."""
        if not self.cores:
            return ()  # closed: the numbers may be somebody else's by now
        cores = [
            number
            for core in self.cores
            for number in (
                core.order.own if core.order.group in self.quarantined else core.order.descriptors
            )
        ]
        return (*cores, *self.claims.descriptors, self.mesh.fd)

    def forked(self) -> None:
        """In such a process: the arenas are not mapped, and there are no cores."""
        self._stack.pop_all()
        for core in self.cores:
            core.state.close()
            core.arena.unmap()
        self.cores.clear()

    @property
    def control_cpus(self) -> tuple[int, ...]:
        """Where the control plane and the launcher run."""
        return control_cpus(self.layout, self.machine)

    def boot(self, *, adopt: bool = False, verbose: bool = False) -> Boot:
        """The order for a launcher."""
        layout = self.layout
        return Boot(
            name=layout.name,
            layout=layout.model_dump(mode="json"),
            directory=str(layout.directory),
            file=layout.file,
            mesh=self.mesh.fd,
            digest=layout.digest(),
            cores=tuple(
                core.order for core in self.cores if core.order.group not in self.quarantined
            ),
            control_cpus=self.control_cpus,
            claims=self.claims.descriptors,
            held={"": self.kept}
            | {
                name: tuple(front.descriptors)
                for name, front in self.fronts.items()
                if name not in self.quarantined
            },
            serve=layout.supervision.on_controller_loss == "serve",
            adopt=adopt,
            verbose=verbose,
            stall_milliseconds=layout.supervision.stall_milliseconds,
            restarts=layout.supervision.restarts,
            restart_seconds=layout.supervision.restart_seconds,
        )

    def _fit(self, *, pinned: bool) -> None:
        """Asks the machine for everything before any of it is opened, so that all that is missing is said at once."""
        layout = self.layout
        planned = plan(layout, self.footprints)
        found = fit(layout, self.machine, planned, self.claims, pinned=pinned)
        if found.problems:
            raise MachineError(found.problems)
        self.warnings: tuple[str, ...] = tuple(map(str, found.warnings))

    def _open(self) -> None:
        layout = self.layout
        rings = layout.rings
        self.mesh = Mesh.create(
            len(layout.cores),
            control_cells=rings.control,
            core_cells=rings.cores,
            layout_hash=layout.digest(),
        )
        self._stack.callback(os.close, self.mesh.fd)
        self._stack.callback(self.mesh.close)
        for number, name, cpu in layout.cores:
            config = arena_config(layout, number, self.footprints[name])
            arena = Arena.create(
                config,
                hugepages=layout.machine.hugepages,
                node=self.machine.numa.get(cpu),
                file=layout.file,
            )
            self._stack.callback(arena.close)
            state = CoreState(arena.fd)
            self._stack.callback(state.close)
            order = self._order(number, name, cpu, arena)
            self.cores.append(Holding(order, arena, state))
        for name in layout.group:
            if layout.nic[layout.group[name].nic].driver in INTERFACE_DRIVERS:
                self._front(name)

    def _front(self, name: str) -> None:
        """Opens the group's interface over its cores' arenas, and adds to the orders what came of it."""
        places = [at for at, core in enumerate(self.cores) if core.order.group == name]
        front: Front | TapFront
        if self.layout.nic[self.layout.group[name].nic].driver == "tap":
            front = TapFront(self.layout, name)
        else:
            front = Front(self.layout, name, [self.cores[at].arena for at in places])
            self.warnings += (front.warning,) * bool(front.warning)
        self._stack.callback(front.close)
        self.fronts[name] = front
        for place, at in enumerate(places):
            order = self.cores[at].order
            address = front.local_address
            order = replace(order, front=front.boot(place), local_address=address)
            self.cores[at] = replace(self.cores[at], order=order)

    def _order(self, number: int, name: str, cpu: int, arena: Arena) -> BootCore:
        group = self.layout.group[name]
        nic = self.layout.nic[group.nic]
        wire = -1
        if nic.driver == "memory":
            from ..nic.memory import create

            wire = create()
            self._stack.callback(os.close, wire)
        own = nic.own_address
        bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stack.callback(os.close, bell)
        return BootCore(
            number=number,
            group=name,
            cpu=cpu,
            arena=arena.fd,
            driver=nic.driver,
            bell=bell,
            wire=wire,
            spin=group.idle == "spin",
            drain_milliseconds=round(self.layout.supervision.drain_seconds * 1000),
            half_open_limit=half_open_limit(self.layout, name),
            keepalive_seconds=group.keepalive_seconds,
            local_address=str(own.ip) if own else nic.bind,
            mtu=nic.mtu,
            listeners=tuple(
                self._listener(name, nic, listen.port_number) for listen in group.listen
            ),
        )

    def _listener(self, group: str, nic: Nic, port: int) -> BootListener:
        if nic.driver != "kernel":
            return BootListener(port)
        opened = self._stack.enter_context(open_listener(nic.bind, port))
        self._listening.setdefault(group, []).append(opened)
        return BootListener(port, opened.fileno())


def open_listener(address: str, port: int) -> socket.socket:
    """One core's listening socket; the port's other cores have theirs beside it, and Linux spreads the connections."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener
