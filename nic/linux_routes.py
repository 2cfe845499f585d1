"""What Linux knows of the ways out of an interface: its routes, neighbours, MTU and MAC, read over rtnetlink; and what
we ask of its neighbour table. Knows no core.
"""

import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Self

GROUPS = 0x1 | 0x4 | 0x10 | 0x40
"""Multicast groups of rtnetlink(7): links, neighbours, IPv4 addresses, IPv4 routes."""
MAIN_TABLE = 254
_UNICAST = 1
_DEAD = 1
_NTF_USE = 1
_VALID = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80
"""Neighbour states (linux/neighbour.h) whose MAC may be used: reachable, stale, delay, probe, noarp, permanent."""
_FAILED, _PERMANENT, _STALE, _PROBE = 0x20, 0x80 | 0x40, 0x04, 0x10


@dataclass(frozen=True, slots=True)
class Way:
    """One route of Linux's main table: by our interface or another's, through a gateway or not."""

    network: IPv4Network
    ours: bool
    gateway: IPv4Address | None = None
    plain: bool = True
    """False: several next hops, or something else that a single MAC can't say."""
    metric: int = 0


@dataclass(slots=True)
class Neighbour:
    """An entry of Linux's neighbour table."""

    mac: bytes
    state: int

    @property
    def usable(self) -> bool:
        """Whether Linux itself would send to it now."""
        return bool(self.state & _VALID and len(self.mac) == 6)

    @property
    def failed(self) -> bool:
        """Whether it was asked for and did not answer."""
        return bool(self.state & _FAILED)

    @property
    def fixed(self) -> bool:
        """Whether an administrator set it."""
        return bool(self.state & _PERMANENT)


@dataclass(slots=True)
class Surroundings:
    """Everything, as of the last reading and the events since."""

    index: int
    mtu: int = 0
    mac: bytes = b""
    up: bool = True
    ways: tuple[Way, ...] = ()
    neighbours: dict[IPv4Address, Neighbour] = field(default_factory=dict)

    @classmethod
    def read(cls, index: int, *, routes: bool = True) -> Self:
        """All of it, for the interface with this index. Blocks for milliseconds; not in a thread with an event loop.

        `routes`: with routes and neighbours, not only the link. Raises LookupError when the interface is gone.
        """
        from pyroute2 import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError

        made = cls(index)
        with IPRoute() as route:
            try:
                for link in route.get_links(index):
                    made.link(link)
            except NetlinkError:
                raise LookupError(index) from None
            if routes:
                found = route.get_routes(family=socket.AF_INET, table=MAIN_TABLE)
                made.ways = tuple(_best(filter(None, (_way(one, index) for one in found))))
                for one in route.get_neighbours(family=socket.AF_INET, ifindex=index):
                    made.heard(one)
        return made

    def heard(self, message: Any) -> bool:
        """Takes in one rtnetlink message. True: routes may have changed, which only another reading tells."""
        match message["event"]:
            case "RTM_NEWLINK" if message["index"] == self.index:
                was_up = self.up
                self.link(message)
                return self.up != was_up  # routes go without a word
            case "RTM_NEWNEIGH" | "RTM_DELNEIGH" if (
                message["ifindex"] == self.index and message["family"] == socket.AF_INET
            ):
                self._neighbour(message)
            case "RTM_NEWROUTE" | "RTM_DELROUTE" if message["family"] == socket.AF_INET:
                return bool(message.get_attr("RTA_TABLE", message["table"]) == MAIN_TABLE)
            case "RTM_NEWADDR" | "RTM_DELADDR":
                return True
        return False

    def link(self, message: Any) -> None:
        """Takes in what is said of the link."""
        self.mtu = int(message.get_attr("IFLA_MTU") or self.mtu)
        mac = bytes.fromhex((message.get_attr("IFLA_ADDRESS") or "").replace(":", ""))
        self.mac = mac if len(mac) == 6 else self.mac
        self.up = bool(message["flags"] & 1)

    def _neighbour(self, message: Any) -> None:
        address = IPv4Address(message.get_attr("NDA_DST"))
        if message["event"] == "RTM_DELNEIGH":
            self.neighbours.pop(address, None)
            return
        mac = bytes.fromhex((message.get_attr("NDA_LLADDR") or "").replace(":", ""))
        self.neighbours[address] = Neighbour(mac, int(message["state"]))

    def hop(self, address: IPv4Address) -> IPv4Address:
        """The neighbour through which `address` is reached: a gateway, or itself."""
        for way in sorted(self.ways, key=lambda one: -one.network.prefixlen):
            if address in way.network:
                return way.gateway if way.ours and way.gateway else address
        return address


def _way(message: Any, index: int) -> Way | None:
    attribute = message.get_attr
    if (
        message["flags"] & _DEAD
        or message["tos"]
        or attribute("RTA_TABLE", message["table"]) != MAIN_TABLE
    ):
        return None
    network = IPv4Network((attribute("RTA_DST") or "0.0.0.0", message["dst_len"]))
    gateway = attribute("RTA_GATEWAY")
    odd = message["type"] != _UNICAST or attribute("RTA_MULTIPATH") or attribute("RTA_VIA")
    return Way(
        network,
        ours=attribute("RTA_OIF") == index,
        gateway=IPv4Address(gateway) if gateway else None,
        plain=not odd,
        metric=int(attribute("RTA_PRIORITY") or 0),
    )


def _best(ways: Iterable[Way]) -> Iterator[Way]:
    """Of each network the route with the smallest metric; of others' routes those that lie within one of ours."""
    chosen: dict[IPv4Network, Way] = {}
    for way in ways:
        other = chosen.get(way.network)
        if other is None or way.metric < other.metric:
            chosen[way.network] = way
    ours = [way.network for way in chosen.values() if way.ours]
    for way in chosen.values():
        if way.ours or any(way.network.subnet_of(one) for one in ours):
            yield way


def look_for(index: int, address: IPv4Address) -> None:
    """Has Linux find out the neighbour's MAC, as if it had a packet for it. Raises OSError (EPERM)."""
    _neigh("replace", index, address, state=0, flags=_NTF_USE)


def look_anew(index: int, address: IPv4Address) -> None:
    """The same, by broadcast and at once, whatever MAC it has for it. Raises OSError (EPERM)."""
    with suppress(FileNotFoundError):
        _neigh("del", index, address)
    look_for(index, address)


def look_again(index: int, address: IPv4Address, mac: bytes) -> None:
    """Has Linux ask the neighbour at once whether it is still there, using its MAC meanwhile. Raises OSError (EPERM)."""
    _neigh("replace", index, address, state=_PROBE, lladdr=mac.hex(":"))


def moved(index: int, address: IPv4Address, mac: bytes) -> None:
    """Tells Linux that the neighbour has this MAC now, as its own ARP would have. Raises OSError (EPERM)."""
    _neigh("replace", index, address, state=_STALE, lladdr=mac.hex(":"))


def _neigh(command: str, index: int, address: IPv4Address, **words: Any) -> None:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    with IPRoute() as route:
        try:
            route.neigh(command, dst=str(address), ifindex=index, **words)
        except NetlinkError as error:
            raise OSError(error.code, str(error)) from error
