"""A worker: one core's process, forked by the launcher with the handlers already compiled.

It first is a standby, which maps and locks the core's memory, gives up its rights and waits. Told to go, or seeing the
worker die that the launcher has it watch, it pins itself and reads that back, takes over the arena, and enters the
loop, which it leaves only when the controller wants it to.
Ctrl-C and SIGTERM are the controller's affair.
"""

import gc
import os
import select
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ..dataplane.core import Core
from ..dataplane.core_state import RUNNING, CoreState
from . import system
from .arena import Arena
from .assemble import assemble, attach
from .boot import Boot, BootCore, Lines
from .imports import Actors
from .layout import Layout
from .mesh import Mesh
from .program import Program
from .schema import Schema


@dataclass(frozen=True, slots=True)
class Kit:
    """What the launcher made once and every worker finds in its memory."""

    boot: Boot
    layout: Layout
    actors: Actors
    schema: Schema
    program: Program


def main(kit: Kit, order: BootCore, stream: socket.socket) -> NoReturn:
    """The forked process's life. Nothing of the launcher's own runs in it any more."""
    code = 1
    gc.enable()
    lines = Lines(stream)
    try:
        code = live(kit, order, lines)
    except BaseException as error:  # noqa: BLE001 - the launcher is told, whatever it was
        lines.send(event="failed", text=f"{type(error).__name__}: {error}")
    finally:
        os._exit(code)


def live(kit: Kit, order: BootCore, lines: Lines) -> int:
    """Standby, then worker. Returns the exit code."""
    parent = settle(kit.boot, order, lines)
    arena = Arena.attach(order.arena, layout_hash=kit.boot.digest)
    mesh = Mesh.attach(kit.boot.mesh, layout_hash=kit.boot.digest)
    locked = lock(arena)
    dropped = system.drop_privileges()
    system.die_with(parent)
    state = CoreState(order.arena)
    lines.send(event="waiting")
    adopt = wait(lines, state)
    if adopt is None:
        return 1
    began = time.monotonic()
    system.pin(order.cpu)
    core = open_core(kit, order, arena, mesh, adopt=adopt)
    core.start(restarted=adopt)
    lines.send(event="running", seconds=time.monotonic() - began, locked=locked, dropped=dropped)
    return core.run()


def wait(lines: Lines, state: CoreState) -> bool | None:
    """Until it is this process's turn; whether it adopts, or None when there is no launcher.

    `watch` names a worker whose death is the word to go, so that nobody waits until the launcher gets its CPU.
    """
    poller = select.poll()
    poller.register(lines, select.POLLIN)
    watched = -1
    while True:
        for descriptor, _ in poller.poll():
            if descriptor == watched:
                if state.wanted == RUNNING:
                    record, handler = state.current  # adoption forgets it
                    lines.send(event="took", record=record, handler=handler)
                    return True
                poller.unregister(watched)  # it had finished: the launcher knows what is next
                continue
            messages = lines.receive()
            if messages is None:
                return None
            for message in messages:
                if "adopt" in message:
                    return bool(message["adopt"])
                with suppress(OSError):  # it is dead already: the launcher will say so
                    watched = os.pidfd_open(message["watch"])
                    poller.register(watched, select.POLLIN)
                    lines.send(event="watching")


def settle(boot: Boot, order: BootCore, lines: Lines) -> int:
    """Cuts the ties with what the launcher had open; returns the launcher's pid."""
    parent = os.getppid()
    system.die_with(parent)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    system.name_process(f"{boot.name}:{order.number}")
    system.wake_exactly()
    system.close_all_but((lines.fileno(), boot.mesh, *boot.claims, *order.descriptors))
    with suppress(OSError):  # a dump of the arena would keep the standby waiting for seconds
        Path("/proc/self/coredump_filter").write_text("0x1")
    return parent


def open_core(kit: Kit, order: BootCore, arena: Arena, mesh: Mesh, *, adopt: bool) -> Core:
    """The core with its actors, rings and transport, ready to start."""
    core = Core(
        arena.memory,
        number=order.number,
        spin=order.spin,
        drain_milliseconds=order.drain_milliseconds,
        half_open_limit=order.half_open_limit,
        keepalive_seconds=order.keepalive_seconds,
        local_address=order.local_address,
        mtu=order.mtu,
        adopt=adopt,
        bell=order.bell,
    )
    if adopt:
        mesh.adopt(order.number)
    assemble(core, order, kit.layout, kit.actors, kit.schema, kit.program, mesh)
    attach(core, order)
    return core


def lock(arena: Arena) -> bool:
    """Locks arena and stack, and nothing else; False when the limit (ulimit -l) is too low."""
    locked = system.lock_memory(arena.address, arena.size)
    address, length = system.stack_span()
    return system.lock_memory(address, length) and locked if length else locked
