"""A core's table of routes and neighbours (dataplane/routes.h), as the control plane fills and publishes it."""

from __future__ import annotations

import secrets
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any, NamedTuple, Self

from .native import ffi, lib
from .sections import arena_section

EVENT_NEIGHBOUR: int = lib.EVENT_NEIGHBOUR
NEIGHBOUR_BYTES: int = ffi.sizeof("struct neighbour_event")
ROUTES_MOST: int = lib.ROUTES_MOST
HOPS_MOST: int = lib.HOPS_MOST


@dataclass(frozen=True, slots=True)
class Route:
    """Where packets for a network go: to the gateway's `mac`; with `link` to each host's own; else as they came."""

    network: IPv4Network
    link: bool = False
    mac: bytes = b""


@dataclass(frozen=True, slots=True)
class Picture:
    """What a core is told. `mtu` in bytes of IP packet, 0 = as it was started with; `mac` empty: likewise.

    `hops` are the MACs of hosts on the link. At most ROUTES_MOST routes and HOPS_MOST hops.
    """

    mtu: int = 0
    mac: bytes = b""
    routes: tuple[Route, ...] = ()
    hops: tuple[tuple[IPv4Address, bytes], ...] = ()

    def table(self) -> RouteTable:
        """The picture as C reads it."""
        return RouteTable(self)


class RouteTable:
    """`struct route_table` of a picture, for any number of cores. Raises OverflowError when it holds more than fits."""

    def __init__(self, picture: Picture) -> None:
        table = ffi.new("struct route_table *")
        table.mtu = picture.mtu
        table.key = secrets.randbits(32) | 1
        table.has_address = bool(picture.mac)
        table.address = picture.mac or bytes(6)
        for route in sorted(picture.routes, key=lambda one: -one.network.prefixlen):
            row = ffi.new("struct route *")
            row.network = _word(route.network.network_address)
            row.mask = _word(route.network.netmask)
            row.kind = lib.ROUTE_LINK if route.link else lib.ROUTE_LEARNED
            if route.mac:
                row.kind = lib.ROUTE_GATEWAY
                row.address = route.mac
            if lib.route_add(table, row):
                raise OverflowError(f"more than {ROUTES_MOST} routes")
        hop = ffi.new("struct hop *")
        for host, mac in picture.hops:
            hop.host, hop.address = _word(host), mac
            if lib.hop_add(table, hop):
                raise OverflowError(f"more than {HOPS_MOST} neighbours")
        self._table = table

    def publish(self, memory: Any) -> bool:
        """Gives it to the core whose arena is mapped at `memory`; False: that core hasn't taken the last one yet."""
        offset, _ = arena_section(memory, "routes")
        base = ffi.cast("uint8_t *", ffi.from_buffer(memory, require_writable=True))
        return bool(
            lib.routes_publish(ffi.cast("struct routes *", base + offset), self._table) == 0
        )


def _word(address: IPv4Address) -> int:
    """The address as it lies in memory, in network order."""
    return int.from_bytes(address.packed, sys.byteorder)


class NeighbourEvent(NamedTuple):
    """A core doubts the next hop it was given for `address`: asked for by ARP from `mac`, or, without one, silent."""

    address: IPv4Address
    mac: bytes

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        """Reads the payload of an EVENT_NEIGHBOUR. ValueError if it is too short."""
        if len(payload) < NEIGHBOUR_BYTES:
            raise ValueError(f"{len(payload)} bytes: {NEIGHBOUR_BYTES} wanted")
        mac = payload[4:10]
        return cls(IPv4Address(payload[:4]), mac if any(mac) else b"")
