"""ICMP errors: "fragmentation needed" lowers the segment size when it quotes what is in flight, and nothing else does
anything (RFC 1191, 5927, 5461)."""

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw import ACK, CORE, RAW, SECOND, Raw, checksum, timestamps
from splitplane.dataplane.native import lib

FRAGMENTATION_NEEDED = (3, 4)
HEADERS = 40
LEAST = lib.PATH_LEAST - HEADERS


@pytest.fixture
def raw() -> Iterator[Raw]:
    with Raw() as one:
        yield one


def quoting(
    raw: Raw,
    *,
    seq: int,
    mtu: int = 1000,
    total: int = 1500,
    kind: tuple[int, int] = FRAGMENTATION_NEEDED,
    local: str = CORE,
    remote: str = RAW,
    ports: tuple[int, int] = (80, 5000),
    header: bytes = b"",
) -> bytes:
    """A frame from a router 10.0.0.3 that quotes a segment of the core's."""
    addresses = bytes(map(int, f"{local}.{remote}".split(".")))
    quoted = header or struct.pack("!BBHHHBBH", 0x45, 0, total, 0, 0x4000, 60, 6, 0) + addresses
    quoted += struct.pack("!HHI", *ports, seq % 2**32)
    icmp = struct.pack("!BBHHH", *kind, 0, 0, mtu) + quoted
    icmp = icmp[:2] + struct.pack("!H", checksum(icmp)) + icmp[4:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(icmp), 0, 0, 64, 1, 0)
    ip += bytes(map(int, f"10.0.0.3.{CORE}".split(".")))
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    return b"\x02SPLT\0\x02SPLT\3\x08\0" + ip + icmp


def put(raw: Raw, frame: bytes) -> list[Any]:
    """The frame to the core, and the segments that come of it."""
    assert raw.wires[1].send(frame)
    return raw.receive()


