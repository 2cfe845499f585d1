"""The bench does what a network would do, on its own clock."""

import pytest
from splitplane.runtime.actor import CloseReason, Connection, DataActor
from splitplane.runtime.state import State
from splitplane.runtime.types import u32, u64
from splitplane.runtime.view import View
from splitplane.testing import Bench, Mode


class Counts(State):
    ticks: u32
    calls: u32
    longest: u32
    address: u32
    port: u32
    local_address: u32
    local_port: u32
    started: u64


class Tester(DataActor):
    core: Counts

    def on_start(self, restarted: bool) -> None:
        self.core.started = self.now

    def on_tick(self) -> None:
        self.core.ticks += 1

    def on_open(self, connection: Connection[State]) -> None:
        self.core.address = connection.remote.address
        self.core.port = connection.remote.port
        local, port = connection.local
        self.core.local_address = local
        self.core.local_port = port

    def on_data(self, connection: Connection[State], data: View) -> int:
        self.core.calls += 1
        self.core.longest = max(self.core.longest, len(data))
        if data[0] == 81:
            connection.close()
        elif data[0] == 65:
            connection.abort()
        elif data[0] == 84:
            connection.set_timer(milliseconds=250)
        elif data[0] == 87:
            return 0
        else:
            connection.send(data[:1])
        return 1

    def on_timer(self, connection: Connection[State]) -> None:
        connection.send(b"t")


@pytest.fixture(params=["interpreted", "compiled"])
def mode(request: pytest.FixtureRequest) -> Mode:
    """Both modes."""
    found: Mode = request.param
    return found


def test_pieces_arrive_one_by_one(mode: Mode) -> None:
    """`split` cuts by size or at positions; whole sends arrive whole."""
    with Bench(Tester, mode=mode) as bench:
        peer = bench.connect()
        peer.send(b"abcdef", split=2)
        assert (peer.take(), bench.core.longest) == (b"abcdef", 2)
        peer.send(b"abcdef", split=[5, 1, 99, 0])
        assert (peer.take(), bench.core.longest) == (b"abcdef", 4)
        peer.send(b"abcdef")
        assert (peer.take(), peer.received, bench.core.longest) == (b"abcdef", b"", 6)


def test_time_stands_still_until_advanced(mode: Mode) -> None:
    """Ticks and timers run at their millisecond, no sooner, however far the clock moves at once."""
    with Bench(Tester, mode=mode, tick_milliseconds=100) as bench:
        peer = bench.connect()
        peer.send(b"T")
        assert bench.now == bench.core.started
        bench.advance(milliseconds=249)
        assert (peer.received, bench.core.ticks) == (b"", 2)
        bench.advance(milliseconds=1)
        assert (peer.received, bench.core.ticks) == (b"t", 2)
        bench.advance(milliseconds=750)
        assert bench.core.ticks == 10
        bench.advance(milliseconds=3_600_000)
        assert bench.core.ticks == 36_010


def test_the_end_and_its_reasons(mode: Mode) -> None:
    """How a connection ended is seen from both sides, for each way to end it."""
    with Bench(Tester, mode=mode) as bench:
        quit_, aborted, ended, reset, full = (bench.connect() for _ in range(5))
        quit_.send(b"Q")
        aborted.send(b"A")
        ended.end()
        reset.reset()
        full.send(b"W" * 70_000)
        ends = [(peer.status, peer.reason) for peer in (quit_, aborted, ended, reset, full)]
        assert ends == [
            ("ended", CloseReason.LOCAL),
            ("reset", CloseReason.ABORTED),
            ("ended", CloseReason.PEER),
            ("gone", CloseReason.RESET),
            ("reset", CloseReason.OVERFLOW),
        ]
        assert ended.handle == 0
        with pytest.raises(OSError, match="not connected"):
            ended.send(b"x")


def test_addresses(mode: Mode) -> None:
    """A peer has the address and port it was given, and our end those of the bench."""
    with Bench(Tester, mode=mode) as bench:
        bench.connect("10.0.0.7", 4242)
        assert (bench.core.address, bench.core.port) == (0x0A000007, 4242)
        assert (bench.core.local_address, bench.core.local_port) == (0xC0000201, 8080)


def test_a_core_has_so_many_connections() -> None:
    """One connection more than the bench has room for is refused; one that ended makes room."""
    with Bench(Tester, connections=2) as bench:
        first, _ = bench.connect(), bench.connect()
        with pytest.raises(OSError, match="buffer space"):
            bench.connect()
        first.reset()
        assert bench.connect().status == "open"


def test_a_peer_that_does_not_read(mode: Mode) -> None:
    """Its bytes wait; when it reads on they come, in order."""
    with Bench(Tester, mode=mode) as bench:
        peer = bench.connect()
        peer.read(3)
        peer.send(b"abcdef")
        assert peer.received == b"abc"
        peer.read(None)
        assert peer.received == b"abcdef"


class Sloppy(DataActor):
    def on_data(self, connection: Connection[State], data: View) -> int:
        connection.send(b"x" if len(data) > 3 else b"y")
        return len(data)


def test_split_everywhere_finds_what_depends_on_the_cut() -> None:
    """An actor whose answer depends on how bytes were cut is caught, with the first such cut."""
    with Bench(Sloppy) as bench, pytest.raises(AssertionError, match=r"cut at \(1,\)"):
        bench.split_everywhere(b"abcd")


def test_unknown_things_are_refused() -> None:
    """State, core or config that the actor does not declare, and messages it does not take, are errors."""
    with Bench(Sloppy) as bench:
        peer = bench.connect()
        with pytest.raises(AttributeError, match="no connection state"):
            peer.state
        with pytest.raises(AttributeError, match="no core state"):
            bench.core
    with pytest.raises(TypeError, match="takes no config"):
        Bench(Sloppy, config={"a": 1})
