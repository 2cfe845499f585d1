"""The load generator's C and a core under it in one process, step by step: for tests of what it counts."""

import mmap
import os
import time
from collections.abc import Callable
from typing import Any, Self

from raw import build, parse
from rig import Handlers
from splitplane.dataplane.core import Core
from splitplane.dataplane.native import ffi, lib
from splitplane.dataplane.sections import ArenaConfig, arena_format, arena_header
from splitplane.loadgen.clients import Clients, Order, Report, Target
from splitplane.nic.faults import FaultPlan, Faults
from splitplane.nic.memory import Wire, create

SERVER, PORT, FIRST = 0x0A000001, 7, 0x0A400000
PAYLOAD = 64
Between = Callable[[bytes], list[bytes]]


class Loading:
    """An echo of C on a core, and clients of it.

    `plan`: what arrives at either end suffers it. `to_clients`: makes other frames of each one that the core sends.
    """

    def __init__(
        self,
        handlers: Handlers,
        plan: FaultPlan | None = None,
        to_clients: Between | None = None,
        connections: int = 4096,
        flight: int = 64,
    ) -> None:
        header = arena_header(
            ArenaConfig(connections, 1024, 16 << 20, connections, 0, 4096, 0, 1, 0, 4096)
        )
        self._memory = mmap.mmap(-1, header.bytes)
        arena_format(self._memory, header)
        self.core = Core(
            self._memory, number=1, local_address="10.0.0.1", half_open_limit=connections // 8
        )
        actor = self.core.listen(PORT)
        actor.max_unconsumed, actor.reply_reserve, actor.calls_per_turn = 65536, 16384, 64
        entry = ffi.cast("handler_entry", handlers.address("echo_data"))
        actor.reporting[lib.ON_DATA] = actor.quiet[lib.ON_DATA] = entry
        self._descriptors = [create(), create()]
        near, far = (self._descriptors * 2)[:2] if to_clients else self._descriptors[:1] * 2
        self._wires = [Wire(near, 0), Wire(far, 1)]
        self._middle = [Wire(near, 1), Wire(far, 0)] if to_clients else []
        self._to_clients = to_clients
        self._faults = [Faults(wire, plan) for wire in self._wires] if plan else []
        ends: list[Any] = [*self._faults] or [*self._wires]
        self.core.attach_tcp(ends[0])
        self.core.start()
        key = self.core.pointer.state.key
        target = Target(
            SERVER, PORT, self._wires[0].address, (key[2], key[3]), FIRST, PAYLOAD, flight
        )
        self.clients = Clients(ends[1], target, (3, 4), time.monotonic_ns())

    def step(self) -> bool:
        """A turn of each; whether the order is done."""
        for faults in self._faults:
            faults.clock(time.monotonic_ns())
        finished = self.clients.run(0)
        if self._to_clients:
            for frame in self._middle[1].receive():
                assert self._middle[0].send(frame)
        self.core.turn()
        if self._to_clients:
            for frame in self._middle[0].receive():
                for made in self._to_clients(frame):
                    assert self._middle[1].send(made)
        return finished

    def order(self, order: Order) -> Report:
        """Carried out to its end, and a little longer."""
        self.clients.begin(order)
        while not self.step():
            pass
        self.rest(20)
        return self.clients.report()

    def rest(self, steps: int) -> None:
        """Without an order."""
        for _ in range(steps):
            self.step()

    @property
    def live(self) -> int:
        """Connections that the core has."""
        return int(self.core.pointer.state.live)

    def counter(self, name: str) -> int:
        """One of the core's."""
        return self.core.counters()[name]

    def close(self) -> None:
        self.clients.close()
        lib.tcp_detach(self.core.pointer)
        self.core.close()
        for one in (*self._faults, *self._wires, *self._middle):
            one.close()
        for descriptor in self._descriptors:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def copied(frame: bytes, further: int = 0) -> bytes:
    """The same segment once more, so many bytes further on in the server's stream."""
    found = parse(frame)
    return build(
        source="10.0.0.1",
        destination=".".join(str(byte) for byte in frame[30:34]),
        mac=frame[:6],
        source_mac=frame[6:12],
        source_port=found.source_port,
        port=found.port,
        seq=found.seq + further,
        ack=found.ack,
        flags=found.flags,
        window=found.window,
        data=found.data,
    )
