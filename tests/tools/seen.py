"""Runtimes to look at that cost nothing: a core on the bench transport over a memfd, registered as a runtime would be."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from splitplane.dataplane.core import Core
from splitplane.dataplane.native import check, ffi, lib
from splitplane.dataplane.peek import CorePeek
from splitplane.dataplane.sections import ArenaConfig, arena_format, arena_header
from splitplane.runtime.arena import Arena
from splitplane.runtime.attached import Attached, own_memory
from splitplane.runtime.facts import CoreFacts, Facts, ListenerFacts, Memory
from splitplane.runtime.mesh import Mesh
from splitplane.runtime.pages import Pages
from splitplane.runtime.registry import Entry

LOCAL = "10.0.0.1"
PORT = 80
LISTENER = ListenerFacts(
    port=f"tcp:{PORT}", actor="m:A", reports_to=None, reply_reserve=1024, max_unconsumed=65536
)


class Seen:
    """A core in this process whose connections `connect` makes; others see it through `fd`."""

    def __init__(self, connections: int = 100, busy: int | None = None) -> None:
        page = os.sysconf("SC_PAGESIZE")
        header = arena_header(
            ArenaConfig(
                connections=connections,
                busy_blocks=connections if busy is None else busy,
                buffer_bytes=1 << 20,
                time_wait=16,
                side_state_bytes=0,
                actor_bytes=64,
                frame_bytes=0,
                core_id=0,
                layout_hash=7,
                page_size=page,
            )
        )
        self.fd = os.memfd_create("splitplane-core-0")
        os.ftruncate(self.fd, header.bytes)
        self.arena = Arena(Pages(self.fd, header.bytes, page, "small", ""))
        arena_format(self.arena.memory, header)
        self.core = Core(self.arena.memory, local_address=LOCAL)
        self.actor = self.core.listen(PORT)
        self.actor.max_unconsumed, self.actor.reply_reserve = 65536, 1024
        self.actor.calls_per_turn = 4
        check(lib.bench_attach(self.core.pointer), "bench")
        lib.core_clock(self.core.pointer, 10**9)
        self.core.start()
        self.mesh = Mesh.create(1, control_cells=64, core_cells=64)

    def connect(self, number: int) -> int:
        """A connection from 10.x.x.x, the low bits `number`, port 1024 and on likewise; the peer's number."""
        address = socket.htonl(0x0A000000 | number & 0xFFFFFF)
        port = socket.htons(1024 + number % 60000)
        return check(lib.bench_connect(self.core.pointer, 0, address, port), "connect")

    def handle_data(self, consume: bool) -> None:
        """Gives it an on_data that takes all bytes, or none."""

        def on_data(call: Any) -> None:
            call.result = call.length if consume else 0
            call.ok = 1

        self._on_data = ffi.callback("void(struct call *)", on_data)
        for entries in (self.actor.reporting, self.actor.quiet):
            entries[lib.ON_DATA] = self._on_data

    def peek(self) -> CorePeek:
        """As anybody sees it."""
        return CorePeek(self.fd)

    def send(self, peer: int, data: bytes) -> None:
        """The peer sends."""
        check(lib.bench_send(self.core.pointer, peer, ffi.from_buffer(data), len(data)), "send")

    def handle(self, peer: int) -> int:
        """Its handle; 0 once it is gone."""
        index = int(lib.bench_record(self.core.pointer, peer))
        return int(lib.record_handle(self.core.pointer, index)) if index else 0

    def reset(self, peer: int) -> None:
        """The peer resets."""
        check(lib.bench_reset(self.core.pointer, peer), "reset")

    def facts(self, name: str = "seen", **changes: Any) -> Facts:
        """Its facts, some changed."""
        core = CoreFacts(
            number=0,
            group="web",
            cpu=0,
            driver="memory",
            arena=Memory.of(self.fd),
            page_size=4096,
            rung="small",
            listeners=(LISTENER,),
        )
        given: dict[str, Any] = {
            "name": name,
            "version": "0",
            "pid": os.getpid(),
            "layout": "layout.toml",
            "digest": 7,
            "mesh": Memory.of(self.mesh.fd),
            "cores": (core,),
            "mailboxes": ("reporter",),
        }
        return Facts(**(given | changes))

    def close(self) -> None:
        """Gives all of it back."""
        lib.bench_detach(self.core.pointer)
        self.core.close()
        self.arena.close()
        self.mesh.close()
        os.close(self.mesh.fd)


@contextmanager
def seen(connections: int = 100) -> Iterator[Seen]:
    """A Seen that is closed afterwards."""
    made = Seen(connections)
    try:
        yield made
    finally:
        made.close()


def unique(base: str = "seen") -> str:
    """A name that no other run of the tests uses."""
    return f"{base}-{os.urandom(6).hex()}"


@contextmanager
def registered(world: Seen, name: str = "") -> Iterator[Entry]:
    """Its entry in the registry, its worker this process."""
    entry = Entry(world.facts(name or unique()))
    entry.words.set_core(0, pid=os.getpid())
    try:
        yield entry
    finally:
        entry.close()


@contextmanager
def attached(world: Seen) -> Iterator[Attached]:
    """What is seen of it, in this process."""
    with (
        registered(world) as entry,
        Attached(entry.name, entry.facts, entry.words, own_memory) as it,
    ):
        yield it
