"""`splitplane bench` as anyone runs it, at sizes of a test."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from processes import eventually
from rights import ALONE, APART, BARE, ROOT
from splitplane.controlplane.command import main
from splitplane.loadgen.road import Veth
from splitplane.runtime.errors import MachineError
from splitplane.runtime.machine import read_machine

COMMAND = [sys.executable, "-m", "splitplane", "bench"]
ROADS = ["tap"] * APART + ["afxdp"] * (APART and ROOT)
"""The drivers through Linux that this user may have."""
KEYS = {
    "connections": [
        "driver",
        "opened",
        "live",
        "verified",
        "errors",
        "connects_per_s",
        "state_bytes_per_connection",
        "state_bytes_by_smaps",
        "state_bytes_by_huge_pages",
        "arena_bytes",
        "page_size",
        "beside",
    ],
    "frames": [
        "driver",
        "connections",
        "order",
        "frames_per_s",
        "cycles_per_frame",
        "ceiling_frames_per_s",
        "errors",
    ],
    "churn": ["driver", "lives_per_s", "errors", "closer", "time_wait_recycled"],
    "latency": [
        "driver",
        "load",
        "p50_us",
        "p99_us",
        "p999_us",
        "stalls_over_10us",
        "spin_gaps_over_10us",
        "errors",
    ],
}


def bench(what: str, *options: str) -> dict[str, Any]:
    """The object it prints, which is all that it prints."""
    command = [*COMMAND, what, "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert list(found) == KEYS[what]
    return found


def test_connections() -> None:
    """200 000 are opened at a rate, each is asked twice and closed: the counts are exact, a connection's state small."""
    found = bench("connections", "--count", "200000", "--rate", "400000")
    counts = [found[name] for name in ("opened", "live", "verified", "errors")]
    assert counts == [200_000, 200_000, 200_000, 0]
    assert found["connects_per_s"] < 410_000
    assert found["state_bytes_per_connection"] <= 180
    # The worker's private memory, whatever Python has of its own: some MiB, however many connections there are.
    assert 0 <= found["state_bytes_by_smaps"] - found["state_bytes_per_connection"] < 20e6 / 200_000


def test_connections_beside_others() -> None:
    """3000 are opened, and counted, beside 5000 that were there before: all 8000 are live, verified and closed."""
    found = bench("connections", "--count", "3000", "--beside", "5000")
    names = ("opened", "beside", "live", "verified", "errors")
    assert [found[name] for name in names] == [3000, 5000, 8000, 8000, 0]


@pytest.mark.parametrize("order", ["random", "hot", "robin"])
def test_frames(order: str) -> None:
    """In each order every request is answered, and the ceiling beside it was measured."""
    found = bench("frames", "--connections", "2000", "--order", order, "--seconds", "0.3")
    assert (found["connections"], found["order"], found["errors"]) == (2000, order, 0)
    assert found["frames_per_s"] > 0
    assert found["cycles_per_frame"] > 0
    assert found["ceiling_frames_per_s"] > 0


@pytest.mark.parametrize("closer", ["client", "server"])
@pytest.mark.parametrize("live", ["0", "3000"])
def test_churn(live: str, closer: str) -> None:
    """Lives end as they should, beside others that stay: none is left, none is missing. The server's own closes go by
    TIME-WAIT, whose oldest make room once it is full."""
    options = ("--connections", live, "--closer", closer)
    found = bench("churn", *options, "--lives", "80000", "--payload", "100")
    assert found["errors"] == 0
    assert found["time_wait_recycled"] == (80_000 - 65_536 if closer == "server" else 0)
    assert found["lives_per_s"] > 0


def test_latency() -> None:
    """The load is the one asked for, quantiles are in order, and every answer came."""
    options = ("--connections", "500", "--rate", "2000", "--seconds", "0.5")
    found = bench("latency", *options)
    assert found["load"] <= 2100
    assert found["errors"] == 0
    assert 0 < found["p50_us"] <= found["p99_us"] <= found["p999_us"]


