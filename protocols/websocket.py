"""WebSocket for data actors (RFC 6455), the server's side: the handshake, messages, ping and close.

Plain functions that compile into the handlers that call them; `splitplane.protocols` has them under the same names.

    class Session(State):
        socket: WebSocket
        message: Array[u8, Literal[256]]           # the longest message that is taken

    if not connection.state.socket.open:
        head = parse_head(data)
        if head.status == WAIT:
            return 0
        return head.length if accept_websocket(connection, connection.state.socket, data, head) else len(data)
    event = read_websocket(connection, connection.state.socket, connection.state.message, data)
    if event.kind == TEXT:
        send_websocket(connection, TEXT, connection.state.message.head(event.size))
    return event.length
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..runtime.actor import Connection
from ..runtime.state import State
from ..runtime.types import Array, u8, u32
from ..runtime.view import View
from .http import OK, Head, has_word, header, refuse

__all__ = [
    "BINARY",
    "CLOSE",
    "NOTHING",
    "TEXT",
    "Event",
    "WebSocket",
    "accept_key",
    "accept_websocket",
    "close_websocket",
    "is_utf8",
    "read_websocket",
    "send_websocket",
    "websocket_frame",
]

NOTHING, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
CONTROL_MAX = 125  # bytes of a control frame's body, RFC 6455 section 5.5
PROTOCOL_ERROR, NOT_UTF8, TOO_BIG = 1002, 1007, 1009  # section 7.4.1

# "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" (section 1.3), behind a key of 24 bytes, as SHA-1's words, and its padding.
GUID = tuple(
    int.from_bytes(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"[at : at + 4], "big")
    for at in range(0, 36, 4)
)
BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
KEY_CHARACTERS = bytes(1 if byte in BASE64 else 0 for byte in range(256))
WORD = 0xFFFFFFFF


class WebSocket(State):
    """What a connection remembers between calls: put one into your connection's State."""

    open: u8
    """1 once the handshake is done."""
    opcode: u8
    """Of the message that is coming in fragments; 0: none is."""
    length: u32
    """Bytes of it so far."""


class Event(NamedTuple):
    """What stood at the start of the bytes. `length` is how many it took, 0: more bytes are wanted.

    `kind`: NOTHING to do (a fragment, a ping that was answered); TEXT or BINARY: a whole message of `size` bytes, in the
    array that was handed in, until the next call; CLOSE: the connection is closing, whoever began.
    """

    length: int
    kind: int
    size: int


class Digest(NamedTuple):
    """SHA-1's state: five 32-bit words."""

    a: int
    b: int
    c: int
    d: int
    e: int


class Header(NamedTuple):
    """A frame's head. `status`: 0 more bytes are wanted, -1 a protocol error, 1 it is whole."""

    status: int
    final: bool
    opcode: int
    at: int
    """Where the body begins; the key stands in the four bytes before."""
    size: int


def rotated(word: int, by: int) -> int:
    """A 32-bit word rotated left."""
    return (word << by | word >> (32 - by)) & WORD


def key_word(key: View, at: int) -> int:
    """Word `at` of the first block that is hashed: the key, the GUID, a one bit."""
    if at < 6:
        return key.u32be(4 * at)
    return GUID[at - 6] if at < 15 else 0x80000000


def length_word(at: int) -> int:
    """Word `at` of the second block: the length, 480 bits."""
    return 480 if at == 15 else 0


def block_word(key: View, second: bool, at: int) -> int:
    """Word `at` of either block."""
    return length_word(at) if second else key_word(key, at)


def compress(state: Digest, key: View, second: bool) -> Digest:
    """One block of SHA-1 (FIPS 180-4 section 6.1.3: the schedule is sixteen words that move along)."""
    w0, w1, w2 = block_word(key, second, 0), block_word(key, second, 1), block_word(key, second, 2)
    w3, w4, w5 = block_word(key, second, 3), block_word(key, second, 4), block_word(key, second, 5)
    w6, w7, w8 = block_word(key, second, 6), block_word(key, second, 7), block_word(key, second, 8)
    w9, w10 = block_word(key, second, 9), block_word(key, second, 10)
    w11, w12 = block_word(key, second, 11), block_word(key, second, 12)
    w13, w14 = block_word(key, second, 13), block_word(key, second, 14)
    w15 = block_word(key, second, 15)
    a, b, c, d, e = state.a, state.b, state.c, state.d, state.e
    for step in range(80):
        if step < 20:
            mixed = (b & c | ~b & d) + 0x5A827999
        elif step < 40:
            mixed = (b ^ c ^ d) + 0x6ED9EBA1
        elif step < 60:
            mixed = (b & c | b & d | c & d) + 0x8F1BBCDC
        else:
            mixed = (b ^ c ^ d) + 0xCA62C1D6
        mixed = (mixed + rotated(a, 5) + e + w0) & WORD
        a, b, c, d, e = mixed, a, rotated(b, 30), c, d
        following = rotated(w13 ^ w8 ^ w2 ^ w0, 1)
        w0, w1, w2, w3, w4, w5, w6, w7 = w1, w2, w3, w4, w5, w6, w7, w8
        w8, w9, w10, w11, w12, w13, w14, w15 = w9, w10, w11, w12, w13, w14, w15, following
    return Digest(
        (state.a + a) & WORD,
        (state.b + b) & WORD,
        (state.c + c) & WORD,
        (state.d + d) & WORD,
        (state.e + e) & WORD,
    )


