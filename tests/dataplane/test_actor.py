"""The actor layer over the bench transport: what reaches a handler, in which order, and what becomes of it."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rig import script_model

SECOND = 1_000_000_000
relaxed = settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

frames = st.binary(max_size=60).map(lambda body: b"=" + bytes([len(body)]) + body)
waiting_frames = st.binary(max_size=60).map(lambda body: b"#" + bytes([len(body)]) + body)
sends = st.integers(0, 40).map(lambda n: b"*" + bytes([n]))
skipped = st.sampled_from([b"a", b" ", b"\n"])
commands = st.lists(st.one_of(frames, waiting_frames, sends, skipped), max_size=30)
endings = st.sampled_from([b"", b".", b"x", b"!", b"~", b"-"])


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


class Bench:
    """Peers of one core on a virtual clock that moves 1 ms a turn."""

    def __init__(self, rig: Any) -> None:
        self.rig, self.lib, self.ffi, self.core = rig, rig.lib, rig.ffi, rig.core
        self.now = SECOND
        self.lib.core_clock(self.core, self.now)
        rig.attach("bench")
        assert self.lib.loop_start(self.core, 0) == 0
        self.buffers = self.lib.buffer_free_bytes(self.core)

    def turn(self, count: int = 1, milliseconds: int = 1) -> None:
        for _ in range(count):
            self.now += milliseconds * 1_000_000
            self.lib.core_clock(self.core, self.now)
            self.lib.loop_turn(self.core)

    def connect(self, listener: int = 0) -> int:
        peer = self.lib.bench_connect(self.core, listener, 0x0100007F, 7)
        assert peer >= 0
        return int(peer)

    def send(self, peer: int, data: bytes) -> int:
        return int(self.lib.bench_send(self.core, peer, data, len(data)))

    def received(self, peer: int) -> bytes:
        length = self.lib.bench_received(self.core, peer)
        into = self.ffi.new("uint8_t[]", max(1, length))
        self.lib.bench_receive(self.core, peer, into, length)
        return bytes(self.ffi.buffer(into, length))

    def reasons(self, peer_handle: int | None = None) -> list[int]:
        return [
            entry.argument
            for entry in self.rig.handlers.log
            if entry.handler == self.lib.ON_CLOSE and peer_handle in (None, entry.handle)
        ]

    def all_given_back(self) -> None:
        """No record, busy block or buffer is held once every connection is gone."""
        assert self.core.state.live == 0
        assert self.core.pending.count == 0
        assert self.core.again.count == 0
        assert self.lib.buffer_free_bytes(self.core) == self.buffers
        free, block = 0, self.core.state.busy_free
        while block:
            free, block = free + 1, self.core.busy[block].next
        assert free == self.core.state.busy_fresh - 1


@relaxed
@given(
    parts=commands,
    ending=endings,
    tail=st.binary(max_size=5),
    places=st.lists(st.integers(0, 5000), max_size=12),
    turns=st.lists(st.booleans(), max_size=12),
    calls=st.integers(1, 5),
)
def test_any_split_gives_the_same(
    rig: Callable[..., Any],
    parts: list[bytes],
    ending: bytes,
    tail: bytes,
    places: list[int],
    turns: list[bool],
    calls: int,
) -> None:
    """However the bytes are cut and however few calls a turn allows, the actor's output and end are the model's."""
    script = b"".join(parts) + ending + (tail if ending else b"")
    one = rig()
    one.handlers.reset()
    one.actor(calls_per_turn=calls)
    bench = Bench(one)
    peer = bench.connect()
    for number, piece in enumerate(cut(script, places)):
        bench.send(peer, piece)
        if number < len(turns) and turns[number]:
            bench.turn()
    bench.turn(len(script) + 3)
    expect_model(bench, peer, script)


def expect_model(bench: Bench, peer: int, script: bytes) -> None:
    """Output, end, faults and what is left are those of the model."""
    one, lib = bench.rig, bench.lib
    expected, end = script_model(script)
    got = bench.received(peer)
    assert all(entry.nesting == 0 for entry in one.handlers.log), "a handler ran inside another"
    if end in ("open", "close"):
        assert got == expected
    else:
        assert expected.startswith(got), "an abort may cut what was not yet sent, nothing else"
    reasons = {
        "open": [],
        "close": [lib.CLOSE_LOCAL],
        "abort": [lib.CLOSE_ABORTED],
        "fault": [lib.CLOSE_FAULT],
    }
    assert bench.reasons() == reasons[end]
    assert one.counter("faults") == (end == "fault")
    if end == "open":
        lib.bench_end(one.core, peer)
        bench.turn(4)
        assert bench.received(peer) == b"E"
        assert bench.reasons() == [lib.CLOSE_PEER]
    assert [entry.handler for entry in one.handlers.log].count(lib.ON_OPEN) == 1
    bench.turn()
    bench.all_given_back()


def test_need_holds_the_handler_back(rig: Callable[..., Any]) -> None:
    """After need(n), on_data does not run again before n bytes are there."""
    one = rig()
    one.actor()
    bench = Bench(one)
    peer = bench.connect()
    for byte in b"=\x05hello":
        bench.send(peer, bytes([byte]))
        bench.turn()
    calls = [entry.length for entry in one.handlers.log if entry.handler == one.lib.ON_DATA]
    assert calls == [1, 2, 7]
    assert bench.received(peer) == b"hello"


def test_waiting_without_need_is_asked_at_every_arrival_only(rig: Callable[..., Any]) -> None:
    """0 means: again when more bytes are there, and not before."""
    one = rig()
    one.actor()
    bench = Bench(one)
    peer = bench.connect()
    bench.send(peer, b"#\x03a")
    bench.turn(5)
    bench.send(peer, b"b")
    bench.turn(5)
    bench.send(peer, b"c")
    bench.turn(5)
    calls = [entry.length for entry in one.handlers.log if entry.handler == one.lib.ON_DATA]
    assert calls == [3, 4, 5]
    assert bench.received(peer) == b"abc"


def test_calls_a_turn_are_bounded(rig: Callable[..., Any]) -> None:
    """More commands than calls_per_turn wait for later turns, which come without another frame."""
    one = rig()
    one.actor(calls_per_turn=3)
    bench = Bench(one)
    peer = bench.connect()
    bench.send(peer, b"=\x01a" * 10)
    seen = []
    for _ in range(5):
        bench.turn()
        seen.append(len(bench.received(peer)))
    assert seen == [3, 3, 3, 1, 0]


def test_full_and_still_nothing_consumed_is_an_overflow(rig: Callable[..., Any]) -> None:
    """max_unconsumed bytes kept and 0 returned: the connection is reset, counted, told once."""
    one = rig()
    one.actor(max_unconsumed=1000)
    bench = Bench(one)
    peer = bench.connect()
    bench.send(peer, b"?" * 999)
    bench.turn(3)
    assert bench.reasons() == []
    bench.send(peer, b"?" * 500)
    bench.turn(3)
    assert bench.reasons() == [one.lib.CLOSE_OVERFLOW]
    assert one.counter("overflows") == 1
    assert one.lib.bench_state_of(one.core, peer) == one.lib.BENCH_RESET
    bench.all_given_back()


def test_need_of_more_than_fits_is_an_overflow(rig: Callable[..., Any]) -> None:
    """A need beyond max_unconsumed can't be met: it ends as an overflow, not as a wait for ever."""
    one = rig()
    one.actor(max_unconsumed=100)
    bench = Bench(one)
    peer = bench.connect()
    bench.send(peer, b"=\xff" + b"a" * 200)
    bench.turn(4)
    assert bench.reasons() == [one.lib.CLOSE_OVERFLOW]


