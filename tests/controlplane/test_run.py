"""`splitplane run`: interpreted in the foreground, and what it prints."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import TOOLS, children, command, eventually, toml

TALKATIVE = """
from splitplane import Connection, ControlActor, DataActor, Message, Sender, View, on
from splitplane.types import u32


class Heard(Message):
    length: u32


class Talkative(DataActor):
    def on_data(self, connection: Connection, data: View) -> int:
        print("handler has", bytes(data).decode(), flush=True)
        if data.startswith(b"break"):
            breakpoint()
        if data.startswith(b"fault"):
            raise ValueError("as asked")
        self.tell(Heard(length=len(data)))
        connection.send(data)
        return len(data)


class Listener(ControlActor):
    @on(Heard)
    async def heard(self, message: Heard, sender: Sender) -> None:
        print("control has", message.length, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path, free_port: Callable[[], int]) -> Path:
    """A layout of an actor that prints and stops in the debugger."""
    (tmp_path / "talkative.py").write_text(TALKATIVE)
    made = tmp_path / f"{free_port()}.toml"
    text = toml(int(made.stem), actor="talkative:Talkative", more='reports_to = "listener"')
    made.write_text(text + '[control.listener]\nactor = "talkative:Listener"\n')
    return made


def interpreted(path: Path) -> subprocess.Popen[str]:
    """`splitplane run --interpret` with its standard streams in our hands."""
    run = subprocess.Popen(
        [sys.executable, "-m", "splitplane", "run", "--interpret", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stderr is not None
    while "running" not in (line := run.stderr.readline()):
        assert line, run.stderr.read()
    return run


def exchange(port: int, data: bytes) -> bytes:
    """What comes back for `data`; b"" when the connection is reset."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
        one.sendall(data)
        try:
            return one.recv(100)
        except ConnectionResetError:
            return b""


def test_interpreted_handlers_print_stop_and_fail_in_the_foreground(path: Path) -> None:
    """With --interpret there is one process; print() and breakpoint() of a handler reach the terminal, a fault costs its
    connection alone and is logged with file and line, the control actor runs too, and Ctrl-C ends it with 0."""
    port = int(path.stem)
    run = interpreted(path)
    assert run.stdin is not None
    assert run.stdout is not None
    try:
        assert children(run.pid) == set()
        assert exchange(port, b"hello") == b"hello"
        assert exchange(port, b"fault") == b""
        with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
            one.sendall(b"break")
            run.stdin.write("p data.startswith(b'br'), len(data)\nc\n")
            run.stdin.flush()
            assert one.recv(100) == b"break"
        run.send_signal(signal.SIGINT)
        said, logged = run.communicate(timeout=30)
    finally:
        run.kill()
        run.wait()
    assert run.returncode == 0, logged
    assert "handler has hello" in said
    assert "control has 5" in said
    assert "(True, 5)" in said
    assert "talkative.py" in logged
    assert "as asked" in logged
    assert "stopped" in logged
    assert "Traceback" not in logged


def test_quitting_the_debugger_ends_the_run(path: Path) -> None:
    """`q` in the debugger ends the whole run, gracefully."""
    run = interpreted(path)
    assert run.stdin is not None
    try:
        with socket.create_connection(("127.0.0.1", int(path.stem)), timeout=20) as one:
            one.sendall(b"break")
            run.stdin.write("q\n")
            run.stdin.flush()
            _, logged = run.communicate(timeout=30)
    finally:
        run.kill()
        run.wait()
    assert run.returncode == 0, logged


def test_endless_handler_is_stopped_by_a_second_interrupt(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """An interpreted handler that never returns: Ctrl-C twice ends the run all the same."""
    shutil.copy(TOOLS / "survivors.py", tmp_path)
    path = tmp_path / f"{free_port()}.toml"
    path.write_text(toml(int(path.stem), actor="survivors:Moody"))
    run = interpreted(path)
    try:
        with socket.create_connection(("127.0.0.1", int(path.stem)), timeout=20) as one:
            one.sendall(b"loop")
            time.sleep(0.3)
            for _ in range(3):
                run.send_signal(signal.SIGINT)
                time.sleep(0.2)
            run.communicate(timeout=30)
    finally:
        run.kill()
        run.wait()
    assert run.returncode is not None


def test_layout_values_are_overridden_and_output_is_json(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """--set reaches every key; with --json standard output holds JSON objects, one a line, and nothing else."""
    shutil.copy(TOOLS / "survivors.py", tmp_path)
    path = tmp_path / "layout.toml"
    path.write_text(toml(1))
    port = free_port()
    with command(
        path, "--set", f'group.web.listen[0].port="tcp:{port}"', "--set", 'name="other"'
    ) as run:
        assert run.seen("started")[0]["ports"] == [f"tcp:{port}"]
        assert run.seen("running")[0]["name"] == "other"
        assert exchange(port, b"hello") == b"hello"
        assert run.end() == 0
        assert run.seen("counters")[0]["received_bytes"] == 5
        assert all(json.dumps(event) for event in run.events)


def test_interrupted_start_ends_quietly(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """Ctrl-C while the launcher still compiles: exit without a traceback, nothing left."""
    shutil.copy(TOOLS / "survivors.py", tmp_path)
    path = tmp_path / "layout.toml"
    path.write_text(toml(free_port()))
    with command(path) as run:
        assert eventually(lambda: children(run.pid))
        time.sleep(0.2)
        assert run.end(signal.SIGINT) == 0
        assert "Traceback" not in run.errors
    assert not os.path.exists(f"/proc/{run.pid}")


def test_closed_standard_streams_do_no_harm(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """Started with standard input, output and error closed, it serves and ends with 0."""
    shutil.copy(TOOLS / "survivors.py", tmp_path)
    port = free_port()
    path = tmp_path / "layout.toml"
    path.write_text(toml(port))
    run = subprocess.Popen(
        [
            "sh",
            "-c",
            'exec "$@" <&- >&- 2>&-',
            "sh",
            sys.executable,
            "-m",
            "splitplane",
            "run",
            str(path),
        ]
    )
    try:

        def serves() -> bool:
            try:
                return exchange(port, b"hello") == b"hello"
            except ConnectionRefusedError:
                return False

        assert eventually(serves, 60)
        run.send_signal(signal.SIGTERM)
        assert run.wait(30) == 0
    finally:
        run.kill()
        run.wait()
