"""Handshakes that are not through: their list against a model, its cost, and floods that nobody else notices."""

import socket
import struct
from collections import OrderedDict
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from raw import ACK, CORE, RST, SYN, Raw, build
from splitplane.dataplane.native import lib
from splitplane.dataplane.peer import Peer

LIMIT = 5
SIZES = {"half_open_limit": LIMIT, "connections": 40, "buffers": 1 << 16}


def adopt(raw: Raw) -> None:
    """Another worker over the same arena and wire, as after a kill."""
    memory = raw.peer.memory
    raw.peer.close()
    raw.peer = Peer(raw.wires[0], address=CORE, number=1, memory=memory, adopt=True, **SIZES)
    raw.core = raw.peer.core.pointer
    raw.peer.listen(80)
    raw.peer.clock(raw.now)
    raw.peer.start()
    raw.receive()


def listed(raw: Raw) -> list[int]:
    """Record indexes oldest first, as the links in the records say; both ways agree."""
    half = {
        index: struct.unpack("II", bytes(raw.core.records[index].application)[:8])
        for index in range(1, raw.core.state.record_fresh)
        if raw.core.records[index].state == lib.STATE_SYN_RECEIVED
    }
    order: list[int] = []
    at = next((index for index, (older, _) in half.items() if not older), 0)
    while at:
        assert half[at][0] == (order[-1] if order else 0)
        order.append(at)
        at = half[at][1]
    assert len(order) == len(half) == raw.core.state.half_open
    return order


def ports(raw: Raw) -> list[int]:
    return [socket.ntohs(raw.core.records[index].flow.remote_port) for index in listed(raw)]


class HalfOpen(RuleBasedStateMachine):
    """Clients that begin, finish, reset or forget handshakes, with room for five; a dict knows who should be left."""

    @initialize()
    def start(self) -> None:
        self.raw = Raw(**SIZES)
        self.half: OrderedDict[int, int] = OrderedDict()  # port -> the core's sequence number
        self.open: set[int] = set()
        self.evicted = 0

    def teardown(self) -> None:
        self.raw.close()

    @rule(port=st.integers(1, 30))
    def begin(self, port: int) -> None:
        answers = self.raw.send(SYN, source_port=port, seq=1000)
        if port in self.open or port in self.half:
            return  # challenged, or answered again
        if len(self.half) == LIMIT:
            self.half.popitem(last=False)
            self.evicted += 1
        self.half[port] = answers[0].seq

    @rule(which=st.integers(0, LIMIT - 1))
    def finish(self, which: int) -> None:
        if which < len(self.half):
            port = list(self.half)[which]
            self.raw.send(ACK, source_port=port, seq=1001, ack=self.half.pop(port) + 1)
            self.open.add(port)

    @rule(which=st.integers(0, LIMIT - 1))
    def reset(self, which: int) -> None:
        if which < len(self.half):
            port = list(self.half)[which]
            del self.half[port]
            self.raw.send(RST, source_port=port, seq=1001)

    @rule()
    def time_out(self) -> None:
        self.raw.wait(200)
        self.half.clear()

    @rule()
    def adopt(self) -> None:
        """A new worker takes over: the same connections, the order of their records."""
        index = {port: at for at, port in zip(listed(self.raw), ports(self.raw), strict=True)}
        adopt(self.raw)
        self.half = OrderedDict(sorted(self.half.items(), key=lambda item: index[item[0]]))

    @invariant()
    def those_left_are_the_models(self) -> None:
        assert ports(self.raw) == list(self.half)
        assert self.raw.counter("half_open_evicted") == self.evicted
        established = {
            socket.ntohs(record.flow.remote_port)
            for record in self.raw.core.records[1 : self.raw.core.state.record_fresh]
            if record.state == lib.STATE_ESTABLISHED
        }
        assert established == self.open


HalfOpen.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestHalfOpen = HalfOpen.TestCase


