from splitplane import Connection, DataActor, Message, State, View
from splitplane.types import u32


class Session(State):
    requests: u32


class Visit(Message):
    requests: u32


class Web(DataActor):
    core: Session

    def on_data(self, connection: Connection[Session], data: View) -> int:
        connection.state.request += 1  # E: attr-defined
        self.core.reqests += 1  # E: attr-defined
        connection.state.requests = b"3"  # E: assignment
        connection.state.requests = data  # E: assignment
        connection.sendd(b"x")  # E: attr-defined
        connection.send("text")  # E: arg-type
        connection.send(3)  # E: arg-type
        data.fnd(b"x")  # E: attr-defined
        self.tell(Visit(request=3))  # E: call-arg
        self.tell(Visit())  # E: call-arg
        self.tell(Visit(requests=b"3"))  # E: arg-type
        self.tell(Session(requests=3))  # E: arg-type
        self.tell(b"bytes")  # E: arg-type
        self.tell(Visit(requests=1), core=3)  # E: call-arg
        self.tell(Visit(requests=1), to=b"web")  # E: arg-type
        connection.remote.adress  # E: attr-defined
        connection.remote_port  # E: attr-defined
        connection.local.port = 3  # E: misc
        message = Visit(requests=3)
        message.requests = 4  # E: misc
        for byte in data:  # E: misc
            print(byte)
        return len(data)
