"""A core on the bench transport, in this process, on a virtual clock: what splitplane.testing stands on."""

import ipaddress
import mmap
from typing import Any

from .core import Core
from .native import check, ffi, lib
from .ring import Ring, ring_bytes
from .sections import RECORD_STATE_BYTES, ArenaConfig, arena_header

__all__ = ["BenchCore"]

PAGE = 4096
CELLS = 4096
START = 1_000_000_000  # nanoseconds
TURNS_MAX = 100_000


class BenchCore:
    """One core with one listener; `actor` is its struct actor *, still to be bound."""

    def __init__(
        self,
        *,
        connections: int,
        side_state_bytes: int,
        actor_bytes: int,
        buffer_bytes: int,
        subscriptions: int = 0,
    ) -> None:
        header = arena_header(
            ArenaConfig(
                connections=connections,
                busy_blocks=connections,
                buffer_bytes=buffer_bytes,
                time_wait=16,
                side_state_bytes=side_state_bytes,
                actor_bytes=max(actor_bytes, 64),
                frame_bytes=0,
                core_id=0,
                layout_hash=0,
                page_size=PAGE,
                subscriptions=subscriptions,
            )
        )
        self.memory = mmap.mmap(-1, int(header.bytes))
        base = ffi.from_buffer(self.memory, require_writable=True)
        check(lib.arena_format(base, header), "the bench's arena")
        ffi.release(base)
        self.core = Core(self.memory, local_address="192.0.2.1")
        self.pointer = self.core.pointer
        self.clock(START)
        self.actor: Any = self.core.listen(8080)
        rings = mmap.mmap(-1, 2 * ring_bytes(CELLS))
        self.to_control = Ring.format(rings, CELLS)
        self.from_control = Ring.format(rings, CELLS, ring_bytes(CELLS))
        self.core.peer(lib.CORE_CONTROL, self.to_control, self.from_control)
        for number in range(1, lib.CORE_CONTROL):
            lib.core_peer(self.pointer, number, self.to_control.pointer, ffi.NULL)
        check(lib.bench_attach(self.pointer), "the bench transport")

    def clock(self, now: int) -> None:
        """Sets the virtual clock, in nanoseconds."""
        self.now = now
        lib.core_clock(self.pointer, now)

    def settle(self) -> None:
        """Turns until one finds nothing to do. RuntimeError if that never happens."""
        for _ in range(TURNS_MAX):
            if not self.core.turn():
                return
        raise RuntimeError(
            f"still busy after {TURNS_MAX} turns: does a handler make work for itself forever?"
        )

    def advance(self, milliseconds: int) -> None:
        """Moves the clock on, stopping wherever a timer or tick may be due."""
        while milliseconds > 0:
            step = min(milliseconds, max(1, int(lib.timer_next(self.pointer, milliseconds))))
            if self.actor.tick_period:
                due = (int(self.actor.tick_due) - int(self.pointer.tick)) & 0xFFFFFFFF
                step = min(step, due if 0 < due < 1 << 31 else 1)
            milliseconds -= step
            self.clock(self.now + step * 1_000_000)
            self.settle()

    def connect(self, address: str, port: int) -> int:
        """A new peer's number. Raises OSError (ENOBUFS) when the core is full."""
        packed = ffi.new("uint32_t *")
        ffi.memmove(packed, ipaddress.IPv4Address(address).packed, 4)
        swapped = int.from_bytes(port.to_bytes(2, "big"), "little")
        return check(lib.bench_connect(self.pointer, 0, packed[0], swapped), "connect")

    def send(self, peer: int, data: bytes) -> None:
        """One segment. Raises OSError (ENOTCONN)."""
        check(lib.bench_send(self.pointer, peer, ffi.from_buffer(data), len(data)), "send")

    def end(self, peer: int) -> None:
        """FIN. Raises OSError (ENOTCONN)."""
        check(lib.bench_end(self.pointer, peer), "end")

    def reset(self, peer: int) -> None:
        """RST. Raises OSError (ENOTCONN)."""
        check(lib.bench_reset(self.pointer, peer), "reset")

    def window(self, peer: int, length: int) -> None:
        """Bytes the peer still takes; -1: any number."""
        check(lib.bench_window(self.pointer, peer, length), "window")

    def agree(self, peer: int, agree: bool) -> None:
        """Whether the peer answers a FIN with one."""
        check(lib.bench_agree(self.pointer, peer, agree), "agree")

    def receive(self, peer: int) -> bytes:
        """Takes out what the actor sent."""
        length = check(lib.bench_received(self.pointer, peer), "receive")
        data = ffi.new("uint8_t[]", max(length, 1))
        length = check(lib.bench_receive(self.pointer, peer, data, length), "receive")
        return bytes(ffi.buffer(data, length))

    def state_of(self, peer: int) -> str:
        """open, ended (the actor closed), reset (the actor or a fault reset it) or gone."""
        number = check(lib.bench_state_of(self.pointer, peer), "peer")
        return ("open", "ended", "reset", "gone")[number]

    def reason(self, peer: int) -> int | None:
        """What on_close was told, or None while the connection lives."""
        number = int(lib.bench_reason(self.pointer, peer))
        return None if number < 0 else number

    def unsent(self, peer: int) -> int:
        """Bytes sent that the actor's window keeps out."""
        return int(lib.bench_unsent(self.pointer, peer))

    def handle(self, peer: int) -> int:
        """The connection's handle; 0 once it is gone."""
        index = int(lib.bench_record(self.pointer, peer))
        return int(lib.record_handle(self.pointer, index)) if index else 0

    def state(self, peer: int, size: int) -> memoryview:
        """The application's state of a live connection. LookupError once it is gone."""
        index = int(lib.bench_record(self.pointer, peer))
        if not index:
            raise LookupError("the connection is gone, and its state with it")
        if size > RECORD_STATE_BYTES:
            start = self.pointer.side_state + index * self.actor.state_size
        else:
            start = self.pointer.records[index].application
        return memoryview(ffi.buffer(start, size)) if size else memoryview(b"")

    def core_state(self, size: int) -> memoryview:
        """self.core"""
        return memoryview(ffi.buffer(self.actor.core_state, size)) if size else memoryview(b"")

    def close(self) -> None:
        """Gives everything back."""
        if self.core.pointer is not None:
            lib.bench_detach(self.pointer)
            self.core.close()
