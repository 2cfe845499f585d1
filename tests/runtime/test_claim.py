"""Claims of CPUs and ports."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from splitplane.runtime.claim import Claims, describe_holder, holder_of
from splitplane.runtime.errors import MachineError

HOLDER = """
import sys, time
from splitplane.runtime.claim import Claims
claims = Claims("other")
claims.cpu(900)
claims.port("127.0.0.1", int(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@contextmanager
def other_runtime(port: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(port)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_second_claim_names_the_runtime_that_holds_it() -> None:
    """A CPU and a port that another runtime holds are refused with that runtime's name and pid."""
    port = free_port()
    with other_runtime(port) as other, Claims("mine") as claims:
        with pytest.raises(
            MachineError,
            match=rf"CPU 900 is held by splitplane runtime 'other' \(pid {other.pid}\)",
        ):
            claims.cpu(900, "group.web.cpus", (900,), "layout.toml")
        with pytest.raises(
            MachineError,
            match=rf"tcp:{port} is held by splitplane runtime 'other' \(pid {other.pid}\)",
        ):
            claims.port("127.0.0.1", port)


ASKER = """
from splitplane.runtime.claim import Claims
Claims("asker").cpu(901)
"""


def test_several_runtimes_of_one_process_are_told_apart() -> None:
    """Who is refused by another runtime of its own process reads that one's name, never its own; from outside it may be
    any of that process's, and all are named."""
    with Claims("left") as left, Claims("right") as right:
        left.cpu(901)
        right.cpu(902)
        for asking, cpu, holder in ((right, 901, "left"), (left, 902, "right")):
            with pytest.raises(MachineError) as caught:
                asking.cpu(cpu)
            assert f"held by splitplane runtime '{holder}' (pid {os.getpid()}): give" in str(
                caught.value
            )
        told = subprocess.run(
            [sys.executable, "-c", ASKER], capture_output=True, text=True, check=False
        ).stderr
        assert (
            f"CPU 901 is held by splitplane runtime 'left' or 'right' (pid {os.getpid()})" in told
        )


def test_claim_vanishes_with_a_killed_holder() -> None:
    """After kill -9 of the holder nothing is left that would refuse the next one."""
    port = free_port()
    with other_runtime(port) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        with Claims("mine") as claims:
            claims.cpu(900)
            claims.port("127.0.0.1", port)
            assert holder_of("cpu/900") == os.getpid()
    assert holder_of("cpu/900") is None


def test_inherited_claim_outlives_its_controller() -> None:
    """As long as a process that inherited the claim runs, the CPU counts as held, though its controller is dead."""
    script = (
        "import os, time\n"
        "from splitplane.runtime.claim import Claims\n"
        "claims = Claims('gone')\n"
        "claims.cpu(901)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    time.sleep(60)\n"
        "print(pid, flush=True)\n"
        "os._exit(0)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    heir = int(run.stdout.readline())
    run.wait()
    run.stdout.close()
    try:
        with Claims("mine") as claims, pytest.raises(MachineError, match=r"CPU 901 is held by"):
            claims.cpu(901)
    finally:
        os.kill(heir, signal.SIGKILL)
    with Claims("mine") as claims:
        claims.cpu(901)  # waits until the heir is gone


def test_port_of_any_process_is_refused_by_name() -> None:
    """A port that a program which isn't splitplane listens at is refused, naming its process and pid."""
    with socket.socket() as listener, Claims("mine") as claims:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(
            MachineError, match=rf"tcp:{port} is held by process '.+' \(pid {os.getpid()}\)"
        ):
            claims.port("127.0.0.1", port)


def test_port_in_time_wait_is_free() -> None:
    """Connections of an earlier run that are still in TIME-WAIT don't keep a runtime from starting again."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            server, _ = listener.accept()
            server.close()
            assert client.recv(1) == b""
    with Claims("mine") as claims:
        claims.port("127.0.0.1", port)


def test_missing_address_is_named() -> None:
    """An address this machine hasn't got is refused with that address."""
    with Claims("mine") as claims, pytest.raises(MachineError, match=r"no address 203\.0\.113\.77"):
        claims.port("203.0.113.77", free_port())


def test_refusal_is_quick_when_the_holder_lives() -> None:
    """A living holder is reported at once: only a dead one's leavings are waited for."""
    port = free_port()
    with other_runtime(port), Claims("mine") as claims:
        started = time.monotonic()
        for _ in range(200):
            with pytest.raises(MachineError, match="'other'"):
                claims.cpu(900)
        assert time.monotonic() - started < 60
    assert describe_holder(None) == "a runtime that has just ended"
