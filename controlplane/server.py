"""Serving and opening connections in the control plane, with the words of asyncio: what Runtime's `start_server`,
`create_server`, `connect` and `create_connection` do.
"""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from ..runtime.imports import data_listeners
from ..runtime.layout import Layout
from .next_hop import next_hop
from .streams import Factory, Streams

Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]
LIMIT = 2**16
"""Bytes that a StreamReader keeps before it pauses reading, as asyncio's own."""


class Server:
    """Connections of one port, given to protocols. Closing it resets new ones and leaves those there are."""

    def __init__(self, streams: Streams, listeners: Sequence[int], factory: Factory) -> None:
        """`listeners`: their numbers in the layout. OSError (EADDRINUSE) if somebody serves one of them."""
        self._streams, self._listeners = streams, tuple(listeners)
        self._ended = asyncio.Event()
        streams.serve(self._listeners, factory)

    def is_serving(self) -> bool:
        """Whether new connections are taken."""
        return not self._ended.is_set()

    def close(self) -> None:
        """Takes no more connections."""
        if self.is_serving():
            self._streams.refuse(self._listeners)
            self._ended.set()

    async def wait_closed(self) -> None:
        """Until it is closed."""
        await self._ended.wait()

    async def serve_forever(self) -> None:
        """Until it is closed, or this is cancelled, which closes it."""
        try:
            await self._ended.wait()
        finally:
            self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


def stream_factory(connected: Connected, limit: int = LIMIT) -> Factory:
    """Protocols that call `connected(reader, writer)` for each connection, in a task if it is a coroutine function."""
    loop = asyncio.get_running_loop()

    def factory() -> asyncio.StreamReaderProtocol:
        reader = asyncio.StreamReader(limit, loop)
        return asyncio.StreamReaderProtocol(reader, connected, loop=loop)

    return factory


def listeners_of(layout: Layout, port: int, group: str | None = None) -> list[int]:
    """Numbers of the listeners at TCP `port`. LookupError, naming the ports there are, if there is none."""
    places = list(enumerate(data_listeners(layout)))
    found = [
        number
        for number, (name, _, listen) in places
        if listen.port_number == port and group in {None, name}
    ]
    if not found:
        ports = ", ".join(sorted({listen.port for _, (_, _, listen) in places}))
        raise LookupError(f"no listener at tcp:{port}: this layout has {ports}")
    return found


@dataclass(frozen=True, slots=True)
class Way:
    """How one core's connections leave: over `driver`, on `interface`, from `address`."""

    core: int
    group: str
    driver: str
    interface: str
    address: str


def ways_of(layout: Layout) -> list[Way]:
    """One for each core."""
    found = []
    for number, name, _ in layout.cores:
        nic = layout.nic[layout.group[name].nic]
        found.append(Way(number, name, nic.driver, nic.interface or "", nic.address))
    return found


class Dialer:
    """Opens connections from the cores of a layout, those of a group in turn."""

    def __init__(self, layout: Layout, streams: Streams) -> None:
        self._ways, self._streams = ways_of(layout), streams
        self._next = 0

    async def open(
        self, factory: Callable[[], Any], address: str, port: int, group: str | None
    ) -> tuple[asyncio.Transport, Any]:
        """A transport and what `factory` made for it. OSError if the connection can't be had."""
        loop = self._streams.loop
        ways = [way for way in self._ways if group in {None, way.group}]
        if not ways:
            names = ", ".join(dict.fromkeys(way.group for way in self._ways))
            raise KeyError(f"no group {group}: this layout has {names}")
        way = ways[self._next % len(ways)]
        self._next += 1
        if not 0 < port < 65536:
            raise OverflowError(f"port {port}: ports are 1 to 65535")
        target = await _resolved(loop, address)
        if way.driver == "afxdp" and way.address == "shared":
            raise OSError(
                f"group {way.group} shares Linux's address, so answers to connections of its own go to Linux: "
                f"give its NIC one (address = …), or connect from a group with driver kernel"
            )
        hop = await next_hop(way.driver, way.interface, target)
        stream = await self._streams.cores[way.core].connect(target, port, hop)
        stream.resume_reading()
        protocol = factory()
        stream.begin(protocol)
        return stream, protocol


async def _resolved(loop: asyncio.AbstractEventLoop, address: str) -> ipaddress.IPv4Address:
    """The IPv4 address of a name; OSError as getaddrinfo's."""
    import socket

    try:
        return ipaddress.IPv4Address(address)
    except ValueError:
        found = await loop.getaddrinfo(address, None, family=socket.AF_INET)
        return ipaddress.IPv4Address(found[0][4][0])