@pytest.mark.parametrize("driver", ROADS)
def test_connections_through_linux(driver: str) -> None:
    """Over AF_XDP on a veth pair and over TAP the counts are as exact as over a wire."""
    found = bench("connections", "--count", "2500", "--driver", driver)
    counts = [found[name] for name in ("driver", "opened", "live", "verified", "errors")]
    assert counts == [driver, 2500, 2500, 2500, 0]


@pytest.mark.parametrize("driver", ROADS)
def test_the_others_through_linux(driver: str) -> None:
    """Frames, lives and requests at a rate as well, none wrong; and the ceiling is that of the same road."""
    options = ("--driver", driver, "--connections", "2000")
    found = bench("frames", *options, "--seconds", "0.3")
    assert (found["driver"], found["errors"]) == (driver, 0)
    assert found["frames_per_s"] > 0
    assert found["ceiling_frames_per_s"] > 0
    assert bench("churn", *options, "--lives", "3000")["errors"] == 0
    found = bench("latency", *options, "--rate", "2000", "--seconds", "0.5")
    assert (found["driver"], found["errors"]) == (driver, 0)


def in_namespace(inode: int) -> list[int]:
    """The processes in a network namespace."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "ns/net").stat().st_ino == inode:
                found.append(int(process.name))
    return found


@pytest.mark.parametrize("driver", ROADS)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_network_vanishes(driver: str, number: int, code: int) -> None:
    """After Ctrl-C in the middle, and after kill -9, no process is left in the namespace, so that it is gone with its
    interfaces; this one never had any of them."""
    ours = os.stat("/proc/self/ns/net").st_ino
    options = ("--connections", "1000", "--seconds", "100", "--driver", driver)
    with subprocess.Popen(
        [*COMMAND, "frames", *options], stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr
        for line in running.stderr:
            if line.startswith("requests"):
                break
        its = os.stat(f"/proc/{running.pid}/ns/net").st_ino
        assert its != ours
        assert len(in_namespace(its)) > 2
        assert not {"front", "client", "between"} & {name for _, name in socket.if_nameindex()}
        running.send_signal(number)
        assert running.wait(60) == code
        assert eventually(lambda: not in_namespace(its))


@pytest.mark.parametrize("driver", ["tap", "afxdp"])
def test_a_road_that_cannot_be_had(driver: str) -> None:
    """Where nobody may have a namespace it is refused in one line, with the reason and what mends it, and nothing was
    started. In a user namespace that is the reason for AF_XDP, not what some system call says."""
    reason = "no network namespace of our own: "
    if driver == "afxdp" and APART:
        reason = "this is a user namespace, whose rights count only inside: "
    prefix = (*ALONE, *BARE) if APART else ()
    command = [*prefix, *COMMAND, "connections", "--driver", driver]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert f"driver {driver} can't be had here: {reason}" in done.stderr
    assert done.stderr.rstrip().endswith("or --driver memory")


def test_more_clients_than_steering_tells_apart() -> None:
    """Clients beyond the program's table are refused with its size."""
    with pytest.raises(MachineError, match=r"245760001 clients .* tells 245760000 from others"):
        Veth()._clients(245_760_001)


