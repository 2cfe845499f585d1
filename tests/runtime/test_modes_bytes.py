"""Compiled and interpreted handlers do the same to bytes: views, arrays, writers, sends, timers, other connections."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splitplane.runtime.actor import Connection, DataActor
from splitplane.runtime.message import Message
from splitplane.runtime.state import State
from splitplane.runtime.types import Array, i16, u8, u64
from splitplane.runtime.view import View
from splitplane.testing import Bench

ODD = bytes(byte & 1 for byte in range(256))


class Session(State):
    text: Array[u8, Literal[24]]
    rows: Array[i16, Literal[4]]
    other: u64


class Told(Message):
    handle: u64
    text: Array[u8, Literal[6]] = Array(b"ab")


class Table(State):
    last: u64
    faults: u64
    reasons: Array[u8, Literal[9]]


class Bytes(DataActor):
    core: Table

    def on_data(self, connection: Connection[Session], data: View) -> int:
        if len(data) < 4:
            connection.need(4)
            return 0
        operation, a, b = data[0], data[1] - 128, data[2] - 128
        rest = data[4:]
        if operation < 10:
            self.look(connection, operation, a, b, rest)
        elif operation < 20:
            self.keep(connection, operation, a, b, rest)
        else:
            self.act(connection, operation, a, b, rest)
        connection.send(b";")
        return len(data)

    def look(
        self, connection: Connection[Session], operation: int, a: int, b: int, data: View
    ) -> None:
        if operation == 0:
            connection.send_int(data[a])
        elif operation == 1:
            connection.send(data[a:b], data[:a], data[b:])
        elif operation == 2:
            connection.send_int(data.find(data[1:3], a) * 100 + data.find(b"", b))
        elif operation == 3:
            connection.send_int(data[a:].to_int(b) + data[:b].hash())
        elif operation == 4:
            connection.send_int(data.u16be(a) + data.u32le(b))
        elif operation == 5:
            connection.send_int(data.u64be(a) ^ data.u64le(b) ^ data.u8(a))
        elif operation == 6:
            connection.send_int(data.span(ODD, a))
        elif operation == 7:
            connection.send_int(
                data[:a].equals_ignore_case(data[a : 2 * a]) + data.startswith(data[b:]) * 2
            )
        elif operation == 8:
            connection.send_int(
                data.endswith(data[a:]) + (data[a:] == data[b:]) * 2 + (data != b"x") * 4
            )
        else:
            connection.send(data[a:b][b:a][1:-1])

    def keep(
        self, connection: Connection[Session], operation: int, a: int, b: int, data: View
    ) -> None:
        state = connection.state
        if operation == 10:
            state.text.copy_from(data, a)
        elif operation == 11:
            connection.send(state.text.head(a))
        elif operation == 12:
            state.text[a] = b
        elif operation == 13:
            state.rows[a] += b * 300
        elif operation == 14:
            state.rows.fill(a * b)
        elif operation == 15:
            state.text.copy_from(state.text.head(8), a)
        elif operation == 16:
            self.tell(Told(handle=connection.handle, text=Array(data[a:])))
        elif operation == 17:
            self.tell(Told(handle=a), to=b)
        elif operation == 18:
            connection.send_int(state.rows[b])
        else:
            connection.send_int(len(state.text) + len(state.rows))

    def act(
        self, connection: Connection[Session], operation: int, a: int, b: int, data: View
    ) -> None:
        if operation == 20:
            writer = connection.reserve(a)
            writer.put(data)
            writer.u8(b)
            writer.u16be(b)
            writer.u32be(b)
            writer.u64be(b)
            writer.commit()
            connection.send_int(a)
        elif operation == 21:
            connection.close()
            connection.send_int(connection.try_send(data) + connection.room)
        elif operation == 22:
            connection.abort()
            connection.try_send(b"gone")
        elif operation == 23:
            connection.set_timer(milliseconds=a)
        elif operation == 24:
            other = self.connection(self.core.last)
            connection.send(b"there" if other else b"gone")
            if other:
                other.send(data)
                other.state.other = connection.handle
        elif operation == 25:
            self.connection(self.core.last).send_int(a)
        elif operation == 26:
            self.connection(self.core.last).close()
        elif operation == 27:
            for _ in range(data[0]):
                connection.send_int(connection.try_send(data, data, data))
        else:
            self.core.last = connection.handle

    def on_timer(self, connection: Connection[Session]) -> None:
        connection.send(b"timer")

    def on_close(self, connection: Connection[Session], reason: int) -> None:
        self.core.reasons[reason] += 1
        connection.try_send(b"never")


@pytest.fixture(scope="module")
def benches() -> Iterator[tuple[Bench, Bench]]:
    """One bench a mode; little room to send, so that it runs out."""
    small = {"reply_reserve": 600, "buffer_bytes": 1 << 20}
    with (
        Bench(Bytes, **small) as interpreted,
        Bench(Bytes, mode="compiled", **small) as compiled,
    ):
        yield interpreted, compiled


small = st.one_of(st.integers(116, 148), st.integers(0, 255))
steps = st.tuples(
    st.integers(0, 1),
    st.one_of(st.integers(0, 28), st.sampled_from([24, 25, 28])),
    small,
    small,
    st.one_of(st.binary(max_size=30), st.sampled_from([b"12345", b"ABcabC", b"x" * 200])),
)


@settings(max_examples=400)
@given(st.lists(steps, min_size=1, max_size=8))
def test_bytes_are_treated_the_same(
    benches: tuple[Bench, Bench], script: list[tuple[int, int, int, int, bytes]]
) -> None:
    """Two connections run a script: both modes leave the same bytes, states, messages, reasons and faults."""
    seen = []
    for bench in benches:
        bench.advance(milliseconds=2000)
        bench.told.clear()
        bench.faults.clear()
        peers = [bench.connect(), bench.connect()]
        for which, operation, a, b, data in script:
            with suppress(OSError):
                peers[which].send(bytes([operation, a, b, 0]) + data, split=[1, 3])
            bench.advance(milliseconds=30)
        ends = [(peer.received, peer.status, peer.reason, peer.handle) for peer in peers]
        states = [peer.state.to_bytes() for peer in peers if peer.handle]
        faults = [(each.line, each.error.split(":")[0]) for each in bench.faults]
        seen.append((ends, states, list(bench.told), faults, bench.core.to_bytes()))
        for peer in peers:
            with suppress(OSError):
                peer.reset()
    assert seen[0] == seen[1]
