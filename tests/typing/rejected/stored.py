from typing import Literal

from splitplane import Connection, DataActor, State, View
from splitplane.types import Array, u8, u32


class Session(State):
    last: u32
    name: Array[u8, Literal[4]]


class Keeper(DataActor):
    def on_data(self, connection: Connection[Session], data: View) -> int:
        connection.state.name = data  # E: assignment
        connection.state.last = connection  # E: assignment
        connection.state = connection.state  # E: misc
        connection.state.kept = data  # E: attr-defined
        return connection.state.name[0:2]  # E: index
