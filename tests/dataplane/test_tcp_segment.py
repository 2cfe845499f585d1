"""Segments as they are built: bytes from the send buffer, wherever they lie in it."""

import pytest
from raw import ACK, Raw


@pytest.mark.parametrize("acknowledged", range(34, 38))
def test_a_segment_from_both_ends_of_the_ring_has_a_right_checksum(acknowledged: int) -> None:
    """Bytes that wrap in the send buffer, after an odd number of them too (`parse` verifies the sum: RFC 1071)."""
    with Raw() as raw:
        connection = raw.establish()
        connection.send(bytes(range(63)))
        (first,) = raw.receive()
        raw.send(ACK, ack=first.seq + acknowledged)
        connection.send(bytes(range(100, 130)))
        (second,) = raw.receive()
        assert second.data == bytes(range(100, 130))
        raw.send(ACK, ack=second.seq + 30)
        more = bytes(range(200, 200 + acknowledged))
        connection.send(more)
        assert [segment.data for segment in raw.receive()] == [more]
