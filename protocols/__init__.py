"""Parsers for data actors: HTTP/1 request heads, lines, length-prefixed frames (http.py) and WebSocket (websocket.py).

Plain functions over a View that compile into the handlers that call them.
"""

from .http import (
    OK,
    TOO_LONG,
    WAIT,
    Frame,
    Head,
    Line,
    header,
    parse_head,
    refuse,
    respond,
    split_line,
    split_prefixed,
    table,
)
from .websocket import (
    BINARY,
    CLOSE,
    NOTHING,
    TEXT,
    Event,
    WebSocket,
    accept_key,
    accept_websocket,
    close_websocket,
    is_utf8,
    read_websocket,
    send_websocket,
    websocket_frame,
)

__all__ = [
    "BINARY",
    "CLOSE",
    "NOTHING",
    "OK",
    "TEXT",
    "TOO_LONG",
    "WAIT",
    "Event",
    "Frame",
    "Head",
    "Line",
    "WebSocket",
    "accept_key",
    "accept_websocket",
    "close_websocket",
    "header",
    "is_utf8",
    "parse_head",
    "read_websocket",
    "refuse",
    "respond",
    "send_websocket",
    "split_line",
    "split_prefixed",
    "table",
    "websocket_frame",
]
