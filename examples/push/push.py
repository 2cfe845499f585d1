"""Publish and subscribe: by lines on one port, by WebSocket on another; whoever subscribes there hears what is said here.

`sub NAME` and `unsub NAME`, then `pub NAME text` from anybody reaches every subscriber of NAME once, as `NAME text`.
"""

from typing import Literal

from splitplane import Connection, ControlActor, DataActor, Message, Sender, State, View, on
from splitplane.protocols import (
    TEXT,
    TOO_LONG,
    WAIT,
    WebSocket,
    accept_websocket,
    parse_head,
    read_websocket,
    send_websocket,
    split_line,
    websocket_frame,
)  # fmt: skip
from splitplane.types import Array, u8, u16, u64

LIMIT = 200  # bytes of a line or message


class Session(State):
    socket: WebSocket
    message: Array[u8, Literal[200]]


class Said(Message):
    topic: u64
    length: u16
    text: Array[u8, Literal[200]]


class Pubsub(DataActor):
    """What both protocols understand; each subscribes to topics of its own, because their frames differ."""

    FLIP = 0

    def obey(self, connection: Connection[Session], line: View) -> bool:
        verb = line.find(b" ")
        name = line[verb + 1 :]
        if line.startswith(b"sub "):
            return self.subscribe(connection, name.hash() ^ self.FLIP)
        if line.startswith(b"unsub "):
            return self.unsubscribe(connection, name.hash() ^ self.FLIP)
        end = name.find(b" ")
        if not line.startswith(b"pub ") or end < 1:
            return False
        return self.tell(Said(topic=name[:end].hash(), length=len(name), text=Array(name)))


class Lines(Pubsub):
    def on_data(self, connection: Connection[Session], data: View) -> int:
        line = split_line(data, LIMIT)
        if line.length == TOO_LONG:
            connection.close()
            return len(data)
        if line.length != WAIT and not self.obey(connection, line.text):
            connection.send(b"? sub NAME, unsub NAME, pub NAME text\n")
        return line.length


class Sockets(Pubsub):
    FLIP = 1

    def on_data(self, connection: Connection[Session], data: View) -> int:
        session = connection.state
        if not session.socket.open:
            head = parse_head(data)
            if head.status == WAIT:
                return 0
            accepted = accept_websocket(connection, session.socket, data, head)
            return head.length if accepted else len(data)
        event = read_websocket(connection, session.socket, session.message, data)
        if event.kind == TEXT and not self.obey(connection, session.message.head(event.size)):
            send_websocket(connection, TEXT, b"? sub NAME, unsub NAME, pub NAME text")
        return event.length


class Publisher(ControlActor):
    @on(Said)
    async def said(self, message: Said, sender: Sender) -> None:
        text = bytes(message.text)[: message.length]
        await self.push.publish(message.topic, text + b"\n")
        await self.push.publish(message.topic ^ 1, websocket_frame(text, TEXT))
