"""A core as Python builds it: an arena mapped, listeners, rings and a transport put to it, then its loop.

Whoever makes a Core owns the arena's records from then on: a worker, a Bench, or `run --interpret`.
"""

import ipaddress
import socket
from typing import Any, Self

from .native import check, ffi, lib
from .ring import Ring

CONTROL: int = lib.CORE_CONTROL
"""The control plane's number as a peer."""


class Core:
    """`struct core` over `memory`, a writable buffer that holds a formatted arena. `pointer` is it for C.

    `bell` is the eventfd by which the control plane ends this core's sleep.
    `adopt` takes over what a dead worker left, otherwise the arena is fresh. Raises OSError: EBADMSG (no arena), EPROTO
    (of another version), ENOMEM.
    """

    def __init__(
        self,
        memory: Any,
        *,
        number: int = 0,
        spin: bool = False,
        drain_milliseconds: int = 10_000,
        half_open_limit: int = 0,
        keepalive_seconds: int = 0,
        local_address: str = "0.0.0.0",
        mtu: int = 1500,
        adopt: bool = False,
        bell: int = -1,
    ) -> None:
        self._memory = ffi.from_buffer(memory, require_writable=True)
        self._kept: list[Any] = []
        config = ffi.new("struct core_config *")
        config.core_id = number
        config.spin = spin
        config.drain_milliseconds = drain_milliseconds
        config.half_open_limit = half_open_limit
        config.keepalive = keepalive_seconds
        packed = ipaddress.IPv4Address(local_address).packed
        ffi.memmove(ffi.addressof(config, "local_address"), packed, 4)
        config.mtu = mtu
        made = ffi.new("struct core **")
        check(lib.core_open(self._memory, config, adopt, made), f"core {number}")
        self.pointer: Any = made[0]
        lib.core_bell(self.pointer, bell)
        self.number = number

    @property
    def side_state_bytes(self) -> int:
        """Bytes of application state that the arena has for each connection beside its record."""
        return int(ffi.cast("struct arena_header *", self._memory).config.side_state_bytes)

    @property
    def memory(self) -> Any:
        """The arena, as it is mapped here."""
        return self._memory

    def keep(self, thing: Any) -> None:
        """Holds what C points at as long as the core."""
        self._kept.append(thing)

    def listen(self, port: int, descriptor: int = -1) -> Any:
        """Adds a listener for TCP port `port`; its `struct actor *`, still empty. Raises OSError (ENOSPC)."""
        most = lib.ACTOR_LISTENERS - 1  # one is left for the relay
        actor = ffi.NULL
        if self.pointer.listener_count < most:
            actor = lib.core_listen(self.pointer, socket.htons(port), descriptor)
        if actor == ffi.NULL:
            raise OSError(28, f"core {self.number}: more than {most} listeners")
        return actor

    def relay(self) -> Any:
        """The listener of connections that are handed over or connected; its `struct actor *`, still empty."""
        actor = lib.core_listen(self.pointer, 0, -1)
        if actor == ffi.NULL:
            raise OSError(28, f"core {self.number}: no room for its relay")
        self.pointer.listeners[self.pointer.listener_count - 1].open = 0
        self.pointer.relay = self.pointer.listener_count
        return actor

    def peer(self, number: int, to: Ring, from_: Ring) -> None:
        """The rings to and from a peer: a core's number, or CORE_CONTROL."""
        self._kept += (to, from_)
        lib.core_peer(self.pointer, number, to.pointer, from_.pointer)

    def group(self, cores: int, following: int) -> None:
        """This core is one of `cores` that share a NIC; frames of connections it doesn't know go to core `following`."""
        lib.core_group(self.pointer, cores, following)

    def attach_kernel(self) -> None:
        """Linux's sockets, those the listeners were given. Raises OSError."""
        check(lib.kernel_attach(self.pointer), f"core {self.number}: kernel transport")

    def attach_tcp(self, wire: Any) -> None:
        """Our own TCP over a NIC: an object with `nic`. Raises OSError."""
        self._kept.append(wire)
        check(lib.tcp_attach(self.pointer, wire.nic), f"core {self.number}: TCP")

    def start(self, *, restarted: bool = False) -> None:
        """Once, before the first turn: adoption by the transport, then `on_start` of every actor. Raises OSError."""
        check(lib.loop_start(self.pointer, restarted), f"core {self.number}: start")

    def turn(self) -> int:
        """One turn; how much work it found."""
        return int(lib.loop_turn(self.pointer))

    def run(self, turns: int = 0) -> int:
        """Turns, without the GIL, until the controller wants it to stop, or so many."""
        return int(lib.loop_run(self.pointer, turns))

    @property
    def current(self) -> int:
        """The connection whose handler runs; 0 between handlers."""
        return int(self.pointer.state.current)

    def counters(self) -> dict[str, int]:
        """Every counter by its name, also those at 0."""
        return {
            ffi.string(lib.counter_name(number)).decode(): int(self.pointer.counters[number])
            for number in range(lib.COUNTER_COUNT)
        }

    def close(self) -> None:
        """Frees what is process-local; the arena stays as it is. Safe to call twice."""
        if self.pointer is not None:
            lib.core_close(self.pointer)
            self.pointer = None
            self._kept.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
