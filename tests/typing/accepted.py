"""Everything that users' actors do and mypy --strict must take: this file has no findings."""

import asyncio
from typing import Any, Literal, assert_type

from splitplane import (
    CloseReason,
    Config,
    Connection,
    ControlActor,
    DataActor,
    Endpoint,
    Message,
    Request,
    Sender,
    State,
    View,
    on,
    start,
)
from splitplane.controlplane.timers import Timer
from splitplane.events import GroupQuarantined, HandlerFault, WorkerAdopted, WorkerDied
from splitplane.protocols import OK, Head, parse_head, split_line, split_prefixed
from splitplane.testing import Bench, Peer
from splitplane.types import Array, below, i64, u8, u16, u32, u64

STORE = "store"


class Point(State):
    x: i64
    y: i64


class Session(State):
    requests: u32
    name: Array[u8, Literal[16]]
    points: Array[Point, Literal[4]]


class Totals(State):
    served: u64


class Settings(Config):
    limit: u16 = 100
    banner: Array[u8, Literal[8]] = Array(b"hi")


class Visit(Message):
    connection: u64
    requests: u32 = 0
    name: Array[u8, Literal[16]] = Array()


class GetTotals(Request[Totals]): ...


class Web(DataActor):
    core: Totals
    config: Settings

    def on_start(self, restarted: bool) -> None:
        if not restarted:
            self.core.served = 0

    def on_tick(self) -> None:
        self.tell(Visit(connection=0), to=3)
        self.tell(Visit(connection=0), to="web")
        self.tell(Visit(connection=0), to=STORE)

    def on_open(self, connection: Connection[Session]) -> None:
        connection.state.name.copy_from(b"new")
        connection.state.points[1].x = self.config.limit
        assert_type(connection.remote, Endpoint)
        address, port = connection.local
        connection.send_int(connection.remote.address + address)
        connection.send_int(connection.remote.port + port)

    def on_data(self, connection: Connection[Session], data: View) -> int:
        assert_type(connection.state, Session)
        assert_type(connection.state.points[0], Point)
        assert_type(data[0], int)
        assert_type(data[1:3], View)
        head = parse_head(data)
        assert_type(head, Head)
        if head.status != OK or data.startswith(b"x") or head.method == b"GET":
            connection.send(b"a", data, head.target, connection.state.name.head(2))
        line, frame = split_line(data), split_prefixed(data, 2, 100)
        other = self.connection(connection.state.requests)
        if other and below(line.length, frame.need):
            other.state.requests += 1
        if not self.tell(Visit(connection=connection.handle, requests=1, name=Array(data[:3]))):
            connection.abort()
        writer = connection.reserve(4)
        writer.u16be(len(data))
        writer.put(data[:2])
        writer.commit()
        return helper(data)

    def on_writable(self, connection: Connection[Session]) -> None:
        if connection.try_send(b"more"):
            connection.set_timer(milliseconds=5)

    def on_end(self, connection: Connection[Session]) -> None:
        connection.close()

    def on_close(self, connection: Connection[Session], reason: int) -> None:
        if reason == CloseReason.FAULT:
            self.core.served -= 1

    def on_timer(self, connection: Connection[Session]) -> None:
        connection.cancel_timer()

    @on(GetTotals)
    def totals(self, message: GetTotals) -> Totals:
        return self.core

    @on(Visit)
    def visit(self, message: Visit) -> None:
        self.core.served += message.requests


def helper(data: View) -> int:
    return data.find(b"\n") + data.u32be(0)


class Reporter(ControlActor):
    @on(Visit)
    async def visit(self, message: Visit, sender: Sender) -> None:
        assert_type(message.requests, int)
        await sender.tell(Visit(connection=message.connection))
        totals = await sender.ask(GetTotals())
        assert_type(totals, Totals)
        print(totals.served, message.name.tolist(), Visit.from_bytes(message.to_bytes()))


class Collector(ControlActor):
    @on(Visit, batch=True)
    async def visits(self, batch: Any) -> None:
        print(batch["requests"].sum())


class Guest(ControlActor):
    """What a control actor may do besides taking messages."""

    async def on_start(self) -> None:
        timer = self.every(0.5, self.beat)
        assert_type(timer, Timer)
        timer.cancel()
        self.after(0.5, self.beat)

    async def beat(self) -> None:
        await self.push.send(1, b"x")
        await self.push.broadcast("web", b"x", port=8080)
        await self.push.publish("topic", b"x", group="web")

    async def on_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()

    @on(WorkerDied)
    async def died(self, message: WorkerDied, sender: Sender) -> None:
        assert_type(message.reason, str)
        assert_type(sender.core_id, int)

    @on(GroupQuarantined)
    async def given_up(self, message: GroupQuarantined, sender: Sender) -> None:
        assert_type(message.name, str)

    @on(HandlerFault)
    async def fault(self, message: HandlerFault, sender: Sender) -> None:
        assert_type((message.file, message.line), tuple[str, int])


async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    assert_type(await reader.read(), bytes)
    writer.close()


async def service() -> None:
    async with start("layout.toml") as runtime:
        assert_type(await runtime["web"][0].ask(GetTotals()), Totals)
        assert_type(await runtime["web"].ask_all(GetTotals(), timeout=2), list[Totals])
        await runtime["web"].tell(Visit(connection=1))
        async for visit in runtime.messages(Visit, limit=10):
            assert_type(visit, Visit)
            assert_type(visit.requests, int)
        async with runtime.messages(WorkerAdopted) as adoptions:
            assert_type((await anext(adoptions)).outage_microseconds, int)
        await runtime.configure("web", limit=4)
        assert_type(await runtime.reload(), list[str])


async def programs() -> None:
    async with start("layout.toml") as runtime:
        guest = await runtime.spawn(Guest, name="guest", mailbox=10)
        other = await runtime.spawn(Guest())
        assert_type(guest.actor, ControlActor)
        await guest.tell(Visit(connection=1))
        await other.stop()
        async with await runtime.start_server(connected, 8080, group="web") as server:
            await server.serve_forever()
        reader, writer = await runtime.connect("10.0.0.2", 80)
        assert_type(reader, asyncio.StreamReader)
        assert_type(writer, asyncio.StreamWriter)
        rows = runtime.connections("web")
        print(rows[rows["idle"] > 1000]["handle"].tolist())
        await runtime.send(1, b"x")
        await runtime.broadcast("web", b"x", port="tcp:8080")
        await runtime.publish(7, b"x")


def test_web() -> None:
    with Bench(Web, mode="compiled", config={"limit": 3}) as bench:
        peer = bench.connect()
        assert_type(peer, Peer)
        peer.send(b"GET", split=1)
        assert peer.received == b""
        assert_type(bench.ask(GetTotals()), Totals)
