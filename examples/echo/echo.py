"""Sends everything back; a connection that is silent for a minute is closed."""

from splitplane import Connection, DataActor, State, View

IDLE = 60_000  # milliseconds


class Echo(DataActor):
    def on_open(self, connection: Connection[State]) -> None:
        connection.set_timer(milliseconds=IDLE)

    def on_data(self, connection: Connection[State], data: View) -> int:
        length = min(len(data), connection.room)
        connection.send(data[:length])
        connection.set_timer(milliseconds=IDLE)
        return length

    def on_timer(self, connection: Connection[State]) -> None:
        connection.close()
