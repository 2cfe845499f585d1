"""The other end of a memory wire: connections from Python to a core that speaks our TCP, for tests and generators.

A Peer is a whole core with an actor that collects bytes; it moves only while `poll` is called.
"""

import ipaddress
import mmap
import socket
import time
from collections.abc import Callable
from typing import Any, Self

from .core import Core
from .native import check, ffi, lib
from .sections import ArenaConfig, arena_format, arena_header

REASONS = tuple(
    name.removeprefix("CLOSE_").lower()
    for _, name in sorted(ffi.typeof("enum close_reason").elements.items())
)


class PeerConnection:
    """One connection of a Peer: bytes in, bytes out, and what became of it."""

    def __init__(self, peer: "Peer", listener: Any, number: int) -> None:
        self._peer = peer
        self._listener = listener
        self._number = number
        self._received = bytearray()
        self._unsent = bytearray()

    @property
    def _state(self) -> Any:
        return lib.peer_at(self._listener, self._number)

    @property
    def opened(self) -> bool:
        """The handshake is through."""
        return bool(self._state.opened)

    @property
    def ended(self) -> bool:
        """The other end sent its FIN."""
        return bool(self._state.ended)

    @property
    def closed(self) -> bool:
        """It is over, one way or another: see `reason`."""
        return bool(self._state.closed)

    @property
    def reason(self) -> str:
        """Why it closed, as in enum close_reason: "local", "peer", "reset", …; "" while it is open."""
        return REASONS[self._state.reason] if self.closed else ""

    @property
    def record(self) -> Any:
        """Its `struct record`, or None once it is gone."""
        index = self._state.index
        return self._peer.core.pointer.records[index] if index else None

    def send(self, data: bytes) -> None:
        """Sends all of `data`; what finds no room waits here and follows with later polls."""
        self._unsent += data
        self._push()

    @property
    def unsent(self) -> int:
        """Bytes given to `send` that the connection had no room for yet."""
        return len(self._unsent)

    def _push(self) -> None:
        if self._unsent and self.opened and not self.closed:
            data = bytes(self._unsent[: 1 << 20])
            taken = lib.peer_send(self._listener, self._number, data, len(data))
            del self._unsent[: max(taken, 0)]

    def take(self) -> int:
        """Takes what has arrived into `received`; how many bytes that were."""
        length = self._state.length
        if length:
            buffer = ffi.new("uint8_t[]", length)
            taken = lib.peer_receive(self._listener, self._number, buffer, length)
            self._received += ffi.buffer(buffer, taken)
        return int(length)

    @property
    def received(self) -> bytes:
        """All bytes received so far, in order."""
        self.take()
        return bytes(self._received)

    @property
    def length(self) -> int:
        """How many bytes have been received so far; cheaper than `len(received)`."""
        self.take()
        return len(self._received)

    def clear(self) -> None:
        """Forgets the bytes received so far."""
        self.take()
        self._received.clear()

    def close(self) -> None:
        """Sends what is queued, then FIN."""
        lib.peer_close(self._listener, self._number)

    def abort(self) -> None:
        """Sends a reset."""
        lib.peer_abort(self._listener, self._number)

    def forget(self) -> None:
        """Gives its place to a later connection; not to be used any more."""
        lib.peer_forget(self._listener, self._number)
        self._peer.connections.remove(self)


def _header(connections: int, buffers: int, time_wait: int, number: int) -> Any:
    """The plan of a peer's arena: every connection may be busy, and no actor keeps anything."""
    return arena_header(
        ArenaConfig(
            connections=connections,
            busy_blocks=connections,
            buffer_bytes=buffers,
            time_wait=time_wait,
            side_state_bytes=0,
            actor_bytes=0,
            frame_bytes=0,
            core_id=number,
            layout_hash=0,
            page_size=4096,
        )
    )


