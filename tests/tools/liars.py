"""Servers that send back something else than they got, now and then."""

from splitplane import Config, Connection, DataActor, State, View
from splitplane.types import u32


class Sizes(Config):
    """What a request is."""

    payload: u32


class Seen(State):
    """Of the core."""

    requests: u32


class Liar(DataActor):
    """The last byte of each hundredth answer is another one."""

    core: Seen
    config: Sizes

    def on_data(self, connection: Connection[State], data: View) -> int:
        length = self.config.payload
        if len(data) < length:
            return 0
        self.core.requests += 1
        if self.core.requests % 100:
            connection.send(data[:length])
        else:
            answer = connection.reserve(length)
            answer.put(data[: length - 1])
            answer.u8(data[length - 1] ^ 1)
            answer.commit()
        return length


class Stammerer(DataActor):
    """Each hundredth answer comes twice."""

    core: Seen
    config: Sizes

    def on_data(self, connection: Connection[State], data: View) -> int:
        length = self.config.payload
        if len(data) < length:
            return 0
        self.core.requests += 1
        connection.send(data[:length])
        if self.core.requests % 100 == 0:
            connection.send(data[:length])
        return length
