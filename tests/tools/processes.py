"""Runtimes under test: layouts for them, a command in a process of its own, and connections that check every byte."""

import asyncio
import json
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from splitplane.dataplane.peer import Peer, PeerConnection
from splitplane.runtime.claim import holder_of
from splitplane.runtime.controller import LAUNCHER
from splitplane.runtime.layout import Layout
from splitplane.runtime.registry import FOLDER, PREFIX
from splitplane.runtime.runtime import Runtime
from splitplane.runtime.system import process_status

TOOLS = Path(__file__).parent
OURS = "10.0.0.1"


def eventually(true: Callable[[], Any], seconds: float = 20.0) -> bool:
    """Whether `true()` holds before so long has passed."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


async def until(true: Callable[[], Any], poll: Callable[[], object] = lambda: None) -> None:
    """Until `true()` holds, calling `poll` meanwhile; the test's own limit ends what never does."""
    while not true():
        poll()
        await asyncio.sleep(0.0005)


async def replaced(
    runtime: Runtime, deaths: int, poll: Callable[[], object] = lambda: None
) -> None:
    """Until core 0 has lost so many workers and has another."""
    await until(lambda: runtime.workers[0].deaths >= deaths and runtime.workers[0].pid, poll)


def free_cpus(most: int = 1) -> list[int]:
    """CPUs that no runtime on this machine has claimed, `most` of them or all there are; waits for other tests' ones."""
    cpus = sorted(os.sched_getaffinity(0), reverse=True)
    found: list[int] = []

    def look() -> bool:
        found[:] = [cpu for cpu in cpus if holder_of(f"cpu/{cpu}") is None]
        return len(found) >= min(most, len(cpus))

    assert eventually(look, 100), "the CPUs are held by other runtimes"
    return found[:most]


def toml(
    port: int,
    *,
    driver: str = "kernel",
    actor: str = "survivors:Echo",
    more: str = "",
    cores: int = 1,
) -> str:
    """A layout's text: one listener; so many cores, if there are CPUs for them."""
    where = 'bind = "127.0.0.1"' if driver == "kernel" else f'address = "{OURS}/24"'
    return f"""
name = "tested"
[supervision]
restarts = 100000
drain_seconds = 1.0
stall_milliseconds = 200
[nic.front]
driver = "{driver}"
{where}
[group.web]
cpus = {free_cpus(cores)}
nic = "front"
connections = 1000
buffers = "16 MiB"
[[group.web.listen]]
port = "tcp:{port}"
actor = "{actor}"
{more}
"""


def layout(
    port: int = 7,
    *,
    driver: str = "memory",
    actor: str = "survivors:Echo",
    more: str = "",
    cores: int = 1,
) -> Layout:
    """The same as an object; its modules lie here."""
    text = toml(port, driver=driver, actor=actor, more=more, cores=cores)
    return Layout.model_validate(tomllib.loads(text)).located(TOOLS, "layout.toml")


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped doesn't."""
    status = process_status(pid)
    return status is not None and status.state not in "ZX"


def children(pid: int) -> set[int]:
    """The living children of a process."""
    with suppress(OSError):
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return {child for child in map(int, text.split()) if is_alive(child)}
    return set()


def command_line(pid: int) -> list[bytes]:
    """What a process was started with; empty once it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return []


def is_held(memory: tuple[int, int]) -> bool:
    """Whether any process that we may look into has a descriptor of this memory, or has it mapped."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for link in (process / "fd").iterdir():
                with suppress(OSError):
                    about = link.stat()
                    if (about.st_dev, about.st_ino) == memory:
                        return True
        with suppress(OSError):
            if f" {memory[1]} /memfd:splitplane" in (process / "maps").read_text():
                return True
    return False


def is_listening(port: int) -> bool:
    """Whether anybody has a listening socket at the port."""
    wanted = f":{port:04X} 00000000:0000 0A"
    return wanted in Path("/proc/net/tcp").read_text()


def assert_gone(
    everybody: set[int],
    memories: set[tuple[int, int]],
    port: int,
    name: str,
    *,
    within: float = 1,
) -> None:
    """Processes, memory, claims and sockets, all of them, within a second or so many."""
    started = time.monotonic()
    assert eventually(lambda: not any(map(is_alive, everybody)), within)
    assert eventually(lambda: not is_listening(port), 1)
    claims = Path("/proc/net/unix")
    assert eventually(lambda: f"/{name}/" not in claims.read_text(), 1)
    assert not any(map(is_held, memories))
    assert time.monotonic() - started < 3 + within


