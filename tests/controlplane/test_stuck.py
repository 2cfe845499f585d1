"""Control actors and programs that take nothing: what else its core has for the control plane passes them by."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from processes import layout, until
from splitplane.events import HandlerFault
from splitplane.runtime.errors import AskError
from splitplane.runtime.layout import Nic
from splitplane.runtime.runtime import Runtime
from talkers import Burst, Divide, GetTally, Number, Stuck

HERE = "127.0.0.1"
MORE = """
reports_to = "stuck"
[[group.web.listen]]
port = "tcp:{port}"
actor = "controlplane"
[control.stuck]
actor = "talkers:Stuck"
mailbox = 10
[rings]
control = 256
"""


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def one_core(free_port: Callable[[], int]) -> AsyncIterator[tuple[Runtime, socket.socket]]:
    """A core whose one listener talks to a control actor, and whose other one's connections echo in the control plane."""
    port = free_port()
    made = layout(free_port(), driver="kernel", actor="talkers:Talker", more=MORE.format(port=port))
    made = made.model_copy(update={"nic": {"front": Nic(driver="kernel", bind=HERE)}})
    async with Runtime(made) as runtime, asyncio.timeout(60):
        await runtime.start_server(echo, port)
        with socket.socket() as stream:
            stream.setblocking(False)
            await asyncio.get_running_loop().sock_connect(stream, (HERE, port))
            yield runtime, stream


async def echoed(stream: socket.socket, data: bytes) -> None:
    """All of `data` goes to the program and comes back."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(stream, data)
    got = b""
    while len(got) < len(data):
        got += await loop.sock_recv(stream, 1 << 16)
    assert got == data


def stuck_of(runtime: Runtime) -> Any:
    return runtime._running.mailboxes[0].actor


async def flood(runtime: Runtime, stream: socket.socket) -> tuple[int, int]:
    """Tells far more than mailbox and ring hold, and uses all else that the core has for us; (told, refused)."""
    core, faults = runtime["web"][0], runtime.messages(HandlerFault)
    for round_ in range(20):
        core.tell(Burst(count=2000, long=round_ % 2))
        await echoed(stream, bytes([round_]) * 5000)
        if round_ % 4 == 0:  # few enough in a second to be told one by one
            with pytest.raises(AskError):
                await core.ask(Divide(by=0), timeout=20)
            assert (await anext(faults)).handler == "divide"
    tally = await core.ask(GetTally(), timeout=20)
    return tally.told, tally.refused


def test_an_actor_that_takes_nothing(free_port: Callable[[], int]) -> None:
    """Streams, replies, faults of its core go on; its core's tells say False; what was told comes, once and in order."""

    async def scene() -> None:
        async with one_core(free_port) as (runtime, stream):
            stuck: Stuck = stuck_of(runtime)
            told, refused = await flood(runtime, stream)
            assert told + refused == 20 * 2000
            assert refused == runtime.counters(0)["mailbox_full"] > 0
            mailbox = runtime._running.mailboxes[0]
            assert (
                mailbox.waiting <= 10 + 2 * 256 + 257
            )  # limit, ring, and what a run and the ring hold
            stuck.gate.set()
            await until(lambda: len(stuck.numbers) == told)
            assert stuck.numbers == list(range(told))
            core = runtime["web"][0]
            core.tell(Burst(count=10, long=0))
            await until(lambda: len(stuck.numbers) == told + 10)

    asyncio.run(scene())


def test_an_iteration_that_nobody_reads(free_port: Callable[[], int]) -> None:
    """The same for `runtime.messages` beside an actor that takes all: read or dropped, it holds up nobody any more."""

    async def scene() -> None:
        async with one_core(free_port) as (runtime, stream):
            stuck: Stuck = stuck_of(runtime)
            stuck.gate.set()
            numbers = runtime.messages(Number, limit=10)
            told, refused = await flood(runtime, stream)
            assert told + refused == 20 * 2000
            assert refused > 0
            await until(lambda: len(stuck.numbers) == told)
            for _ in range(numbers.waiting // 2):
                await anext(numbers)
            numbers.close()
            core = runtime["web"][0]
            await core.tell(Burst(count=100, long=0))
            await until(lambda: len(stuck.numbers) == told + 100)
            assert stuck.numbers == list(range(told + 100))

    asyncio.run(scene())
