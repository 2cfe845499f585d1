"""Every state of RFC 9293 against every event: the state it leads to and what is answered."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from raw import ACK, FIN, PSH, RST, SYN, Raw, Segment


@pytest.fixture
def raw() -> Iterator[Raw]:
    with Raw() as one:
        yield one


def listen(raw: Raw) -> None:
    """Nothing yet."""


def syn_sent(raw: Raw) -> None:
    raw.peer.connect("10.0.0.2", 5000, 1234)
    (syn,) = raw.receive()
    assert syn.flags == SYN
    raw.port = 1234
    raw.ack = syn.seq + 1


def syn_received(raw: Raw) -> None:
    raw.syn()


def established(raw: Raw) -> None:
    raw.connection = raw.establish()  # type: ignore[attr-defined]


def fin_wait_1(raw: Raw) -> None:
    established(raw)
    raw.connection.close()  # type: ignore[attr-defined]
    (fin,) = raw.receive()
    assert fin.flags == FIN | ACK


def fin_wait_2(raw: Raw) -> None:
    fin_wait_1(raw)
    assert raw.send(ACK) == []


def close_wait(raw: Raw) -> None:
    established(raw)
    (ack,) = raw.send(FIN | ACK)
    assert ack.flags == ACK


def closing(raw: Raw) -> None:
    fin_wait_1(raw)
    (ack,) = raw.send(FIN | ACK, ack=raw.ack - 1)
    assert ack.flags == ACK


def last_ack(raw: Raw) -> None:
    close_wait(raw)
    raw.connection.close()  # type: ignore[attr-defined]
    (fin,) = raw.receive()
    assert fin.flags == FIN | ACK


def time_wait(raw: Raw) -> None:
    fin_wait_2(raw)
    (ack,) = raw.send(FIN | ACK)
    assert ack.flags == ACK


SETUP: dict[str, Callable[[Raw], None]] = {
    "LISTEN": listen,
    "SYN_SENT": syn_sent,
    "SYN_RECEIVED": syn_received,
    "ESTABLISHED": established,
    "FIN_WAIT_1": fin_wait_1,
    "FIN_WAIT_2": fin_wait_2,
    "CLOSE_WAIT": close_wait,
    "CLOSING": closing,
    "LAST_ACK": last_ack,
    "TIME_WAIT": time_wait,
}


def old_syn(raw: Raw) -> list[Segment]:
    return raw.send(SYN, seq=raw.iss)


def new_syn(raw: Raw) -> list[Segment]:
    return raw.send(SYN, seq=raw.seq + 1000)


def syn_ack(raw: Raw) -> list[Segment]:
    return raw.send(SYN | ACK)


def ack(raw: Raw) -> list[Segment]:
    return raw.send(ACK)


def ack_of_the_future(raw: Raw) -> list[Segment]:
    return raw.send(ACK, ack=raw.ack + 1000)


def data(raw: Raw) -> list[Segment]:
    return raw.send(ACK | PSH, b"hello") + raw.wait(0.05)


def fin(raw: Raw) -> list[Segment]:
    return raw.send(FIN | ACK)


def rst(raw: Raw) -> list[Segment]:
    return raw.send(RST | ACK)


def rst_inexact(raw: Raw) -> list[Segment]:
    return raw.send(RST, seq=raw.seq + 7)


def rst_outside(raw: Raw) -> list[Segment]:
    return raw.send(RST, seq=raw.seq - 7)


def timeout(raw: Raw) -> list[Segment]:
    """Ten minutes of silence."""
    return raw.wait(600)


# (state, event): (state afterwards, flags of the segments that answer; None: any number of repetitions)
TABLE: dict[tuple[str, Any], tuple[str, list[int] | None]] = {
    ("LISTEN", new_syn): ("SYN_RECEIVED", [SYN | ACK]),
    ("LISTEN", syn_ack): ("CLOSED", [RST]),
    ("LISTEN", ack): ("CLOSED", [RST]),
    ("LISTEN", data): ("CLOSED", [RST]),
    ("LISTEN", fin): ("CLOSED", [RST]),
    ("LISTEN", rst): ("CLOSED", []),
    ("SYN_SENT", syn_ack): ("ESTABLISHED", [ACK]),
    ("SYN_SENT", new_syn): ("SYN_RECEIVED", [SYN | ACK]),
    ("SYN_SENT", ack): ("SYN_SENT", []),
    ("SYN_SENT", ack_of_the_future): ("SYN_SENT", [RST]),
    ("SYN_SENT", data): ("SYN_SENT", []),
    ("SYN_SENT", fin): ("SYN_SENT", []),
    ("SYN_SENT", rst): ("CLOSED", []),
    ("SYN_SENT", rst_inexact): ("SYN_SENT", []),
    ("SYN_SENT", timeout): ("CLOSED", None),
    ("SYN_RECEIVED", old_syn): ("SYN_RECEIVED", [SYN | ACK]),
    ("SYN_RECEIVED", new_syn): ("SYN_RECEIVED", [ACK]),
    ("SYN_RECEIVED", ack): ("ESTABLISHED", []),
    ("SYN_RECEIVED", ack_of_the_future): ("SYN_RECEIVED", [RST]),
    ("SYN_RECEIVED", data): ("ESTABLISHED", [ACK]),
    ("SYN_RECEIVED", fin): ("CLOSE_WAIT", [ACK]),
    ("SYN_RECEIVED", rst): ("CLOSED", []),
    ("SYN_RECEIVED", rst_inexact): ("SYN_RECEIVED", [ACK]),
    ("SYN_RECEIVED", rst_outside): ("SYN_RECEIVED", []),
    ("SYN_RECEIVED", timeout): ("CLOSED", None),
    ("ESTABLISHED", old_syn): ("ESTABLISHED", [ACK]),
    ("ESTABLISHED", new_syn): ("ESTABLISHED", [ACK]),
    ("ESTABLISHED", ack): ("ESTABLISHED", []),
    ("ESTABLISHED", ack_of_the_future): ("ESTABLISHED", [ACK]),
    ("ESTABLISHED", data): ("ESTABLISHED", [ACK]),
    ("ESTABLISHED", fin): ("CLOSE_WAIT", [ACK]),
    ("ESTABLISHED", rst): ("CLOSED", []),
    ("ESTABLISHED", rst_inexact): ("ESTABLISHED", [ACK]),
    ("ESTABLISHED", rst_outside): ("ESTABLISHED", []),
    ("ESTABLISHED", timeout): ("ESTABLISHED", []),
    ("FIN_WAIT_1", new_syn): ("FIN_WAIT_1", [ACK]),
    ("FIN_WAIT_1", ack): ("FIN_WAIT_2", []),
    ("FIN_WAIT_1", ack_of_the_future): ("FIN_WAIT_1", [ACK]),
    ("FIN_WAIT_1", data): ("FIN_WAIT_2", [ACK]),
    ("FIN_WAIT_1", fin): ("TIME_WAIT", [ACK]),
    ("FIN_WAIT_1", rst): ("CLOSED", []),
    ("FIN_WAIT_1", rst_inexact): ("FIN_WAIT_1", [ACK]),
    ("FIN_WAIT_1", timeout): ("CLOSED", None),
    ("FIN_WAIT_2", new_syn): ("FIN_WAIT_2", [ACK]),
    ("FIN_WAIT_2", ack): ("FIN_WAIT_2", []),
    ("FIN_WAIT_2", data): ("FIN_WAIT_2", [ACK]),
    ("FIN_WAIT_2", fin): ("TIME_WAIT", [ACK]),
    ("FIN_WAIT_2", rst): ("CLOSED", []),
    ("FIN_WAIT_2", rst_inexact): ("FIN_WAIT_2", [ACK]),
    ("FIN_WAIT_2", timeout): ("CLOSED", []),
    ("CLOSE_WAIT", new_syn): ("CLOSE_WAIT", [ACK]),
    ("CLOSE_WAIT", ack): ("CLOSE_WAIT", []),
    ("CLOSE_WAIT", data): ("CLOSE_WAIT", [ACK]),
    ("CLOSE_WAIT", fin): ("CLOSE_WAIT", [ACK]),
    ("CLOSE_WAIT", rst): ("CLOSED", []),
    ("CLOSE_WAIT", rst_inexact): ("CLOSE_WAIT", [ACK]),
    ("CLOSE_WAIT", timeout): ("CLOSE_WAIT", []),
    ("CLOSING", new_syn): ("CLOSING", [ACK]),
    ("CLOSING", ack): ("TIME_WAIT", []),
    ("CLOSING", data): ("TIME_WAIT", [ACK]),
    ("CLOSING", rst): ("CLOSED", []),
    ("CLOSING", timeout): ("CLOSED", None),
    ("LAST_ACK", new_syn): ("LAST_ACK", [ACK]),
    ("LAST_ACK", ack): ("CLOSED", []),
    ("LAST_ACK", data): ("CLOSED", []),
    ("LAST_ACK", rst): ("CLOSED", []),
    ("LAST_ACK", timeout): ("CLOSED", None),
    ("TIME_WAIT", new_syn): ("SYN_RECEIVED", [SYN | ACK]),
    ("TIME_WAIT", old_syn): ("TIME_WAIT", [ACK]),
    ("TIME_WAIT", ack): ("TIME_WAIT", []),
    ("TIME_WAIT", data): ("TIME_WAIT", [ACK]),
    ("TIME_WAIT", fin): ("TIME_WAIT", [ACK]),
    ("TIME_WAIT", rst): ("TIME_WAIT", []),
    ("TIME_WAIT", timeout): ("CLOSED", []),
}


@pytest.mark.parametrize(
    ("state", "event"), TABLE, ids=lambda part: part if isinstance(part, str) else part.__name__
)
def test_state_meets_event(raw: Raw, state: str, event: Callable[[Raw], list[Segment]]) -> None:
    """RFC 9293 section 3.10.7, RFC 5961, RFC 1337, RFC 6191: the next state and the answer."""
    SETUP[state](raw)
    assert raw.state in {state, "CLOSED" if state == "LISTEN" else state}
    after, answers = TABLE[state, event]
    got = [segment.flags for segment in event(raw)]
    assert raw.state == after
    if answers is None:
        assert got
    else:
        assert got == answers
    assert raw.core.state.live == (after not in {"CLOSED", "TIME_WAIT"})
    assert raw.core.state.half_open == (after == "SYN_RECEIVED")


@pytest.mark.parametrize("state", SETUP)
def test_abort_ends_any_state(raw: Raw, state: str) -> None:
    """The actor's abort sends one exact reset from every state that has a connection, and frees it."""
    SETUP[state](raw)
    if not raw.peer.connections:
        return
    connection = raw.peer.connections[0]
    expected = [] if state in {"TIME_WAIT", "SYN_SENT"} else [RST | ACK]
    connection.abort()
    segments = raw.receive()
    assert [segment.flags for segment in segments] == expected
    if segments:
        assert segments[0].seq == raw.ack
    assert raw.core.state.live == 0


