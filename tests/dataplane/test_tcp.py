"""What our TCP says, segment by segment: options, acknowledgements, windows, retransmissions, timestamps, wrap-around."""

import itertools
from collections.abc import Iterator

import pytest
from raw import ACK, FIN, PSH, RST, SECOND, SYN, Raw, timestamps

MSS_1000 = b"\x02\x04" + (1000).to_bytes(2, "big")
SCALE_7 = b"\1\x03\x03\x07"


@pytest.fixture
def raw() -> Iterator[Raw]:
    with Raw() as one:
        yield one


def test_syn_ack_agrees_only_to_what_the_syn_offered(raw: Raw) -> None:
    """A bare SYN gets our MSS alone; one with scale and timestamps gets both, and its timestamp back."""
    assert raw.syn().options == {2: (1460).to_bytes(2, "big")}
    raw.source_port, raw.seq = 5001, 1
    answer = raw.syn(MSS_1000 + SCALE_7 + timestamps(77))
    assert answer.options[3] == b"\x03"  # 256 KiB of room: 2**18 >> 3 is the first to fit 16 bits
    assert answer.timestamps[1] == 77
    assert answer.window == 65535


def test_peers_mss_is_kept_and_options_deducted() -> None:
    """With an MSS of 1000 and timestamps no segment carries more than 988 bytes (RFC 6691)."""
    with Raw() as raw:
        connection = raw.establish(MSS_1000 + timestamps(1))
        connection.send(b"x" * 3000)
        lengths = [len(segment.data) for segment in raw.receive()]
        assert lengths == [988, 988, 988, 36]


def test_syn_without_mss_means_536(raw: Raw) -> None:
    """RFC 9293 section 3.7.1: no MSS option, no more than 536 bytes a segment."""
    connection = raw.establish()
    connection.send(b"x" * 1000)
    assert [len(segment.data) for segment in raw.receive()] == [536, 464]


def test_data_arrives_in_order_and_is_acknowledged_late(raw: Raw) -> None:
    """One segment is acknowledged after 40 ms, the second at once (RFC 9293 section 3.8.6.3)."""
    connection = raw.establish()
    assert raw.send(ACK | PSH, b"one") == []
    assert connection.received == b"one"
    assert raw.wait(0.039) == []
    (ack,) = raw.wait(0.002)
    assert (ack.flags, ack.ack) == (ACK, raw.seq)
    assert raw.send(ACK | PSH, b"two") == []
    (ack,) = raw.send(ACK | PSH, b"three")
    assert ack.ack == raw.seq
    assert connection.received == b"onetwothree"


def test_an_answer_carries_the_acknowledgement(raw: Raw) -> None:
    """Data on its way back takes the ACK along; no bare ACK follows."""
    connection = raw.establish()
    raw.send(ACK | PSH, b"question")
    connection.send(b"answer")
    (answer,) = raw.receive()
    assert (answer.data, answer.ack) == (b"answer", raw.seq)
    raw.send(ACK)
    assert raw.wait(1) == []


def test_out_of_order_gets_one_duplicate_ack_each(raw: Raw) -> None:
    """Segments beyond a hole are kept, each with a duplicate ACK at once; the hole filled, all follow."""
    connection = raw.establish()
    for ahead in (100, 200, 300):
        (ack,) = raw.send(ACK, b"y" * 100, seq=raw.seq + ahead)
        assert ack.ack == raw.seq
    assert raw.dropped() == {}
    (ack,) = raw.send(ACK, b"z" * 100)
    assert ack.ack == raw.seq + 300
    assert connection.received == b"z" * 100 + b"y" * 300


def test_overlapping_segments_deliver_each_byte_once(raw: Raw) -> None:
    """Old bytes at the front of a segment are cut off (RFC 9293 section 3.10.7.4)."""
    connection = raw.establish()
    raw.send(ACK, b"abcdef")
    raw.send(ACK, b"cdefgh", seq=raw.seq - 4)
    assert connection.received == b"abcdefgh"
    raw.seq += 2
    (ack,) = raw.send(ACK, b"abcdefgh", seq=raw.seq - 8)
    assert ack.ack == raw.seq
    assert connection.received == b"abcdefgh"