def syn_from(number: int) -> bytes:
    """A client of its own for each number: 16 million addresses."""
    address = socket.inet_ntoa(struct.pack("!I", 0x0B000000 + number))
    return build(source=address, source_port=1024 + number % 60000, seq=number, flags=SYN)


def burst(raw: Raw, frames: list[bytes]) -> None:
    """Frames that come at once; what is answered is thrown away."""
    for frame in frames:
        assert raw.wires[1].send(frame)
    while raw.peer.poll():
        raw.wires[1].receive()


def test_who_went_on_is_met_no_more() -> None:
    """With ten thousand handshakes through, gone or timed out the list holds none of them: what a SYN that finds
    the limit reached has to look at is one entry, never those that have left."""
    with Raw(half_open_limit=10_000, connections=12_000, buffers=1 << 20, slots=1024) as raw:
        for first in range(0, 10_000, 32):
            burst(raw, [syn_from(number) for number in range(first, first + 32)])
        order = listed(raw)
        assert len(order) == 10_000
        for index in order[1:]:  # all but the oldest are reset
            record = raw.core.records[index]
            frame = build(
                source=socket.inet_ntoa(struct.pack("I", record.flow.remote_address)),
                source_port=socket.ntohs(record.flow.remote_port),
                seq=record.rcv_nxt,
                flags=RST,
            )
            burst(raw, [frame])
        assert listed(raw) == order[:1]


class Live:
    """Connections that are asked and answer, whatever else arrives."""

    def __init__(self, raw: Raw, count: int) -> None:
        self.raw = raw
        self.ends: list[tuple[int, int, int, Any]] = []
        for port in range(5000, 5000 + count):
            raw.source_port, raw.seq = port, raw.iss
            connection = raw.establish()
            self.ends.append((port, raw.seq, raw.ack, connection))
        self.asked = 0

    def ask(self, number: int) -> None:
        """One question to one of them, and its answer."""
        place = number % len(self.ends)
        raw = self.raw
        raw.source_port, raw.seq, raw.ack, connection = self.ends[place]
        raw.send(ACK, b"asked")
        assert connection.received == b"asked"
        connection.clear()
        connection.send(b"answered")
        (answer,) = [segment for segment in raw.receive() if segment.port == raw.source_port]
        assert answer.data == b"answered"
        assert raw.send(ACK) == []
        self.ends[place] = (raw.source_port, raw.seq, raw.ack, connection)


def test_a_flood_of_syns_is_noticed_by_nobody_else() -> None:
    """Twenty times as many SYNs as may be half open, each from an address of its own: live connections answer at once
    all the while, exactly those beyond the limit are counted as evicted, and a client among them gets through."""
    limit, flood = 256, 5120
    with Raw(half_open_limit=limit, connections=1024, slots=1024) as raw:
        live = Live(raw, 20)
        for first in range(0, flood, 32):
            burst(raw, [syn_from(number) for number in range(first, first + 32)])
            live.ask(first // 32)
        assert raw.core.state.half_open == limit
        assert raw.counter("half_open_evicted") == flood - limit
        assert raw.dropped() == {}
        raw.source_port, raw.seq = 4000, 1
        raw.establish()
        assert raw.counter("half_open_evicted") == flood - limit + 1
        assert raw.core.state.live == 20 + 1 + limit - 1


def test_a_full_table_is_noticed_by_nobody_else() -> None:
    """No record is free: each new SYN is dropped and counted, all live connections answer, and whoever comes once there
    is room again gets through."""
    with Raw(half_open_limit=1000, connections=64, slots=1024) as raw:
        live = Live(raw, 20)
        burst(raw, [syn_from(number) for number in range(44)])
        assert raw.core.state.live == 64
        for number in range(100):
            burst(raw, [syn_from(1000 + number)])
            live.ask(number)
        assert raw.dropped() == {"drop_table_full": 100}
        assert raw.counter("half_open_evicted") == 0
        raw.wait(200)
        raw.source_port, raw.seq = 4000, 1
        raw.establish()
        assert raw.core.state.live == 21