def accept_key(key: View) -> Digest:
    """SHA-1 of a Sec-WebSocket-Key (24 bytes) and the GUID (RFC 6455 section 4.2.2); base64 of it is the answer."""
    start = Digest(0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)
    return compress(compress(start, key, False), key, True)


def send_base64(connection: Connection[Any], digest: Digest) -> None:
    """The 20 bytes of a digest as 28 characters."""
    writer = connection.reserve(28)
    bits, held = 0, 0
    for at in range(5):
        word = digest.a
        if at == 1:
            word = digest.b
        elif at == 2:
            word = digest.c
        elif at == 3:
            word = digest.d
        elif at == 4:
            word = digest.e
        bits, held = (bits & 0xFF) << 32 | word, held + 32
        while held >= 6:
            held -= 6
            writer.u8(BASE64[bits >> held & 63])
    writer.u8(BASE64[bits << 2 & 63])  # the last four of 160 bits
    writer.u8(61)
    writer.commit()


def is_key(key: View) -> bool:
    """Whether it is the base64 of 16 bytes."""
    return len(key) == 24 and key.endswith(b"==") and key.span(KEY_CHARACTERS) == 22


def accept_websocket(
    connection: Connection[Any], socket: WebSocket, data: View, head: Head
) -> bool:
    """Answers the handshake that `head` of `data` asks for (RFC 6455 section 4.2). True: frames follow it.

    What is no handshake is answered with 400, or 426 if it is of another version, and the connection closes.
    """
    version = header(data, head, b"sec-websocket-version")
    key = header(data, head, b"sec-websocket-key")
    asks = (
        head.status == OK
        and head.version == 1
        and head.method == b"GET"
        and head.body == 0
        and has_word(header(data, head, b"upgrade"), b"websocket")
        and has_word(header(data, head, b"connection"), b"upgrade")
    )
    if asks and len(version) > 0 and version != b"13":
        connection.send(b"HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\n")
        connection.send(b"Connection: close\r\nContent-Length: 0\r\n\r\n")
        connection.close()
        return False
    if not asks or len(version) == 0 or not is_key(key):
        refuse(connection, 400 if head.status == OK else head.status)
        return False
    connection.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n")
    connection.send(b"Connection: Upgrade\r\nSec-WebSocket-Accept: ")
    send_base64(connection, accept_key(key))
    connection.send(b"\r\n\r\n")
    socket.open = 1
    return True


def parse_frame(data: View) -> Header:
    """The head of the frame at the start of `data`, from a client (RFC 6455 section 5.2)."""
    if len(data) < 2:
        return Header(0, False, 0, 2, 0)
    final, opcode, size = data[0] >= 128, data[0] & 15, data[1] & 127
    control = opcode >= CLOSE
    known = opcode <= BINARY or CLOSE <= opcode <= PONG
    if (
        data[0] & 0x70
        or data[1] < 128
        or not known
        or (control and (size > CONTROL_MAX or not final))
    ):
        return Header(-1, final, opcode, 0, 0)
    wide = 2 if size == 126 else 8 if size == 127 else 0
    if len(data) < 2 + wide + 4:
        return Header(0, final, opcode, 2 + wide + 4, 0)
    if wide == 2:
        size = data.u16be(2)
    elif wide == 8:
        size = data.u64be(2)
    if size < 0 or (wide == 2 and size < 126) or (wide == 8 and size < 65536):
        return Header(-1, final, opcode, 0, 0)
    return Header(1, final, opcode, 2 + wide + 4, size)


def mask_at(data: View, at: int, index: int) -> int:
    """The key's byte for byte `index` of the body that begins at `at` (section 5.3)."""
    return data[at - 4 + (index & 3)]