def test_retransmission_backs_off_and_gives_up(raw: Raw) -> None:
    """RFC 6298 section 5: the timeout doubles with each try up to a minute; after R2 the connection is reset."""
    connection = raw.establish()
    connection.send(b"anyone there?")
    assert len(raw.receive()) == 1
    times = []
    started = raw.now
    while raw.state == "ESTABLISHED":
        for segment in raw.wait(0.001):
            if segment.data:
                times.append((raw.now - started) / SECOND)
                assert segment.data == b"anyone there?"
            else:
                assert segment.flags == RST | ACK
    assert len(times) == 12
    gaps = [later - earlier for earlier, later in zip([0.0, *times], times, strict=False)]
    for shorter, longer in itertools.pairwise(gaps):
        assert longer == pytest.approx(min(2 * shorter, 60), rel=0.05)
    assert sum(gaps) > 100  # R2, RFC 9293 section 3.8.3
    assert connection.reason == "timeout"
    assert raw.core.state.live == 0


def test_karn_takes_no_sample_from_what_was_sent_twice(raw: Raw) -> None:
    """RFC 6298 section 3: without timestamps an ACK of a retransmitted segment leaves SRTT alone."""
    connection = raw.establish()
    connection.send(b"first")
    raw.receive()
    raw.wait(0.05)
    raw.send(ACK)
    srtt = raw.record.srtt
    assert srtt > 1
    connection.send(b"second")
    raw.receive()
    raw.wait(1)
    assert raw.counter("retransmitted") >= 1
    raw.send(ACK)
    assert raw.record.srtt == srtt


def test_three_duplicate_acks_send_the_hole_again(raw: Raw) -> None:
    """RFC 5681 section 3.2: fast retransmit without waiting, once, and the window halved."""
    connection = raw.establish(MSS_1000)
    connection.send(b"x" * 10_000)
    first = raw.ack
    segments = raw.receive()
    assert [len(segment.data) for segment in segments] == [1000] * 10
    for _ in range(2):
        assert raw.send(ACK, ack=first) == []
    (again,) = raw.send(ACK, ack=first)
    assert (again.seq, len(again.data)) == (first, 1000)
    assert raw.send(ACK, ack=first) == []
    assert raw.counter("fast_retransmits") == 1
    assert raw.core.busy[raw.record.busy].ssthresh == 5000
    assert raw.send(ACK, ack=first + 10_000) == []
    assert raw.record.busy == 0


def test_congestion_window_opens_by_slow_start(raw: Raw) -> None:
    """Ten segments first (RFC 6928), then as many more as were acknowledged, at most two an ACK (RFC 3465)."""
    connection = raw.establish(MSS_1000 + SCALE_7)
    connection.send(b"x" * 50_000)
    first = raw.ack
    assert len(raw.receive()) == 10
    segments = raw.send(ACK, ack=first + 2000)
    assert len(segments) == 4
    assert raw.core.busy[raw.record.busy].cwnd == 12_000


def test_small_windows_are_not_filled_with_crumbs(raw: Raw) -> None:
    """RFC 9293 section 3.8.6.2.1: a window that opens by a few bytes isn't used at once, but isn't forgotten."""
    connection = raw.establish(MSS_1000)
    connection.send(b"x" * 10_000)
    raw.receive()
    base = raw.ack
    assert raw.send(ACK, ack=base, window=100) == []
    raw.send(ACK, ack=base, window=100)
    crumbs = raw.wait(0.1)
    assert all(len(segment.data) >= 1000 for segment in crumbs)


