"""The parsers for handlers, against a model made of regular expressions, and compiled against interpreted."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splitplane.protocols import (
    OK,
    TOO_LONG,
    WAIT,
    Head,
    parse_head,
    refuse,
    split_line,
    split_prefixed,
    table,
)
from splitplane.runtime.actor import Connection, DataActor
from splitplane.runtime.state import State
from splitplane.runtime.view import View
from splitplane.testing import Bench

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
HEAD = re.compile(
    rb"(?:\r\n)*(" + TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([01])\r\n"
    rb"((?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*)\r\n"
)
FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*([^\r]*?)[ \t]*\r\n")
GOOD = b"POST /p?q=1 HTTP/1.1\r\nHost: a.b\r\nX-Y: z \r\nContent-Length: 12\r\nConnection: x, Close\r\n\r\n"


def view(data: bytes) -> View:
    """Bytes as a handler gets them."""
    return View(memoryview(data))


def model(data: bytes) -> tuple[int, ...] | int:
    """What a head that is complete and well formed says; its status if it is refused for what it says; -1: it is no head."""
    match = HEAD.match(data)
    if match is None:
        return -1
    fields = [(name.lower(), value) for name, value in FIELD.findall(match[4])]
    version = int(match[3])
    names = [name for name, _ in fields]
    lengths = [value for name, value in fields if name == b"content-length"]
    coded = b"transfer-encoding" in names
    bad_length = len(lengths) > 1 or any(
        not re.fullmatch(rb"[0-9]{1,15}", value) for value in lengths
    )
    hosts = names.count(b"host")
    if (
        bad_length
        or hosts > 1
        or (hosts + version == 1 and version)
        or (coded and (lengths or not version))
    ):
        return 400
    expects = [value.lower() for name, value in fields if name == b"expect"]
    if any(value != b"100-continue" for value in expects):
        return 417
    if coded:
        return 501
    words = {
        word.strip(b" \t").lower()
        for name, value in fields
        if name == b"connection"
        for word in value.split(b",")
    }
    keep = (version == 1 or b"keep-alive" in words) and b"close" not in words
    return (
        match.end(),
        version,
        int(lengths[0]) if lengths else 0,
        keep,
        bool(expects) and version == 1,
    )


def said(head: Head) -> tuple[int, ...] | int:
    """The same of what parse_head found."""
    if head.status != OK:
        return head.status
    return (head.length, head.version, head.body, head.keep_alive, head.expects_continue)


tokens = st.text("abcXYZ019-_!", min_size=1, max_size=9).map(str.encode)
texts = st.text("abc ,;=\t\x80\xff", max_size=9).map(lambda text: text.encode("latin-1"))
fields = st.one_of(
    st.tuples(tokens, texts),
    st.tuples(st.sampled_from([b"Host", b"host"]), st.just(b"x")),
    st.tuples(
        st.sampled_from([b"Content-Length", b"content-LENGTH"]),
        st.sampled_from(
            [b"0", b"5", b"007", b"+1", b"-1", b"1,1", b"", b"0x1", b"9" * 15, b"9" * 16, b"1 1"]
        ),
    ),
    st.tuples(st.just(b"Transfer-Encoding"), st.sampled_from([b"chunked", b"identity", b""])),
    st.tuples(
        st.sampled_from([b"Connection", b"CONNECTION"]),
        st.sampled_from([b"close", b"Keep-Alive", b"upgrade , CLOSE", b"closed", b",,close", b""]),
    ),
    st.tuples(st.just(b"Expect"), st.sampled_from([b"100-continue", b"100-Continue", b"200-ok"])),
)
heads = st.builds(
    lambda empty, method, target, version, given, host: b"".join(
        [
            b"\r\n" * empty,
            method + b" /" + target + b" HTTP/1." + version + b"\r\n",
            b"Host: h\r\n" if host else b"",
            *(name + b": " + value + b"\r\n" for name, value in given),
            b"\r\n",
        ]
    ),
    st.integers(0, 2),
    tokens,
    tokens,
    st.sampled_from([b"0", b"1", b"1"]),
    st.lists(fields, max_size=5),
    st.booleans(),
)


@settings(max_examples=400)
@given(heads, st.binary(max_size=8))
def test_heads_are_understood_as_the_grammar_says(head: bytes, after: bytes) -> None:
    """A well-formed head gives what the model gives, whatever follows it; every part of it waits or is refused for good."""
    expected = model(head + after)
    assert expected != -1
    found = parse_head(view(head + after))
    assert said(found) == expected
    if found.status == OK:
        assert (bytes(found.method), bytes(found.target)) == HEAD.match(head).group(1, 2)  # type: ignore[union-attr]
    for cut in range(len(head)):
        early = parse_head(view(head[:cut])).status
        assert early in {WAIT, found.status}
        assert early != OK


@settings(max_examples=400)
@given(st.data())
def test_mangled_heads_are_refused_for_good(data: st.DataObject) -> None:
    """Bytes that the grammar does not take are never understood, and once refused stay refused."""
    text = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        byte = data.draw(st.sampled_from(b"\r\n \t:\x00\x7f/1H,a"))
        match data.draw(st.integers(0, 2)):
            case 0:
                text[at] = byte
            case 1:
                text.insert(at, byte)
            case _:
                del text[at]
    whole = bytes(text)
    found, expected = parse_head(view(whole)), model(whole)
    if expected == -1:
        assert found.status not in (OK,)
    else:
        assert said(found) == expected
    refused = WAIT
    for cut in range(len(whole) + 1):
        status = parse_head(view(whole[:cut])).status
        assert refused in {WAIT, OK} or status >= 400
        refused = status


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n", 400),
        (b"GET /\r\n", 400),
        (b"GET / http/1.1\r\n", 400),
        (b"GET / HTTP/1.1 \r\n", 400),
        (b"G\xc3T / HTTP/1.1\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"GET / HTTP/2.0\r\n", 505),
        (b"GET / HTTP/1.2\r\n", 505),
        (b"P / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        (
            b"P / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"P / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        (b"GET /" + b"a" * 5000, 414),
        (b"G" * 9000, 431),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 9000, 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 2000, 431),
        (b"\r\n" * 5000, 431),
    ],
)
def test_what_is_refused(data: bytes, status: int) -> None:
    """Each way to smuggle or to flood gets the status that RFC 9110 and 9112 give it, before the head is complete."""
    assert parse_head(view(data)).status == status


@given(st.binary(max_size=40), st.integers(1, 20))
def test_lines(data: bytes, limit: int) -> None:
    """A line is what stands before the first LF, less a CR, if it ends within the limit."""
    line = split_line(view(data), limit)
    end = data.find(b"\n") + 1
    if 0 < end <= limit:
        assert (line.length, bytes(line.text)) == (end, data[: end - 1].removesuffix(b"\r"))
    else:
        assert line.length == (WAIT if not end and len(data) < limit else TOO_LONG)


@given(st.integers(1, 4), st.binary(max_size=300), st.integers(0, 300), st.integers(0, 310))
def test_prefixed_frames(width: int, body: bytes, limit: int, cut: int) -> None:
    """A frame is its prefix and so many bytes; parts of it say how much is missing, and long ones are refused at once."""
    if len(body) >= 1 << 8 * width:
        body = body[:255]
    whole = len(body).to_bytes(width, "big") + body
    data = (whole + b"more")[:cut]
    frame = split_prefixed(view(data), width, limit)
    if len(data) < width:
        assert (frame.length, frame.need) == (WAIT, width)
    elif len(body) > limit:
        assert frame.length == TOO_LONG
    elif len(data) < len(whole):
        assert (frame.length, frame.need) == (WAIT, len(whole))
    else:
        assert (frame.length, bytes(frame.body)) == (len(whole), body)


def test_a_frame_has_a_prefix_of_one_to_four_bytes() -> None:
    """Another width is an error of the caller."""
    with pytest.raises(ValueError, match="1 to 4"):
        split_prefixed(view(b""), 5, 9)


def test_table_marks_what_is_allowed() -> None:
    """A table has 256 entries, nonzero where the byte is listed."""
    assert [byte for byte, allowed in enumerate(table(b"az")) if allowed] == [97, 122]


class Parser(DataActor):
    def on_data(self, connection: Connection[State], data: View) -> int:
        head = parse_head(data)
        if head.status == WAIT:
            return 0
        if head.status != OK:
            refuse(connection, head.status)
            return len(data)
        connection.send(head.method, b"|", head.target, b"|", head.host, b"|")
        connection.send_int(head.body * 4 + head.keep_alive * 2 + head.expects_continue)
        line = split_line(data[head.length :], 20)
        frame = split_prefixed(line.text, 2, 5)
        connection.send_int(line.length * 1000 + frame.length * 10 + frame.need)
        return head.length


@pytest.fixture(scope="module")
def benches() -> Iterator[tuple[Bench, Bench]]:
    """One bench a mode."""
    with Bench(Parser) as interpreted, Bench(Parser, mode="compiled") as compiled:
        yield interpreted, compiled


@settings(max_examples=150)
@given(heads, st.binary(max_size=20), st.integers(0, 200), st.sampled_from(b"\r\n :\x00a"))
def test_compiled_parsers_do_the_same(
    benches: tuple[Bench, Bench], head: bytes, after: bytes, at: int, byte: int
) -> None:
    """Compiled, the parsers find in good and bad heads what they find interpreted."""
    data = head[:at] + bytes([byte]) + head[at + 1 :] if at < len(head) else head + after
    seen = []
    for bench in benches:
        peer = bench.connect()
        peer.send(data)
        seen.append((peer.received, peer.status))
        peer.reset() if peer.status == "open" else None
    assert seen[0] == seen[1]


def test_heads_survive_every_cut(benches: tuple[Bench, Bench]) -> None:
    """A head that arrives in two pieces is understood like one in one piece, wherever it is cut."""
    for bench in benches:
        assert bench.split_everywhere(GOOD).received.startswith(b"POST|/p?q=1|a.b|48")
