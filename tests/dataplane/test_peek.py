"""What others see of a core is what is there; what changes while they look is left out, never mixed up."""

import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seen import Seen, seen
from splitplane.dataplane.peek import STATES, CorePeek, Histogram, row_dtype, split_handle

ESTABLISHED = STATES.index("established")


def rows_of(peek: CorePeek) -> Any:
    rows = np.empty(peek.end, row_dtype())
    return rows[: peek.rows(1, rows)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=120))
def test_rows_are_the_connections_that_live(steps: list[tuple[bool, int]]) -> None:
    """After any opening and resetting: the rows are the live connections, each once, with its handle and peer."""
    with seen(60) as world:
        live: dict[int, int] = {}
        peek = world.peek()
        for opens, which in steps:
            if opens and len(live) < 60:
                live[world.connect(which)] = which
            elif live:
                peer = sorted(live)[which % len(live)]
                world.reset(peer)
                world.core.turn()
                del live[peer]
        rows = rows_of(peek)
        found = {int(row["handle"]): int(row["remote_address"]) & 0xFFFFFF for row in rows}
        assert found == {world.handle(peer): which for peer, which in live.items()}
        assert len(rows) == len(live) == peek.fill()["connections"]
        assert all(rows["state"] == ESTABLISHED)
        assert all(rows["local_port"] == 80)
        for row in rows:
            assert peek.row(int(row["handle"])) == row
        peek.close()


def test_a_handle_dies_with_its_connection() -> None:
    """A handle names nothing once its record went on to another connection, nor does one of another core."""
    with seen(1) as world:
        peek = world.peek()
        first = world.connect(1)
        handle = world.handle(first)
        world.reset(first)
        world.core.turn()
        assert peek.row(handle) is None
        second = world.connect(2)
        assert peek.row(handle) is None
        assert split_handle(handle)[2] == split_handle(world.handle(second))[2]
        for wrong in (0, -1, handle | 1 << 56, 2**62, 1 << 24, 5):
            assert peek.row(wrong) is None
        peek.close()


def test_kept_bytes_and_pools_are_counted() -> None:
    """Bytes that on_data left, busy blocks and buffers in use show in the row and in the fill, and go to 0 again."""
    with seen(10) as world:
        world.handle_data(consume=False)
        peek = world.peek()
        peer = world.connect(1)
        assert peek.fill()["busy"] == 0
        empty = peek.fill()["buffers"]
        world.send(peer, b"x" * 1000)
        world.core.turn()
        row = peek.row(world.handle(peer))
        assert (int(row["kept"]), int(row["queued"])) == (1000, 0)
        assert peek.fill()["busy"] == 1
        assert peek.fill()["buffers"] >= empty + 1000
        world.reset(peer)
        world.core.turn()
        world.core.turn()
        assert peek.fill()["busy"] == 0
        assert peek.fill()["buffers"] == empty
        peek.close()