def test_a_table_for_people() -> None:
    """Without --json: one figure a line, and what goes on on standard error."""
    command = [*COMMAND, "connections", "--count", "1000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert ["opened", "1,000"] in [line.split() for line in done.stdout.splitlines()]
    assert "verify" in done.stderr


@pytest.mark.parametrize("what", list(KEYS))
def test_an_error_is_an_exit_code(
    what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A measurement whose answers were not all as they must be ends with 1, whichever it is."""

    async def one_wrong(*_: object) -> dict[str, Any]:
        return dict.fromkeys(KEYS[what], 0) | {"errors": 1}

    monkeypatch.setattr(f"splitplane.loadgen.bench.{what}", one_wrong)
    assert main(["bench", what, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["errors"] == 1


def on_terminal(*words: str) -> str:
    """All that a command shows on a terminal of its own."""
    end, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    with subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as run:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # EIO: nobody holds the other end any more
            while piece := os.read(end, 65536):
                shown += piece
        os.close(end)
    assert run.returncode == 0, shown
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


@pytest.mark.parametrize(
    ("what", "options", "bar"),
    [
        ("connections", ("--count", "20000", "--rate", "20000"), "open"),
        ("latency", ("--connections", "500", "--rate", "5000", "--seconds", "1"), "requests"),
    ],
)
def test_a_bar_moves_on_a_terminal(what: str, options: tuple[str, ...], bar: str) -> None:
    """On a terminal a bar says how much of the whole is done, more each time, and the table follows."""
    shown = on_terminal(*COMMAND, what, *options)
    counts = re.findall(rf"{bar} [^\r\n]*?(\d+)/(\d+) ", shown)
    done = [int(count) for count, _ in counts]
    whole = {"connections": "20000", "latency": "5000"}[what]
    assert {total for _, total in counts} == {whole}, shown
    assert done == sorted(done)
    assert len(set(done)) > 2
    assert ["errors", "0"] in [line.split() for line in shown.splitlines()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(number: int) -> None:
    """Ctrl-C or SIGTERM in the middle ends it in words; no process is left."""
    command = [*COMMAND, "frames", "--connections", "1000", "--seconds", "100"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr
        for line in running.stderr:
            if line.startswith("requests"):
                break
        running.send_signal(number)
        _, said = running.communicate(timeout=60)
    assert (running.returncode, said) == (130, "interrupted: nothing is left\n")


def test_what_memory_cannot_hold_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With 1 GiB free, ten million are refused before anything starts, in one line: what is wanted by part, what a
    connection takes, and how many would fit."""
    small = read_machine()

    def poor() -> object:
        return type(small)(**(small.as_dict() | {"memory_available": 2**30, "huge_free": 0}))

    monkeypatch.setattr("splitplane.runtime.plan.read_machine", poor)
    assert main(["bench", "connections", "--count", "10000000"]) == 1
    out, said = capsys.readouterr()
    assert (out, said.count("\n")) == ("", 1)
    assert "--count = 10000000" in said
    assert "1,024 MiB free: records 1,220.7 MiB + " in said
    assert re.search(r"\d+ B a connection: at most \d+000 fit", said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--count", "16777216"), "--count = 16777216: a core has 1 to 16777215 connections"),
        (("--beside", "-1"), "--beside = -1: 0 or more connections are there already"),
        (("--payload", "8"), "--payload = 8: a request has 24 to 1400 bytes"),
    ],
)
def test_what_a_core_cannot_hold_is_refused(options: tuple[str, str], said: str) -> None:
    """Out of range: refused with the value, before anything starts."""
    command = [*COMMAND, "connections", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("frames --connections 0", 2, "argument --connections/--count: 0: 1 or more"),
        ("frames --connections 16777216", 1, "a core has 1 to 16777215 connections"),
        ("frames --connections 999999999999", 1, "a core has 1 to 16777215 connections"),
        ("churn --connections 999999999999", 1, "a core has 1 to 16777215 connections"),
        ("frames --seconds 0", 2, "argument --seconds: 0: 0.1 to 1,000,000"),
        ("frames --seconds nan", 2, "argument --seconds: nan: 0.1 to 1,000,000"),
        ("frames --payload 3", 1, "--payload = 3: a request has 24 to 1400 bytes"),
        ("latency --payload 3", 1, "--payload = 3: a request has 24 to 1400 bytes"),
        ("latency --rate -1", 2, "argument --rate: -1: 0 to 1,000,000,000"),
        ("connections --rate inf", 2, "argument --rate: inf: 0 to 1,000,000,000"),
        ("churn --connections -1", 2, "argument --connections/--count: -1: 0 or more"),
        ("churn --lives -3", 2, "argument --lives: -3: 1 to 4,000,000,000"),
        ("churn --lives many", 2, "argument --lives: invalid int value: 'many'"),
    ],
)
def test_numbers_out_of_range_are_refused(words: str, code: int, said: str) -> None:
    """Each option says the value and what it may be, in one line, and no phase has begun."""
    command = [*COMMAND, *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr.splitlines()[-1]
    assert "…" not in done.stderr
