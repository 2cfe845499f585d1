"""The Linux calls of the processes."""

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitplane.runtime import system


def python(script: str) -> str:
    """What a fresh interpreter prints for `script`, with `system` and `os` imported."""
    prelude = "import os, signal, sys, time\nfrom splitplane.runtime import system\n"
    return subprocess.run(
        [sys.executable, "-c", prelude + script],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout


@given(st.sets(st.integers(0, 300)))
def test_cpus_are_shown_as_linux_writes_them(cpus: set[int]) -> None:
    """Reading the text back as ranges gives the set again, and no range could be joined to the next."""
    text = system.show_cpus(cpus)
    read: list[int] = []
    ends: list[tuple[int, int]] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        ends.append((int(first), int(last or first)))
        read += range(ends[-1][0], ends[-1][1] + 1)
    assert set(read) == cpus
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(ends))


def test_pinned_process_is_on_one_cpu_seen_from_outside() -> None:
    """After pin the scheduler's mask of the process, as anybody reads it, is that CPU alone."""
    cpu = max(os.sched_getaffinity(0))
    out = python(f"system.pin({cpu}); print(open('/proc/self/status').read())")
    assert f"Cpus_allowed_list:\t{cpu}\n" in out


def test_pin_to_a_missing_cpu_names_what_there_is() -> None:
    """A CPU that isn't there is refused with its number and the CPUs that are."""
    with pytest.raises(OSError, match=r"CPU 4000 can't be had .* may use \d"):
        system.pin(4000)


def test_dropped_privileges_are_gone_for_good() -> None:
    """Every capability set is empty and no_new_privs is set, so that no program it starts regains them. (Only root may
    empty the bounding set; nobody else has use of it then.)"""
    out = python(
        "assert system.drop_privileges()\n"
        "print(open('/proc/self/status').read())\n"
        "sys.stdout.flush()\n"
        "os.execv('/bin/grep', ['grep', 'Cap', '/proc/self/status'])"
    )
    lines = [line.split(":\t") for line in out.splitlines() if line.startswith("Cap")]
    assert {name for name, _ in lines} >= {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}
    mine = {name: int(value, 16) for name, value in lines if name != "CapBnd" or os.geteuid() == 0}
    assert set(mine.values()) == {0}, mine
    assert "NoNewPrivs:\t1" in out


def test_child_dies_with_its_parent() -> None:
    """die_with: when the parent is killed, the kernel kills the child, even a stopped one."""
    out = python(
        "r, w = os.pipe()\n"
        "middle = os.fork()\n"
        "if middle == 0:\n"
        "    parent = os.getpid()\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        system.die_with(parent)\n"
        "        os.write(w, b'%d ' % os.getpid())\n"
        "        os.kill(os.getpid(), signal.SIGSTOP)\n"
        "        time.sleep(60)\n"
        "    time.sleep(60)\n"
        "child = int(os.read(r, 32))\n"
        "held = os.pidfd_open(child)\n"
        "while system.process_status(child).state != 'T':\n"
        "    time.sleep(0.001)\n"
        "os.kill(middle, signal.SIGKILL)\n"
        "import select\n"
        "print(select.select([held], [], [], 20)[0] == [held])\n"
    )
    assert out == "True\n"


def test_child_of_a_dead_parent_ends_at_once() -> None:
    """die_with sees that the parent went before it was called: there is no window in which a child is left."""
    out = python(
        "r, w = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    system.die_with(os.getppid() + 1)\n"
        "    os.write(w, b'alive')\n"
        "    os._exit(0)\n"
        "os.close(w)\n"
        "print(os.read(r, 9))\n"
    )
    assert out == "b''\n"


def test_closed_are_all_but_the_kept() -> None:
    """close_all_but leaves standard streams and the kept numbers, and nothing else."""
    out = python(
        "kept = [os.dup2(0, 40), os.dup2(0, 700)]\n"
        "[os.dup(0) for _ in range(50)]\n"
        "system.close_all_but(kept)\n"
        "print(sorted(system.open_descriptors()))\n"
    )
    assert out == "[0, 1, 2, 40, 700]\n"


def test_cpu_time_runs_only_while_the_process_does() -> None:
    """Another process's CPU clock moves when it computes and stands while it sleeps or is gone."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        while system.cpu_time(busy.pid) < 20_000_000:
            time.sleep(0.01)
        busy.send_signal(signal.SIGSTOP)
        while (status := system.process_status(busy.pid)) is None or status.state != "T":
            time.sleep(0.001)
        before = system.cpu_time(busy.pid)
        time.sleep(0.05)
        assert system.cpu_time(busy.pid) == before
    finally:
        busy.kill()
        busy.wait()
    assert system.cpu_time(busy.pid) == 0
    assert system.process_status(busy.pid) is None


def test_exit_is_said_in_words() -> None:
    """A wait status names the signal or the exit code."""
    assert system.describe_exit(11) == "killed by SIGSEGV"
    assert system.describe_exit(3 << 8) == "exit code 3"
