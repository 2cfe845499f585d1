"""The internet checksum over bytes of any number and kind, as a ping meets it both ways."""

from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from raw import CORE, RAW, Raw, checksum
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether
from scapy.packet import Raw as Payload

MOST = 1472
"""Bytes of a ping that fit a frame."""


@pytest.fixture(scope="module")
def raw() -> Iterator[Raw]:
    with Raw() as one:
        yield one


def ping(raw: Raw, data: bytes, flip: int | None = None) -> list[bytes]:
    """The answers to an echo request, after one bit of it was turned around."""
    ether = Ether(src="02:53:50:4c:54:01", dst="02:53:50:4c:54:00")
    frame = bytearray(bytes(ether / IP(src=RAW, dst=CORE) / ICMP(id=7) / Payload(data)))
    if flip is not None:
        frame[34 + flip // 8] ^= 1 << flip % 8
    assert raw.wires[1].send(bytes(frame))
    raw.peer.poll()
    return list(raw.wires[1].receive())


@given(st.binary(max_size=100) | st.integers(0, MOST).map(lambda size: bytes([255]) * size))
@example(bytes(MOST))
@example(bytes(range(256)) * 5)
def test_any_bytes_come_back_with_a_right_checksum(raw: Raw, data: bytes) -> None:
    """Sums of words of 8, 4, 2 and 1 bytes with all their carries agree with one that adds 2 at a time (RFC 1071)."""
    (frame,) = ping(raw, data)
    reply = Ether(frame)
    assert bytes(reply[ICMP].payload)[: len(data)] == data
    assert checksum(bytes(reply[IP])[:20]) == 0
    assert checksum(bytes(reply[ICMP])[: 8 + len(data)]) == 0


@given(st.data())
def test_one_bit_turned_around_is_found(raw: Raw, data: st.DataObject) -> None:
    """Wherever it is behind the type and code, no answer comes and the drop is counted."""
    payload = data.draw(st.binary(max_size=100))
    flip = data.draw(st.integers(16, 8 * (8 + len(payload)) - 1))
    before = raw.counter("drop_icmp")
    assert ping(raw, payload, flip) == []
    assert raw.counter("drop_icmp") == before + 1