def test_simultaneous_open_reaches_established(raw: Raw) -> None:
    """Both call at once: SYN crosses SYN, each answers, and both are through (RFC 9293 figure 8)."""
    syn_sent(raw)
    (answer,) = raw.send(SYN)
    assert answer.flags == SYN | ACK
    raw.send(SYN | ACK, seq=raw.seq - 1)
    raw.send(ACK)
    assert raw.state == "ESTABLISHED"
    assert raw.peer.connections[0].opened


def test_half_open_flood_evicts_the_oldest() -> None:
    """Beyond the limit each SYN pushes out the oldest half-open connection, counted; established ones stay."""
    with Raw(half_open_limit=4, connections=32) as raw:
        raw.establish()
        for port in range(6000, 6012):
            raw.source_port = port
            raw.seq = raw.ack = 0
            raw.syn()
        assert raw.core.state.half_open == 4
        assert raw.counter("half_open_evicted") == 8
        assert raw.core.state.live == 5
        raw.source_port, raw.seq, raw.ack = 6011, 1, raw.ack
        assert raw.send(ACK) == []
        assert raw.core.state.half_open == 3
        raw.source_port = 6000
        assert [s.flags for s in raw.send(ACK, seq=1)] == [RST]


def test_full_table_drops_the_syn() -> None:
    """No record free: the SYN is dropped and counted, and works once one is."""
    with Raw(half_open_limit=100, connections=2) as raw:
        for port in (1, 2, 3):
            raw.source_port, raw.seq = port, 0
            raw.send(SYN)
        assert raw.core.state.live == 2
        assert raw.dropped() == {"drop_table_full": 1}
        raw.wait(200)
        raw.source_port, raw.seq = 3, 0
        assert [s.flags for s in raw.send(SYN)] == [SYN | ACK]
