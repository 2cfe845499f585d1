"""`on_controller_loss = "serve"`: the launcher and its workers outlive a killed controller, until SIGTERM."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from processes import (
    TOOLS,
    Command,
    assert_gone,
    children,
    command,
    eventually,
    is_alive,
    toml,
)
from splitplane.runtime.attached import attach
from splitplane.runtime.claim import holder_of
from splitplane.runtime.registry import PREFIX

RING = 64
"""Cells of the rings to and from the control plane: the least there may be."""


def served(folder: Path, port: int, *, more: str = "", actor: str = "survivors:Echo") -> Path:
    """A layout's file whose cores outlive the controller."""
    with suppress(FileExistsError):
        (folder / "survivors.py").symlink_to(TOOLS / "survivors.py")
    text = toml(port, actor=actor, more=more)
    path = folder / f"{port}.toml"
    path.write_text(text.replace("[supervision]", '[supervision]\non_controller_loss = "serve"'))
    return path


@contextmanager
def orphan_of(run: Command) -> Iterator[int]:
    """kill -9 of the controller; the launcher, which serves on and is killed at the end."""
    launcher = run.launcher
    run.process.kill()
    run.process.wait()
    try:
        assert eventually(lambda: "controller_lost" in run.errors), run.errors
        yield launcher
    finally:
        with suppress(ProcessLookupError):
            os.kill(launcher, signal.SIGKILL)


@contextmanager
def client(port: int) -> Iterator[Callable[[bytes], bytes]]:
    """A connection: sends and takes as many bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as stream:

        def ask(data: bytes) -> bytes:
            stream.sendall(data)
            return stream.recv(len(data), socket.MSG_WAITALL)

        yield ask


def asked(path: Path, word: str) -> tuple[int, str]:
    """Exit code of `splitplane run` or `check` on that file, and what it says."""
    words = [sys.executable, "-m", "splitplane", word, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_orphan_serves_until_it_is_told_to_end(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """After kill -9 of the controller old connections go on, new ones are taken, a killed worker is replaced; another
    runtime on its CPU is refused with the launcher's pid and the command that ends it, and that command ends it all."""
    port = free_port()
    path = served(tmp_path, port)
    with command(path) as run:
        cpu = run.seen("started")[0]["cpu"]
        run.seen("running")
        everybody, memories = run.settled() | run.everybody(), run.memories()
        entry = run.entry()
        with client(port) as old, orphan_of(run) as launcher:
            assert old(b"still") == b"still"
            with client(port) as new:
                assert new(b"new") == b"new"
            before = children(launcher)
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            assert eventually(lambda: len(children(launcher) - before) == 2)
            with client(port) as new:
                assert new(b"replaced") == b"replaced"
            assert eventually(lambda: "worker_replaced" in run.errors), run.errors
            everybody |= children(launcher)
            assert holder_of(f"cpu/{cpu}") == launcher
            for word in ("run", "check"):
                code, said = asked(path, word)
                assert code == 1, said
                name = f"'tested' (pid {launcher}), whose controller was killed"
                assert f"CPU {cpu} is held by splitplane runtime {name}" in said
                assert f"`kill {launcher}` ends it" in said
            assert f"kill {launcher}" in run.errors
            assert entry.exists()
            os.kill(launcher, signal.SIGTERM)
            assert_gone(everybody, memories, port, str(launcher), within=5)
            assert eventually(lambda: not entry.exists())


def test_an_orphan_is_seen(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """`stats`, `connections` and `attach` look into it as into any runtime, and say what it is: also its next worker."""
    port = free_port()

    def said(*words: str) -> str:
        command = [sys.executable, "-m", "splitplane", *words]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=True
        ).stdout

    with command(served(tmp_path, port)) as run:
        run.seen("running")
        run.settled()
        name = run.entry().name.removeprefix(PREFIX)
        with client(port) as old, orphan_of(run) as launcher, attach(name) as it:
            assert old(b"still") == b"still"
            head = (
                f"CONTROLLER DEAD: launcher {launcher} serves on alone, `kill {launcher}` ends it"
            )
            assert head in said("stats", name)
            assert head in said("top", name, "--once")
            assert (it.orphaned, it.alive) == (True, True)
            worker = it.worker(0)
            assert worker in children(launcher)
            os.kill(worker, signal.SIGKILL)
            assert eventually(lambda: it.worker(0) != worker and it.worker(0) in children(launcher))
            with client(port) as new:
                assert new(b"new") == b"new"
                rows = said("connections", name, "--json").splitlines()
                assert [json.loads(row)["local"] for row in rows] == [f"127.0.0.1:{port}"]
                assert it.live(0) == 1
            found = json.loads(said("stats", name, "--json"))
            assert (found["alive"], found["orphaned"]) == (True, True)
            assert found["cores"][0]["worker"] == it.worker(0)
            os.kill(launcher, signal.SIGKILL)
            assert eventually(lambda: not it.alive)
            assert not it.orphaned


