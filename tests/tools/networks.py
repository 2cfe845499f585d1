"""Networks of several namespaces, the server in one too, so that nothing touches the machine's own; and a talk over them
that is compared byte by byte while things change underneath.
"""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Self

from processes import eventually
from wires import Client

PORT = 8080
SERVER, CLIENT = "10.0.0.1", "10.0.0.2"


class Host(Client):
    """A namespace with its loopback up."""

    def __init__(self) -> None:
        super().__init__()
        self.ip("link", "set", "lo", "up")

    def ip(self, *words: str) -> str:
        """ip(8) there."""
        return self.run("ip", *words)

    def mac(self, device: str) -> str:
        """A device's MAC."""
        (link,) = json.loads(self.ip("-j", "link", "show", device))
        return str(link["address"])

    def received(self, device: str) -> int:
        """Packets that a device has received."""
        (link,) = json.loads(self.ip("-j", "-s", "link", "show", device))
        return int(link["stats64"]["rx"]["packets"])

    def script(self, text: str, *words: str) -> subprocess.Popen[str]:
        """A Python program there; ended by whoever started it."""
        return subprocess.Popen(
            [*self.prefix, "python3", "-c", text, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """So many empty namespaces."""
    with ExitStack() as stack:
        made = []
        for _ in range(count):
            made.append(Host())
            stack.callback(made[-1].close)
        yield made


def link(
    left: Host, device: str, address: str, right: Host, other: str, other_address: str
) -> None:
    """A veth pair between two of them, up, with these addresses (`10.0.0.1/24`)."""
    there = str(right.holder.pid)
    left.ip("link", "add", device, "type", "veth", "peer", "name", other, "netns", there)
    for host, name, own in ((left, device, address), (right, other, other_address)):
        host.ip("address", "add", own, "dev", name)
        host.ip("link", "set", name, "up")


def join(switch: Host, bridge: str, host: Host, device: str, address: str) -> None:
    """Another port of a bridge in `switch`, which is made if it isn't there; the host's end is up, with this address."""
    if f" {bridge}:" not in switch.ip("link", "show"):
        switch.ip("link", "add", bridge, "type", "bridge")
        switch.ip("link", "set", bridge, "up")
    port = f"{bridge}{switch.ip('link', 'show', 'master', bridge).count('mtu')}"
    there = str(host.holder.pid)
    switch.ip("link", "add", port, "type", "veth", "peer", "name", device, "netns", there)
    switch.ip("link", "set", port, "master", bridge, "up")
    host.ip("address", "add", address, "dev", device)
    host.ip("link", "set", device, "up")


def forwards(host: Host) -> None:
    """Makes a router of it, which says so when a packet is too large."""
    for key in ("ip_forward=1", "conf.all.rp_filter=0", "conf.default.rp_filter=0"):
        host.run("sysctl", "-qw", f"net.ipv4.{key}")


TALK = """
import random, select, socket, sys, time
size, address = int(sys.argv[1]), sys.argv[2]
data = random.Random(size).randbytes(size)
stream = socket.create_connection((address, 8080), timeout=60)
stream.setblocking(False)
def turn():
    sent = got = 0
    while got < size:
        readable, writable, _ = select.select([stream], [stream] if sent < size else [], [], 60)
        assert readable or writable, "nothing for a minute"
        if writable:
            sent += stream.send(data[sent:sent + 65536])
        if readable:
            piece = stream.recv(65536)
            assert piece, "closed"
            assert piece == data[got:got + len(piece)], got
            got += len(piece)
print(stream.getsockname()[1], flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    began = time.monotonic()
    turn()
    print(time.monotonic() - began, flush=True)
"""


class Talk:
    """One connection of a kernel client that sends `size` bytes and gets them back, again and again, every byte checked.

    Attributes: `turns`, seconds that each took so far.
    """

    def __init__(self, client: Host, size: int = 50_000, address: str = SERVER) -> None:
        self._process = client.script(TALK, str(size), address)
        self._lines: list[str] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)

    @property
    def turns(self) -> list[float]:
        """Seconds of each turn."""
        return [float(line) for line in self._lines[1:]]

    def goes_on(self, turns: int = 3) -> None:
        """Waits for so many more turns."""
        wanted = len(self._lines) + turns + 1  # the one under way began before
        ended = lambda: self._process.poll() is not None
        assert eventually(lambda: len(self._lines) >= wanted or ended(), 60), self._lines[-5:]
        assert not ended(), self._lines[-5:]

    def end(self) -> None:
        """Its last turn comes to its end."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        assert self._process.wait(60) == 0, self._lines[-5:]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


SERVICES = """
import socket, sys, threading
listener = socket.create_server(("10.0.0.1", 2222))
datagrams = socket.socket(type=socket.SOCK_DGRAM)
datagrams.bind(("10.0.0.1", 5353))
def stream():
    while True:
        one, _ = listener.accept()
        while data := one.recv(100):
            one.sendall(data)
threading.Thread(target=stream, daemon=True).start()
print("ready", flush=True)
while True:
    data, sender = datagrams.recvfrom(100)
    datagrams.sendto(data, sender)
"""
USER = """
import select, socket, subprocess, sys
shell = socket.create_connection(("10.0.0.1", 2222), timeout=60)
datagrams = socket.socket(type=socket.SOCK_DGRAM)
datagrams.settimeout(1)
turns = 0
while not select.select([sys.stdin], [], [], 0.02)[0]:
    shell.sendall(b"ls\\n")
    assert shell.recv(3, socket.MSG_WAITALL) == b"ls\\n"
    for _ in range(60):
        datagrams.sendto(b"name?", ("10.0.0.1", 5353))
        try:
            assert datagrams.recv(5) == b"name?"
            break
        except TimeoutError:
            pass
    else:
        raise SystemExit("no datagram came back")
    subprocess.run(["ping", "-qc1", "-w60", "10.0.0.1"], check=True, capture_output=True)
    turns += 1
print("turns", turns)
"""


@contextmanager
def beside(server: Host, client: Host) -> Iterator[None]:
    """All the while: an ssh-like connection to Linux on the same address, datagrams to a UDP service, and ping.

    The connection is one and the same throughout; datagrams and echoes may be lost, and come back when asked again.
    """
    with server.script(SERVICES) as services:
        try:
            assert services.stdout is not None
            assert services.stdout.readline() == "ready\n"
            with client.script(USER) as user:
                try:
                    yield
                    said, _ = user.communicate("\n", timeout=100)
                    assert user.returncode == 0, said
                    assert int(said.split()[1]) > 0
                finally:
                    user.kill()
        finally:
            services.kill()
