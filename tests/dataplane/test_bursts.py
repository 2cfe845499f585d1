"""Segments that change what the next one in the same burst finds: connections opened, reset or evicted on the way.

A burst goes through in pieces, each look-up a few steps ahead of TCP: the next one is in the same piece, in the next, or
in the one after that."""

from collections.abc import Iterator

import pytest
from raw import ACK, RST, SYN, Raw, Segment


class Spread(Raw):
    """So many segments that nobody wants between any two of a burst."""

    between = 0

    def burst(self, frames: list[bytes]) -> list[Segment]:
        """As Raw's."""
        nothing = self.frame(RST, source_port=7, seq=0)
        spread = [part for frame in frames for part in (*[nothing] * self.between, frame)]
        return super().burst(spread[self.between :])

    def dropped(self) -> dict[str, int]:
        """As Raw's, without those."""
        found = super().dropped()
        found.pop("drop_no_connection", None)
        return found


@pytest.fixture(params=[0, 8, 14])
def raw(request: pytest.FixtureRequest) -> Iterator[Raw]:
    with Spread(half_open_limit=2, connections=16) as one:
        one.between = request.param
        yield one


def test_a_syn_twice_opens_once(raw: Raw) -> None:
    """Both find no connection when the burst is looked up; the second is answered by what the first has opened."""
    answers = raw.burst([raw.frame(SYN), raw.frame(SYN, seq=raw.iss)])
    assert [answer.flags for answer in answers] == [SYN | ACK] * 2
    assert answers[0].seq == answers[1].seq
    assert (raw.core.state.live, raw.core.state.half_open) == (1, 1)
    assert raw.dropped() == {}


def test_a_syn_of_another_number_does_not_take_it_over(raw: Raw) -> None:
    """The second of two SYNs that differ is challenged (RFC 5961 section 4.2): the first one's connection opens."""
    first, second = raw.burst([raw.frame(SYN), raw.frame(SYN, seq=raw.iss + 7000)])
    assert (first.flags, second.flags) == (SYN | ACK, ACK)
    assert second.ack == (raw.iss + 1) % 2**32
    assert raw.send(ACK, seq=raw.iss + 1, ack=first.seq + 1) == []
    assert raw.state == "ESTABLISHED"


def test_a_syn_and_its_reset_leave_nothing(raw: Raw) -> None:
    """A reset right behind its SYN ends what the SYN began."""
    raw.burst([raw.frame(SYN), raw.frame(RST, seq=raw.iss + 1)])
    assert (raw.core.state.live, raw.core.state.half_open) == (0, 0)


def test_a_syn_behind_a_reset_waits_for_its_repetition(raw: Raw) -> None:
    """The connection that was reset is there until the turn ends: the SYN behind it is dropped and counted, the same SYN
    again opens anew."""
    connection = raw.establish()
    assert raw.burst([raw.frame(RST), raw.frame(SYN, seq=90_000)]) == []
    assert connection.reason == "reset"
    assert raw.core.state.live == 0
    assert raw.dropped() == {"drop_closed": 1}
    (answer,) = raw.send(SYN, seq=90_000)
    assert (answer.flags, answer.ack) == (SYN | ACK, 90_001)


def test_bytes_behind_a_reset_reach_nobody(raw: Raw) -> None:
    """Neither the connection that is going nor one that another client opens in the same burst."""
    connection = raw.establish()
    reset, late = raw.frame(RST), raw.frame(ACK, b"late")
    raw.burst([reset, raw.frame(SYN, source_port=5001, seq=1), late])
    assert (connection.reason, connection.received) == ("reset", b"")
    assert raw.dropped() == {"drop_closed": 1}
    assert raw.core.state.live == 1


def test_who_is_evicted_in_the_burst_does_not_open(raw: Raw) -> None:
    """A SYN beyond the limit pushes out the oldest, whose ACK behind it comes too late; before it, another one pays."""
    numbers = {}
    for port in (1, 2):
        (answer,) = raw.send(SYN, source_port=port, seq=1000)
        numbers[port] = answer.seq + 1
    done = {
        port: raw.frame(ACK, source_port=port, seq=1001, ack=ours) for port, ours in numbers.items()
    }
    raw.burst([raw.frame(SYN, source_port=3, seq=1), done[1]])
    assert raw.dropped() == {"drop_closed": 1}
    assert (raw.core.state.live, raw.core.state.half_open) == (2, 2)
    raw.burst([done[2], raw.frame(SYN, source_port=4, seq=1)])
    assert (raw.core.state.live, raw.core.state.half_open) == (3, 2)
    assert raw.counter("half_open_evicted") == 1