def test_no_send_space_pauses_and_resumes(rig: Callable[..., Any]) -> None:
    """on_data runs only while reply_reserve is free; the rest waits for the peer to read, in order and complete."""
    one = rig(buffer_bytes=2 << 20)
    one.actor(reply_reserve=65536)
    bench = Bench(one)
    peer = bench.connect()
    one.lib.bench_window(one.core, peer, 0)
    bench.send(peer, b"*\xff" * 100)
    bench.turn(5)
    assert one.counter("paused") >= 1
    assert one.counter("faults") == 0
    calls = one.counter("handler_calls")
    bench.turn(5)
    assert one.counter("handler_calls") == calls
    one.lib.bench_window(one.core, peer, -1)
    bench.turn(40)
    assert len(bench.received(peer)) == 100 * 255 * 256
    assert bench.reasons() == []


def test_the_end_waits_for_what_is_paused(rig: Callable[..., Any]) -> None:
    """on_end runs after every kept byte was offered, even when sending was stuck for a while."""
    one = rig(buffer_bytes=2 << 20)
    one.actor(reply_reserve=65536)
    bench = Bench(one)
    peer = bench.connect()
    one.lib.bench_window(one.core, peer, 0)
    bench.send(peer, b"*\xff" * 50)
    one.lib.bench_end(one.core, peer)
    bench.turn(5)
    assert not [entry for entry in one.handlers.log if entry.handler == one.lib.ON_END]
    one.lib.bench_window(one.core, peer, -1)
    bench.turn(40)
    assert bench.received(peer) == b"x" * (50 * 255 * 256) + b"E"
    assert bench.reasons() == [one.lib.CLOSE_PEER]


