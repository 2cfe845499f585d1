"""Lines `add N` add to the core's sum, `sum` shows it; each second the control plane asks for the totals."""

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
from splitplane.protocols import TOO_LONG, WAIT, split_line
from splitplane.types import i64, u64


class Totals(State):
    lines: u64
    sum: i64


class GetTotals(Request[Totals]): ...


class Second(Message):
    now: u64  # nanoseconds


class Counters(DataActor):
    core: Totals

    def on_tick(self) -> None:
        self.tell(Second(now=self.now))

    def on_data(self, connection: Connection[State], data: View) -> int:
        line = split_line(data, 64)
        if line.length == WAIT:
            return 0
        if line.length == TOO_LONG:
            connection.abort()
            return len(data)
        self.core.lines += 1
        if line.text.startswith(b"add "):
            self.core.sum += line.text[4:].to_int(0)
        elif line.text == b"sum":
            connection.send_int(self.core.sum)
            connection.send(b"\n")
        return line.length

    @on(GetTotals)
    def totals(self, message: GetTotals) -> Totals:
        return self.core


class Summary(ControlActor):
    @on(Second)
    async def second(self, message: Second, sender: Sender) -> None:
        totals = await sender.ask(GetTotals())
        print(f"core {sender.core_id}: {totals.lines} lines, sum {totals.sum}")
