"""Parsers for data actors: HTTP/1 request heads, lines, length-prefixed frames.

Plain functions over a View that compile into the handlers that call them. None keeps state: each looks at the bytes
that are there and says how many it understood, so that a handler returns that number or 0. All are strict: what
another program might read differently is refused.

    head = parse_head(data)
    if head.status == WAIT:
        return 0
    if head.status != OK:
        refuse(connection, head.status)
        return len(data)
    if len(data) < head.length + head.body:
        connection.need(head.length + head.body)
        return 0
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..runtime.actor import Connection
from ..runtime.view import View

__all__ = [
    "OK",
    "TOO_LONG",
    "WAIT",
    "Frame",
    "Head",
    "Line",
    "header",
    "parse_head",
    "refuse",
    "respond",
    "split_line",
    "split_prefixed",
    "table",
]

WAIT = 0
OK = 200
TOO_LONG = -1

HEAD_MAX = 8192
TARGET_MAX = 4096
BODY_DIGITS = 15


def table(allowed: bytes) -> bytes:
    """The 256 bytes that `View.span` wants: nonzero where a byte is in `allowed`. Make it a module constant."""
    return bytes(1 if byte in allowed else 0 for byte in range(256))


DIGITS = b"0123456789"
LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TOKEN = table(DIGITS + LETTERS + b"!#$%&'*+-.^_`|~")  # RFC 9110 section 5.6.2
TARGET = table(bytes(range(0x21, 0x7F)))  # RFC 9112 section 3.2, checked no further
VALUE = table(b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100)))  # RFC 9110 section 5.5
SPACES = table(b" \t")
TO_COMMA = table(bytes(byte for byte in range(256) if byte != 0x2C))


class Head(NamedTuple):
    """A request head. Unless `status` is OK the rest means nothing."""

    status: int
    """WAIT: more bytes are wanted. OK. Otherwise the HTTP status to refuse with; then close."""
    length: int
    """Bytes of the head, the empty line included; the body follows."""
    method: View
    target: View
    version: int
    """0 or 1: HTTP/1.0, HTTP/1.1."""
    body: int
    """Bytes of the body: Content-Length, or 0."""
    keep_alive: bool
    """Whether the connection may stay open after the answer (RFC 9112 section 9.3)."""
    expects_continue: bool
    """The client waits for `100 Continue` before it sends the body."""
    host: View


class Line(NamedTuple):
    """A line. `length` is how many bytes it took with its end; WAIT: no end yet; TOO_LONG."""

    length: int
    text: View


class Frame(NamedTuple):
    """A length-prefixed frame. `length` is how many bytes it took with its prefix; WAIT; TOO_LONG.

    With WAIT, `need` is how many bytes there must be before it is worth looking again: `connection.need(frame.need)`.
    """

    length: int
    body: View
    need: int


class Fields(NamedTuple):
    """What the header fields said. `status` as in Head."""

    status: int
    length: int
    body: int
    close: bool
    keep: bool
    expects: bool
    host: View


class HeaderField(NamedTuple):
    """One line of a head; an empty `name` is the empty line. The next one starts at `end`."""

    status: int
    name: View
    value: View
    end: int


def parse_head(data: View, limit: int = HEAD_MAX) -> Head:
    """The request head at the start of `data`, of at most `limit` bytes (RFC 9112; empty lines before it are skipped).

    Refused with 400: bare CR or LF, whitespace around field names, obs-fold, bytes outside the grammar, no Host or
    several, a Content-Length that is repeated or no number, or one beside Transfer-Encoding. With 501: any
    Transfer-Encoding. 414 and 431: too long. 417: an unknown Expect. 505: a version other than HTTP/1.0 and HTTP/1.1.
    """
    start = 0
    while start + 1 < len(data) and data[start] == 13 and data[start + 1] == 10:
        start += 2
    method_end = data.span(TOKEN, start)
    target_end = method_end
    if method_end < len(data):
        if method_end == start or data[method_end] != 32:
            lone = method_end == start and data[start] == 13 and start + 1 == len(data)
            return unfinished(data, WAIT if lone and start < limit else 400)
        target_end = data.span(TARGET, method_end + 1)
        if target_end - method_end > TARGET_MAX:
            return unfinished(data, 414)
    if target_end == len(data):
        return unfinished(data, WAIT if len(data) < limit else 431)
    if target_end == method_end + 1 or data[target_end] != 32:
        return unfinished(data, 400)
    version = version_of(data, target_end + 1)
    if version < 0 or version > 1:
        return unfinished(data, WAIT if version < 0 else version)
    fields = parse_fields(data, target_end + 11, version, limit)
    if fields.status != OK:
        return unfinished(data, fields.status)
    return Head(
        OK,
        fields.length,
        data[start:method_end],
        data[method_end + 1 : target_end],
        version,
        fields.body,
        (version == 1 or fields.keep) and not fields.close,
        fields.expects and version == 1,
        fields.host,
    )


def unfinished(data: View, status: int) -> Head:
    """A Head that is none."""
    return Head(status, 0, data[0:0], data[0:0], 0, 0, False, False, data[0:0])


def version_of(data: View, start: int) -> int:
    """The minor version of `HTTP/1.x` and its line end at `start`: 0 or 1; -1: more bytes wanted; else a status."""
    text = data[start : start + 10]
    known = b"HTTP/1."
    length = len(text)
    if length < 7:
        return -1 if known[0:length] == text else 400
    if not text.startswith(known):
        return 505 if text.startswith(b"HTTP/") else 400
    if length > 7 and text[7] != 48 and text[7] != 49:
        return 505 if 50 <= text[7] <= 57 else 400
    if length > 8 and text[8] != 13:
        return 400
    if length > 9 and text[9] != 10:
        return 400
    return text[7] - 48 if length == 10 else -1


def parse_fields(data: View, start: int, version: int, limit: int) -> Fields:
    """The header fields from `start` to the empty line."""
    body, hosts, status = -1, 0, OK
    close, keep, expects, coded = False, False, False, False
    host = data[0:0]
    while True:
        field = parse_field(data, start, limit)
        if field.status != OK:
            return no_fields(data, field.status)
        name, value, length = field.name, field.value, len(field.name)
        start = field.end
        if length == 0:
            break
        if length == 4 and name.equals_ignore_case(b"host"):
            hosts += 1
            host = value
        elif length == 14 and name.equals_ignore_case(b"content-length"):
            if body >= 0 or len(value) > BODY_DIGITS or value.to_int() < 0:
                status = 400
            body = value.to_int()
        elif length == 17 and name.equals_ignore_case(b"transfer-encoding"):
            coded = True
        elif length == 10 and name.equals_ignore_case(b"connection"):
            close = close or has_word(value, b"close")
            keep = keep or has_word(value, b"keep-alive")
        elif length == 6 and name.equals_ignore_case(b"expect"):
            expects = value.equals_ignore_case(b"100-continue")
            if not expects and status == OK:
                status = 417
    if hosts > 1 or (hosts == 0 and version == 1) or (coded and (body >= 0 or version == 0)):
        status = 400
    elif coded and status == OK:
        status = 501
    return Fields(status, start, body if body > 0 else 0, close, keep, expects, host)


def parse_field(data: View, start: int, limit: int) -> HeaderField:
    """The line at `start`."""
    if start > limit:
        return no_field(data, 431)
    if start + 1 < len(data) and data[start] == 13 and data[start + 1] == 10:
        return HeaderField(OK, data[0:0], data[0:0], start + 2)
    name_end = data.span(TOKEN, start)
    if name_end == len(data):
        return no_field(data, WAIT if len(data) < limit else 431)
    if name_end == start or data[name_end] != 58:
        lone = name_end == start and data[start] == 13 and start + 1 == len(data)
        return no_field(data, WAIT if lone else 400)
    value_start = data.span(SPACES, name_end + 1)
    line_end = data.span(VALUE, value_start)
    if line_end + 1 >= len(data):
        whole = line_end == len(data) or data[line_end] == 13
        return no_field(data, 400 if not whole else WAIT if len(data) < limit else 431)
    if data[line_end] != 13 or data[line_end + 1] != 10:
        return no_field(data, 400)
    return HeaderField(OK, data[start:name_end], trimmed(data[value_start:line_end]), line_end + 2)


def header(data: View, head: Head, name: bytes) -> View:
    """The value of the first header field called `name` (lower or upper case) of the request `head` of `data`.

    Empty if there is none. For fields that `Head` doesn't have.
    """
    start = 0
    while start + 1 < head.length and data[start] == 13:
        start += 2
    start = data.find(b"\r\n", start) + 2
    while 1 < start < head.length:
        field = parse_field(data, start, head.length)
        if field.status != OK or len(field.name) == 0:
            break
        if field.name.equals_ignore_case(name):
            return field.value
        start = field.end
    return data[0:0]


def no_field(data: View, status: int) -> HeaderField:
    """A HeaderField that is none."""
    return HeaderField(status, data[0:0], data[0:0], 0)


def no_fields(data: View, status: int) -> Fields:
    """Fields that are none."""
    return Fields(status, 0, 0, False, False, False, data[0:0])


def trimmed(value: View) -> View:
    """`value` without the spaces and tabs at its end."""
    end = len(value)
    while end > 0 and (value[end - 1] == 32 or value[end - 1] == 9):
        end -= 1
    return value[0:end]


def has_word(value: View, word: bytes) -> bool:
    """Whether a comma-separated list has `word`, in any case."""
    start = 0
    while start < len(value):
        end = value.span(TO_COMMA, start)
        first = value.span(SPACES, start)
        if first < end and trimmed(value[first:end]).equals_ignore_case(word):
            return True
        start = end + 1
    return False


def respond(connection: Connection[Any], head: Head, status: int, body: View | bytes) -> None:
    """Answers the request with `status` and `body`, says whether the connection stays open, and closes it if not."""
    send_status(connection, status)
    connection.send_int(len(body))
    if not head.keep_alive:
        connection.send(b"\r\nConnection: close\r\n\r\n", body)
        connection.close()
    elif head.version == 0:
        connection.send(b"\r\nConnection: keep-alive\r\n\r\n", body)
    else:
        connection.send(b"\r\n\r\n", body)


def refuse(connection: Connection[Any], status: int) -> None:
    """Answers with `status`, one of parse_head's or your own, without a body, and closes."""
    send_status(connection, status)
    connection.send(b"0\r\nConnection: close\r\n\r\n")
    connection.close()