def test_the_mapping_can_not_be_written() -> None:
    """A reader maps the arena without the right to write: its kernel would kill it first."""
    with seen() as world:
        descriptor = os.open(f"/proc/self/fd/{world.fd}", os.O_RDONLY)
        with pytest.raises(PermissionError):
            mmap.mmap(descriptor, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        before = Path("/proc/self/maps").read_text()
        peek = CorePeek(descriptor)
        new = set(Path("/proc/self/maps").read_text().splitlines()) - set(before.splitlines())
        mapped = [line for line in new if "splitplane-core" in line]
        assert mapped
        assert all(" r--s " in line for line in mapped)
        peek.close()
        os.close(descriptor)


WRONG = [(0, b"X"), (8, b"\x09"), (24, b"\1"), (136, b"\xff" * 6), (144, b"\1" * 8)]


@pytest.mark.parametrize(("offset", "wrong"), WRONG)
def test_what_is_no_arena_is_refused(offset: int, wrong: bytes) -> None:
    """Magic, version, size and the place of every section are looked at before any of it is believed."""
    with seen() as world:
        world.peek().close()
        kept = bytes(world.arena.memory[offset : offset + len(wrong)])
        world.arena.memory[offset : offset + len(wrong)] = wrong
        assert kept != wrong
        with pytest.raises(OSError, match="arena"):
            world.peek()
        world.arena.memory[offset : offset + len(wrong)] = kept
    empty = os.memfd_create("empty")
    with pytest.raises(OSError, match="arena"):
        CorePeek(empty)
    os.close(empty)


CHURN = """
import sys
sys.path.insert(0, {tools!r})
from seen import Seen
from splitplane.dataplane.native import lib
world = Seen(64)
print(world.fd, flush=True)
numbers = iter(range(1, 1 << 24))
peers = [world.connect(next(numbers)) for _ in range(64)]
while True:
    for at, peer in enumerate(peers):
        world.reset(peer)
        if at % 8 == 7:
            world.core.turn()
            world.core.turn()
            for back in range(at - 7, at + 1):
                peers[back] = world.connect(next(numbers))
"""


def test_no_row_is_of_two_connections() -> None:
    """While a core frees and takes records without pause, each row's address and port belong together."""
    tools = str(Path(__file__).parents[1] / "tools")
    process = subprocess.Popen(
        [sys.executable, "-c", CHURN.format(tools=tools)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        descriptor = os.open(
            f"/proc/{process.pid}/fd/{int(process.stdout.readline())}", os.O_RDONLY
        )
        peek = CorePeek(descriptor)
        os.close(descriptor)
        rows = np.empty(65, row_dtype())
        seen_handles: set[int] = set()
        deadline = time.monotonic() + 60
        looks = 0
        while (looks < 3000 or len(seen_handles) < 2000) and time.monotonic() < deadline:
            found = rows[: peek.rows(1, rows)]
            looks += 1
            numbers = found["remote_address"] & 0xFFFFFF
            assert (found["remote_port"] == 1024 + numbers % 60000).all()
            assert len(np.unique(found["handle"])) == len(found)
            seen_handles.update(found["handle"].tolist())
        assert len(seen_handles) >= 2000, "the core did not churn"
        peek.close()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout
        process.stdout.close()


def test_a_histogram_names_the_bucket_of_a_quantile() -> None:
    """The bound under which the wanted part lies; 0 without any; `since` is what was added."""
    bounds = (1.0, 2.0, 4.0)
    found = Histogram(bounds, (5, 4, 1, 0), 12.0)
    assert [found.quantile(part) for part in (0.1, 0.5, 0.9, 0.91, 1.0)] == [1, 1, 2, 4, 4]
    assert Histogram(bounds, (0, 0, 0, 0), 0.0).quantile(0.5) == 0
    assert Histogram(bounds, (0, 0, 0, 3), 0.0).quantile(0.5) == 8
    assert found.since(Histogram(bounds, (5, 0, 0, 0), 2.0)) == Histogram(
        bounds, (0, 4, 1, 0), 10.0
    )


def test_times_add_up() -> None:
    """On the real clock: busy and slept time fit into what passed, turns are counted one by one, calls about as many
    as there were."""
    world = Seen(4)
    world.handle_data(consume=True)
    world.core.pointer.virtual_clock = 0
    world.core.turn()
    peek = world.peek()
    started = peek.now
    peer = world.connect(1)
    for _ in range(2000):
        world.send(peer, b"x")
        world.core.turn()
    world.core.turn()
    counters = peek.counters()
    calls, turns = peek.histogram("handler"), peek.histogram("turn")
    assert sum(turns.counts) == counters["busy_turns"] == 2000
    assert abs(turns.total - counters["busy_nanoseconds"] / 1e9) < 1e-9
    assert 0 < counters["busy_nanoseconds"] <= peek.now - started
    assert 2000 - 160 <= sum(calls.counts) <= counters["handler_calls"] == 2000
    assert calls.total > 0
    assert counters["slept_nanoseconds"] == 0
    peek.close()
    world.close()
