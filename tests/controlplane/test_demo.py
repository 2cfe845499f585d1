"""`splitplane demo`, as a newcomer runs it."""

import json
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rights import ALONE, APART, BARE, ROOT
from splitplane.controlplane.visitor import quantile

COMMAND = [sys.executable, "-m", "splitplane", "demo"]
DRIVERS = ["kernel"] + ["tap"] * APART + ["afxdp"] * (APART and ROOT)
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
    "xdp_mode",
    "zero_copy",
    "queues",
    "frames_rx",
    "frames_tx",
]


def shown(*arguments: str, prefix: tuple[str, ...] = ()) -> tuple[dict[str, Any], str]:
    """The object that `--json` prints, and what was said beside it."""
    command = [*prefix, *COMMAND, "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("driver", ["", *DRIVERS[:-1]])
def test_json_is_one_object_and_nothing_else(driver: str) -> None:
    """`--json` prints exactly the documented object; every request was answered and reported. What it says of the
    interface is null without one. Unless told otherwise it shows the best driver that this user can have."""
    found, _ = shown(*["--driver", driver] * bool(driver))
    assert list(found) == KEYS
    driver = driver or DRIVERS[-1]
    assert (found["driver"], found["requests"], found["errors"]) == (driver, 4000, 0)
    assert found["control_messages"] == 4
    assert found["counters"]["handler_calls"] >= 1
    assert found["p50_us"] <= found["p99_us"]
    mode, copying = ("native", False) if driver == "afxdp" else (None, None)
    queues = None if driver == "kernel" else 1
    assert [found[name] for name in KEYS[-5:-2]] == [mode, copying, queues]
    for name in ("frames_rx", "frames_tx"):
        assert found[name] is None if driver == "kernel" else found[name] > 500


def test_what_cannot_be_had_is_said() -> None:
    """Where no namespace may be had the demo says why no better driver, in a line each, and takes the next."""
    found, said = shown("--requests", "10", prefix=(*ALONE, *BARE) if APART else ())
    assert found["driver"] == "kernel"
    for driver in ("afxdp", "tap") if APART or ROOT else ("tap",):
        assert f"driver {driver} can't be had here: no network namespace of our own" in said


def test_a_taken_port_is_no_obstacle() -> None:
    """When 8080 is taken, or not, the demo finds a port; a chosen one that is taken is refused, naming its holder."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command = [*COMMAND, "--driver", "kernel", "--requests", "10", "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"port tcp:{port} is held by process" in done.stderr


@pytest.mark.parametrize(
    ("driver", "number", "code"),
    [(driver, signal.SIGINT, 0) for driver in DRIVERS] + [(DRIVERS[-1], signal.SIGKILL, -9)],
)
def test_serve_until_interrupted(driver: str, number: int, code: int) -> None:
    """`--serve` answers the curl line that it prints until Ctrl-C, then ends with 0. Then, as after kill -9, no process
    is left, and so no namespace and no interface."""
    command = [*COMMAND, "--serve", "--requests", "100", "--driver", driver]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = ""
        for line in process.stdout:
            if "curl" in line:
                break
        words = line.split("try:")[-1].split("(")[0].replace("-v", "-s").split()
        assert words, "the curl line is missing"
        done = subprocess.run(words, capture_output=True, text=True, timeout=10)
        assert done.stdout == "hello\n", done.stderr
        process.send_signal(number)
        assert process.wait(30) == code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_at_the_start(number: int) -> None:
    """Ctrl-C or SIGTERM while it starts ends it in words, and nothing is left."""
    with subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert "compiling" in process.stdout.readline()
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "Traceback" not in said


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_quantiles(values: list[float], part: float) -> None:
    """A quantile is one of the values, and at least that part of them don't exceed it."""
    found = quantile(values, part)
    assert found in values
    assert sum(value <= found for value in values) >= part * len(values)
