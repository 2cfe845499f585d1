"""What Linux says of an interface: index, MAC, MTU, addresses, queues. Read over rtnetlink and ethtool, in the network
namespace of whoever asks; changes nothing.
"""

import fcntl
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

_SIOCETHTOOL = 0x8946
_ETHTOOL_GCHANNELS = 0x3C
_CHANNELS = struct.Struct("9I")
_REQUEST = struct.Struct("16sP16x")


@dataclass(frozen=True, slots=True)
class Interface:
    """Facts of one interface."""

    name: str
    index: int
    mac: bytes
    mtu: int
    """Bytes of the largest IP packet."""
    up: bool
    queues: int
    """Queues that receive."""
    addresses: tuple[str, ...]
    """Its IPv4 addresses, without their masks."""
    xdp_program: int
    """Number of the XDP program attached to it; 0 = none."""


def read_interface(name: str) -> Interface:
    """The interface called `name`. Raises LookupError if there is none here."""
    with ThreadPoolExecutor(1) as thread:  # pyroute2 wants an event loop of its own
        return thread.submit(_read, name).result()


def _read(name: str) -> Interface:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    with IPRoute() as route:
        try:
            links = route.link("get", ifname=name)
        except NetlinkError:
            links = ()
        for link in links:
            index = int(link["index"])
            found = route.get_addr(family=socket.AF_INET, index=index)
            addresses = tuple(str(one.get_attr("IFA_LOCAL")) for one in found)
            return Interface(
                name=name,
                index=index,
                mac=bytes.fromhex(link.get_attr("IFLA_ADDRESS", "").replace(":", "")),
                mtu=int(link.get_attr("IFLA_MTU")),
                up=bool(link["flags"] & 1),
                queues=_channels(name) or int(link.get_attr("IFLA_NUM_RX_QUEUES", 1)),
                addresses=addresses,
                xdp_program=_program(link),
            )
    raise LookupError(name)


def _program(link: Any) -> int:
    xdp = link.get_attr("IFLA_XDP")
    return int(xdp.get_attr("IFLA_XDP_PROG_ID") or 0) if xdp is not None else 0


def _channels(name: str) -> int:
    """Receiving queues as ethtool has them; 0 when the driver doesn't say."""
    channels = bytearray(_CHANNELS.pack(_ETHTOOL_GCHANNELS, *[0] * 8))
    import ctypes

    memory = (ctypes.c_char * len(channels)).from_buffer(channels)
    request = _REQUEST.pack(name.encode(), ctypes.addressof(memory))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            fcntl.ioctl(asked, _SIOCETHTOOL, request)
        except OSError:
            return 0
    _, _, _, _, _, receive, _, _, combined = _CHANNELS.unpack(channels)
    return int(receive + combined)
