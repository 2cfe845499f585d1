"""`splitplane stats|top|connections|memory|why`, as people call them, on runtimes and on a million connections."""

import argparse
import asyncio
import json
import os
import pty
import random
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import eventually, layout
from seen import Seen, attached, registered, seen, unique
from splitplane.controlplane import connections as module
from splitplane.controlplane.connections import Place, endpoint, place
from splitplane.controlplane.text import amount, part, span, spark, table
from splitplane.dataplane.native import lib
from splitplane.dataplane.peek import row_dtype
from splitplane.runtime.facts import CONTROL_COUNTERS, CONTROL_LEVELS, MAILBOX_WORDS
from splitplane.runtime.runtime import Runtime

COMMAND = (sys.executable, "-m", "splitplane")


def run(*arguments: str, code: int = 0) -> str:
    """A command's standard output, or its standard error when it is to fail."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=100)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


@pytest.fixture
def world() -> Iterator[Seen]:
    with seen(300) as made:
        yield made


async def told_of_the_whole(runtime: Runtime, told: Callable[..., Awaitable[str]]) -> None:
    """What memory, connections --count and a piped top say of a runtime with three connections."""
    name = runtime.seen.name
    memory = json.loads(await told("memory", name, "--json"))
    assert memory["cores"][0]["bytes"] == runtime.seen.core(0).size
    assert memory["cores"][0]["sections"]["records"]["bytes"] == 128 * 1001
    assert "records" in await told("memory", name)
    count = json.loads(await told("connections", name, "--count", "--json"))
    assert count == {"connections": 3, "states": {"established": 3}}
    once = await told("top", name, "--interval", "0.1")
    assert str(runtime.workers[0].pid) in once
    assert "\x1b" not in once


def test_commands_on_a_running_layout(free_port: Callable[[], int]) -> None:
    """Each command tells of a live runtime what its clients did, in words and as JSON."""
    port = free_port()
    made = layout(port, driver="kernel").model_copy(update={"name": unique("c")})

    async def told(*arguments: str) -> str:
        return await asyncio.to_thread(run, *arguments)

    async def scenario() -> None:
        async with Runtime(made) as runtime:
            clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
            for client in clients:
                client.sendall(b"x" * 10)
                assert await asyncio.to_thread(client.recv, 10) == b"x" * 10
            name, worker = made.name, runtime.workers[0]
            stats = json.loads(await told("stats", name, "--json"))
            assert (stats["name"], stats["pid"], stats["alive"]) == (name, os.getpid(), True)
            (core,) = stats["cores"]
            assert (core["worker"], core["cpu"], core["run"]) == (worker.pid, worker.cpu, "running")
            assert core["counters"]["opened"] == stats["groups"]["web"]["counters"]["opened"] == 3
            assert core["pools"]["connections"] == 3
            assert core["times"]["turn"]["count"] == core["counters"]["busy_turns"] > 0
            assert "received_bytes" in await told("stats", name)
            listed = (await told("connections", name)).splitlines()
            assert len(listed) == 4
            ports = {int(line.split()[4].rpartition(":")[2]) for line in listed[1:]}
            assert ports == {client.getsockname()[1] for client in clients}
            mine = f"127.0.0.1:{clients[0].getsockname()[1]}"
            (line,) = (await told("connections", name, "--peer", mine, "--json")).splitlines()
            row = json.loads(line)
            assert (row["remote"], row["state"]) == (mine, "established")
            assert row["retransmit_due"] is None
            why = json.loads(await told("why", mine, name, "--json"))
            assert why["handle"] == row["handle"]
            assert "the peer's next bytes" in why["why"]
            assert "waits for: the peer's next" in await told("why", str(row["handle"]), name)
            await told_of_the_whole(runtime, told)
            for client in clients:
                client.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("stats", "nobody-of-that-name"), 1, "no runtime 'nobody-of-that-name' is running here"),
        (("connections", "{name}", "--group", "nope"), 1, "no group nope: there are web"),
        (("why", "1", "{name}"), 1, "is gone"),
        (("why", "9" * 30, "{name}"), 1, "no handle"),
        (("why", "10.9.9.9:1", "{name}"), 1, "no connection from 10.9.9.9:1"),
        (("why", "what", "{name}"), 1, "no handle and no ADDRESS:PORT"),
        (("connections", "{name}", "--sort", "beauty"), 2, "one of bytes, local_address"),
        (("connections", "{name}", "--state", "asleep"), 2, "one of syn-sent"),
        (("connections", "{name}", "--peer", "::1"), 2, "--peer"),
        (("connections", "{name}", "--port", "70000"), 2, "ports are 1 to 65535"),
        (("connections", "{name}", "--idle-over", "long"), 2, "a number, with a unit"),
        (("connections", "{name}", "--limit", "-3"), 2, "--limit"),
        (("top", "{name}", "--interval", "0"), 2, "0.05 to 3600"),
    ],
)
def test_what_is_asked_wrongly_is_refused_in_words(
    arguments: tuple[str, ...], code: int, text: str, world: Seen
) -> None:
    """Unknown names, groups, fields, states and handles: an exit code, and a sentence that says what would do."""
    with registered(world) as entry:
        assert text in run(*(part.format(name=entry.name) for part in arguments), code=code)


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args(arguments)


def sample(count: int = 400) -> Any:
    """Rows of all kinds."""
    dice = np.random.default_rng(3)
    rows = np.zeros(count, row_dtype())
    rows["remote_address"] = 0x0A000000 + dice.integers(0, 1 << 10, count)
    rows["local_address"] = 0x0A000001
    rows["remote_port"], rows["local_port"] = dice.integers(1, 9, (2, count))
    rows["state"] = dice.integers(1, 10, count)
    for name in ("idle", "age", "kept", "queued"):
        rows[name] = dice.integers(0, 100, count)
    return rows


FILTERS: list[tuple[tuple[str, ...], Callable[[Any], bool]]] = [
    (("--peer", "10.0.1.0/24"), lambda row: row["remote_address"] >> 8 == 0x0A0001),
    (("--peer", ":3"), lambda row: row["remote_port"] == 3),
    (("--local", "10.0.0.1:5"), lambda row: row["local_port"] == 5),
    (("--local", "10.0.0.2"), lambda row: False),
    (("--port", "2"), lambda row: 2 in {row["local_port"], row["remote_port"]}),
    (("--state", "established"), lambda row: row["state"] == 3),
    (("--state", "CLOSE-WAIT", "--state", "last_ack"), lambda row: row["state"] in {6, 8}),
    (("--idle-over", "50ms"), lambda row: row["idle"] > 50),
    (("--idle-under", "0.02s"), lambda row: row["idle"] < 20),
    (("--age-over", "0.05s"), lambda row: row["age"] > 50),
    (("--age-under", "20ms"), lambda row: row["age"] < 20),
    (("--age-over", "20ms", "--age-under", "60ms"), lambda row: 20 < row["age"] < 60),
    (("--idle-under", "0ms"), lambda row: False),
    (("--bytes-over", "0.1k"), lambda row: int(row["kept"]) + int(row["queued"]) > 100),
    (("--bytes-over", "100"), lambda row: int(row["kept"]) + int(row["queued"]) > 100),
    (("--port", "2", "--idle-over", "20 ms"), lambda row: 2 in {row["local_port"], row["remote_port"]} and row["idle"] > 20),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "true"), FILTERS)
def test_filters(arguments: tuple[str, ...], true: Callable[[Any], bool]) -> None:
    """Each filter, and two together, let through just the rows for which it is true, in their order."""
    rows = sample()
    found = module.chosen(rows, options(*arguments))
    wanted = [row for row in rows if true(row)]
    assert found.tolist() == [row.tolist() for row in wanted]


@given(st.integers(0, 2**32 - 1), st.integers(0, 32), st.integers(0, 65535))
def test_places_are_read_as_written(address: int, bits: int, port: int) -> None:
    """ADDRESS/BITS:PORT means that network and port; a port left out, any."""
    text, _, _ = endpoint(address, port).partition(":")
    network = address >> (32 - bits) << (32 - bits)
    found = place(f"{text}/{bits}" + (f":{port}" if port else ""))
    assert found.mask(np.array([address], "u4"), np.array([port], "u2")).all()
    assert (found.bits, found.port) == (bits, port)
    other = np.array([network ^ 1 << 31 if bits else network], "u4")
    assert found.mask(other, np.array([port], "u2")).all() == (not bits)
    assert place(":80") == Place(port=80)


def sorted_by(it: Any, *arguments: str) -> list[dict[str, int]]:
    (found,) = module._sorted(it, options(*arguments))
    return [module.as_dict(row) for row in found]


def test_sorting_keeps_the_best_of_all_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """--sort with --limit gives what sorting everything would give first, however the records are cut into pieces."""
    with seen(300) as world, attached(world) as it:
        for number in random.Random(1).sample(range(1 << 20), 300):
            world.connect(number)
        ports = sorted(it.connections()["remote_port"].tolist(), reverse=True)
        blocks = it.blocks
        for size in (1, 13, 300, 1000):
            monkeypatch.setattr(it, "blocks", lambda group, size=size: blocks(group, size))
            for limit in (1, 10, 299, 300, 5000):
                found = sorted_by(it, "--sort", "remote-port", "--limit", str(limit))
                assert [int(row["remote"].rpartition(":")[2]) for row in found] == ports[:limit]
            found = sorted_by(it, "--sort", "remote_port", "--reverse", "--limit", "0")
            assert [int(row["remote"].rpartition(":")[2]) for row in found] == ports[::-1]
            assert len(sorted_by(it, "--sort", "bytes")) == module.SORTED_LIMIT


def test_the_oldest_come_first() -> None:
    """--sort age: who has been open longest first, --reverse the newest, whoever was heard of last; the table shows it."""
    with seen(50) as world, attached(world) as it:
        world.handle_data(consume=True)
        ages = random.Random(2).sample(range(1, 3600), 50)
        peers = {}
        for age in sorted(ages, reverse=True):
            lib.core_clock(world.core.pointer, (3601 - age) * 10**9)
            peers[age] = world.connect(age)
        for age in random.Random(3).sample(ages, 50):
            world.send(peers[age], b"x")
        lib.core_clock(world.core.pointer, 3601 * 10**9)
        world.core.turn()
        found = [row["age"] // 1000 for row in sorted_by(it, "--sort", "age", "--limit", "7")]
        assert found == sorted(ages, reverse=True)[:7]
        found = [row["age"] // 1000 for row in sorted_by(it, "--sort", "age", "--reverse")]
        assert found == sorted(ages)
        (line,) = module._lines(it.connections()[:1])
        assert line.split()[5] == span(max(ages))


def test_a_million_connections_need_little_memory() -> None:
    """`connections --sort --limit 20`, filters and --count over a million connections, in a process that may not have
    room for their rows; and a reader that stops reading ends the command."""
    with seen(1_000_000) as world, registered(world) as entry:
        for number in range(1_000_000):
            world.connect(number)

        def limited() -> None:
            resource.setrlimit(resource.RLIMIT_DATA, (80 << 20, 80 << 20))

        def told(*arguments: str) -> str:
            done = subprocess.run(
                [*COMMAND, "connections", entry.name, *arguments],
                capture_output=True,
                text=True,
                timeout=100,
                preexec_fn=limited,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        assert len(told("--sort", "remote_address", "--limit", "20").splitlines()) == 21
        assert "1000000" in told("--count")
        assert len(told("--limit", "20").splitlines()) == 21
        (line,) = told("--peer", "10.7.161.31", "--json").splitlines()
        assert json.loads(line)["remote"].startswith("10.7.161.31:")
        streaming = subprocess.Popen(
            [*COMMAND, "connections", entry.name], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert streaming.stdout
        assert streaming.stderr
        streaming.stdout.readline()
        streaming.stdout.close()
        assert streaming.wait(100) == 1
        assert b"Traceback" not in streaming.stderr.read()
        streaming.stderr.close()


class Terminal:
    """`top` on a terminal of its own."""

    def __init__(self, name: str) -> None:
        self.pid, self.end = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", COLUMNS="160", LINES="40")
            os.execv(sys.executable, [*COMMAND, "top", name, "--interval", "0.1"])
        self.shown = b""

    def read(self, seconds: float = 0.05) -> None:
        if select.select([self.end], [], [], seconds)[0]:
            try:
                self.shown += os.read(self.end, 65536)
            except OSError:
                time.sleep(seconds)

    def shows(self, text: bytes) -> bool:
        """Once more from now on."""
        self.shown = b""

        def there() -> bool:
            self.read()
            return text in self.shown

        return eventually(there, 60)

    def code(self) -> int:
        found: list[int] = []

        def ended() -> bool:
            self.read(0.01)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                found.append(os.waitstatus_to_exitcode(status))
            return bool(pid)

        assert eventually(ended, 60)
        os.close(self.end)
        return found[0]


def test_top_lives_on_a_terminal(world: Seen) -> None:
    """It draws again and again, obeys its keys, and gives the terminal back at q and at Ctrl-C."""
    with registered(world) as entry:
        terminal = Terminal(entry.name)
        assert terminal.shows(b"worker")
        assert terminal.shows(b"p99 turn")
        os.write(terminal.end, b"p")
        assert terminal.shows(b"PAUSED")
        os.write(terminal.end, b"pg")
        assert terminal.shows(b"cores")
        os.write(terminal.end, b"-")
        assert terminal.shows(b"every 0.2 s")
        os.write(terminal.end, b"+++++zq")
        assert terminal.code() == 0
        assert b"\x1b[?1049l" in terminal.shown
        terminal = Terminal(entry.name)
        assert terminal.shows(b"worker")
        os.write(terminal.end, b"\x03")
        assert terminal.code() == 0


def test_top_ends_with_its_runtime(world: Seen) -> None:
    """When the runtime ends it says so and lets its memory go; a killed `top` harms nobody."""
    with registered(world) as entry:
        terminal = Terminal(entry.name)
        assert terminal.shows(b"worker")
        os.kill(terminal.pid, signal.SIGKILL)
        assert terminal.code() == -signal.SIGKILL
        terminal = Terminal(entry.name)
        assert terminal.shows(b"worker")
        entry.close()
        assert terminal.code() == 3
        assert b"ENDED" in terminal.shown


def test_text() -> None:
    """Numbers in few characters, rounded so that they stay few; tables in columns; bars from least to most."""
    numbers = (0, 0.25, 9.6, 812, 999.7, 1000, 12_345, 999_960, 4.5e6, 2.5e13)
    texts = "0 0.2 9.6 812 1.00k 1.00k 12.3k 1.00M 4.50M 25.0T"
    assert [amount(one) for one in numbers] == texts.split()
    parts = (0, 0.004, 0.0994, 0.0996, 0.5, 1)
    assert [part(one) for one in parts] == ["0%", "0.4%", "9.9%", "10%", "50%", "100%"]
    spans = (0, 5e-9, 8.5e-7, 1.2e-5, 3.4e-3, 0.25, 2, 119, 300, 10_000, 200_000)
    texts = "0 5ns 850ns 12µs 3.4ms 250ms 2.0s 119s 5m 3h 2d"
    assert [span(one) for one in spans] == texts.split()
    assert spark([0, 1, 2, 4]) == "▁▃▅█"
    assert spark([0, 0.5], 1.0) == "▁▅"
    assert spark([0, 0]) == "▁▁"
    rows = [("long", "1"), ("x", "222")]
    assert table(("a", "bb"), rows) == ["a      bb", "long    1", "x     222"]


def test_every_counter_is_explained() -> None:
    """docs/operating.md has each counter, each pool and each word of the control plane by its name."""
    page = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
    with seen() as world:
        peek = world.peek()
        names = [*peek.counters(), *(name for name in peek.fill() if not name.endswith("_most"))]
        peek.close()
    names += row_dtype().names or ()
    names += (*CONTROL_COUNTERS, *CONTROL_LEVELS, *MAILBOX_WORDS)
    missing = [name for name in names if f"`{name}`" not in page]
    assert not missing