def test_zero_window_is_probed_for_ever_while_the_peer_answers(raw: Raw) -> None:
    """RFC 9293 section 3.8.6.1: one byte at growing intervals up to a minute; an answer keeps the connection."""
    connection = raw.establish()
    raw.send(ACK, window=0)
    connection.send(b"0123456789")
    assert raw.receive() == []
    times = []
    while len(times) < 20:
        for probe in raw.wait(0.1):
            assert probe.data == b"0"
            times.append(raw.now)
            raw.ack = probe.seq
            assert raw.send(ACK, window=0, ack=probe.seq) == []
    gaps = [(b - a) / SECOND for a, b in itertools.pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == pytest.approx(60, rel=0.01)
    assert raw.counter("zero_window_probes") == 20
    (data,) = raw.send(ACK, window=1000)
    assert data.data == b"0123456789"


def test_zero_window_without_answers_gives_up(raw: Raw) -> None:
    """A peer that doesn't even answer probes is gone after R2."""
    connection = raw.establish()
    raw.send(ACK, window=0)
    connection.send(b"0123456789")
    raw.wait(1000)
    assert connection.reason == "timeout"
    assert raw.core.state.live == 0


def test_probe_taken_by_the_peer_counts(raw: Raw) -> None:
    """A peer that takes the probe's byte and says so gets the rest from there."""
    connection = raw.establish()
    raw.send(ACK, window=0)
    connection.send(b"0123456789")
    raw.receive()
    (probe,) = raw.wait(0.21)
    (rest,) = raw.send(ACK, ack=probe.seq + 1, window=100)
    assert (rest.seq, rest.data) == (probe.seq + 1, b"123456789")


def test_our_window_closes_and_opens(raw: Raw) -> None:
    """As much as the actor takes and no more; beyond it bytes are refused with an ACK; reading opens it again."""
    with Raw(room=4000) as small:
        connection = small.establish(MSS_1000)
        for _ in range(4):
            small.send(ACK, b"k" * 1000)
        for _ in range(3):
            small.send(ACK, b"k" * 1000)
        (ack,) = small.send(ACK, b"k" * 1000)
        assert ack.window == 0
        assert ack.ack == small.seq
        (ack,) = small.send(ACK, b"!")
        assert ack.window == 0
        small.seq -= 1
        assert ack.ack == small.seq
        assert small.dropped() == {"drop_window_full": 1}
        assert len(connection.received) == 4000
        (update,) = small.receive()
        assert (update.flags, update.window) == (ACK, 4000)
        assert len(connection.received) == 8000


def test_window_never_moves_left(raw: Raw) -> None:
    """Whatever the actor keeps, ack + window never gets smaller."""
    with Raw(room=10_000) as small:
        connection = small.establish(SCALE_7 + MSS_1000)
        edge = 0
        for number in range(60):
            for segment in small.send(ACK, b"k" * 331) + small.wait(0.05):
                now = segment.ack + (segment.window << 0)
                assert now >= edge
                edge = now
            small.seq = small.record.rcv_nxt
            if number % 7 == 0:
                connection.take()


def test_paws_drops_what_is_older(raw: Raw) -> None:
    """RFC 7323 section 5: an older timestamp is dropped with an ACK, a missing one silently, a reset passes."""
    connection = raw.establish(timestamps(100))
    raw.value = 200
    raw.send(ACK, b"new")
    raw.wait(0.1)
    raw.value = 150
    (ack,) = raw.send(ACK, b"old")
    raw.seq -= 3
    assert ack.timestamps[1] == 200
    assert raw.send(ACK, b"bare", options=b"") == []
    raw.seq -= 4
    assert raw.dropped() == {"drop_timestamp": 2}
    assert connection.received == b"new"
    raw.send(RST, options=b"")
    assert connection.reason == "reset"


def test_paws_forgets_after_24_days(raw: Raw) -> None:
    """RFC 7323 section 5.5: TS.Recent of a connection idle for 24 days is too old to compare with."""
    connection = raw.establish(timestamps(100))
    raw.now += 25 * 24 * 3600 * SECOND
    raw.peer.clock(raw.now)
    raw.value = 100 - 2**31 + 5
    raw.send(ACK, b"still here")
    assert connection.received == b"still here"


def test_timestamps_echo_the_segment_that_is_acknowledged(raw: Raw) -> None:
    """RFC 7323 section 4.3: a delayed ACK echoes the earliest segment it covers."""
    raw.establish(timestamps(100))
    raw.value = 300
    raw.send(ACK, b"first")
    raw.value = 310
    (ack,) = raw.send(ACK, b"second")
    assert ack.timestamps[1] == 300


def test_our_timestamps_run_at_a_millisecond_from_a_hidden_start(raw: Raw) -> None:
    """RFC 7323 section 5.4: one tick a millisecond, an offset of its own for each connection."""
    starts = []
    for port in (5000, 5001):
        raw.source_port, raw.seq = port, 1
        starts.append(raw.syn(timestamps(1)).timestamps[0])
    assert starts[0] != starts[1]
    (again,) = raw.wait(1.0005)[1:]
    assert (again.timestamps[0] - starts[1]) % 2**32 == 1000


@pytest.mark.parametrize("iss", [2**32 - 1, 2**32 - 2, 2**32 - 700, 2**31 - 1, 0])
def test_sequence_numbers_wrap_in_both_directions(iss: int) -> None:
    """Bytes flow across 2^32 and 2^31 both ways as anywhere else, and so do FINs."""
    with Raw() as probe:
        probe.iss = 1
        first = probe.syn().seq
    now = 1000 * SECOND + (iss - first) % 2**32 * 4000
    with Raw(iss=iss, now=now) as raw:
        connection = raw.establish()
        assert (raw.ack - 1) % 2**32 == iss
        for number in range(8):
            raw.send(ACK, bytes([number]) * 500)
            connection.send(bytes([number]) * 500)
            segments = raw.receive()
            assert b"".join(segment.data for segment in segments) == bytes([number]) * 500
            raw.send(ACK)
        assert connection.received == b"".join(bytes([n]) * 500 for n in range(8))
        raw.send(FIN | ACK)
        connection.close()
        raw.receive()
        raw.send(ACK)
        assert raw.state == "CLOSED"
        assert raw.dropped() == {}


def test_initial_sequence_numbers_differ_by_flow_and_grow_with_time(raw: Raw) -> None:
    """RFC 6528: a hash of the flow plus a clock of 4 microseconds."""
    first = raw.syn().seq
    raw.source_port, raw.seq = 5001, 1
    assert abs(raw.syn().seq - first) > 1000
    raw.source_port, raw.seq, raw.ack = 5000, raw.iss + 1, first + 1
    raw.send(RST | ACK)
    raw.wait(1)
    raw.seq = raw.iss
    assert (raw.syn().seq - first) % 2**32 == 250_000


def test_time_wait_is_reused_by_a_newer_syn_only(raw: Raw) -> None:
    """RFC 6191: with timestamps a later one reuses the flow, an earlier one is answered with the last ACK."""
    connection = raw.establish(timestamps(100))
    connection.close()
    raw.receive()
    raw.value = 200
    raw.send(FIN | ACK)
    assert raw.state == "TIME_WAIT"
    last = raw.ack
    (ack,) = raw.send(SYN, seq=raw.seq + 5, options=timestamps(150))
    assert (ack.flags, ack.ack) == (ACK, raw.seq)
    (syn_ack,) = raw.send(SYN, seq=raw.seq - 500, options=timestamps(201))
    assert syn_ack.flags == SYN | ACK
    assert (syn_ack.seq - last) % 2**32 < 2**31
    assert raw.counter("time_wait_reused") == 1


def test_time_wait_ends_after_a_minute(raw: Raw) -> None:
    """After 60 s without a segment the flow is forgotten: what comes then gets a reset."""
    connection = raw.establish()
    connection.close()
    raw.receive()
    raw.send(FIN | ACK)
    raw.wait(59)
    assert [segment.flags for segment in raw.send(FIN | ACK, seq=raw.seq - 1)] == [ACK]
    raw.wait(61)
    assert [segment.flags for segment in raw.send(FIN | ACK)] == [RST]


def test_time_wait_is_bounded_and_recycles_the_oldest() -> None:
    """A full TIME-WAIT table forgets its oldest entry, counted; the rest still answer."""
    with Raw(time_wait=4) as raw:
        for port in range(5000, 5006):
            raw.source_port, raw.seq = port, raw.iss
            connection = raw.establish()
            connection.close()
            raw.receive()
            raw.send(FIN | ACK)
        assert raw.lib.time_wait_count(raw.core) == 4
        assert raw.counter("time_wait_recycled") == 2
        answers = []
        for port in range(5000, 5006):
            raw.source_port = port
            answers.append([s.flags for s in raw.send(FIN | ACK, seq=raw.iss + 1, ack=0)])
        assert answers == [[RST], [RST], [ACK], [ACK], [ACK], [ACK]]


def test_challenges_are_limited(raw: Raw) -> None:
    """RFC 5961 section 7: a flood of guesses gets some hundred challenge ACKs a second, not one each."""
    raw.establish()
    answers = sum(len(raw.send(RST, seq=raw.seq + 9)) for _ in range(3000))
    assert 400 < answers < 1600
    assert raw.counter("drop_rst") == 3000
    assert raw.state == "ESTABLISHED"


def test_old_acks_far_back_are_challenged(raw: Raw) -> None:
    """RFC 5961 section 5: an ACK older than the largest window is no old segment of ours."""
    raw.establish()
    (ack,) = raw.send(ACK, b"evil", ack=raw.ack - 200_000)
    assert ack.ack == raw.seq - 4
    assert raw.dropped() == {"drop_bad_ack": 1}


def test_bytes_for_a_closed_actor_are_dropped_until_the_peer_closes(raw: Raw) -> None:
    """After close() the actor reads no more: bytes are acknowledged, counted and dropped; the FIN ends it well."""
    connection = raw.establish()
    connection.close()
    raw.receive()
    raw.send(ACK)
    (ack,) = raw.send(ACK, b"too late")
    assert ack.ack == raw.seq
    raw.send(FIN | ACK)
    assert connection.received == b""
    assert connection.reason == "local"
    assert raw.dropped() == {"drop_closed": 1}


def test_close_sends_what_is_queued_first(raw: Raw) -> None:
    """FIN follows the last byte, in the same segment where it fits."""
    connection = raw.establish(MSS_1000)
    connection.send(b"x" * 1500)
    connection.close()
    segments = raw.receive()
    assert [(len(s.data), s.flags) for s in segments] == [(1000, ACK), (500, ACK | PSH | FIN)]
    raw.send(ACK)
    assert raw.state == "FIN_WAIT_2"


def test_lost_fin_is_sent_again(raw: Raw) -> None:
    """FIN is retransmitted with the bytes before it."""
    connection = raw.establish(MSS_1000)
    connection.send(b"x" * 300)
    connection.close()
    raw.receive()
    (again,) = raw.wait(1.0)[:1]
    assert (len(again.data), again.flags) == (300, ACK | PSH | FIN)
    raw.send(ACK, ack=again.seq + 300)
    (fin,) = raw.wait(1.0)[:1]
    assert (len(fin.data), fin.flags) == (0, ACK | FIN)
    raw.send(ACK)
    assert raw.state == "FIN_WAIT_2"


def test_full_send_wire_is_waited_out() -> None:
    """When the driver has no frame free nothing is lost: output follows when there is room, counted."""
    with Raw(slots=4) as raw:
        connection = raw.establish(MSS_1000)
        connection.send(b"x" * 10_000)
        while raw.peer.poll():  # ten segments into four slots, and nobody takes them off
            pass
        assert raw.record.snd_nxt - raw.record.snd_una == 4000
        assert raw.counter("tx_full") > 0
        received = b"".join(segment.data for segment in raw.receive() + raw.wait(0.01))
        assert received == b"x" * 10_000
        assert raw.counter("retransmitted") == 0


def test_kept_bytes_are_acknowledged_in_time() -> None:
    """What the actor leaves for later is acknowledged like what it takes: after 40 ms."""
    with Raw(room=4000) as raw:
        raw.establish(MSS_1000)
        for _ in range(4):
            raw.send(ACK, b"k" * 1000)
        assert raw.send(ACK, b"k" * 500) == []
        assert raw.wait(0.039) == []
        (ack,) = raw.wait(0.002)
        assert ack.ack == raw.seq


def test_draining_closes_gently_then_resets() -> None:
    """Draining sends what is queued, then FIN, and takes no new connection; past the deadline what is left is reset."""
    with Raw() as raw:
        connection = raw.establish(MSS_1000)
        connection.send(b"bye")
        assert raw.core.transport.drain(raw.core, 0) == 1
        (last,) = raw.receive()
        assert (last.data, last.flags) == (b"bye", ACK | PSH | FIN)
        raw.source_port = 5001
        assert [s.flags for s in raw.send(SYN, seq=1)] == [RST | ACK]
        assert raw.core.transport.drain(raw.core, 1) == 1
        assert [s.flags for s in raw.receive()] == [RST | ACK]
        assert connection.reason == "shutdown"
        assert raw.core.transport.drain(raw.core, 1) == 0


def test_an_idle_connection_holds_no_busy_block(raw: Raw) -> None:
    """Once everything is acknowledged both ways a connection is its 128 bytes again."""
    connection = raw.establish()
    connection.send(b"question?")
    raw.receive()
    assert raw.record.busy
    assert raw.send(ACK, b"answer!") == []
    (ack,) = raw.wait(0.041)  # not by the deadline of the retransmission that is due no more
    assert ack.ack == raw.seq
    assert not raw.record.busy
    assert not raw.record.transport_deadline
