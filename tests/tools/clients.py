"""Clients of the kernel transport's tests, and the server they talk to: a core's loop in a thread of this process."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest


def listening(bound: str = "127.0.0.1") -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((bound, 0))
    listener.listen(4096)
    listener.setblocking(False)
    return listener


class Server:
    """A core that serves one actor on a port of its own until closed."""

    def __init__(self, rig: Any, names: dict[str, str] | None, bound: str, **limits: int) -> None:
        self.rig, self.lib, self.core = rig, rig.lib, rig.core
        self.listener = listening(bound)
        self.port = self.listener.getsockname()[1]
        rig.actor(self.listener.fileno(), socket.htons(self.port), names, **limits)
        rig.attach("kernel")
        assert self.lib.loop_start(self.core, 0) == 0
        self.thread = threading.Thread(target=self.lib.loop_run, args=(self.core, 0))
        self.thread.start()

    def connect(self, **options: Any) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), timeout=10, **options)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "it never came"
            time.sleep(0.002)

    def live(self) -> int:
        return int(self.core.state.live)

    def stop(self, how: int | None = None) -> None:
        self.core.state.wanted = self.lib.CORE_STOPPED if how is None else how
        self.thread.join(20)
        assert not self.thread.is_alive()
        self.listener.close()


@pytest.fixture
def serve(rig: Callable[..., Any]) -> Iterator[Callable[..., Server]]:
    """Starts servers; stops them afterwards."""
    servers: list[Server] = []

    def start(
        names: dict[str, str] | None = None,
        limits: Any = None,
        bound: str = "127.0.0.1",
        **sizes: int,
    ) -> Server:
        sizes = {"connections": 3000, "busy_blocks": 3000, "buffer_bytes": 64 << 20} | sizes
        servers.append(Server(rig(**sizes), names, bound, **(limits or {})))
        return servers[-1]

    yield start
    for server in servers:
        if server.thread.is_alive():
            server.stop()


def read_all(client: socket.socket) -> bytes:
    parts = []
    while part := client.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def read_exactly(client: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = client.recv(length - len(data))
        assert part, f"ended after {len(data)} of {length} bytes"
        data += part
    return bytes(data)