def in_flight(raw: Raw, size: int = 5000, options: bytes = b"") -> tuple[Any, int]:
    """A connection with so many bytes on their way, of which none was acknowledged; and the first one's number."""
    connection = raw.establish(b"\2\4\5\xb4" + options)
    first = raw.ack
    connection.send(bytes(range(250)) * (size // 250))
    segments = raw.receive()
    assert max(len(segment.data) for segment in segments) > 1400
    return connection, first


@pytest.mark.parametrize(("options", "more"), [(b"", 0), (timestamps(1), 12)])
def test_what_is_in_flight_goes_again_and_fits(raw: Raw, options: bytes, more: int) -> None:
    """One message: everything unacknowledged is sent again at once, in segments of the size the router wants, and all
    later data too."""
    connection, first = in_flight(raw, options=options)
    segments = put(raw, quoting(raw, seq=first, mtu=1000))
    assert segments[0].seq == first
    assert sum(len(segment.data) for segment in segments) == 5000
    assert max(len(segment.data) for segment in segments) == 1000 - HEADERS - more
    assert (raw.counter("path_mtu_lowered"), raw.counter("icmp_errors")) == (1, 1)
    raw.send(ACK)
    connection.send(bytes(3000))
    assert max(len(segment.data) for segment in raw.receive()) == 1000 - HEADERS - more


def test_one_message_a_segment_resends_once(raw: Raw) -> None:
    """A router complains of each segment of a flight: only the first complaint sends it again."""
    _, first = in_flight(raw)
    assert put(raw, quoting(raw, seq=first))
    assert put(raw, quoting(raw, seq=first + 1460)) == []
    assert put(raw, quoting(raw, seq=first + 2920)) == []
    assert (raw.counter("path_mtu_lowered"), raw.counter("icmp_errors")) == (1, 3)


def test_a_second_router_narrows_further(raw: Raw) -> None:
    """What was sent again may be too large for the next link, once it is acknowledged that some got through."""
    connection, first = in_flight(raw)
    put(raw, quoting(raw, seq=first, mtu=1000))
    raw.send(ACK)
    connection.send(bytes(2000))
    sent = raw.receive()
    again = put(raw, quoting(raw, seq=sent[0].seq, mtu=800, total=1000))
    assert max(len(segment.data) for segment in again) == 800 - HEADERS
    assert sum(len(segment.data) for segment in again) == 2000


@pytest.mark.parametrize(
    ("change", "counter"),
    [
        ({"seq": -1}, "drop_icmp_flight"),
        ({"seq": 5000}, "drop_icmp_flight"),
        ({"seq": 1 << 31}, "drop_icmp_flight"),
        ({"ports": (80, 5001)}, "drop_icmp"),
        ({"remote": "10.0.0.9"}, "drop_icmp"),
        ({"local": "10.0.0.9"}, "drop_icmp"),
        ({"mtu": 1500}, "drop_icmp"),
        ({"total": 900}, "drop_icmp"),
        ({"header": bytes(20)}, "drop_icmp"),
    ],
)
def test_forgeries_change_nothing(raw: Raw, change: dict[str, Any], counter: str) -> None:
    """A message that quotes no segment in flight, no connection, another address, or one that would have fitted, is
    counted and changes nothing."""
    connection, first = in_flight(raw)
    assert put(raw, quoting(raw, **{**change, "seq": first + change.get("seq", 0)})) == []
    assert raw.counter(counter) == 1
    assert raw.counter("path_mtu_lowered") == 0
    raw.send(ACK)
    connection.send(bytes(3000))
    assert max(len(segment.data) for segment in raw.receive()) == 1460


def test_a_damaged_message_is_dropped(raw: Raw) -> None:
    """Its checksum must be right."""
    _, first = in_flight(raw)
    frame = bytearray(quoting(raw, seq=first))
    frame[-1] ^= 1
    assert put(raw, bytes(frame)) == []
    assert raw.dropped() == {"drop_icmp": 1}


@pytest.mark.parametrize(
    ("mtu", "total", "wanted"),
    [(68, 1500, LEAST), (1, 1500, LEAST), (0, 1500, 1492 - 40), (0, 1006, LEAST)],
)
def test_the_size_has_a_floor(raw: Raw, mtu: int, total: int, wanted: int) -> None:
    """Nobody talks us below 552 bytes of packet; an old router that names no size gets the next plateau of RFC 1191."""
    _, first = in_flight(raw)
    assert (
        max(len(one.data) for one in put(raw, quoting(raw, seq=first, mtu=mtu, total=total)))
        == wanted
    )


def test_after_ten_minutes_larger_segments_are_tried(raw: Raw) -> None:
    """A path may have widened: RFC 1191 section 6.3."""
    connection, first = in_flight(raw)
    put(raw, quoting(raw, seq=first))
    raw.send(ACK)
    for seconds, wanted in ((599, 960), (2, 1460)):
        raw.now += seconds * SECOND
        raw.peer.clock(raw.now)
        connection.send(bytes(3000))
        assert max(len(segment.data) for segment in raw.receive()) == wanted
        raw.send(ACK)


@pytest.mark.parametrize("kind", [(3, 0), (3, 1), (3, 2), (3, 3), (3, 13), (11, 0), (12, 0)])
def test_other_errors_are_borne(raw: Raw, kind: tuple[int, int]) -> None:
    """Unreachable host, port or protocol, expired, malformed: counted; the connection goes on (RFC 5461)."""
    _, first = in_flight(raw)
    assert put(raw, quoting(raw, seq=first, kind=kind)) == []
    assert raw.counter("icmp_errors") == 1
    assert raw.state == "ESTABLISHED"
    assert raw.counter("path_mtu_lowered") == 0


def test_errors_about_a_handshake_are_borne(raw: Raw) -> None:
    """A SYN-ACK that somebody calls unreachable is sent again by its timer all the same."""
    answer = raw.syn()
    assert put(raw, quoting(raw, seq=answer.seq, kind=(3, 3))) == []
    assert raw.state == "SYN_RECEIVED"
    assert raw.wait(1.5)


@settings(max_examples=300, deadline=None)
@given(
    mtu=st.integers(0, 0xFFFF),
    total=st.integers(0, 0xFFFF),
    offset=st.integers(-3000, 8000),
    kind=st.tuples(st.integers(0, 20).filter(lambda kind: kind != 8), st.integers(0, 20)),
)
def test_any_message_keeps_the_stream_whole(
    mtu: int, total: int, offset: int, kind: tuple[int, int]
) -> None:
    """Whatever a message says: the bytes in flight arrive once they are acknowledged and asked for again, and no segment
    is smaller than the floor allows, or larger than the MTU."""
    with Raw() as raw:
        _, first = in_flight(raw)
        sent = bytes(range(250)) * 20
        frame = quoting(raw, seq=first + offset, mtu=mtu, total=total, kind=kind)
        segments = put(raw, frame) + raw.wait(1)
        got: dict[int, bytes] = {
            segment.seq - first: segment.data for segment in segments if segment.data
        }
        assert got, "the first retransmission timeout, at the latest"
        for place, data in got.items():
            assert sent[place : place + len(data)] == data
            assert len(data) <= 1460
        lowered = raw.counter("path_mtu_lowered")
        assert lowered <= (kind == FRAGMENTATION_NEEDED and 0 <= offset < 5000)
        assert max(map(len, got.values())) >= LEAST
