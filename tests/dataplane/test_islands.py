"""Bytes beyond a hole: kept, told by SACK, delivered once the hole is filled; bounded whatever a peer sends."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw import ACK, FIN, PSH, Raw, Segment
from simulation import Simulation
from splitplane.nic.faults import FaultPlan

SACK_PERMITTED = b"\1\1\4\2"
MOST = 30
"""Ranges that are kept at a time."""


def blocks(segment: Segment) -> list[tuple[int, int]]:
    """Its SACK option's ranges."""
    option = segment.options.get(5, b"")
    words = [int.from_bytes(option[at : at + 4], "big") for at in range(0, len(option), 4)]
    return list(zip(words[::2], words[1::2], strict=True))


def test_sack_is_permitted_if_the_syn_permits_it() -> None:
    """The SYN-ACK has the option only when the SYN had it (RFC 2018 section 2), and only then are ranges told."""
    with Raw() as raw:
        assert 4 not in raw.syn().options
    with Raw() as raw:
        raw.establish()
        (ack,) = raw.send(data=b"later", seq=raw.seq + 10)
        assert blocks(ack) == []
    with Raw() as raw:
        assert raw.syn(SACK_PERMITTED).options[4] == b""


def test_newest_range_first() -> None:
    """The first block is the range that the last segment belongs to, the next ones those that grew before it; three at
    most stand there, and none once the hole is filled (RFC 2018 section 4)."""
    with Raw() as raw:
        connection = raw.establish(SACK_PERMITTED)
        base = raw.seq
        told = []
        for at in (10, 30, 50, 70, 15):
            (ack,) = raw.send(data=b"abcde", seq=base + at)
            assert ack.ack == base
            told.append([(start - base, end - base) for start, end in blocks(ack)])
        assert told == [
            [(10, 15)],
            [(30, 35), (10, 15)],
            [(50, 55), (30, 35), (10, 15)],
            [(70, 75), (50, 55), (30, 35)],
            [(10, 20), (70, 75), (50, 55)],
        ]
        (ack,) = raw.send(data=b"0123456789")
        assert ack.ack == base + 20
        assert connection.received == b"0123456789abcdeabcde"


@given(
    pieces=st.lists(st.tuples(st.integers(0, 180), st.integers(1, 40)), max_size=60),
    seed=st.integers(0, 2**32 - 1),
    iss=st.sampled_from([1000, 2**32 - 100]),
)
@settings(max_examples=150, deadline=None)
def test_against_a_set_of_bytes(pieces: list[tuple[int, int]], seed: int, iss: int) -> None:
    """Any segments of a stream in any order, overlapping as they like: what is delivered, acknowledged and told is what
    a set of received positions says, across the end of the sequence numbers too."""
    data = random.Random(seed).randbytes(220)
    have: set[int] = set()
    with Raw(iss=iss) as raw:
        connection = raw.establish(SACK_PERMITTED)
        base = raw.seq
        for start, length in pieces:
            piece = data[start : start + length]
            answers = raw.send(data=piece, seq=(base + start) % 2**32)
            have |= set(range(start, start + len(piece)))
            whole = next(at for at in range(len(data) + 1) if at not in have)
            assert connection.received == data[:whole]
            for answer in answers:
                assert (answer.ack - base) % 2**32 == whole
                for left, right in blocks(answer):
                    first, last = (left - base) % 2**32, (right - base) % 2**32
                    assert whole < first < last
                    assert set(range(first, last)) <= have
                    assert first - 1 not in have
                    assert last not in have
        raw.send(data=data, seq=base)
        assert connection.received == data
        assert not raw.record.busy or not raw.core.busy[raw.record.busy].islands


def test_too_many_holes() -> None:
    """A peer that sends every second byte gets so many ranges kept; beyond, segments are dropped and counted, and the
    connection goes on."""
    with Raw() as raw:
        connection = raw.establish(SACK_PERMITTED)
        for at in range(1, 101, 2):
            raw.send(data=b"x", seq=raw.seq + at)
        assert raw.counter("out_of_order") == MOST
        assert raw.dropped() == {"drop_out_of_order": 50 - MOST}
        raw.send(data=b"y" * 100)
        assert connection.received == b"y" * 100


