"""Actors that the process tests run: one that echoes, and one that does whatever its client bids it."""

from splitplane import Connection, DataActor, Request, State, View, on
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
