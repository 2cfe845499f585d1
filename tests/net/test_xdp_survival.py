"""Kernel clients over AF_XDP while workers, launchers and controllers die: who goes on, who is reset, who is refused."""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from processes import (
    TOOLS,
    Command,
    assert_gone,
    children,
    eventually,
    is_alive,
    kill_worker,
    replaced,
    until,
)
from serving import FRONT, PORT, echo, serving, toml
from splitplane.dataplane.core_state import CoreState
from splitplane.nic.afxdp import FrameCount, audit
from splitplane.runtime.controller import Event
from splitplane.runtime.layout import Layout
from splitplane.runtime.runtime import Runtime
from splitplane.runtime.stall import StallWatch
from wires import OURS, Client, ip, veth

KILLS = 100
SERVE = '[supervision]\non_controller_loss = "serve"'


@pytest.fixture
def client() -> Iterator[Client]:
    """A client behind one queue."""
    with veth(FRONT) as made:
        yield made


def attached() -> bool:
    """Whether an XDP program is on the interface."""
    return "prog/xdp" in ip("-d", "link", "show", FRONT)


def is_free() -> bool:
    """Whether a program of Linux could take the port."""
    with socket.socket() as other:
        try:
            other.bind((OURS, PORT))
        except OSError:
            return False
    return True


# Streams that stay open: each sends a piece, takes its echo and compares, until standard input closes. A stream that is
# reset is opened again. No byte is an `l`, at which survivors:Moody loops.
STREAMS = """
import hashlib, json, random, socket, sys, threading
count, address, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
going, lock = True, threading.Lock()
seen = {"rounds": 0, "resets": 0, "wrong": 0, "refused": 0}
def add(name):
    with lock:
        seen[name] += 1
def stream(seed):
    dice = random.Random(seed)
    data = dice.randbytes(1 << 20).replace(b"l", b"m")
    one = socket.create_connection((address, port), timeout=60)
    while going:
        length = dice.randint(1, 200_000)
        start = dice.randint(0, len(data) - length)
        piece = data[start:start + length]
        sender = threading.Thread(target=send, args=(one, piece))
        sender.start()
        got = hashlib.sha256()
        left = length
        try:
            while left:
                part = one.recv(min(left, 1 << 16))
                if not part:
                    raise ConnectionResetError
                got.update(part)
                left -= len(part)
        except ConnectionResetError:
            add("resets")
            one.close()
            one = socket.create_connection((address, port), timeout=60)
        else:
            add("rounds" if got.digest() == hashlib.sha256(piece).digest() else "wrong")
        sender.join()
    one.close()
def send(one, piece):
    try:
        one.sendall(piece)
    except OSError:
        pass
threads = [threading.Thread(target=stream, args=(seed,)) for seed in range(count)]
for thread in threads:
    thread.start()
print("ready", flush=True)
sys.stdin.read()
going = False
for thread in threads:
    thread.join()
print(json.dumps(seen))
"""


