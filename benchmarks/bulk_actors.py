"""The actors of bulk.py: one takes every byte, one sends without end."""

from splitplane import Connection, DataActor, State, View

BLOCK = bytes(16384)


class Sink(DataActor):
    def on_data(self, connection: Connection[State], data: View) -> int:
        return len(data)


class Source(DataActor):
    def on_open(self, connection: Connection[State]) -> None:
        while connection.try_send(BLOCK):
            pass

    def on_writable(self, connection: Connection[State]) -> None:
        while connection.try_send(BLOCK):
            pass

    def on_data(self, connection: Connection[State], data: View) -> int:
        return len(data)
