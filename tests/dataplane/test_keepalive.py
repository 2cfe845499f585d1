"""Keepalives of our TCP (RFC 9293 section 3.8.4): who answers stays, who doesn't is given up, and nobody pays memory."""

from collections.abc import Iterator

import pytest
from raw import ACK, CORE, RST, SECOND, Raw, Segment
from splitplane.dataplane.native import lib
from splitplane.dataplane.peer import Peer

IDLE, INTERVAL, PROBES = 100, 75, 9


@pytest.fixture
def raw() -> Iterator[Raw]:
    with Raw(keepalive_seconds=IDLE) as one:
        yield one


def is_probe(raw: Raw, segment: Segment) -> bool:
    """The sequence number before the next, no byte, an acknowledgement of all."""
    return (segment.flags, segment.seq, segment.ack, segment.data) == (
        ACK,
        (raw.ack - 1) % 2**32,
        raw.seq,
        b"",
    )


def test_who_answers_stays(raw: Raw) -> None:
    """An idle peer gets one probe each `keepalive_seconds`, and its answer ends the matter; no block is held."""
    raw.establish()
    for _ in range(20):
        assert raw.wait(IDLE - 0.001) == []
        (probe,) = raw.wait(0.002)
        assert is_probe(raw, probe)
        assert not raw.record.busy
        assert raw.send(ACK) == []
    assert raw.counter("keepalive_probes") == 20
    assert raw.state == "ESTABLISHED"


@pytest.mark.parametrize("tick", [1000_000, 2**32 - 1, 2**32 - 50_000, 2**32 - 400_000])
def test_who_does_not_answer_is_given_up(tick: int) -> None:
    """Nine probes 75 s apart without an answer, then a reset, the reason TIMEOUT, nothing left; also where the tick
    wraps on the way."""
    with Raw(keepalive_seconds=IDLE, now=tick * 1_000_000) as raw:
        connection = raw.establish()
        probes = raw.wait(IDLE + 1)
        for _ in range(PROBES - 1):
            assert len(probes) == 1
            probes = raw.wait(INTERVAL)
            assert is_probe(raw, probes[0])
        assert [segment.flags for segment in raw.wait(INTERVAL)] == [RST | ACK]
        assert connection.reason == "timeout"
        assert raw.counter("keepalive_probes") == PROBES
        assert raw.core.state.live == 0


def test_who_talks_is_not_probed(raw: Raw) -> None:
    """Bytes either way begin the wait anew; a connection with bytes in flight has its retransmissions instead."""
    connection = raw.establish()
    for _ in range(3):
        raw.wait(IDLE - 2)
        raw.send(ACK, b"still here")
        raw.wait(1)
    connection.send(b"anyone there?")
    raw.receive()
    assert all(segment.data for segment in raw.wait(2 * IDLE) if not segment.flags & RST)
    assert raw.counter("keepalive_probes") == 0


def test_a_late_answer_counts(raw: Raw) -> None:
    """An answer to the last probe keeps the connection, and the wait begins anew."""
    connection = raw.establish()
    raw.wait(IDLE + (PROBES - 1) * INTERVAL + 1)
    assert raw.counter("keepalive_probes") == PROBES
    assert raw.send(ACK) == []
    assert raw.wait(IDLE - 1) == []
    assert not connection.closed


def test_none_are_sent_when_off() -> None:
    """keepalive_seconds = 0: no probe, no deadline, for a day."""
    with Raw() as raw:
        raw.establish()
        assert raw.wait(86_400) == []
        assert not raw.record.transport_deadline


@pytest.mark.parametrize("asleep", [1, IDLE + 10 * INTERVAL])
def test_they_go_on_after_a_kill(asleep: int) -> None:
    """Who takes over the core probes on; however long nobody did, a peer that was not asked is not given up."""
    with Raw(keepalive_seconds=IDLE) as raw:
        raw.establish()
        raw.wait(IDLE - 10)
        memory = raw.peer.memory
        raw.peer.close()
        raw.now += asleep * SECOND
        raw.peer = Peer(
            raw.wires[0], address=CORE, number=1, memory=memory, adopt=True, keepalive_seconds=IDLE
        )
        raw.core = raw.peer.core.pointer
        raw.peer.listen(80)
        raw.peer.clock(raw.now)
        raw.peer.start()
        probes = [
            segment for segment in raw.receive() + raw.wait(INTERVAL) if segment.seq != raw.ack
        ]
        assert [is_probe(raw, probe) for probe in probes] == [True]
        assert raw.send(ACK) == []
        assert raw.record.state == lib.STATE_ESTABLISHED