def send_status(connection: Connection[Any], status: int) -> None:
    """The status line (RFC 9110 section 15), and Content-Length up to its value; 500 for a status not listed here."""
    if status == 200:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: ")
    elif status == 400:
        connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: ")
    elif status == 404:
        connection.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: ")
    elif status == 405:
        connection.send(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: ")
    elif status == 413:
        connection.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: ")
    elif status == 414:
        connection.send(b"HTTP/1.1 414 URI Too Long\r\nContent-Length: ")
    elif status == 417:
        connection.send(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: ")
    elif status == 431:
        connection.send(b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: ")
    elif status == 501:
        connection.send(b"HTTP/1.1 501 Not Implemented\r\nContent-Length: ")
    elif status == 503:
        connection.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: ")
    elif status == 505:
        connection.send(b"HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Length: ")
    else:
        connection.send(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: ")


def split_line(data: View, limit: int = HEAD_MAX) -> Line:
    """The line at the start of `data`, ended by LF or CRLF, of at most `limit` bytes with its end."""
    end = data.find(b"\n")
    if end < 0:
        return Line(WAIT if len(data) < limit else TOO_LONG, data[0:0])
    if end >= limit:
        return Line(TOO_LONG, data[0:0])
    text = data[0 : end - 1] if end > 0 and data[end - 1] == 13 else data[0:end]
    return Line(end + 1, text)


def split_prefixed(data: View, width: int, limit: int) -> Frame:
    """The frame at the start of `data` whose length stands before it in `width` bytes (1 to 4), most significant first.

    `limit` is the longest body that is taken, in bytes. ValueError for another width.
    """
    if width < 1 or width > 4:
        raise ValueError("the length of a frame has 1 to 4 bytes")
    if len(data) < width:
        return Frame(WAIT, data[0:0], width)
    length = 0
    for at in range(width):
        length = length << 8 | data[at]
    if length > limit:
        return Frame(TOO_LONG, data[0:0], 0)
    if len(data) < width + length:
        return Frame(WAIT, data[0:0], width + length)
    return Frame(width + length, data[width : width + length], 0)