def test_second_signal_to_an_orphan_does_not_wait(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """SIGTERM lets a connection that has bytes under way finish until the layout's deadline; a second one does not."""
    port = free_port()
    path = served(tmp_path, port)
    path.write_text(path.read_text().replace("drain_seconds = 1.0", "drain_seconds = 1000.0"))
    with command(path) as run:
        run.seen("running")
        with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
            one.sendall(b"x" * 100)
            assert one.recv(1)
            with orphan_of(run) as launcher:
                os.kill(launcher, signal.SIGTERM)
                assert eventually(lambda: "stopping" in run.errors)
                os.kill(launcher, signal.SIGTERM)
                assert eventually(lambda: is_gone(launcher))


def test_orphan_has_no_more_rights_than_its_runtime_had(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """Launcher, workers and standbys can gain no privilege; the launcher keeps the one to lock memory, if it had that,
    and the workers none, before the controller's death and after."""
    port = free_port()
    with command(served(tmp_path, port)) as run:
        run.seen("running")
        run.settled()
        with orphan_of(run) as launcher:
            before = children(launcher)
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            assert eventually(lambda: len(children(launcher) - before) == 2)
            with client(port) as ask:
                assert ask(b"x") == b"x"
            assert rights(launcher) <= 1 << 14
            assert eventually(lambda: all(rights(pid) == 0 for pid in children(launcher)))


def rights(pid: int) -> int:
    """The capabilities of a process that can get no others."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert fields["NoNewPrivs"] == "1"
    assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16)
    return int(fields["CapPrm"], 16)


def test_messages_to_nobody_do_not_wedge_a_core(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """With nobody to read them, tells go until their ring is full and say False from then on; asks that the dead
    control plane left in the ring, whose replies find no room, don't stop the core either."""
    port = free_port()
    more = f'reports_to = "asker"\n[control.asker]\nactor = "survivors:Asker"\n[rings]\ncontrol = {RING}\n'
    with command(served(tmp_path, port, more=more, actor="survivors:Teller")) as run:
        run.seen("running")
        with client(port) as ask, orphan_of(run):
            told = b"".join(ask(b"t") for _ in range(4 * RING))
            assert told == b"1" * told.count(b"1") + b"0" * told.count(b"0")
            assert told.count(b"1") <= RING
            with client(port) as new:
                assert new(b"t") == b"0"


def test_controller_killed_while_it_starts_serves_whole_or_not_at_all(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """kill -9 of the controller at any moment of the start: either nothing is left, or every core had run and goes on
    serving, with the launcher answering for the claims."""
    dice = random.Random(31)
    for _ in range(4):
        port = free_port()
        with command(served(tmp_path, port)) as run:
            assert eventually(run.launchers)
            launcher, entry = run.launcher, run.entry()
            time.sleep(dice.uniform(0, 1.5))
            run.process.kill()
            run.process.wait()
            try:
                if serves_on(run, launcher):
                    with client(port) as ask:
                        assert ask(b"x") == b"x"
            finally:
                with suppress(ProcessLookupError):
                    os.kill(launcher, signal.SIGKILL)
                eventually(partial(is_gone, launcher))
            assert eventually(lambda: not entry.exists())  # noqa: B023 - called at once


def is_gone(pid: int) -> bool:
    """Whether this process has ended."""
    return not is_alive(pid)


def serves_on(run: Command, launcher: int) -> bool:
    """Waits until the launcher has decided; whether it serves on."""
    assert eventually(lambda: is_gone(launcher) or "controller_lost" in run.errors)
    return not is_gone(launcher)


@pytest.mark.parametrize("second", ["launcher", "worker"])
def test_two_killed_together(tmp_path: Path, free_port: Callable[[], int], second: str) -> None:
    """kill -9 of controller and launcher at once leaves nothing; of controller and worker, a launcher that serves."""
    port = free_port()
    with command(served(tmp_path, port)) as run:
        run.seen("running")
        run.settled()
        everybody, memories = run.everybody(), run.memories()
        launcher, entry = run.launcher, run.entry()
        victims = {"launcher": launcher, "worker": run.worker()}
        run.process.kill()
        os.kill(victims[second], signal.SIGKILL)
        run.process.wait()
        if second == "launcher":
            assert_gone(everybody, memories, port, str(run.pid))
            assert eventually(lambda: not entry.exists())
            return
        try:
            with client(port) as ask:
                assert ask(b"x") == b"x"
            assert entry.exists()
        finally:
            os.kill(launcher, signal.SIGKILL)
        assert eventually(lambda: not entry.exists())


EMBEDDED = """
import asyncio, sys, splitplane
async def main():
    runtime = splitplane.start(sys.argv[1])
    await runtime.__aenter__()
    print(runtime.launcher_pid, flush=True)
    return runtime
runtime = asyncio.run(main())
runtime._controller._lines.close()
print("closed", flush=True)
sys.stdin.read()
"""


def test_runtime_dropped_by_a_living_program_is_no_orphan(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """A program that loses its runtime without dying (its line closes) ends the launcher, in this mode too: nobody could
    ever start it again beside a program that holds its claims."""
    path = served(tmp_path, free_port())
    program = subprocess.Popen(
        [sys.executable, "-c", EMBEDDED, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdin
    assert program.stdout
    try:
        launcher = int(program.stdout.readline())
        assert program.stdout.readline() == "closed\n"
        assert eventually(lambda: not is_alive(launcher))
    finally:
        program.stdin.close()
        program.wait(20)
        program.stdout.close()
