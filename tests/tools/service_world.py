"""A service over two cores whose side of the rings the tests play, and control actors that keep what comes."""

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from splitplane import ControlActor, DataActor, Message, Request, Sender, State, on
from splitplane.controlplane.service import Service, running
from splitplane.dataplane.ring import REPLY, Received
from splitplane.runtime.mesh import CONTROL, Mesh
from splitplane.runtime.schema import Schema, schema_of
from splitplane.types import u32, u64


class Visit(Message):
    number: u64


class Row(Message):
    number: u32
    core: u32


class Bell(Message):
    """No fields at all."""


class Gong(Message):
    """Nor here."""


class Total(State):
    value: u64


class GetTotal(Request[Total]):
    of: u32


class Stranger(Message):
    value: u32


class Counter(DataActor):
    @on(GetTotal)
    def total(self, message: GetTotal) -> Total:
        raise NotImplementedError

    @on(Visit)
    def visit(self, message: Visit) -> None:
        raise NotImplementedError


class Reporter(ControlActor):
    """Keeps what comes; `gate` holds it up, `hook` runs with every visit."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.rows: list[Any] = []
        self.life: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.hook: Callable[[int, Sender], Awaitable[None]] | None = None

    async def on_start(self) -> None:
        self.life.append("start")

    async def on_stop(self) -> None:
        self.life.append("stop")

    @on(Visit)
    async def visit(self, message: Visit, sender: Sender) -> None:
        await self.gate.wait()
        if self.hook is not None:
            await self.hook(message.number, sender)
        self.seen.append(message.number)

    @on(Row, batch=True)
    async def row(self, batch: "np.ndarray[Any, Any]") -> None:
        await self.gate.wait()
        self.rows.append(batch)

    @on(Bell)
    async def bell(self, message: Bell, sender: Sender) -> None:
        await self.gate.wait()
        self.seen.append(-1)

    @on(Gong, batch=True)
    async def gong(self, batch: "np.ndarray[Any, Any]") -> None:
        self.seen.extend([-2] * len(batch))


SCHEMA: Schema = schema_of([Counter, Reporter])
VISIT = SCHEMA.number(Visit)


class World:
    """A service over two cores, and the cores' ends of the rings."""

    def __init__(self, service: Service, mesh: Mesh, reporter: Reporter, other: Reporter) -> None:
        self.service, self.mesh = service, mesh
        self.reporter, self.other = reporter, other

    def tell(self, number: int, *, core: int = 0, mailbox: int = 0, listener: int = 0) -> bool:
        """What call_tell does."""
        ring = self.mesh.ring(core, CONTROL)
        return ring.put(VISIT, struct.pack("<Q", number), target=mailbox, tag=listener + 1)

    def received(self, core: int = 0) -> Received | None:
        """What mail_poll finds."""
        ring = self.mesh.ring(CONTROL, core)
        message = ring.get()
        ring.advance()
        return message

    def reply(self, ask: Received, value: int | None, core: int = 0) -> None:
        """Answers; None: it failed."""
        payload = b"" if value is None else struct.pack("<Q", value)
        number = 0 if value is None else ask.type
        assert self.mesh.ring(core, CONTROL).put(number, payload, kind=REPLY, tag=ask.tag)


@asynccontextmanager
async def world(limit: int = 1000, cells: int = 64) -> AsyncIterator[World]:
    mesh = Mesh.create(2, control_cells=cells, core_cells=64)
    reporter, other = Reporter(), Reporter()
    service = Service(
        mesh,
        SCHEMA,
        actors={"reporter": (reporter, limit), "other": (other, limit)},
        groups={"web": [0, 1], "back": [1]},
        listeners=[Counter],
    )
    try:
        async with running(service):
            yield World(service, mesh, reporter, other)
    finally:
        mesh.close()
        os.close(mesh.fd)


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)


def play(scene: Callable[..., Awaitable[None]], **arguments: int) -> None:
    async def main() -> None:
        async with world(**arguments) as now:
            await scene(now)

    asyncio.run(main())