def test_writable_is_told_once_space_is_free(rig: Callable[..., Any]) -> None:
    """A refused try_send is followed by on_writable when the peer has read."""
    one = rig(buffer_bytes=4 << 20)
    one.actor()
    bench = Bench(one)
    peer = bench.connect()
    one.lib.bench_window(one.core, peer, 0)
    bench.send(peer, b"*\x01w")
    bench.turn(3)
    ran = [entry.handler for entry in one.handlers.log]
    assert one.lib.ON_WRITABLE not in ran
    one.lib.bench_window(one.core, peer, -1)
    bench.turn(3)
    assert bench.received(peer) == b"x" * 256 + b"W"


def test_one_send_larger_than_the_staging_buffer(rig: Callable[..., Any]) -> None:
    """A send beyond the staging buffer goes to the stream at once, behind what was sent before."""
    one = rig(buffer_bytes=8 << 20)
    one.actor()
    bench = Bench(one)
    peer = bench.connect()
    bench.send(peer, b"w")
    bench.turn(3)
    assert bench.received(peer) == b"x" * (1 << 20)


def test_timer_fires_once(rig: Callable[..., Any]) -> None:
    """set_timer(n) runs on_timer once, not before n ms."""
    one = rig()
    one.actor()
    bench = Bench(one)
    peer = bench.connect()
    bench.send(peer, b"@\x32")
    bench.turn(45)
    assert bench.received(peer) == b""
    bench.turn(100)
    assert bench.received(peer) == b"T"


def test_a_reset_closes_once(rig: Callable[..., Any]) -> None:
    """A reset by the peer, with bytes on their way and a timer set, ends in one on_close and nothing after."""
    one = rig()
    one.actor()
    bench = Bench(one)
    peer = bench.connect()
    bench.send(peer, b"@\x05=\x09abc")
    bench.turn()
    bench.send(peer, b"def.")
    one.lib.bench_reset(one.core, peer)
    bench.turn(30)
    assert bench.reasons() == [one.lib.CLOSE_RESET]
    assert one.handlers.log[-1].handler == one.lib.ON_CLOSE
    bench.all_given_back()


def test_a_fault_leaves_others_alone(rig: Callable[..., Any]) -> None:
    """A failing handler costs its own connection: RST there, the others answer on."""
    one = rig()
    one.actor()
    bench = Bench(one)
    bad, good = bench.connect(), bench.connect()
    bench.send(good, b"=\x03on")
    bench.send(bad, b"!")
    bench.turn(2)
    bench.send(good, b"e")
    bench.turn(2)
    assert one.lib.bench_state_of(one.core, bad) == one.lib.BENCH_RESET
    assert bench.received(bad) == b""
    assert bench.received(good) == b"one"


def test_actor_without_handlers_swallows_and_closes(rig: Callable[..., Any]) -> None:
    """Without on_data bytes are dropped; without on_end the connection closes after the peer's."""
    one = rig()
    one.actor(names={})
    bench = Bench(one)
    peer = bench.connect()
    bench.send(peer, b"x" * 200_000)
    one.lib.bench_end(one.core, peer)
    bench.turn(6)
    assert one.lib.bench_state_of(one.core, peer) == one.lib.BENCH_ENDED
    bench.all_given_back()


def test_tick_runs_at_its_period(rig: Callable[..., Any]) -> None:
    """on_tick runs once a period; a long pause is not made up for."""
    one = rig()
    one.actor(tick_period=10)
    bench = Bench(one)
    bench.turn(100)
    ticks = sum(entry.handler == one.lib.ON_TICK for entry in one.handlers.log)
    assert ticks == 10
    bench.turn(1, milliseconds=1000)
    bench.turn(5)
    assert sum(entry.handler == one.lib.ON_TICK for entry in one.handlers.log) == 11


def test_closing_while_the_peer_disagrees(rig: Callable[..., Any]) -> None:
    """After close() bytes of the peer are dropped and on_close waits for its end."""
    one = rig()
    one.actor()
    bench = Bench(one)
    peer = bench.connect()
    one.lib.bench_agree(one.core, peer, 0)
    bench.send(peer, b"=\x01a.")
    bench.turn(2)
    bench.send(peer, b"=\x01b" * 100_000)
    bench.turn(5)
    assert bench.received(peer) == b"a"
    assert bench.reasons() == []
    one.lib.bench_end(one.core, peer)
    bench.turn(3)
    assert bench.reasons() == [one.lib.CLOSE_LOCAL]


