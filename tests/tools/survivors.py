"""Actors that the process tests run: one that echoes, one that does whatever its client bids it, one that tells."""

import asyncio

from splitplane import (
    Connection,
    ControlActor,
    DataActor,
    Message,
    Request,
    Sender,
    State,
    View,
    on,
)
from splitplane.types import u32, u64


class Session(State):
    """A connection's count of bytes, to see that state survives."""

    seen: u64


class Totals(State):
    """Of one core."""

    starts: u32
    restarts: u32
    served: u64


class GetTotals(Request[Totals]):
    """Asks a core for its totals."""


class Echo(DataActor):
    """Sends back what it gets."""

    core: Totals

    def on_start(self, restarted: bool) -> None:
        if restarted:
            self.core.restarts += 1
        else:
            self.core.starts += 1

    def on_data(self, connection: Connection[Session], data: View) -> int:
        connection.state.seen += len(data)
        self.core.served += len(data)
        connection.send(data)
        return len(data)

    @on(GetTotals)
    def totals(self, message: GetTotals) -> Totals:
        return self.core


class Moody(DataActor):
    """`l` loops for ever; anything else is echoed."""

    core: Totals

    def on_data(self, connection: Connection[Session], data: View) -> int:
        if data[0] == 108:
            spin = 1
            while spin:
                self.core.served += 1
                spin = self.core.served
        connection.send(data)
        return len(data)


class Visit(Message):
    """Somebody sent a byte."""

    served: u64


class Teller(DataActor):
    """Tells of each byte and answers `1`, or `0` if the telling failed. `w`: tells the group web."""

    core: Totals

    def on_data(self, connection: Connection[Session], data: View) -> int:
        self.core.served += 1
        if data[0] == 119:
            connection.send_int(self.tell(Visit(served=1), to="web"))
        else:
            connection.send_int(self.tell(Visit(served=self.core.served)))
        return 1

    @on(GetTotals)
    def totals(self, message: GetTotals) -> Totals:
        return self.core

    @on(Visit)
    def visit(self, message: Visit) -> None:
        self.core.restarts += 1


class Asker(ControlActor):
    """Whoever tells it something is asked without end."""

    @on(Visit)
    async def visit(self, message: Visit, sender: Sender) -> None:
        if not hasattr(self, "task"):
            self.task = asyncio.create_task(self.ask(sender))

    async def ask(self, sender: Sender) -> None:
        while True:
            asks = (sender.ask(GetTotals(), timeout=60) for _ in range(300))
            await asyncio.gather(*asks, return_exceptions=True)

    async def on_stop(self) -> None:
        if hasattr(self, "task"):
            self.task.cancel()
