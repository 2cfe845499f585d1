"""Machines that lack something: each works, or says what is missing and what to do."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import TOOLS, Command, command, free_cpus, toml

ROOT = os.geteuid() == 0
# Another user, who may read what root may: the interpreter often lies in somebody's home.
USER = (
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
)
BARE = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


def as_user() -> tuple[str, ...]:
    """What makes a command run without privileges: nothing, where the tests do so anyway."""
    return USER if ROOT else ()


def in_mounts(script: str) -> tuple[str, ...]:
    """What runs a command with mounts of its own, after `script`.

    Nothing, for a user who may have none: that user can neither make hugepages nor write to /proc as it is.
    """
    unshare = ("unshare", "-m") if ROOT else ("unshare", "-rm")
    probe = [*unshare, sys.executable, "-c", "pass"]
    if subprocess.run(probe, stderr=subprocess.DEVNULL, check=False).returncode:
        return ()
    return (*unshare, "sh", "-ec", f'{script}; exec "$@"', "sh")


def serves(run: Command, port: int) -> None:
    """It starts, answers, and stops with exit code 0."""
    run.seen("running")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
        one.sendall(b"here")
        assert one.recv(9) == b"here"
    assert run.end() == 0, run.errors


@pytest.fixture
def path(tmp_path: Path, free_port: Callable[[], int]) -> Path:
    """A layout's file, its actors beside it, for everybody to read."""
    for folder in (tmp_path, *tmp_path.parents[:2]) if ROOT else ():
        folder.chmod(0o755)
    shutil.copy(TOOLS / "survivors.py", tmp_path)
    made = tmp_path / f"{free_port()}.toml"
    made.write_text(toml(int(made.stem)))
    return made


def refused(path: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> str:
    """What a start that is refused says; exit code 1, and no trace."""
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "splitplane", "run", str(path), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    return done.stderr


def test_user_without_privileges(path: Path) -> None:
    """An ordinary user, who can neither lock memory nor raise limits nor make hugepages, is served."""
    with command(path, prefix=(*as_user(), "prlimit", "--memlock=0")) as run:
        serves(run, int(path.stem))


def test_root_of_a_container_without_capabilities(path: Path) -> None:
    """User 0 with every capability taken away, also from the bounding set."""
    with command(path, prefix=BARE if ROOT else ()) as run:
        serves(run, int(path.stem))


def test_privileged_port_is_refused_with_the_remedy(path: Path) -> None:
    """A user without privileges who asks for port 80 is told what lets him."""
    said = refused(path, "--set", 'group.web.listen[0].port="tcp:80"', prefix=as_user())
    assert "tcp:80" in said
    assert "ip_unprivileged_port_start" in said


def test_one_cpu_for_everything(path: Path) -> None:
    """With a single allowed CPU control plane and core share it."""
    (cpu,) = free_cpus()
    with command(
        path, "--set", f"group.web.cpus=[{cpu}]", prefix=("taskset", "-c", str(cpu))
    ) as run:
        serves(run, int(path.stem))


def test_cpu_that_is_not_there_or_not_allowed_is_refused(path: Path) -> None:
    """A CPU this machine hasn't got, and one that the process may not use, are refused with those there are."""
    said = refused(path, "--set", "group.web.cpus=[4000]")
    assert (
        "group.web.cpus = [4000]: this machine has CPUs" in said or "this machine has CPU" in said
    )
    first, *others = sorted(os.sched_getaffinity(0))
    if others:
        said = refused(
            path, "--set", f"group.web.cpus=[{first}]", prefix=("taskset", "-c", str(others[0]))
        )
        assert f"group.web.cpus = [{first}]" in said


def test_machine_without_hugepages(path: Path) -> None:
    """A kernel that has none, or a container that hides them: served on what there is; `require` is refused."""
    hidden = "mount -t tmpfs none /sys/kernel/mm"
    with command(path, prefix=in_mounts(hidden)) as run:
        serves(run, int(path.stem))
    with command(path, "--set", 'machine.hugepages="off"') as run:
        serves(run, int(path.stem))


def test_memory_that_is_not_there_is_refused_with_the_arithmetic(path: Path) -> None:
    """Sixteen million connections with 60 GiB of buffers: refused before anything is taken, with what is wanted and
    what there is."""
    said = refused(
        path, "--set", "group.web.connections=16_000_000", "--set", 'group.web.buffers="64 GiB"'
    )
    assert "MiB wanted" in said
    assert "MiB free: fewer connections" in said


def test_read_only_proc(path: Path) -> None:
    """Where /proc can't be written, as in many containers, it works."""
    script = "mount --bind /proc /proc; mount -o remount,bind,ro /proc"
    with command(path, prefix=in_mounts(script)) as run:
        serves(run, int(path.stem))


def test_few_descriptors_are_warned_of(path: Path) -> None:
    """A limit of 100 descriptors is too few for 1000 connections of driver kernel: served, with a warning that says so."""
    with command(path, prefix=("prlimit", "--nofile=100:100")) as run:
        run.seen("running")
        warned = [event["text"] for event in run.seen("warning")]
        assert any("group.web.connections" in text and "100" in text for text in warned), warned
        serves(run, int(path.stem))


def test_second_runtime_on_port_and_cpu_is_refused_by_name(path: Path) -> None:
    """Two runtimes claim one CPU and one port: the second is refused, both named with their holder."""
    with command(path) as run:
        run.seen("running")
        said = refused(path)
        holder = f"splitplane runtime 'tested' (pid {run.pid})"
        assert said.count(holder) == 2, said
        serves(run, int(path.stem))


def test_port_of_another_program_is_refused_by_name(path: Path) -> None:
    """A port that some other program listens at is refused, with that program's name and pid."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", int(path.stem)))
        listener.listen()
        said = refused(path)
    assert f"port tcp:{path.stem} is held by" in said
    assert f"(pid {os.getpid()})" in said


def test_actor_that_starts_a_thread_when_imported_is_refused(path: Path) -> None:
    """The launcher forks with one thread only: it names the threads and what started them."""
    (path.parent / "threads.py").write_text(
        "import threading, time\n"
        "from survivors import Echo as Echo\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True, name='ticker').start()\n"
    )
    said = refused(path, "--set", 'group.web.listen[0].actor="threads:Echo"')
    assert "ticker" in said
    assert "import" in said


def test_actor_that_cannot_be_compiled_is_refused(path: Path) -> None:
    """What the launcher's compiler says reaches the user as it is: file, line, caret, exit code 1."""
    (path.parent / "wrong.py").write_text(
        "from splitplane import Connection, DataActor, View\n\n\n"
        "class Wrong(DataActor):\n"
        "    def on_data(self, connection: Connection, data: View) -> int:\n"
        "        return len([byte for byte in data])\n"
    )
    said = refused(path, "--set", 'group.web.listen[0].actor="wrong:Wrong"')
    assert "wrong.py:6" in said
    assert "^" in said