class Command:
    """`splitplane run --json` in a process of its own: its events as they come."""

    def __init__(self, path: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "splitplane", "run", "--json", str(path), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.events: list[dict[str, Any]] = []
        self.errors = ""
        self._arrived: queue.Queue[None] = queue.Queue()
        self._threads = [
            threading.Thread(target=self._read),
            threading.Thread(target=self._complain),
        ]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def _complain(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors += line

    @property
    def pid(self) -> int:
        """The controller."""
        return self.process.pid

    @property
    def launcher(self) -> int:
        """The launcher: the controller's child."""
        (pid,) = self.launchers()
        return pid

    def launchers(self) -> set[int]:
        """The launcher, if there is one yet; a sweeper is the controller's child for a moment too."""
        return {pid for pid in children(self.pid) if LAUNCHER.encode() in command_line(pid)}

    def entry(self) -> Path:
        """The runtime's file in the registry, once there is one."""
        found: list[str] = []

        def look() -> bool:
            with suppress(OSError):
                links = [os.readlink(link) for link in Path(f"/proc/{self.pid}/fd").iterdir()]
                found[:] = [link for link in links if link.startswith(f"{FOLDER}/{PREFIX}")]
            return bool(found)

        assert eventually(look), self.errors
        return Path(found[0])

    def seen(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """Waits for so many events of a name, and returns them."""

        def found() -> list[dict[str, Any]]:
            return [one for one in self.events if one["event"] == event]

        ended = lambda: len(found()) >= count or self.process.poll() is not None
        assert eventually(ended, 40), f"no {event}: {self.events}"
        assert len(found()) >= count, f"no {event}: {self.events} {self.errors}"
        return found()

    def worker(self) -> int:
        """The worker's pid, from the last event that names it."""
        named = [one for one in self.events if one["event"] in ("started", "worker_replaced")]
        return int(named[-1]["pid"])

    def settled(self) -> set[int]:
        """Waits until worker and standby stand; a standby just forked is still the launcher's image."""

        def stand() -> bool:
            seen = [process_status(pid) for pid in children(self.launcher)]
            return len(seen) == 2 and all(one and one.name == "tested:0" for one in seen)

        assert eventually(stand), self.errors
        return children(self.launcher)

    def memories(self) -> set[tuple[int, int]]:
        """Device and inode of every arena and mesh that the launcher holds."""
        found = set()
        for link in Path(f"/proc/{self.launcher}/fd").iterdir():
            if "memfd:splitplane" in os.readlink(link):
                about = link.stat()
                found.add((about.st_dev, about.st_ino))
        return found

    def everybody(self) -> set[int]:
        """Controller, launcher, workers and standbys."""
        launchers = self.launchers()
        return {self.pid, *launchers}.union(*(children(pid) for pid in launchers))

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and waits for the exit code."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        code = self.process.wait(40)
        for thread in self._threads:
            thread.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code


@contextmanager
def command(path: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> Iterator[Command]:
    """A Command that has ended afterwards, whatever happened."""
    made = Command(path, *arguments, prefix=prefix)
    try:
        yield made
    finally:
        made.end(signal.SIGKILL)


def kill_worker(runtime: Runtime, number: int = signal.SIGKILL) -> bool:
    """Signals core 0's worker; False if there is none just now, or it has been signalled before."""
    pid = runtime.workers[0].pid
    if not pid or pid in _killed:
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    _killed.append(pid)
    return True


_killed: deque[int] = deque(
    maxlen=100
)  # until the controller hears of a death it names the dead one


class Echoes:
    """Connections over a memory wire to an actor that echoes. What comes back is compared with what was sent."""

    def __init__(self, peer: Peer, count: int, dice: random.Random, port: int = 7) -> None:
        self.peer, self.dice = peer, dice
        self.connections: list[PeerConnection] = [peer.connect(OURS, port) for _ in range(count)]
        self.sent = [bytearray() for _ in range(count)]
        assert peer.until(lambda: all(one.opened for one in self.connections), 30)

    def feed(self, most: int = 5000, ahead: int = 20_000) -> None:
        """Sends some more on every connection that isn't too far ahead of its echo, and takes what came."""
        for one, sent in zip(self.connections, self.sent, strict=True):
            if not one.closed and len(sent) - one.length < ahead:
                data = self.dice.randbytes(self.dice.randint(1, most))
                sent += data
                one.send(data)
        self.peer.poll(5)

    def settle(self) -> bool:
        """Whether everything comes back on every connection that isn't closed."""
        pairs = list(zip(self.connections, self.sent, strict=True))
        return self.peer.until(
            lambda: all(one.closed or one.length == len(sent) for one, sent in pairs), 30
        )

    def wrong(self) -> list[int]:
        """Numbers of the connections that got a byte they should not have."""
        pairs = enumerate(zip(self.connections, self.sent, strict=True))
        return [number for number, (one, sent) in pairs if not sent.startswith(one.received)]

    def closed(self) -> list[str]:
        """Why connections closed, those that did."""
        return [one.reason for one in self.connections if one.closed]


def traced(worker: int, out: Path, during: Callable[[], object]) -> list[str]:
    """The system calls that strace saw the worker make meanwhile."""
    tracer = subprocess.Popen(
        ["strace", "-f", "-o", str(out), "-p", str(worker)], stderr=subprocess.PIPE, text=True
    )
    assert tracer.stderr is not None
    said = tracer.stderr.readline()
    assert "attached" in said, said
    during()
    tracer.send_signal(signal.SIGINT)
    tracer.communicate(timeout=20)
    return [line for line in out.read_text().splitlines() if "(" in line]
