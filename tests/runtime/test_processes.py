"""Who dies with whom: after any kill nothing of a runtime is left within a second."""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from processes import (
    TOOLS,
    Echoes,
    assert_gone,
    children,
    command,
    eventually,
    layout,
    toml,
    traced,
)
from splitplane.controlplane.figures import Figures
from splitplane.controlplane.stats import stats_text
from splitplane.dataplane.peer import Peer
from splitplane.nic.memory import Wire
from splitplane.runtime.attached import attach
from splitplane.runtime.runtime import Runtime
from splitplane.runtime.system import process_status


@contextmanager
def load(port: int) -> Iterator[None]:
    """Three clients that never stop asking."""
    going = True

    def ask() -> None:
        while going:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as one:
                one.settimeout(1)
                while going:
                    one.sendall(b"x" * random.randint(1, 9000))
                    if not one.recv(65536):
                        break

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        going = False
        for thread in threads:
            thread.join()


@pytest.fixture
def path(tmp_path: Path, free_port: Callable[[], int]) -> Path:
    """A layout's file, its actors beside it."""
    (tmp_path / "survivors.py").symlink_to(TOOLS / "survivors.py")
    made = tmp_path / f"{free_port()}.toml"
    made.write_text(toml(int(made.stem)))
    return made


@pytest.mark.parametrize("stopped", [None, "launcher", "workers", "killed"])
def test_killed_controller_leaves_nothing(path: Path, stopped: str | None) -> None:
    """kill -9 of the controller under load, also with a launcher or workers that SIGSTOP has frozen, also of the launcher
    right after: launcher, workers and standbys end, memory and port come back, its entry in the registry goes."""
    port = int(path.stem)
    with command(path) as run, load(port):
        run.seen("running")
        run.settled()
        everybody, memories, entry = run.everybody(), run.memories(), run.entry()
        launcher = run.launcher
        assert len(everybody) == 4
        assert len(memories) == 2
        frozen = {"launcher": {launcher}, "workers": children(launcher)}
        for pid in frozen.get(stopped or "", set()):
            os.kill(pid, signal.SIGSTOP)
        run.process.kill()
        if stopped == "killed":
            with suppress(ProcessLookupError):
                os.kill(launcher, signal.SIGKILL)
        assert_gone(everybody, memories, port, str(run.pid))
        assert eventually(lambda: not entry.exists())


def test_controller_killed_while_it_starts_leaves_nothing(path: Path) -> None:
    """kill -9 of the controller at any moment of the start, imports and compilation included: nothing is left."""
    port = int(path.stem)
    dice = random.Random(11)
    for _ in range(4):
        with command(path) as run:
            assert eventually(run.launchers)
            entry = run.entry()
            time.sleep(dice.uniform(0, 1))
            everybody = run.everybody()
            run.process.kill()
            assert_gone(everybody, set(), port, str(run.pid))
            assert eventually(lambda: not entry.exists())  # noqa: B023 - called at once


def test_killed_launcher_and_worker_leave_nothing_once_the_runtime_ends(path: Path) -> None:
    """kill -9 of worker, then launcher, under load: both are replaced and the service answers; after SIGTERM nothing of
    any of them is left and the exit code is 0."""
    port = int(path.stem)
    with command(path) as run:
        run.seen("running")
        everybody, memories = run.everybody(), run.memories()
        with load(port):
            os.kill(run.worker(), signal.SIGKILL)
            run.seen("worker_replaced")
            everybody |= run.everybody()
            os.kill(run.launcher, signal.SIGKILL)
            run.seen("launcher_died")
            run.seen("worker_replaced", 2)
            everybody |= run.everybody()
            with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
                one.sendall(b"hello")
                assert one.recv(9) == b"hello"
        assert run.end() == 0
        assert_gone(everybody, memories, port, str(run.pid))


def test_graceful_stop_finishes_what_is_open_and_counts(path: Path) -> None:
    """SIGTERM closes the listener at once, lets an open connection end by itself until the deadline, prints each core's
    counters and exits with 0."""
    port = int(path.stem)
    with command(path) as run:
        run.seen("running")
        with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
            one.sendall(b"before")
            assert one.recv(9) == b"before"
            run.process.send_signal(signal.SIGTERM)
            run.seen("stopping")
            assert one.recv(9) == b""  # closed or, past the deadline, reset
        assert run.process.wait(20) == 0
        counters = run.seen("counters")[0]
        assert counters["opened"] == 1
        assert counters["received_bytes"] == 6
        assert run.seen("stopped")


