"""A worker killed at any point of TCP's work: the next one goes on with every connection but the one in hand."""

import ctypes
import mmap
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from splitplane.dataplane.native import ffi, lib
from splitplane.dataplane.peer import Peer, PeerConnection
from splitplane.dataplane.sections import ArenaConfig, arena_format, arena_header
from splitplane.nic.memory import Wire, create

ROOT = Path(__file__).parent.parent.parent
UNIT = 100
CONNECTIONS = 4


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The data plane with crash points, and a server on it."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "a C compiler is needed: apt-get install gcc"
    out = tmp_path_factory.mktemp("crash") / "server.so"
    files = (path for folder in ("dataplane", "runtime") for path in (ROOT / folder).glob("*.c"))
    nic = ("memory.c", "memory_far.c", "faults.c")
    sources = [*map(str, files), *(str(ROOT / "nic" / name) for name in nic)]
    sources.append(str(ROOT / "tests" / "c" / "tcp_server.c"))
    folders = [f"-I{ROOT / folder}" for folder in ("dataplane", "runtime", "nic")]
    command = [compiler, *folders, "-std=gnu11", "-O1", "-fno-strict-aliasing", "-DCRASH_POINTS"]
    subprocess.run(
        [*command, "-fPIC", "-shared", "-pthread", *sources, "-o", str(out)],
        check=True,
        timeout=200,
    )
    return ctypes.CDLL(str(out))


class Server:
    """Children that serve one arena on one wire, one after the other."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self.reorder = 0
        header = arena_header(
            ArenaConfig(
                connections=32,
                busy_blocks=32,
                buffer_bytes=1 << 21,
                time_wait=64,
                side_state_bytes=0,
                actor_bytes=0,
                frame_bytes=0,
                core_id=1,
                layout_hash=0,
                page_size=4096,
            )
        )
        self.arena = mmap.mmap(-1, header.bytes)
        arena_format(self.arena, header)
        base = ffi.cast("char *", ffi.from_buffer(self.arena))
        at = [header.sections[number].offset for number in range(lib.SECTION_COUNT)]
        self.state: Any = ffi.cast("struct core_state *", base + at[lib.SECTION_STATE])
        self.counters: Any = ffi.cast("uint64_t *", base + at[lib.SECTION_COUNTERS])
        self.records: Any = ffi.cast("struct record *", base + at[lib.SECTION_RECORDS])
        self.descriptor = create(256)
        self._wire = mmap.mmap(self.descriptor, lib.memory_bytes(256))
        self._log = mmap.mmap(-1, 4096)
        self.words: Any = ffi.cast("uint64_t *", ffi.from_buffer(self._log))
        self.pid = 0
        self.lives = 0

    @staticmethod
    def _address(buffer: Any) -> ctypes.c_void_p:
        return ctypes.c_void_p(int(ffi.cast("uintptr_t", ffi.from_buffer(buffer))))

    def start(self, at: int) -> None:
        """A new child, to die at its `at`-th crash point; 0: to live."""
        self.words[0], self.words[1] = 0, at
        adopt = int(self.lives > 0)
        self.lives += 1
        self.pid = os.fork()
        if self.pid:
            return
        try:
            address = self._address(self._log)
            ctypes.c_void_p.in_dll(self._library, "crash").value = address.value
            stop = ctypes.c_void_p((address.value or 0) + 1024)
            size = ctypes.c_uint64(len(self._wire))
            failed = self._library.serve(
                self._address(self.arena),
                self._address(self._wire),
                size,
                adopt,
                stop,
                self.reorder,
            )
        except BaseException:
            failed = 99
        os._exit(failed)

    def died(self) -> bool:
        """Whether the child is gone by now; it may only have been killed."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return False
        self.pid = 0
        assert os.WIFSIGNALED(status), f"exit code {os.waitstatus_to_exitcode(status)}"
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True

    @property
    def point(self) -> str:
        """The crash point reached last."""
        return ffi.string(ffi.cast("char *", self.words + 2)).decode()

    def in_hand(self) -> int:
        """The remote port of the connection the dead worker was at, 0: none."""
        index = self.state.current
        return (
            int.from_bytes(ffi.buffer(ffi.addressof(self.records[index], "flow"))[10:12], "big")
            if index
            else 0
        )

    def stop(self) -> int:
        """Ends the last child; its exit code."""
        self.words[128] = 1
        pid, self.pid = self.pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.descriptor)