def test_the_memory_of_bytes_in_order_is_never_used() -> None:
    """However many connections send beyond holes, half of the buffers stay free for bytes in order."""
    with Raw(buffers=1 << 20, room=1 << 16, connections=64) as raw:
        whole = raw.lib.buffer_free_bytes(raw.core)
        for port in range(5000, 5040):
            raw.source_port, raw.seq = port, 1000
            raw.establish(SACK_PERMITTED)
            raw.send(data=b"far", seq=raw.seq + 1000)
            assert raw.lib.buffer_free_bytes(raw.core) >= whole / 2
        assert raw.counter("out_of_order") > 3
        assert raw.counter("drop_out_of_order") > 0


def test_nothing_beyond_the_window_is_kept() -> None:
    """Of a segment that reaches beyond the window's edge only what lies within is kept and told."""
    with Raw(room=2000) as raw:
        raw.establish(SACK_PERMITTED)
        (ack,) = raw.send(data=b"z" * 500, seq=raw.seq + 1800)
        assert blocks(ack) == [(raw.seq + 1800, raw.seq + 2000)]


@pytest.mark.parametrize("fin_with_text", [False, True])
def test_a_fin_beyond_a_hole_waits(fin_with_text: bool) -> None:
    """A FIN that comes before bytes it follows ends nothing; sent again in its place, it does."""
    with Raw() as raw:
        connection = raw.establish(SACK_PERMITTED)
        text = b"last" if fin_with_text else b""
        raw.send(ACK | FIN, text, seq=raw.seq + 6)
        assert raw.state == "ESTABLISHED"
        raw.send(ACK | PSH, b"first,")
        assert connection.received == b"first,"
        raw.send(ACK | FIN, text)
        assert connection.received == b"first," + text
        assert raw.state in {"CLOSE_WAIT", "LAST_ACK"}


def test_what_lies_beyond_a_fin_is_forgotten() -> None:
    """Bytes that a peer sent beyond its own FIN are never delivered."""
    with Raw() as raw:
        connection = raw.establish(SACK_PERMITTED)
        raw.send(data=b"ghost", seq=raw.seq + 4)
        raw.send(ACK | FIN, b"end")
        assert connection.received == b"end"


def test_adoption_forgets_them() -> None:
    """A worker that takes over gives their memory back: what was never acknowledged comes again."""
    with Raw() as raw:
        connection = raw.establish(SACK_PERMITTED)
        raw.send(data=b"world", seq=raw.seq + 6)
        busy = raw.core.busy[raw.record.busy]
        assert busy.islands
        raw.lib.buffer_recover(raw.core)
        assert not busy.islands
        raw.send(data=b"hello ")
        assert connection.received == b"hello "
        raw.send(data=b"world")
        assert connection.received == b"hello world"


def reordered(seed: int, **faults: Any) -> FaultPlan:
    return FaultPlan(seed=seed, delay=1_000_000, reorder_delay=3_000_000, **faults)


@pytest.mark.parametrize("seed", range(3))
def test_reordering_costs_little(seed: int) -> None:
    """Over a wire that swaps one frame in twenty nothing is dropped and the bytes are right."""
    data = random.Random(seed).randbytes(300_000)
    with Simulation(reordered(seed, reorder=0.05), room=1 << 17) as simulation:
        left, right = simulation.connect()
        left.send(data)
        assert simulation.until(lambda: right.length == len(data), 60)
        assert right.received == data
        counters = simulation.right.counters()
        assert counters["out_of_order"] > 5
        assert counters["drop_out_of_order"] == 0
        left.close()
        assert simulation.until(lambda: left.closed and right.closed, 300)
        simulation.run(70)
        simulation.assert_nothing_left()