def test_second_signal_stops_at_once(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """A connection that stays open keeps a stop waiting up to the layout's deadline; a second Ctrl-C does not wait."""
    (tmp_path / "survivors.py").symlink_to(TOOLS / "survivors.py")
    port = free_port()
    path = tmp_path / "layout.toml"
    path.write_text(toml(port).replace("drain_seconds = 1.0", "drain_seconds = 1000.0"))
    with command(path) as run:
        run.seen("running")
        with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
            one.sendall(b"x" * 100)
            assert one.recv(1)
            run.process.send_signal(signal.SIGINT)
            run.seen("stopping")
            run.process.send_signal(signal.SIGINT)
            run.seen("stopping_at_once")
            assert run.process.wait(20) == 0


EMBEDDED = """
import asyncio, sys
import splitplane

async def main():
    async with splitplane.start(sys.argv[1]) as runtime:
        print(runtime.launcher_pid, runtime.workers[0].pid, flush=True)
        try:
            await runtime.wait()
        finally:
            print("leaving", flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c_in_an_embedding_program(
    tmp_path: Path, free_port: Callable[[], int], signals: int
) -> None:
    """asyncio.run's own Ctrl-C: the first drains the connections, a second doesn't wait for one that stays open; either
    way no process, memory, claim or socket is left."""
    (tmp_path / "survivors.py").symlink_to(TOOLS / "survivors.py")
    port = free_port()
    path = tmp_path / "layout.toml"
    path.write_text(toml(port).replace("drain_seconds = 1.0", "drain_seconds = 1000.0"))
    program = subprocess.Popen(
        [sys.executable, "-c", EMBEDDED, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout
    launcher, worker = map(int, program.stdout.readline().split())
    everybody = {launcher, *children(launcher), worker, program.pid}
    with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
        one.sendall(b"x" * 100)
        assert one.recv(1)
        program.send_signal(signal.SIGINT)
        assert program.stdout.readline() == "leaving\n"
        if signals == 2:
            program.send_signal(signal.SIGINT)
            program.wait(20)
    errors = program.communicate(timeout=20)[1]
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    assert "never retrieved" not in errors
    assert_gone(everybody, set(), port, str(launcher))


def test_ctrl_c_of_a_terminal_reaches_the_controller_alone(path: Path) -> None:
    """The launcher is in a session of its own: a signal to the controller's process group doesn't touch it."""
    with command(path) as run:
        run.seen("running")
        assert os.getsid(run.launcher) == run.launcher
        assert os.getsid(run.pid) != run.launcher


def test_what_ps_and_proc_show(path: Path) -> None:
    """From outside: the worker is named after its runtime and core, has one thread, one allowed CPU, no capability, no
    way to new ones, and no descriptor but its own core's."""
    with command(path) as run:
        started = run.seen("started")[0]
        run.seen("running")
        worker = started["pid"]
        status = Path(f"/proc/{worker}/status").read_text()
        assert f"Cpus_allowed_list:\t{started['cpu']}\n" in status
        assert "Threads:\t1\n" in status
        assert "CapEff:\t0000000000000000\n" in status
        assert "CapPrm:\t0000000000000000\n" in status
        assert "NoNewPrivs:\t1\n" in status
        seen = process_status(worker)
        assert seen is not None
        assert seen.name == "tested:0"
        launcher = process_status(run.launcher)
        assert launcher is not None
        assert launcher.name == "tested:launcher"
        assert launcher.threads == 1
        links = {os.readlink(link) for link in Path(f"/proc/{worker}/fd").iterdir()}
        memories = sorted(link.split()[0] for link in links if "memfd:" in link)
        assert memories == ["/memfd:splitplane-core-0", "/memfd:splitplane-mesh"]


def look_on(name: str, over: threading.Event, looks: list[int]) -> None:
    """What `stats` and `connections` read, again and again."""
    with attach(name) as it:
        while not over.is_set():
            stats_text(Figures.of(it))
            looks.append(len(it.connections("web")))


def test_loop_over_memory_makes_no_system_call(tmp_path: Path) -> None:
    """strace of a worker over a memory wire with idle = "spin" sees no system call, neither while it has nothing to do
    nor while connections open, echo and close; nor while others look at it all the time."""

    async def scenario() -> None:
        text = layout().model_dump()
        text["group"]["web"]["idle"] = "spin"
        spinning = type(layout()).model_validate(text).located(TOOLS, "layout.toml")
        async with Runtime(spinning) as runtime:
            worker = runtime.workers[0].pid
            with Wire(runtime.wire(0), 1) as wire, Peer(wire) as peer:
                peer.start()

                def busy() -> None:
                    echoes = Echoes(peer, 16, random.Random(17))
                    for _ in range(100):
                        echoes.feed()
                    assert echoes.settle()
                    assert echoes.wrong() == []
                    for one in echoes.connections:
                        one.close()
                    assert peer.until(lambda: all(one.closed for one in echoes.connections), 20)

                assert traced(worker, tmp_path / "idle", lambda: time.sleep(0.5)) == []
                assert traced(worker, tmp_path / "busy", busy) == []
                looks, over = [], threading.Event()
                looker = threading.Thread(target=look_on, args=(runtime.seen.name, over, looks))
                looker.start()
                assert eventually(lambda: looks)
                assert traced(worker, tmp_path / "seen", busy) == []
                over.set()
                looker.join()
                assert len(looks) > 1
                assert peer.until(lambda: runtime.counters(0)["closed"] == 32, 20)
            assert runtime.workers[0].pid == worker

    asyncio.run(scenario())
