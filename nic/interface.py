"""What Linux says of an interface: its addresses, queues, XDP, and what would keep frames from us. Read over rtnetlink,
ethtool and /proc, in the network namespace of whoever asks; changes nothing.
"""

import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
_UP, _LOWER_UP = 0x1, 0x10000
_ETHERNET = 1
_UNICAST = 1
_MERGING = ("rx-lro", "rx-gro-hw")


@dataclass(frozen=True, slots=True)
class Merging:
    """A feature that makes one large frame of several before we see them; `fixed`: it can't be switched off here."""

    interface: str
    feature: str
    """As ethtool -K has it."""
    fixed: bool


@dataclass(frozen=True, slots=True)
class Interface:
    """Facts of one interface."""

    name: str
    index: int
    mac: bytes
    mtu: int
    """Bytes of the largest IP packet."""
    ethernet: bool
    """Whether its frames have Ethernet headers: those of lo and of tunnels have none that matter."""
    up: bool
    carrier: bool
    """Whether its other end is up."""
    queues: int
    """Queues that receive."""
    combined: bool
    """Whether the driver counts a receiving and a sending queue as one (ethtool -L combined)."""
    addresses: tuple[str, ...]
    """Its IPv4 addresses, without their masks."""
    xdp_program: int
    """Number of the XDP program attached to it; 0 = none."""
    native: bool | None
    """Whether its driver runs XDP programs itself; None = this Linux doesn't say."""
    merging: tuple[Merging, ...]
    """What is switched on, here and on the interface it stands on."""
    path_filter: int
    """net.ipv4.conf.*.rp_filter as it counts here: 0 off, 1 strict, 2 loose."""
    routed: bool
    """Whether any route leads out of it."""
    other_end: str
    """A veth's other end, if it is here too and has an address: what Linux sends there never takes the wire."""


def apart(ask: Callable[[Asked], Answer], asked: Asked) -> Answer:
    """What `ask` answers in a thread of its own: pyroute2 wants an event loop for itself."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(ask, asked).result()


def read_interface(name: str) -> Interface:
    """The interface called `name`. Raises LookupError if there is none here."""
    return apart(_read, name)


def owner_of(address: str) -> str:
    """The interface at which Linux has this IPv4 address; empty if it has not."""
    return apart(_owner, address)


def namespace_of(name: str) -> int:
    """A process in whose network namespace, not ours, there is an interface of that name; 0 = none is seen."""
    ours = os.stat("/proc/self/ns/net").st_ino
    seen = {ours}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            space = os.stat(process / "ns/net").st_ino
            if space in seen:
                continue
            seen.add(space)
            table = (process / "net/dev").read_text()
            if any(line.split(":")[0].strip() == name for line in table.splitlines()):
                return int(process.name)
    return 0


def _owner(address: str) -> str:
    from pyroute2 import IPRoute

    with IPRoute() as route:
        for one in route.get_addr(family=socket.AF_INET):
            if one.get_attr("IFA_LOCAL") == address:
                return str(one.get_attr("IFA_LABEL") or one["index"])
    return ""


def _read(name: str) -> Interface:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    from .netdev import native_xdp

    with IPRoute() as route:
        try:
            link = next(iter(route.link("get", ifname=name)))
        except (NetlinkError, StopIteration):
            raise LookupError(name) from None
        index = int(link["index"])
        found = list(route.get_addr(family=socket.AF_INET, index=index))
        channels = _channels(name)
        addresses = tuple(str(one.get_attr("IFA_LOCAL")) for one in found)
        return Interface(
            name=name,
            index=index,
            mac=bytes.fromhex(link.get_attr("IFLA_ADDRESS", "").replace(":", "")),
            mtu=int(link.get_attr("IFLA_MTU")),
            ethernet=int(link["ifi_type"]) == _ETHERNET,
            up=bool(link["flags"] & _UP),
            carrier=bool(link["flags"] & _LOWER_UP),
            queues=sum(channels) or int(link.get_attr("IFLA_NUM_RX_QUEUES", 1)),
            combined=channels[0] > 0,
            addresses=addresses,
            xdp_program=_program(link),
            native=native_xdp(index),
            merging=_merging(name, _MERGING) + _lower_merging(route, link),
            path_filter=max(_path_filter("all"), _path_filter(name)),
            routed=any(
                one["type"] == _UNICAST
                for one in route.get_routes(family=socket.AF_INET, oif=index)
            ),
            other_end=_other_end(route, link),
        )


def _program(link: Any) -> int:
    xdp = link.get_attr("IFLA_XDP")
    return int(xdp.get_attr("IFLA_XDP_PROG_ID") or 0) if xdp is not None else 0


def _channels(name: str) -> tuple[int, int]:
    """Combined and receiving queues as ethtool has them; zeros when the driver doesn't say."""
    from pyroute2.ethtool import Ethtool

    try:
        found = Ethtool().get_channels(name)
    except Exception:  # noqa: BLE001 - pyroute2 has a class of its own for each driver that doesn't say
        return 0, 0
    return int(found.combined_count), int(found.rx_count)


def _merging(name: str, features: tuple[str, ...]) -> tuple[Merging, ...]:
    from pyroute2.ethtool import Ethtool

    try:
        found = Ethtool().get_features(name).features
    except OSError:
        return ()
    return tuple(
        Merging(name, feature, fixed=not found[feature].available)
        for feature in features
        if feature in found and found[feature].enable
    )


def _lower_merging(route: Any, link: Any) -> tuple[Merging, ...]:
    """What a macvlan's or a VLAN's interface merges: our program sees frames only after it."""
    if _kind(link) == "veth" or not (lower := _linked(link)):
        return ()
    (below,) = route.link("get", index=lower)
    return _merging(str(below.get_attr("IFLA_IFNAME")), (*_MERGING, "rx-gro"))


def _other_end(route: Any, link: Any) -> str:
    if _kind(link) != "veth" or not (other := _linked(link)):
        return ""
    (end,) = route.link("get", index=other)
    named = any(route.get_addr(family=socket.AF_INET, index=other))
    return str(end.get_attr("IFLA_IFNAME")) if named else ""


def _linked(link: Any) -> int:
    """The interface that this one stands on, or its other end; 0 if that is in another namespace, or there is none."""
    here = link.get_attr("IFLA_LINK_NETNSID") is None
    return int(link.get_attr("IFLA_LINK") or 0) if here else 0


def _kind(link: Any) -> str:
    about = link.get_attr("IFLA_LINKINFO")
    return str(about.get_attr("IFLA_INFO_KIND")) if about is not None else ""


def _path_filter(name: str) -> int:
    with suppress(OSError, ValueError):
        return int(Path(f"/proc/sys/net/ipv4/conf/{name}/rp_filter").read_text())
    return 0
