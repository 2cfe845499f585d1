"""The road between the server and its clients, for each driver: a virtual wire, a veth pair with AF_XDP at both ends, or
two TAP interfaces on a bridge. The last two lie in a network namespace of this process's own and vanish with it.
"""

import ipaddress
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from ..controlplane.demo_network import FRONT, PEER, add_veth, separate
from ..controlplane.demo_roads import why_not
from ..nic.afxdp import STEER_ENTRIES
from ..nic.interface import apart, read_interface
from ..nic.memory import create
from ..nic.tap import CLONE, open_queues, our_mac
from ..runtime.errors import MachineError, Problem
from ..runtime.front_look import in_user_namespace
from ..runtime.runtime import Runtime
from .end import End

Driver = Literal["memory", "afxdp", "tap"]
DRIVERS: tuple[Driver, ...] = ("memory", "afxdp", "tap")
ADDRESS = ipaddress.IPv4Interface("10.0.0.1/8")
FIRST_CLIENT = ipaddress.IPv4Address("10.64.0.0")
CLIENT_PORTS = 60_000
"""Connections that a client's address carries (load_inside.h)."""
BRIDGE = "between"
GONE = 2.0
"""Seconds within which a program is off its interface after its process has ended."""


class Road(ABC):
    """A driver's."""

    driver: Driver
    flight: int
    """Operations in flight: each has two frames out at most, and the road holds twice as many each way."""

    @abstractmethod
    def nic(self) -> dict[str, Any]:
        """Where the server's layout finds its end, but for the address."""

    @abstractmethod
    def server_mac(self) -> bytes:
        """Of the server's end, once somebody has it."""

    @abstractmethod
    def beside(self, runtime: Runtime, numbers: int, /) -> AbstractContextManager[End]:
        """The end of that many clients, while the server runs. Raises MachineError."""

    @abstractmethod
    def bare(self, numbers: int, /) -> AbstractContextManager[tuple[End, End]]:
        """Both ends without a server: the first one in its place."""


class Memory(Road):
    """A memfd."""

    driver, flight = "memory", 512

    def nic(self) -> dict[str, Any]:
        return {"driver": "memory"}

    def server_mac(self) -> bytes:
        return bytes((2, *b"SPLT", 0))  # nic/memory.c

    @contextmanager
    def beside(self, runtime: Runtime, _: int, /) -> Iterator[End]:
        yield End("memory", descriptor=runtime.wire(0), side=1)

    @contextmanager
    def bare(self, _: int, /) -> Iterator[tuple[End, End]]:
        wire = create()
        try:
            yield End("memory", descriptor=wire), End("memory", descriptor=wire, side=1)
        finally:
            os.close(wire)


class Veth(Road):
    """A veth pair, one queue each way. Linux makes no frame of its own for it: all checksums are whole."""

    driver, flight = "afxdp", 128

    def nic(self) -> dict[str, Any]:
        return {"driver": "afxdp", "interface": FRONT}

    def server_mac(self) -> bytes:
        return read_interface(FRONT).mac

    def make(self) -> None:
        """The pair, up."""
        add_veth()
        for name in (FRONT, PEER):
            _set(name, state="up")

    @contextmanager
    def beside(self, _: Runtime, numbers: int, /) -> Iterator[End]:
        yield self._clients(numbers)

    @contextmanager
    def bare(self, numbers: int, /) -> Iterator[tuple[End, End]]:
        yield End("afxdp", interface=FRONT, first=int(ADDRESS.ip)), self._clients(numbers)
        deadline = time.monotonic() + GONE
        while read_interface(FRONT).xdp_program and time.monotonic() < deadline:
            time.sleep(0.01)

    def _clients(self, numbers: int) -> End:
        addresses = -(-numbers // CLIENT_PORTS)
        if addresses > STEER_ENTRIES:
            most = STEER_ENTRIES * CLIENT_PORTS
            text = (
                f"{numbers} clients are wanted, and the steering program tells {most} from others"
            )
            raise MachineError(Problem("", text, remedy="fewer, or --driver memory or tap"))
        return End("afxdp", interface=PEER, first=int(FIRST_CLIENT), addresses=addresses)


class Bridge(Road):
    """Two TAP interfaces, each one's other end a port of a bridge."""

    driver, flight = "tap", 128

    def nic(self) -> dict[str, Any]:
        return {"driver": "tap", "interface": FRONT}

    def server_mac(self) -> bytes:
        return our_mac(FRONT)

    def make(self) -> None:
        """The bridge, up, without ports."""
        from pyroute2 import IPRoute

        with IPRoute() as route:
            route.link("add", ifname=BRIDGE, kind="bridge")
        _set(BRIDGE, state="up")

    @contextmanager
    def beside(self, _runtime: Runtime, _numbers: int, /) -> Iterator[End]:
        with self._port(PEER) as clients:
            apart(_join, FRONT)
            yield clients

    @contextmanager
    def bare(self, _: int, /) -> Iterator[tuple[End, End]]:
        with self._port(FRONT) as server, self._port(PEER) as clients:
            yield server, clients

    @contextmanager
    def _port(self, name: str) -> Iterator[End]:
        (descriptor,) = open_queues(name, 1)
        try:
            apart(_join, name)
            yield End("tap", descriptor=descriptor, mac=our_mac(name).hex())
        finally:
            os.close(descriptor)


MEMORY = Memory()
REMEDIES = {
    "afxdp": "run as root of the machine, or --driver tap, or --driver memory",
    "tap": "run as root, or where this user may have namespaces (unshare -Urn) and /dev/net/tun, or --driver memory",
}


def road(driver: Driver) -> Road:
    """The road of a driver; for `afxdp` and `tap` this process moves into a network of its own.

    Raises MachineError in one sentence, after a trial in another process, when it can't be had.
    """
    if driver == "memory":
        return MEMORY
    reason = why_not(lambda: _try(driver))
    if reason:
        text = f"driver {driver} can't be had here: {reason}"
        raise MachineError(Problem("", text, remedy=REMEDIES[driver]))
    return _made(driver)


def _made(driver: Driver) -> Road:
    """Without Linux's own talk: neighbours and multicast listeners of IPv6."""
    separate(user=driver == "tap")
    for which in ("all", "default"):
        with suppress(OSError):
            Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6").write_text("1")
    made = Veth() if driver == "afxdp" else Bridge()
    made.make()
    return made


def _try(driver: Driver) -> None:
    """Opens all that a measurement will."""
    if driver == "afxdp" and in_user_namespace():
        raise MachineError("this is a user namespace, whose rights count only inside")
    if driver == "tap" and not Path(CLONE).exists():
        raise MachineError(f"there is no {CLONE}")
    with _made(driver).bare(1) as ends, ExitStack() as stack:
        for end in ends:
            stack.enter_context(end.open())


def _join(name: str) -> None:
    from pyroute2 import IPRoute

    with IPRoute() as route:
        (bridge,) = route.link_lookup(ifname=BRIDGE)
        (port,) = route.link_lookup(ifname=name)
        route.link("set", index=port, master=bridge)


def _set(name: str, **words: Any) -> None:
    from pyroute2 import IPRoute

    with IPRoute() as route:
        (index,) = route.link_lookup(ifname=name)
        route.link("set", index=index, **words)