@pytest.mark.parametrize("free", [0, 1])
def test_no_record_no_connection(rig: Callable[..., Any], free: int) -> None:
    """A full core refuses another connection, and takes it once one is gone."""
    one = rig(connections=4)
    one.actor()
    bench = Bench(one)
    peers = [bench.connect() for _ in range(4)]
    if free:
        one.lib.bench_reset(one.core, peers[2])
        bench.turn(2)
    number = one.lib.bench_connect(one.core, 0, 1, 1)
    assert (number >= 0) == bool(free)


def fill_up(bench: Bench, kind: str) -> list[int]:
    """Connections that hold memory and never let go: requests without an end, or peers that don't read."""
    peers = []
    for _ in range(40):
        peer = bench.connect()
        if kind == "unfinished":
            bench.send(peer, b"#\xff" + b"a" * 200)
        else:
            bench.lib.bench_window(bench.core, peer, 0)
            bench.send(peer, b"*\x01" * 40)
        peers.append(peer)
        bench.turn()
    return peers


@pytest.mark.parametrize("kind", ["unfinished", "unread"])
@pytest.mark.parametrize("short", ["buffers", "blocks"])
def test_exhausted_buffers_are_slow_not_wedged(
    rig: Callable[..., Any], kind: str, short: str
) -> None:
    """When others hold every buffer or busy block for ever, a request is still answered; the silent ones pay, counted."""
    blocks, size = (64, 1 << 13) if short == "buffers" else (20, 1 << 20)
    one = rig(busy_blocks=blocks, buffer_bytes=size)
    one.actor(reply_reserve=512, max_unconsumed=4096)
    bench = Bench(one)
    fill_up(bench, kind)
    late = bench.connect()
    bench.send(late, b"=\x05hello")
    bench.turn(6000)
    assert bench.received(late) == b"hello"
    assert one.counter("buffer_evicted") >= 1
    assert one.counter("faults") == 0
    assert bench.reasons().count(one.lib.CLOSE_OVERFLOW) == one.counter("buffer_evicted")


def test_a_shortage_among_the_lively_resets_nobody(rig: Callable[..., Any]) -> None:
    """More busy connections than busy blocks: all wait their turn, none pays, as long as each holder gets on."""
    one = rig(busy_blocks=4, buffer_bytes=1 << 20)
    one.actor(reply_reserve=512)
    bench = Bench(one)
    peers = [bench.connect() for _ in range(40)]
    for peer in peers:
        bench.send(peer, b"#\xff" + b"a" * 100)
    for number in range(3000):
        bench.send(peers[number % 40], b"a")
        bench.turn()
    for peer in peers:
        bench.send(peer, b"a" * 80)
    bench.turn(300)
    assert one.counter("buffer_evicted") == 0
    assert sum(len(bench.received(peer)) for peer in peers[:4]) == 4 * 255


def handle_of(bench: Bench, peer: int) -> bytes:
    record = bench.lib.bench_record(bench.core, peer)
    return int(bench.lib.record_handle(bench.core, record)).to_bytes(8, "little")


@pytest.mark.parametrize("command", [b"a", b".", b"x"])
def test_another_connection_is_reached_by_its_handle(
    rig: Callable[..., Any], command: bytes
) -> None:
    """send, close and abort work on another connection of the core; once it is gone its handle finds nothing."""
    one = rig()
    one.actor()
    bench = Bench(one)
    first, second = bench.connect(), bench.connect()
    handle = handle_of(bench, second)
    bench.send(first, b"^" + handle + command)
    bench.turn(3)
    assert bench.received(first) == b""
    assert bench.received(second) == (b"a" if command == b"a" else b"")
    reasons = {
        b"a": [],
        b".": [one.lib.CLOSE_LOCAL],
        b"x": [one.lib.CLOSE_ABORTED],
    }
    assert bench.reasons() == reasons[command]
    one.lib.bench_reset(one.core, second)
    bench.turn(2)
    third = bench.connect()  # the same record, another generation
    assert one.lib.bench_record(one.core, third) == int.from_bytes(handle, "little") & 0xFFFFFF
    bench.send(first, b"^" + handle + b"b")
    bench.turn(3)
    assert bench.received(first) == b"?"
    assert bench.received(third) == b""


def test_of_two_that_abort_each_other_the_first_wins(rig: Callable[..., Any]) -> None:
    """A connection aborted by another in this turn runs no handler but on_close."""
    one = rig()
    one.actor()
    bench = Bench(one)
    peers = [bench.connect(), bench.connect()]
    for peer, other in (peers, peers[::-1]):
        bench.send(peer, b"^" + handle_of(bench, other) + b"x")
    bench.turn(3)
    assert bench.reasons() == [one.lib.CLOSE_ABORTED]
    assert one.core.state.live == 1
    bench.send(peers[0], b"^" + handle_of(bench, peers[0]) + b"x")
    bench.turn(3)
    bench.all_given_back()