class Streams:
    """Streams of a kernel client that echo without end; `seen` says how they fared."""

    def __init__(self, client: Client, count: int) -> None:
        words = ["python3", "-c", STREAMS, str(count), OURS, str(PORT)]
        self._process = subprocess.Popen(
            [*client.prefix, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        assert self._process.stdout.readline() == "ready\n"
        self.seen: dict[str, int] = {}

    def end(self) -> None:
        """After the round that each stream is in."""
        said, _ = self._process.communicate("", timeout=90)
        self.seen = json.loads(said)

    def kill(self) -> None:
        """At once."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@contextmanager
def streams(client: Client, count: int) -> Iterator[Streams]:
    """Streams that are gone afterwards."""
    made = Streams(client, count)
    try:
        yield made
    finally:
        made.kill()


def layout(actor: str, stall: int = 200) -> Layout:
    """One group over the interface, its actors in tests/tools."""
    text = toml(actor=actor).replace("milliseconds = 200", f"milliseconds = {stall}")
    return Layout.model_validate(tomllib.loads(text)).located(TOOLS, "layout.toml")


def counted(runtime: Runtime) -> list[FrameCount]:
    """Where the frames of each queue are."""
    return [audit(*queue) for queue in runtime.held_queues("web")]


async def whole(runtime: Runtime) -> None:
    """Until every frame is in one place: none lost, none twice. A look while one moves may see otherwise."""
    await until(lambda: all(each.lost == each.twice == 0 for each in counted(runtime)))


def caught(events: list[Event]) -> int:
    """How many workers died within a connection's handler."""
    return sum(event.kind == "died" and bool(event.fields["record"]) for event in events)


def test_a_hundred_kills_under_load(client: Client) -> None:
    """kill -9 of the worker a hundred times while kernel clients transfer: same sockets, same connections, every piece has
    its SHA-256, no frame is leaked; a connection is reset for each worker that died in its handler, and no other."""
    events: list[Event] = []
    dice = random.Random(3)

    async def scenario() -> None:
        runtime = Runtime(layout("survivors:Echo"))
        runtime.listen(events.append)
        async with runtime:
            queues = runtime.held_queues("web")
            with streams(client, 4) as running:
                for deaths in range(1, KILLS + 1):
                    await until(lambda: kill_worker(runtime))
                    await replaced(runtime, deaths)
                    await asyncio.sleep(dice.uniform(0, 0.02))
                await asyncio.to_thread(running.end)
            assert running.seen["wrong"] == 0
            assert running.seen["rounds"] > 10
            assert running.seen["resets"] == caught(events), running.seen
            assert runtime.held_queues("web") == queues
            await asyncio.wait_for(whole(runtime), 30)
        assert runtime.counters(0)["adoptions"] == KILLS

    asyncio.run(scenario())


@pytest.mark.parametrize("how", ["stall", "segfault"])
def test_handler_that_ends_its_worker_costs_its_connection_only(client: Client, how: str) -> None:
    """A handler that loops for ever is found by the CPU time it burns, one that crashes by its death: each time its own
    connection is reset, the other connections' transfers complete with the right hashes, and no frame is leaked."""
    events: list[Event] = []

    async def scenario() -> None:
        runtime = Runtime(layout("survivors:Moody", 200 if how == "stall" else 60_000))
        runtime.listen(events.append)
        async with runtime:
            queues = runtime.held_queues("web")
            with streams(client, 3) as running:
                for deaths in range(1, 4):
                    await until(lambda: runtime.workers[0].pid)
                    evil = await evil_client(client)
                    if how == "segfault":
                        await loops(runtime)
                        assert kill_worker(runtime, signal.SIGSEGV)
                    await replaced(runtime, deaths)
                    assert await evil.wait() == 0
                await asyncio.to_thread(running.end)
            assert running.seen["wrong"] == running.seen["resets"] == 0, running.seen
            assert running.seen["rounds"] >= 3
            assert caught(events) == 3
            assert runtime.held_queues("web") == queues
            await asyncio.wait_for(whole(runtime), 30)
        assert sum(event.kind == "stalled" for event in events) == (3 if how == "stall" else 0)

    asyncio.run(scenario())


async def loops(runtime: Runtime) -> None:
    """Until the worker has burnt some time without a turn: its handler doesn't return."""
    watch, seen = StallWatch(30), CoreState(runtime._held.cores[0].order.arena)
    watch.start(runtime.workers[0].pid)
    await until(lambda: watch.look(seen.heartbeat))
    seen.close()


EVIL = f"""
import socket
one = socket.create_connection(("{OURS}", {PORT}), timeout=60)
one.sendall(b"l")
try:
    raise SystemExit(f"answered {{one.recv(9)!r}}")
except ConnectionResetError:
    pass
"""


async def evil_client(client: Client) -> asyncio.subprocess.Process:
    """A connection whose handler never returns; it ends with 0 when it is reset."""
    words = [*client.prefix, "python3", "-c", EVIL]
    return await asyncio.create_subprocess_exec(*words)


def in_background(work: Callable[[], str]) -> tuple[threading.Thread, list[str]]:
    """A thread at work, and what it returns."""
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(work()))
    thread.start()
    return thread, said


@contextmanager
def bereaved(running: Command) -> Iterator[int]:
    """kill -9 of the controller; the launcher, which serves on, and is gone afterwards."""
    launcher = running.launcher
    running.process.kill()
    running.process.wait()
    try:
        assert eventually(lambda: "controller_lost" in running.errors), running.errors
        yield launcher
    finally:
        with suppress(ProcessLookupError):
            os.kill(launcher, signal.SIGKILL)
        assert eventually(lambda: not attached())


def test_controller_killed_leaves_nothing(client: Client, tmp_path: Path) -> None:
    """With on_controller_loss = "stop", the default, kill -9 of the controller under load leaves within a second no XDP
    program, no process and no memory, and the port is Linux's to use."""
    with serving(tmp_path, toml()) as running, streams(client, 2):
        running.settled()
        everybody, memories = running.everybody(), running.memories()
        assert attached()
        assert not is_free()
        running.process.kill()
        assert_gone(everybody, memories, PORT, str(running.pid))
        assert eventually(lambda: not attached(), 1)
        assert eventually(is_free, 1)


def test_orphan_serves_on(client: Client, tmp_path: Path) -> None:
    """With "serve" a transfer under way completes after kill -9 of the controller, and after one of a worker; new ones
    are taken; the port stays ours. SIGTERM to the launcher ends it all and gives the port back."""
    with serving(tmp_path, toml().replace("[supervision]", SERVE)) as running:
        running.settled()
        everybody, memories = running.everybody(), running.memories()
        thread, said = in_background(lambda: echo(client, 30_000_000))
        with bereaved(running) as launcher:
            thread.join()
            assert said == ["same\n"]
            assert attached()
            assert not is_free()
            before = children(launcher)
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            assert eventually(lambda: len(children(launcher) - before) == 2)
            assert echo(client, 3_000_000) == "same\n"
            everybody |= children(launcher)
            os.kill(launcher, signal.SIGTERM)
            assert_gone(everybody, memories, PORT, str(launcher), within=10)
            assert not attached()
            assert is_free()


def test_controller_and_launcher_killed_together(client: Client, tmp_path: Path) -> None:
    """Both at once, with "serve": nobody is left to serve, so nothing is left."""
    with serving(tmp_path, toml().replace("[supervision]", SERVE)) as running:
        running.settled()
        everybody, memories = running.everybody(), running.memories()
        os.kill(running.launcher, signal.SIGKILL)
        running.process.kill()
        assert_gone(everybody, memories, PORT, str(running.pid))
        assert eventually(lambda: not attached(), 1)


def test_worker_and_launcher_killed_together(client: Client, tmp_path: Path) -> None:
    """The controller starts another launcher, whose worker adopts the queues: the transfer goes on."""
    with serving(tmp_path, toml()) as running:
        worker = running.worker()
        thread, said = in_background(lambda: echo(client, 30_000_000))
        os.kill(running.launcher, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
        running.seen("worker_replaced")
        thread.join()
        assert said == ["same\n"]


ASK = f"""
import socket
old = socket.create_connection(("{OURS}", {PORT}), timeout=30)
old.sendall(b"x")
assert old.recv(1) == b"x"
print("open", flush=True)
input()
try:
    old.sendall(b"y")
    print("old", old.recv(1))
except ConnectionResetError:
    print("reset", flush=True)
try:
    socket.create_connection(("{OURS}", {PORT}), timeout=30)
except ConnectionRefusedError:
    print("refused", flush=True)
"""


def kill_until_quarantined(running: Command) -> None:
    """kill -9 of each worker of core 0 that is announced."""
    dead: set[int] = set()
    while not any(event["event"] == "quarantined" for event in running.events):
        alive = [
            event["pid"]
            for event in running.events
            if event["event"] in ("started", "worker_replaced") and event["core"] == 0
        ]
        if alive[-1] not in dead:
            dead.add(alive[-1])
            os.kill(alive[-1], signal.SIGKILL)
        assert is_alive(running.pid)
        time.sleep(0.002)


def test_quarantined_group_gives_its_interface_back(
    client: Client, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """A group over AF_XDP whose workers die too often leaves its interface to Linux, which resets old connections and
    refuses new ones; a group over Linux's sockets serves on."""
    taken = tomllib.loads(toml())["group"]["web"]["cpus"]
    other = [cpu for cpu in sorted(os.sched_getaffinity(0)) if cpu not in taken][:1]
    edge = f"""
[nic.back]
driver = "kernel"
bind = "127.0.0.1"
[group.edge]
cpus = {other}
nic = "back"
[[group.edge.listen]]
port = "tcp:{(port := free_port())}"
actor = "echo:Echo"
"""
    text = toml(cpus=str(taken[0])).replace("restarts = 100000", "restarts = 2") + edge
    with serving(tmp_path, text) as running:
        words = [*client.prefix, "python3", "-c", ASK]
        asking = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert asking.stdin
        assert asking.stdout
        assert asking.stdout.readline() == "open\n"
        kill_until_quarantined(running)
        assert eventually(lambda: not attached())
        assert eventually(is_free)
        said, _ = asking.communicate("\n", timeout=60)
        assert said == "reset\nrefused\n"
        with socket.create_connection(("127.0.0.1", port), timeout=20) as stream:
            stream.sendall(b"still")
            assert stream.recv(5) == b"still"
        assert running.end() == 0
