"""`splitplane demo`, as a newcomer runs it."""

import json
import os
import signal
import socket
import subprocess
import sys
from urllib.request import urlopen

import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitplane.controlplane.visitor import quantile

COMMAND = [sys.executable, "-m", "splitplane", "demo"]
ROOT = os.geteuid() == 0
APART = ROOT or subprocess.run(["unshare", "-Urn", "true"], check=False).returncode == 0
"""Whether this user may have a network namespace: not in a chroot, nor where user namespaces are forbidden."""
DRIVERS = [("tap", None)] * APART + [("afxdp", "native")] * ROOT
KEYS = [
    "driver",
    "page_size",
    "cpu",
    "worker_pid",
    "requests",
    "errors",
    "p50_us",
    "p99_us",
    "control_messages",
    "counters",
]


def test_json_is_one_object_and_nothing_else() -> None:
    """`--json` prints exactly the documented object; every request was answered and reported."""
    done = subprocess.run([*COMMAND, "--json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == KEYS
    assert (found["driver"], found["requests"], found["errors"]) == ("kernel", 4000, 0)
    assert found["control_messages"] == 4
    assert found["counters"]["handler_calls"] >= 1
    assert found["p50_us"] <= found["p99_us"]


@pytest.mark.parametrize(("driver", "mode"), DRIVERS)
def test_frame_drivers(driver: str, mode: str | None) -> None:
    """In a network of its own a kernel client is served by our TCP; the object gains what the interface is."""
    command = [*COMMAND, "--json", "--driver", driver]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["driver"], found["requests"], found["errors"]) == (driver, 4000, 0)
    assert (found.get("xdp_mode"), found["queues"]) == (mode, 1)
    assert found["frames_rx"] > 500
    assert found["frames_tx"] > 500


def test_a_taken_port_is_no_obstacle() -> None:
    """When 8080 is taken, or not, the demo finds a port; a chosen one that is taken is refused, naming its holder."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command = [*COMMAND, "--requests", "10", "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"port tcp:{port} is held by process" in done.stderr


def test_serve_until_interrupted() -> None:
    """`--serve` answers anybody until Ctrl-C, then ends with 0 and leaves nothing behind."""
    command = [*COMMAND, "--serve", "--requests", "100"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = ""
        for line in process.stdout:
            if "curl" in line:
                url = line.split("curl -v ")[1].split()[0]
                break
        assert url, "the curl line is missing"
        with urlopen(url, timeout=10) as response:
            assert (response.status, response.read()) == (200, b"hello\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_quantiles(values: list[float], part: float) -> None:
    """A quantile is one of the values, and at least that part of them don't exceed it."""
    found = quantile(values, part)
    assert found in values
    assert sum(value <= found for value in values) >= part * len(values)
