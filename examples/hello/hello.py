"""HTTP/1.1: GET / says hello, POST /echo gives the body back, the rest is 404; a control actor prints the count."""

from splitplane import Config, Connection, ControlActor, DataActor, Message, Sender, State, View, on
from splitplane.protocols import OK, WAIT, parse_head, refuse, respond
from splitplane.types import u32, u64


class Settings(Config):
    report_every: u32 = 1000  # requests
    body_max: u32 = 32_000  # bytes


class Totals(State):
    served: u64


class Served(Message):
    requests: u64


class Hello(DataActor):
    core: Totals
    config: Settings

    def on_data(self, connection: Connection[State], data: View) -> int:
        head = parse_head(data)
        if head.status == WAIT:
            return 0
        if head.status != OK or head.body > self.config.body_max:
            refuse(connection, 413 if head.status == OK else head.status)
            return len(data)
        end = head.length + head.body
        if len(data) < end:
            if head.expects_continue and len(data) == head.length:
                connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            connection.need(end)
            return 0
        if head.target == b"/" and head.method == b"GET":
            respond(connection, head, 200, b"hello\n")
        elif head.target == b"/echo" and head.method == b"POST":
            respond(connection, head, 200, data[head.length : end])
        else:
            respond(connection, head, 404, b"")
        self.core.served += 1
        if self.core.served % self.config.report_every == 0:
            self.tell(Served(requests=self.core.served))
        return end


class Reporter(ControlActor):
    @on(Served)
    async def served(self, message: Served, sender: Sender) -> None:
        print(f"core {sender.core_id} has served {message.requests} requests")
