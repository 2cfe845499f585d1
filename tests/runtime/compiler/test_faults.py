"""A failing compiled handler costs its own connection, names its file and line, and stays cheap in a flood."""

import gc
import inspect
import sys
from collections.abc import Callable
from typing import Any

import pytest
from splitplane.runtime.actor import CloseReason, Connection, DataActor, on
from splitplane.runtime.message import Message, Request
from splitplane.runtime.state import State
from splitplane.runtime.types import u32
from splitplane.runtime.view import View
from splitplane.testing import Bench


class Session(State):
    requests: u32


class Totals(State):
    closed: u32


class Sum(Request[Totals]):
    by: u32


class Kick(Message):
    handle: u32


class Faulty(DataActor):
    """Fails in the way that the first byte names."""

    core: Totals

    def on_data(self, connection: Connection[Session], data: View) -> int:
        connection.state.requests += 1
        verb = data[0] - 48
        if verb == 0:
            return len(data)
        if verb == 1:
            raise ValueError("as asked")  # value
        if verb == 2:
            return data[1000]  # index
        if verb == 3:
            return 5 // (verb - 3)  # division
        if verb == 4:
            return self.deeper(data)
        if verb == 5:
            return len(data) + 1
        if verb == 6:
            self.connection(77).send(b"x")  # gone
        if verb == 7:
            assert len(data) > 1000, "too short"  # assertion
        if verb == 8:
            return 1 << (verb - 9)  # shift
        if verb == 9:
            for _ in range(1000):
                connection.send(b"x" * 4096)  # room
        return 0

    def deeper(self, data: View) -> int:
        """Fails in a helper."""
        return data.u32be(4)  # deeper

    def on_close(self, connection: Connection[Session], reason: int) -> None:
        self.core.closed += 1 if reason == CloseReason.FAULT else 0

    @on(Sum)
    def sum(self, message: Sum) -> Totals:
        self.core.closed //= message.by  # request
        return self.core


def line_of(mark: str) -> int:
    """The line of this file with that comment."""
    lines, _ = inspect.getsourcelines(sys.modules[__name__])
    return next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {mark}\n"))


KNOWN = [
    (b"1", "value", "ValueError: as asked"),
    (b"2", "index", "IndexError: index outside the view"),
    (b"3", "division", "ZeroDivisionError: integer division or modulo by zero"),
    (b"4", "deeper", "IndexError: index outside the view"),
    (b"6", "gone", "LookupError: this connection is gone: test it first (if connection: ...)"),
    (b"7", "assertion", "AssertionError: too short"),
    (b"8", "shift", "ValueError: negative shift count"),
    (b"9", "room", "BufferError: no room to send"),
]


@pytest.mark.parametrize(("data", "mark", "error"), KNOWN)
def test_place(data: bytes, mark: str, error: str) -> None:
    """A fault names the very line and the exception, of helpers and of operators too; its connection is reset alone."""
    with Bench(Faulty, mode="compiled") as bench:
        peer, other = bench.connect(), bench.connect()
        peer.send(data)
        (fault,) = bench.faults
        assert (fault.file, fault.line, fault.error) == (__file__, line_of(mark), error)
        assert (fault.handler, fault.faults) == ("on_data", 1)
        assert (peer.status, peer.reason, bench.core.closed) == ("reset", CloseReason.FAULT, 1)
        other.send(b"0")
        assert (other.status, other.state.requests) == ("open", 1)


def test_result_outside() -> None:
    """A result beyond the bytes that are there is a fault, though the handler came through."""
    with Bench(Faulty, mode="compiled") as bench:
        peer = bench.connect()
        peer.send(b"5")
        assert peer.status == "reset"
        assert [fault.handler for fault in bench.faults] == ["on_data"]


def test_request_fault() -> None:
    """A failing @on method is reported by its name, and who asked is told."""
    with Bench(Faulty, mode="compiled") as bench:
        with pytest.raises(RuntimeError):
            bench.ask(Sum(by=0))
        (fault,) = bench.faults
        assert (fault.handler, fault.line) == ("sum", line_of("request"))


def test_flood() -> None:
    """Beyond ten faults a second the quiet entry runs: all counted, none lost, no line asked for."""
    with Bench(Faulty, mode="compiled") as bench:
        for _ in range(100):
            peer = bench.connect()
            peer.send(b"1")
            assert peer.status == "reset"
        assert len(bench.faults) == 10
        assert (bench.counters["faults"], bench.counters["faults_quiet"]) == (100, 90)
        bench.advance(milliseconds=1100)
        bench.connect().send(b"2")
        assert bench.faults[-1].line == line_of("index")
        assert bench.faults[-1].faults == 91


def test_other_hooks() -> None:
    """Exceptions that nobody can raise, of others, still reach the hook that was there."""
    seen: list[Any] = []
    with Bench(Faulty, mode="compiled"):
        pass

    class Sour:
        def __del__(self) -> None:
            raise ValueError("not ours")

    from splitplane.runtime.compiler import report

    before, report.previous = report.previous, seen.append
    hook, sys.unraisablehook = sys.unraisablehook, report.noted
    try:
        Sour()
        gc.collect()
    finally:
        report.previous, sys.unraisablehook = before, hook
    assert [str(each.exc_value) for each in seen] == ["not ours"]


def growth(action: Callable[[], None]) -> int:
    """How many more memory blocks Python holds after `action`."""
    gc.collect()
    before = sys.getallocatedblocks()
    action()
    gc.collect()
    return sys.getallocatedblocks() - before


def test_no_leak() -> None:
    """Reported and quiet faults leave nothing behind."""
    with Bench(Faulty, mode="compiled", connections=8) as bench:

        def faults() -> None:
            for _ in range(300):
                peer = bench.connect()
                peer.send(b"4")
                bench.advance(milliseconds=200)
            bench.faults.clear()

        faults()
        assert growth(faults) < 300
