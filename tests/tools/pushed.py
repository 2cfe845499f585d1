"""A data actor whose connections subscribe by lines and are told their handle."""

from splitplane import Connection, DataActor, State, View


class News(DataActor):
    """`+NAME` subscribes, anything else doesn't; the answer is the handle, as a line."""

    def on_data(self, connection: Connection[State], data: View) -> int:
        end = data.find(b"\n")
        if end < 0:
            return 0
        if data[0] == 43:
            self.subscribe(connection, data[1:end].hash())
        connection.send_int(connection.handle)
        connection.send(b"\n")
        return end + 1


class Silent(DataActor):
    """Takes what comes."""

    def on_data(self, connection: Connection[State], data: View) -> int:
        return len(data)
