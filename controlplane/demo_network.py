"""The demo's own network for the frame drivers: this process in a network namespace of its own, Linux as the client.

`afxdp`: a veth pair into a second namespace, that of the client's process. `tap`: the client is Linux in the same
namespace; without rights it is a user namespace. Everything vanishes with the processes, however they end.
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..runtime.errors import MachineError, Problem
from .visitor import Visit, visit

Driver = Literal["kernel", "afxdp", "tap"]

OURS, THEIRS = "10.77.0.1", "10.77.0.2"
FRONT, PEER, TAP = "front", "client", "front"
_CLONE_NEWNET, _CLONE_NEWUSER = 0x40000000, 0x10000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1


@dataclass(frozen=True, slots=True)
class Network:
    """Where the demo serves, and who visits."""

    overrides: tuple[str, ...]
    """For the layout."""
    address: str
    curl: str
    """What a user runs in another terminal, with {port}."""
    client: "Client | None" = None
    tap: str = ""

    def connect(self) -> None:
        """Once the layout runs: gives Linux its address on a TAP interface."""
        if self.tap:
            _set_address(self.tap, THEIRS)

    def visit(self, port: int, requests: int) -> Visit:
        """The ordinary client, wherever it lives."""
        if self.client is None:
            return visit(self.address, port, requests)
        return self.client.visit(port, requests)


class Client:
    """A process in a namespace of its own. It ends when its standard input does."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "splitplane.controlplane.demo_network"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is ours
        )
        self._answer()

    @property
    def pid(self) -> int:
        """Of the process whose namespace it is."""
        return self._process.pid

    def ask(self, **words: Any) -> Any:
        """One order, its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def visit(self, port: int, requests: int) -> Visit:
        """Visits from over there."""
        return Visit(**self.ask(visit=[OURS, port, requests]))

    def close(self) -> None:
        """Ends the process, and with it its namespace and the wire."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise MachineError("the demo's client did not start: see above")
        return json.loads(line)


@contextmanager
def network(driver: Driver) -> Iterator[Network]:
    """The network for a driver. Raises MachineError when this user may not have one."""
    if driver == "kernel":
        overrides = ('nic.front.driver="kernel"', 'nic.front.bind="127.0.0.1"')
        yield Network(overrides, "127.0.0.1", "curl -v http://127.0.0.1:{port}/")
        return
    in_user = separate(user=driver == "tap")
    curl = f"curl -v http://{OURS}:{{port}}/"
    if driver == "tap":
        where = f'nic.front={{driver="tap", interface="{TAP}", address="{OURS}/24"}}'
        user = f" --preserve-credentials --user=/proc/{os.getpid()}/ns/user" if in_user else ""
        line = f"nsenter{user} --net=/proc/{os.getpid()}/ns/net {curl}"
        yield Network((where,), OURS, line, tap=TAP)
        return
    client = Client()
    try:
        _wire(client)
        where = f'nic.front={{driver="afxdp", interface="{FRONT}"}}'
        yield Network((where,), OURS, f"nsenter --net=/proc/{client.pid}/ns/net {curl}", client)
    finally:
        client.close()


def separate(*, user: bool) -> bool:
    """Puts this process into a network namespace of its own; `user`: and into a user namespace if it must, where it has
    the rights. Whether it had to. Raises MachineError."""
    uid, gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    in_user = bool(libc.unshare(_CLONE_NEWNET) != 0)
    if in_user and (not user or libc.unshare(_CLONE_NEWNET | _CLONE_NEWUSER) != 0):
        raise _refused(os.strerror(ctypes.get_errno()))
    try:
        if in_user:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        _up_loopback()
    except OSError as error:
        raise _refused(error.strerror or str(error)) from None
    return in_user


def _refused(reason: str) -> MachineError:
    remedy = "run as root, or splitplane demo --driver kernel"
    return MachineError(Problem("", f"no network namespace of our own: {reason}", remedy=remedy))


def _up_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        fcntl.ioctl(asked, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", _IFF_UP))


def add_veth() -> None:
    """A veth pair, FRONT and PEER, both ends here."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    with IPRoute() as route:
        try:
            route.link("add", ifname=FRONT, kind="veth", peer={"ifname": PEER})
        except NetlinkError as error:
            raise MachineError(f"no veth pair can be made: {error}") from None


def _wire(client: Client) -> None:
    """A veth pair: one end here, one at the client."""
    from pyroute2 import IPRoute

    add_veth()
    with IPRoute() as route:
        route.link("set", index=_index(PEER), net_ns_pid=client.pid)
    _set_address(FRONT, OURS)
    client.ask(address=[PEER, THEIRS])


def _set_address(name: str, address: str) -> None:
    from pyroute2 import IPRoute

    with IPRoute() as route:
        route.addr("add", index=_index(name), address=address, prefixlen=24)
        route.link("set", index=_index(name), state="up")


def _index(name: str) -> int:
    return socket.if_nametoindex(name)


def _client() -> None:
    """The client's process: orders in, answers out, one JSON a line."""
    from dataclasses import asdict

    separate(user=False)
    _say("ready")
    for line in sys.stdin:
        order = json.loads(line)
        answer: Any = "done"
        if "address" in order:
            _set_address(*order["address"])
        else:
            answer = asdict(visit(*order["visit"]))
        _say(answer)


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _client()
