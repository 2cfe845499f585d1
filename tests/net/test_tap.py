"""Linux as the client at the other end of a TAP interface."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from processes import TOOLS, command, free_cpus
from wires import ip

TAP = "splittap"


def toml(driver: str = "tap", name: str = TAP, cpus: str = "") -> str:
    """An echo on an address of its own."""
    return f"""
name = "tested"
[supervision]
restarts = 100000
[nic.front]
driver = "{driver}"
interface = "{name}"
address = "10.9.0.1/24"
[group.web]
cpus = [{cpus or free_cpus()[0]}]
nic = "front"
connections = 1000
[[group.web.listen]]
port = "tcp:7"
actor = "survivors:Echo"
"""


def written(tmp_path: Path, text: str) -> Path:
    """The layout's file, its module beside it."""
    (tmp_path / "survivors.py").write_text((TOOLS / "survivors.py").read_text())
    path = tmp_path / "layout.toml"
    path.write_text(text)
    return path


def echoed(stream: socket.socket, data: bytes) -> bytes:
    """What comes back."""
    stream.sendall(data)
    got = b""
    while len(got) < len(data):
        got += stream.recv(65536)
    return got


def test_linux_is_the_client(tmp_path: Path) -> None:
    """ARP, ping and a connection of Linux's reach our TCP over TAP, and the connection outlives the worker; the
    interface is gone afterwards."""
    with command(written(tmp_path, toml())) as running:
        running.seen("running")
        ip("address", "add", "10.9.0.2/24", "dev", TAP)
        subprocess.run(["ping", "-c", "1", "-W", "5", "10.9.0.1"], check=True, capture_output=True)
        with socket.create_connection(("10.9.0.1", 7), 10) as stream:
            data = bytes(range(256)) * 200
            for kills in range(1, 6):
                assert echoed(stream, data) == data
                time.sleep(0.02)
                with suppress(ProcessLookupError):
                    os.kill(running.worker(), signal.SIGKILL)
                running.seen("worker_replaced", kills)
            assert echoed(stream, data) == data
        assert running.end() == 0
    assert TAP not in ip("link", "show")


def test_two_queues_on_two_cores(tmp_path: Path) -> None:
    """Two cores have a queue each of one TAP interface: connections open on both of them, all of their bytes come back,
    and they outlive the workers."""
    data = bytes(range(256)) * 100
    with command(written(tmp_path, toml(cpus="0, 1"))) as running:
        running.seen("running")
        ip("address", "add", "10.9.0.2/24", "dev", TAP)
        assert "multi_queue" in ip("-d", "link", "show", TAP)
        assert "numqueues 2" in ip("-d", "link", "show", TAP)
        streams = [socket.create_connection(("10.9.0.1", 7), 20) for _ in range(32)]
        assert all(echoed(stream, data) == data for stream in streams)
        for started in running.seen("started", 2):
            os.kill(started["pid"], signal.SIGKILL)
        running.seen("worker_replaced", 2)
        assert all(echoed(stream, data) == data for stream in streams)
        for stream in streams:
            stream.close()
        assert running.end() == 0
        counted = running.seen("counters", 2)
    assert sum(one["opened"] for one in counted) == 32
    assert all(one["rx_frames"] > 100 for one in counted)


@pytest.mark.parametrize(
    ("name", "address", "said"),
    [
        (TAP, "shared", "driver tap has no Linux to share"),
        ("lo", "10.9.0.1/24", "the TAP interface can't be opened"),
    ],
)
def test_refusals(tmp_path: Path, name: str, address: str, said: str) -> None:
    """A TAP interface without an address, or one that is none, is refused in words."""
    text = toml(name=name).replace("10.9.0.1/24", address)
    words = [sys.executable, "-m", "splitplane", "run", str(written(tmp_path, text))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert said in done.stderr
