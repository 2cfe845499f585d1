"""WebSocket against a model of RFC 6455: messages in any fragments, control frames between, cut anywhere, in both modes."""

import base64
import hashlib
import itertools
import struct
from collections.abc import Iterator
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splitplane.protocols import (
    BINARY,
    TEXT,
    WAIT,
    WebSocket,
    accept_websocket,
    is_utf8,
    parse_head,
    read_websocket,
    send_websocket,
    websocket_frame,
)
from splitplane.runtime.actor import Connection, DataActor
from splitplane.runtime.state import State
from splitplane.runtime.types import Array, u8
from splitplane.runtime.view import View
from splitplane.testing import Bench, Mode, Peer

MOST = 300
CONTINUE, CLOSE, PING, PONG = 0, 8, 9, 10
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455 section 1.3
REQUEST = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


class Session(State):
    socket: WebSocket
    message: Array[u8, Literal[300]]


class Echo(DataActor):
    def on_data(self, connection: Connection[Session], data: View) -> int:
        session = connection.state
        if not session.socket.open:
            head = parse_head(data)
            if head.status == WAIT:
                return 0
            accepted = accept_websocket(connection, session.socket, data, head)
            return head.length if accepted else len(data)
        event = read_websocket(connection, session.socket, session.message, data)
        if event.kind in (TEXT, BINARY):
            send_websocket(connection, event.kind, session.message.head(event.size))
        return event.length


@pytest.fixture(scope="module", params=["interpreted", "compiled"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    mode: Mode = request.param
    with Bench(Echo, mode=mode) as made:
        yield made


def frame(
    opcode: int, body: bytes, *, final: bool = True, key: bytes = b"\x37\xfa\x21\x3d"
) -> bytes:
    """A client's frame."""
    first = bytes([128 * final | opcode])
    size = len(body)
    if size < 126:
        head = bytes([128 | size])
    else:
        head = (
            b"\xfe" + struct.pack(">H", size) if size < 65536 else b"\xff" + struct.pack(">Q", size)
        )
    return first + head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(body))


def opened(bench: Bench) -> Peer:
    peer = bench.connect()
    peer.send(REQUEST)
    assert peer.take() == ACCEPTED
    return peer


def closed_with(code: int) -> bytes:
    return b"\x88\x02" + struct.pack(">H", code)


texts = st.text(max_size=70).map(str.encode)
messages = st.one_of(
    st.tuples(st.just(TEXT), texts), st.tuples(st.just(BINARY), st.binary(max_size=MOST))
)
controls = st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125))


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """What a client sends, and what the echo answers."""
    sent, answer = b"", b""
    for opcode, body in draw(st.lists(messages, max_size=4)):
        cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=3)))
        edges = [0, *cuts, len(body)]
        for number, (start, stop) in enumerate(itertools.pairwise(edges)):
            for control, inside in draw(st.lists(controls, max_size=1)):
                sent += frame(control, inside, key=draw(st.binary(min_size=4, max_size=4)))
                answer += bytes([128 | PONG, len(inside)]) + inside if control == PING else b""
            last = number == len(edges) - 2
            key = draw(st.binary(min_size=4, max_size=4))
            sent += frame(CONTINUE if number else opcode, body[start:stop], final=last, key=key)
        answer += websocket_frame(body, opcode)
    return sent, answer


@settings(max_examples=100, deadline=None)
@given(conversation=conversations(), split=st.integers(1, 40))
def test_echo(bench: Bench, conversation: tuple[bytes, bytes], split: int) -> None:
    """Each message comes back whole, pings are answered in their place, however the bytes arrive."""
    sent, answer = conversation
    peer = opened(bench)
    peer.send(sent, split=split)
    assert peer.take() == answer
    peer.send(frame(CLOSE, struct.pack(">H", 1000) + b"bye"))
    assert peer.received == b"\x88\x05\x03\xe8bye"
    assert peer.status == "ended"


