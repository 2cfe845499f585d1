"""The server that `splitplane bench` loads: a Python-defined actor like any user's, compiled, in an ordinary worker."""

from .. import Config, Connection, DataActor, State, View
from ..runtime.types import u32, u64


class Session(State):
    """In each connection's own record."""

    requests: u32


class Totals(State):
    """Of the core."""

    requests: u64
    sum: u64


class Sizes(Config):
    """What a request is, and (1) whether a connection is closed once one is answered."""

    payload: u32
    closes: u32 = 0


class Answer(DataActor):
    """Reads each request and sends it back."""

    core: Totals
    config: Sizes

    def on_data(self, connection: Connection[Session], data: View) -> int:
        length = self.config.payload
        if len(data) < length:
            return 0
        connection.state.requests += 1
        self.core.requests += 1
        self.core.sum ^= data.u64le(0) ^ data.u64le(8) ^ data.u64le(16)
        connection.send(data[:length])
        if self.config.closes:
            connection.close()
        return length
