"""`splitplane bench` as anyone runs it, at sizes of a test."""

import json
import subprocess
import sys
from typing import Any

import pytest

COMMAND = [sys.executable, "-m", "splitplane", "bench"]
KEYS = {
    "connections": [
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
    ],
    "frames": [
        "connections",
        "order",
        "frames_per_s",
        "cycles_per_frame",
        "ceiling_frames_per_s",
        "errors",
    ],
    "churn": ["lives_per_s", "errors"],
    "latency": [
        "load",
        "p50_us",
        "p99_us",
        "p999_us",
        "stalls_over_10us",
        "spin_gaps_over_10us",
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


@pytest.mark.parametrize("order", ["random", "hot", "robin"])
def test_frames(order: str) -> None:
    """In each order every request is answered, and the ceiling beside it was measured."""
    found = bench("frames", "--connections", "2000", "--order", order, "--seconds", "0.3")
    assert (found["connections"], found["order"], found["errors"]) == (2000, order, 0)
    assert found["frames_per_s"] > 0
    assert found["cycles_per_frame"] > 0
    assert found["ceiling_frames_per_s"] > 0


@pytest.mark.parametrize("live", ["0", "3000"])
def test_churn(live: str) -> None:
    """Lives end as they should, beside others that stay: none is left, none is missing."""
    found = bench("churn", "--connections", live, "--lives", "20000", "--payload", "100")
    assert found["errors"] == 0
    assert found["lives_per_s"] > 0


def test_latency() -> None:
    """The load is the one asked for, and quantiles are in order."""
    options = ("--connections", "500", "--rate", "2000", "--seconds", "0.5")
    found = bench("latency", *options)
    assert found["load"] <= 2100
    assert 0 < found["p50_us"] <= found["p99_us"] <= found["p999_us"]


def test_a_table_for_people() -> None:
    """Without --json: one figure a line, and what goes on on standard error."""
    command = [*COMMAND, "connections", "--count", "1000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert ["opened", "1,000"] in [line.split() for line in done.stdout.splitlines()]
    assert "verify" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--count", "16777216"), "--count = 16777216: a core has 1 to 16777215 connections"),
        (("--payload", "8"), "--payload = 8: a request has 24 to 1400 bytes"),
    ],
)
def test_what_a_core_cannot_hold_is_refused(options: tuple[str, str], said: str) -> None:
    """Out of range: refused with the value, before anything starts."""
    command = [*COMMAND, "connections", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