def read_websocket(
    connection: Connection[Any], socket: WebSocket, message: Array[u8, Any], data: View
) -> Event:
    """The frame at the start of `data`; consume `length` bytes of it.

    Messages are put together in `message`, whose size is the longest that is taken. Pings are answered, a close too, and
    the connection closes: also, with the code that says why, after a protocol error (1002), a text that isn't UTF-8
    (1007) and a message that is too long (1009).
    """
    head = parse_frame(data)
    if head.status < 0:
        return failed(connection, data, PROTOCOL_ERROR)
    if head.status == 0:
        connection.need(head.at)
        return Event(0, NOTHING, 0)
    control = head.opcode >= CLOSE
    if not control and (head.opcode == 0) != (socket.opcode != 0):
        return failed(connection, data, PROTOCOL_ERROR)
    if not control and head.size > len(message) - socket.length:
        return failed(connection, data, TOO_BIG)
    end = head.at + head.size
    if len(data) < end:
        connection.need(end)
        return Event(0, NOTHING, 0)
    if control:
        return take_control(connection, data, head)
    for index in range(head.size):
        message[socket.length + index] = data[head.at + index] ^ mask_at(data, head.at, index)
    socket.length += head.size
    if head.opcode:
        socket.opcode = head.opcode
    if not head.final:
        return Event(end, NOTHING, 0)
    kind, size = socket.opcode, socket.length
    socket.opcode = 0
    socket.length = 0
    if kind == TEXT and not is_utf8(message.head(size)):
        return failed(connection, data, NOT_UTF8)
    return Event(end, kind, size)


def take_control(connection: Connection[Any], data: View, head: Header) -> Event:
    """A whole ping, pong or close (section 5.5)."""
    end = head.at + head.size
    if head.opcode == PONG:
        return Event(end, NOTHING, 0)
    if head.opcode == CLOSE and not may_close(data, head):
        return failed(connection, data, PROTOCOL_ERROR)
    writer = connection.reserve(2 + head.size)
    writer.u8(0x80 | (PONG if head.opcode == PING else CLOSE))
    writer.u8(head.size)
    for index in range(head.size):
        writer.u8(data[head.at + index] ^ mask_at(data, head.at, index))
    writer.commit()
    if head.opcode == PING:
        return Event(end, NOTHING, 0)
    connection.close()
    return Event(len(data), CLOSE, 0)


def may_close(data: View, head: Header) -> bool:
    """Whether the code of a close may be sent (sections 7.4.1, 7.4.2)."""
    if head.size < 2:
        return head.size == 0
    first = data[head.at] ^ mask_at(data, head.at, 0)
    code = first << 8 | data[head.at + 1] ^ mask_at(data, head.at, 1)
    return 3000 <= code < 5000 or (1000 <= code < 1015 and code not in (1004, 1005, 1006))


def failed(connection: Connection[Any], data: View, code: int) -> Event:
    """Closes with that code; nothing more is read."""
    close_websocket(connection, code)
    return Event(len(data), CLOSE, 0)


def close_websocket(connection: Connection[Any], code: int) -> None:
    """Sends a close with that code and closes the connection."""
    writer = connection.reserve(4)
    writer.u8(0x80 | CLOSE)
    writer.u8(2)
    writer.u16be(code)
    writer.commit()
    connection.close()


def send_websocket(connection: Connection[Any], opcode: int, body: View | bytes) -> None:
    """Sends a whole message: TEXT or BINARY. BufferError as `send`."""
    size = len(body)
    writer = connection.reserve(10)
    writer.u8(0x80 | opcode)
    if size < 126:
        writer.u8(size)
    elif size < 65536:
        writer.u8(126)
        writer.u16be(size)
    else:
        writer.u8(127)
        writer.u64be(size)
    writer.commit()
    connection.send(body)


def is_utf8(text: View) -> bool:
    """Whether it is well-formed UTF-8 (RFC 3629 section 4): nothing overlong, no surrogate, nothing beyond U+10FFFF."""
    at, size = 0, len(text)
    while at < size:
        first = text[at]
        more = 0 if first < 0x80 else 1 if first < 0xE0 else 2 if first < 0xF0 else 3
        if 0x80 <= first < 0xC2 or first > 0xF4 or size - at <= more:
            return False
        low = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
        high = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
        for index in range(1, more + 1):
            byte = text[at + index]
            if byte < (low if index == 1 else 0x80) or byte > (high if index == 1 else 0xBF):
                return False
        at += 1 + more
    return True


def websocket_frame(body: bytes | str, opcode: int = 0) -> bytes:
    """A whole message as the bytes that `runtime.publish` and the like push. For the control plane: it isn't compiled.

    A str is sent as TEXT, bytes as BINARY, unless `opcode` says otherwise.
    """
    opcode = opcode or (TEXT if isinstance(body, str) else BINARY)
    data = body.encode() if isinstance(body, str) else body
    size = len(data)
    if size < 126:
        return bytes([0x80 | opcode, size]) + data
    wide, length = (126, 2) if size < 65536 else (127, 8)
    return bytes([0x80 | opcode, wide]) + size.to_bytes(length, "big") + data