class Peer:
    """A core of its own at one side of a wire (anything with `nic`, and `address` of its own end).

    `connections` at a time, each keeping at most `room` received bytes before its window closes. The clock is the
    machine's, or what `clock` was last told. Raises OSError when the arena or TCP refuses the sizes.
    """

    def __init__(
        self,
        wire: Any,
        *,
        address: str = "10.0.0.2",
        connections: int = 64,
        room: int = 1 << 18,
        buffers: int = 16 << 20,
        mtu: int = 1500,
        number: int = 99,
        answer_end: bool = True,
        memory: Any = None,
        adopt: bool = False,
        half_open_limit: int = 0,
        keepalive_seconds: int = 0,
        time_wait: int = 1024,
    ) -> None:
        header = _header(connections, buffers, time_wait, number)
        self.memory = memory if memory is not None else mmap.mmap(-1, header.bytes)
        if not adopt:
            arena_format(self.memory, header)
        self.wire, self.address = wire, address
        self.core = Core(
            self.memory,
            number=number,
            local_address=address,
            mtu=mtu,
            adopt=adopt,
            half_open_limit=half_open_limit,
            keepalive_seconds=keepalive_seconds,
        )
        self.core.attach_tcp(wire)
        self.connections: list[PeerConnection] = []
        self._room, self._most = room, connections
        self._answer_end = answer_end
        self._listeners: dict[int, Any] = {}
        self._started = not adopt
        self._adopt = adopt
        self._client: Any = None
        self.next_hop = bytes((*wire.address[:5], wire.address[5] ^ 1))

    def listen(self, port: int) -> None:
        """Accepts connections to `port`; they appear through `accept`. Raises OSError (ENOSPC)."""
        self._listeners[port] = self._open(socket.htons(port))

    def _open(self, port: int) -> Any:
        opened = lib.peer_open(self.core.pointer, port, self._most, self._room, self._answer_end)
        if opened == ffi.NULL:
            raise OSError(28, f"peer {self.address}: no memory for another listener")
        return opened

    def accept(self, port: int) -> PeerConnection | None:
        """The next connection somebody opened to `port`, if there is one."""
        number = lib.peer_accept(self._listeners[port])
        return None if number < 0 else self._connection(self._listeners[port], number)

    def _connection(self, listener: Any, number: int) -> PeerConnection:
        connection = PeerConnection(self, listener, number)
        self.connections.append(connection)
        return connection

    def connect(self, address: str, port: int, local_port: int = 0) -> PeerConnection:
        """Begins to open a connection; `opened` tells when it is through. Raises OSError (ENOBUFS)."""
        if self._client is None:
            self._client = self._open(0)
        remote = ffi.new("uint32_t *")
        ffi.memmove(remote, ipaddress.IPv4Address(address).packed, 4)
        number = check(
            lib.peer_connect(
                self._client, remote[0], socket.htons(port), socket.htons(local_port), self.next_hop
            ),
            f"connection to {address}:{port}",
        )
        return self._connection(self._client, number)

    def clock(self, now: int) -> None:
        """Sets this core's clock, nanoseconds; from then on it stands still between calls."""
        lib.core_clock(self.core.pointer, now)

    def start(self) -> None:
        """Before the first turn after adoption: TCP takes over what the last holder left."""
        self.core.start(restarted=self._adopt)

    def poll(self, turns: int = 1) -> int:
        """Turns of the core; how much work they found."""
        work = 0
        for _ in range(turns):
            for connection in self.connections:
                if connection._unsent:
                    connection._push()
            work += self.core.turn()
        return work

    def until(self, condition: Callable[[], bool], seconds: float = 5.0) -> bool:
        """Polls until `condition()` holds, or so many seconds of the machine's clock went by; whether it holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            if not self.poll():
                time.sleep(50e-6)
        return True

    def counters(self) -> dict[str, int]:
        """The core's counters by name."""
        return self.core.counters()

    def close(self) -> None:
        """Frees everything but the wire; peers notice nothing but silence."""
        if self.core.pointer is not None:
            lib.tcp_detach(self.core.pointer)
            self.core.close()
            for listener in (*self._listeners.values(), *([self._client] if self._client else [])):
                lib.peer_free(listener)
            self._listeners.clear()
            self._client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
