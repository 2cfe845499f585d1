"""Under a bench a handed-over connection goes on as in a runtime: the test is the program that serves it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splitplane.runtime.actor import CloseReason, Connection, DataActor
from splitplane.runtime.state import State
from splitplane.runtime.types import u32
from splitplane.runtime.view import View
from splitplane.testing import Bench, Mode


class Marks(State):
    seen: u32


class Closed(State):
    closed: u32
    refused: u32


class Switch(DataActor):
    """Echoes up to a `!`; that, and three bytes more of what is there, are first bytes. A `?` hands over nothing."""

    core: Closed

    def on_data(self, connection: Connection[Marks], data: View) -> int:
        connection.state.seen += len(data)
        mark = data.find(b"!")
        if mark < 0:
            connection.send(data)
            return len(data)
        connection.send(data[:mark])
        first = data[mark : min(mark + 4, len(data))]
        if data[0] == 63:
            first = data[:0]
        if not connection.hand_over(first):
            self.core.refused += 1
        if connection.hand_over(first):
            self.core.refused += 100
        return mark + len(first)

    def on_close(self, connection: Connection[Marks], reason: u32) -> None:
        self.core.closed += 1


class AtOnce(DataActor):
    """Hands over as soon as it opens."""

    def on_open(self, connection: Connection[State]) -> None:
        connection.hand_over(b"hello")


@pytest.fixture(params=["interpreted", "compiled"])
def mode(request: pytest.FixtureRequest) -> Mode:
    """Both modes."""
    found: Mode = request.param
    return found


def test_first_bytes_are_told_from_what_follows(mode: Mode) -> None:
    """`first_bytes` are what hand_over was given, none included; `received` is that, what the handler left and what came
    later; what was sent before the hand-over goes out first."""
    with Bench(Switch, mode=mode) as bench:
        peer = bench.connect()
        peer.send(b"ab")
        assert peer.handed_over is None
        assert peer.state.seen == 2
        peer.send(b"cd!123left")
        program = peer.handed_over
        assert program is not None
        assert (peer.take(), program.first_bytes) == (b"abcd", b"!123")
        assert program.take() == b"!123left"
        peer.send(b"later")
        assert (program.received, program.take(), program.take()) == (b"later", b"later", b"")
        assert program.first_bytes == b"!123"
        program.send(b"served")
        assert peer.received == b"served"
        nothing = bench.connect()
        nothing.send(b"?!rest")
        assert nothing.handed_over is not None
        assert nothing.handed_over is not program
        assert (nothing.handed_over.first_bytes, nothing.handed_over.received) == (b"", b"!rest")
        assert bench.counters["handed_over"] == 2
        assert bench.core.refused == 0
        with pytest.raises(LookupError, match="handed over"):
            _ = peer.state


def test_either_end_may_close_first(mode: Mode) -> None:
    """Half-close both ways, reset both ways: each end sees what the other did, and the actor's on_close never runs."""
    with Bench(Switch, mode=mode) as bench:
        peers = [bench.connect() for _ in range(4)]
        for peer in peers:
            peer.send(b"!abc")
        programs = [peer.handed_over for peer in peers]
        first, second, third, fourth = (program for program in programs if program)
        first.end()
        assert (peers[0].status, first.closed) == ("ended", False)
        peers[0].send(b"still heard")
        assert first.received == b"!abcstill heard"
        peers[0].end()
        assert first.ended
        first.close()
        assert (first.closed, first.error, peers[0].reason) == (True, None, CloseReason.LOCAL)
        peers[1].end()
        assert second.ended
        assert not second.closed
        second.send(b"still sent")
        second.close()
        assert (peers[1].received, second.closed, second.error) == (b"still sent", True, None)
        assert peers[1].reason == CloseReason.PEER
        third.reset()
        assert (peers[2].status, third.closed) == ("reset", True)
        peers[3].reset()
        assert fourth.closed
        assert isinstance(fourth.error, ConnectionResetError)
        with pytest.raises(ConnectionResetError):
            fourth.send(b"x")
        with pytest.raises(OSError, match="closed"):
            third.send(b"x")
        assert bench.core.closed == 0
        assert [peer.handle for peer in peers] == [0] * 4
        assert [peer.handed_over for peer in peers] == programs


def test_a_hand_over_in_on_open(mode: Mode) -> None:
    """There is an end to play as soon as there is a connection; the bench's end ends it as a runtime's does."""
    with Bench(AtOnce, mode=mode) as bench:
        peer = bench.connect()
        program = peer.handed_over
        assert program is not None
        assert program.first_bytes == program.received == b"hello"
        peer.send(b"bytes")
        assert program.received == b"hellobytes"
    assert program.closed
    assert isinstance(program.error, ConnectionAbortedError)


def test_a_peer_that_does_not_read_stops_the_program(mode: Mode) -> None:
    """Beyond what the core takes, the program's bytes wait with it, and all arrive once the peer reads."""
    with Bench(AtOnce, mode=mode) as bench:
        peer = bench.connect()
        program = peer.handed_over
        assert program is not None
        peer.read(0)
        data = bytes(range(256)) * 4096
        program.send(data)
        assert 0 < program.unsent < len(data)
        program.close()
        peer.read(None)
        assert peer.received == data
        assert (program.unsent, program.closed, peer.status) == (0, True, "ended")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 400_000)), max_size=6),
    st.integers(3_000, 200_000),
)
def test_every_byte_arrives_both_ways(steps: list[tuple[bool, int]], split: int) -> None:
    """Whatever either end sends, in whatever pieces and beyond every window: the other has it, in order."""
    with Bench(AtOnce) as bench:
        peer = bench.connect()
        program = peer.handed_over
        assert program is not None
        up, down = b"hello", b""
        for number, (upwards, length) in enumerate(steps):
            data = (b"%d," % number * (length // 2 + 1))[:length]
            if upwards:
                peer.send(data, split=split)
                up += data
            else:
                program.send(data)
                down += data
        assert (program.received, peer.received) == (up, down)
        assert (peer.unsent, program.unsent) == (0, 0)
