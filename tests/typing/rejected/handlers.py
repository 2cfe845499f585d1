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
    start,
)
from splitplane.types import u32


class Session(State):
    requests: u32


class Totals(State):
    served: u32


class Visit(Message):
    requests: u32


class GetTotals(Request[Totals]): ...


class Bad(DataActor):
    core: u32  # E: assignment

    def on_open(self, connection: View) -> None: ...  # E: override

    def on_data(self, connection: Connection[Session]) -> int:  # E: override
        return 0

    def on_close(self, connection: Connection[Session], reason: bytes) -> None: ...  # E: override

    def on_tick(self, extra: int) -> None: ...  # E: override

    def on_timer(self, connection: Connection[Session]) -> int:  # E: override
        return 1

    @on(Visit)  # E: arg-type
    def visit(self, message: Totals) -> None: ...

    @on(GetTotals)  # E: arg-type
    def totals(self, message: GetTotals) -> Visit:
        return Visit(requests=1)

    @on(Session)  # E: type-var
    def session(self, message: Session) -> None: ...


class BadData(DataActor):
    def on_data(self, connection: Connection[Session], data: View) -> bytes:  # E: override
        return b""


class BadConnection(DataActor):
    def on_open(self, connection: Connection[Visit]) -> None: ...  # E: type-var


class Reporter(ControlActor):
    @on(Visit)  # E: arg-type
    async def visit(self, message: GetTotals, sender: Sender) -> None: ...

    @on(Visit)
    async def ask(self, message: Visit, sender: Sender) -> None:
        await sender.tell(b"x")  # E: arg-type
        await sender.tell(Session(requests=1))  # E: arg-type
        await sender.ask(Visit(requests=1))  # E: arg-type
        visit: Visit = await sender.ask(GetTotals())  # E: arg-type
        print(visit, (await sender.ask(GetTotals())).sreved)  # E: attr-defined


async def service() -> None:
    async with start("layout.toml") as runtime:
        await runtime["web"].tell(Totals(served=1))  # E: arg-type
        await runtime["web"][0].ask(Visit(requests=1))  # E: arg-type
        (await runtime["web"][0].ask(GetTotals())).sreved  # E: attr-defined
        runtime.web  # E: attr-defined