class Talk:
    """A client that sends whole units and checks that exactly they come back."""

    def __init__(self, peer: Peer, dice: random.Random) -> None:
        self.connection: PeerConnection = peer.connect("10.0.0.1", 80)
        record = self.connection.record
        self.port = int.from_bytes(ffi.buffer(ffi.addressof(record, "flow"))[8:10], "big")
        self.data = dice.randbytes(UNIT * dice.randint(1, 150))
        self.given = 0
        self.ending = False

    def go_on(self) -> bool:
        """One step; True once it is over."""
        connection = self.connection
        if connection.closed:
            return True
        if not connection.opened:
            return False
        if self.given < len(self.data) and self.given - connection.length < 6000:
            connection.send(self.data[self.given : self.given + 700])
            self.given += len(self.data[self.given : self.given + 700])
        elif connection.length >= len(self.data) and not self.ending:
            connection.close()
            self.ending = True
        return False

    def check(self, may_be_reset: bool) -> bool:
        """Whether it came through; what came back is right either way."""
        received = self.connection.received
        assert received == self.data[: len(received)]
        if self.connection.reason == "reset":
            assert may_be_reset, f"reset at {len(received)} of {len(self.data)}"
            return False
        assert self.connection.reason == "local"
        assert received == self.data
        return True


@pytest.fixture
def server(library: ctypes.CDLL) -> Iterator[Server]:
    one = Server(library)
    yield one
    one.close()


def kill_all(server: Server, kills: int) -> tuple[int, set[str]]:
    """Kills so many workers while connections come and go; how many of these came through, and where workers died."""
    dice = random.Random(7)
    points: set[str] = set()
    in_hand: set[int] = set()
    through = 0
    with Wire(server.descriptor, 1) as wire, Peer(wire, answer_end=True, room=65536) as peer:
        talks: list[Talk] = []
        server.start(dice.randint(1, 300))
        deadline = time.monotonic() + 60
        while server.lives <= kills or talks:
            assert time.monotonic() < deadline, (server.lives, server.point, len(talks))
            while len(talks) < CONNECTIONS and server.lives <= kills:
                talks.append(Talk(peer, dice))
            worked = peer.poll()
            for talk in [talk for talk in talks if talk.go_on()]:
                through += talk.check(talk.port in in_hand)
                in_hand.discard(talk.port)
                talks.remove(talk)
                talk.connection.forget()
            if server.died():
                points.add(server.point)
                in_hand.add(server.in_hand())
                server.start(dice.randint(1, 300) if server.lives < kills else 0)
            elif not worked:
                time.sleep(20e-6)
        left = time.monotonic() + 5
        while server.state.live and time.monotonic() < left:
            peer.poll()
        assert server.state.live == 0
        assert server.stop() == 0
    return through, points


def test_every_connection_but_the_one_in_hand_survives(server: Server) -> None:
    """150 workers killed at crash points anywhere in TCP, its actor, its memory or its adoption: bytes still arrive once
    and in order, handlers see each byte once, and only the connection whose handler or delivery ran is reset."""
    through, points = kill_all(server, 150)
    assert through > 20
    assert len(points) > 30, points


def test_what_came_out_of_order_survives_too(server: Server) -> None:
    """The same while every tenth frame comes late: what lay beyond a hole is forgotten with the worker, and comes again."""
    server.reorder = 6554
    through, points = kill_all(server, 150)
    assert through > 20
    assert len(points) > 30, points
    assert server.counters[lib.COUNTER_OUT_OF_ORDER] > 50
