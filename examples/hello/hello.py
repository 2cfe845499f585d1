"""HTTP/1.1: GET / says hello, POST /echo gives the body back, the rest is 404; a control actor counts the visits."""

from splitplane import Config, Connection, ControlActor, DataActor, Message, Sender, State, View, on
from splitplane.protocols import OK, WAIT, parse_head, refuse
from splitplane.types import u32, u64

BODY_MAX = 32_000


class Settings(Config):
    report_every: u32 = 1000  # requests


class Session(State):
    requests: u32


class Totals(State):
    served: u64


class Visit(Message):
    connection: u64
    served: u64


class Hello(DataActor):
    core: Totals
    config: Settings

    def on_data(self, connection: Connection[Session], data: View) -> int:
        head = parse_head(data)
        if head.status == WAIT:
            return 0
        if head.status != OK or head.body > BODY_MAX:
            refuse(connection, 413 if head.status == OK else head.status)
            return len(data)
        end = head.length + head.body
        if len(data) < end:
            if head.expects_continue and len(data) == head.length:
                connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            connection.need(end)
            return 0
        self.answer(connection, head.method, head.target, data[head.length : end])
        if not head.keep_alive:
            connection.close()
        connection.state.requests += 1
        self.core.served += 1
        if self.core.served % self.config.report_every == 0:
            self.tell(Visit(connection=connection.handle, served=self.core.served))
        return end

    def answer(self, connection: Connection[Session], method: View, target: View, body: View) -> None:
        if target == b"/" and method == b"GET":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n")
        elif target == b"/echo" and method == b"POST":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: ")
            connection.send_int(len(body))
            connection.send(b"\r\n\r\n", body)
        else:
            connection.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


class Reporter(ControlActor):
    @on(Visit)
    async def visit(self, message: Visit, sender: Sender) -> None:
        print(f"core {sender.core_id} has served {message.served} requests")