def test_cut_at_every_byte(bench: Bench) -> None:
    """Handshake, fragments, a ping between, a close: the same answers wherever the bytes are cut."""
    sent = REQUEST + frame(TEXT, b"he", final=False) + frame(PING, b"?") + frame(CONTINUE, b"llo")
    ran = bench.split_everywhere(sent + frame(BINARY, b"x" * 130) + frame(CLOSE, b""))
    answers = websocket_frame("hello") + websocket_frame(b"x" * 130) + b"\x88\x00"
    assert ran.received == ACCEPTED + b"\x8a\x01?" + answers


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x81\x03abc", 1002),  # not masked
        (b"\xc1\x80kkkk", 1002),  # a reserved bit
        (frame(3, b""), 1002),  # unknown opcodes
        (frame(11, b""), 1002),
        (frame(PING, b"", final=False), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(CONTINUE, b"x"), 1002),  # of nothing
        (frame(TEXT, b"x", final=False) + frame(TEXT, b"y"), 1002),  # within another
        (b"\x82\xfe\x00\x05kkkk", 1002),  # a length that needed fewer bytes
        (b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xffkkkk", 1002),
        (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xffkkkk", 1002),  # negative
        (frame(CLOSE, b"\x03"), 1002),  # half a code
        (frame(CLOSE, b"\x03\xed"), 1002),  # 1005 is never sent
        (frame(CLOSE, b"\x00\x01"), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"\xc3", final=False) + frame(CONTINUE, b"("), 1007),
        (b"\x82\xfe\x01\x2dkkkk", 1009),  # 301 bytes: said at once, not when they are there
        (b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xffkkkk", 1009),
        (frame(BINARY, b"x" * 200, final=False) + frame(CONTINUE, b"x" * 101), 1009),
    ],
)
def test_refusals(bench: Bench, sent: bytes, code: int) -> None:
    """What the RFC forbids, and what is too long, ends the connection with its code; what follows is not read."""
    peer = opened(bench)
    peer.send(sent + frame(TEXT, b"more"))
    assert (peer.received, peer.status) == (closed_with(code), "ended")


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"Upgrade: WebSocket\r\n", b"", b"400"),
        (b"keep-alive, Upgrade", b"keep-alive", b"400"),
        (b"Version: 13", b"Version: 8", b"426"),
        (b"Sec-WebSocket-Version: 13\r\n", b"", b"400"),
        (KEY, KEY[:-4], b"400"),
        (KEY, b"x" * 24, b"400"),
        (b"GET", b"POST", b"400"),
        (b"Host: a\r\n", b"", b"400"),
    ],
)
def test_handshakes_that_are_none(bench: Bench, old: bytes, new: bytes, status: bytes) -> None:
    """Answered with a status, and closed."""
    peer = bench.connect()
    peer.send(REQUEST.replace(old, new))
    assert peer.received.startswith(b"HTTP/1.1 " + status)
    assert peer.status == "ended"


@settings(max_examples=30, deadline=None)
@given(raw=st.binary(min_size=16, max_size=16))
def test_accept_keys(bench: Bench, raw: bytes) -> None:
    """SHA-1 and base64 are those of the standard library."""
    key = base64.b64encode(raw)
    peer = bench.connect()
    peer.send(b"\r\n" + REQUEST.replace(KEY, key))
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    assert b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n" in peer.received
    peer.reset()


@settings(max_examples=300)
@given(data=st.one_of(st.binary(max_size=8), st.text(max_size=5).map(str.encode)))
def test_utf8(data: bytes) -> None:
    """As Python decodes it."""
    try:
        data.decode()
        valid = True
    except UnicodeDecodeError:
        valid = False
    assert is_utf8(View(memoryview(data))) == valid


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_frames_to_push(size: int) -> None:
    """Each length in its shortest form."""
    made = websocket_frame(b"x" * size)
    assert made.endswith(b"x" * size)
    assert len(made) - size == (2 if size < 126 else 4 if size < 65536 else 10)
    assert made[0] == 0x82
