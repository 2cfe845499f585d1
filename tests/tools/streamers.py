"""Actors whose connections the control plane gets: all of them, or from the first `!` on."""

import asyncio

from splitplane import Connection, ControlActor, DataActor, State, View


class Switch(DataActor):
    """Echoes until a `!` comes; that and all that follows is the control plane's."""

    def on_data(self, connection: Connection[State], data: View) -> int:
        mark = data.find(b"!")
        if mark < 0:
            connection.send(data)
            return len(data)
        connection.send(data[:mark])
        if not connection.hand_over(data[mark : mark + 1]):
            connection.abort()
            return len(data)
        connection.send(b"never seen") if connection.room else None
        return mark + 1


class Shouter(ControlActor):
    """Sends everything back in capitals."""

    async def on_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data.upper())
            await writer.drain()
        writer.close()
