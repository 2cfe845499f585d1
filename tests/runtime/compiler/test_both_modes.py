"""Every part of the handler API does the same compiled as interpreted."""

from typing import Any, Literal, NamedTuple

import pytest
from splitplane.runtime.actor import CloseReason, Connection, DataActor, on
from splitplane.runtime.config import Config
from splitplane.runtime.message import Message, Request
from splitplane.runtime.state import State
from splitplane.runtime.types import Array, below, i8, i16, i32, i64, u8, u16, u32, u64
from splitplane.runtime.view import View
from splitplane.testing import Bench, Mode

LIMIT = 1 << 20
POWERS = (1, 10, 100, 1000)
VERBS = (b"GET", b"POST")
ALLOWED = bytes(1 if chr(each).isalnum() else 0 for each in range(256))


class Point(State):
    x: i32
    y: i32


class Session(State):
    count: u32
    byte: u8
    word: u16
    big: u64
    small: i8
    short: i16
    signed: i64


class Wide(State):
    name: Array[u8, Literal[16]]
    numbers: Array[i16, Literal[4]]
    points: Array[Point, Literal[3]]
    corner: Point
    length: u8


class Settings(Config):
    greeting: u32 = 3
    banner: Array[u8, Literal[8]] = b"hi"  # type: ignore[assignment]


class Note(Message):
    number: i64
    other: u32 = 7
    text: Array[u8, Literal[8]] = b""  # type: ignore[assignment]


class Ask(Request[Session]):
    factor: u32


class Sum(Request[Note]):
    left: i64
    right: i64


class Pair(NamedTuple):
    first: int
    rest: View


def halve(value: int, by: int = 2) -> int:
    """value // by"""
    return value // by


def split(view: View, at: int) -> Pair:
    """The number in front of `at`, and what follows it."""
    return Pair(view[:at].to_int(), rest=view[at + 1 :])


class Views(DataActor):
    """Answers each line about itself."""

    def on_data(self, connection: Connection[Session], data: View) -> int:
        end = data.find(b"\n")
        if end < 0:
            return 0
        line = data[:end]
        if line:
            connection.send(b"line ")
        if not line[3:]:
            connection.send(b"short ")
        connection.send_int(len(line))
        connection.send(b" ", line[-3:], b" ", line[1:-1], b"\n")
        self.numbers(connection, line)
        self.tests(connection, line, data)
        pair = split(line, line.find(b":"))
        connection.send_int(pair.first)
        number, rest = split(line, 1)
        connection.send(rest, b"|")
        connection.send_int(number)
        connection.send(b"\n")
        return end + 1

    def numbers(self, connection: Connection[Session], line: View) -> None:
        """What the line's methods count."""
        connection.send_int(line.find(b"a"))
        connection.send(b",")
        connection.send_int(line.find(b"a", 2))
        connection.send(b",")
        connection.send_int(line.find(b"a", -2))
        connection.send(b",")
        connection.send_int(line.to_int())
        connection.send(b",")
        connection.send_int(line.to_int(default=-7))
        connection.send(b",")
        connection.send_int(line.hash())
        connection.send(b",")
        connection.send_int(line.span(ALLOWED))

    def tests(self, connection: Connection[Session], line: View, data: View) -> None:
        """What the line is."""
        if line == b"same":
            connection.send(b" same")
        if line != b"same":
            connection.send(b" different")
        if line.startswith(b"pre") and not line.endswith(b"post"):
            connection.send(b" pre")
        if line.equals_ignore_case(b"CaSe"):
            connection.send(b" case")
        if line in VERBS:
            connection.send(b" verb")
        if line[:1] == data[:1] and b"const"[1] == 111:
            connection.send(b" first")


class Numbers(DataActor):
    """Reads integers out of bytes, does sums with them, stores them into narrow fields."""

    def on_data(self, connection: Connection[Session], data: View) -> int:
        if len(data) < 24:
            connection.need(24)
            return 0
        left, right = data.u64le(0), data.u64le(8)
        state = connection.state
        state.byte = left
        state.word = left + right
        state.count = left * right
        state.big = left - right
        state.small = left ^ right
        state.short = left | right
        state.signed = left & right
        state.big += state.byte
        state.count -= 1
        state.signed *= 3
        self.fields(connection)
        self.sums(connection, left, right)
        self.choices(connection, data, left, right)
        self.loops(connection, data)
        self.say(connection, 0xFFFFFFFFFFFFFFFF + 1)
        return 24

    def fields(self, connection: Connection[Session]) -> None:
        """All fields."""
        state = connection.state
        self.say(connection, state.byte)
        self.say(connection, state.word)
        self.say(connection, state.count)
        self.say(connection, state.big)
        self.say(connection, state.small)
        self.say(connection, state.short)
        self.say(connection, state.signed)

    def sums(self, connection: Connection[Session], left: int, right: int) -> None:
        """All operators."""
        self.say(connection, left // (right | 1))
        self.say(connection, left % (right | 1))
        self.say(connection, left << (right & 127))
        self.say(connection, left >> (right & 127))
        self.say(connection, -left + ~right)
        quotient, rest = divmod(left, 1000)
        self.say(connection, quotient)
        self.say(connection, rest)

    def choices(self, connection: Connection[Session], data: View, left: int, right: int) -> None:
        """Functions, tables, reads at offsets."""
        self.say(connection, abs(left))
        self.say(connection, min(left, right, 5))
        self.say(connection, max(left, right))
        self.say(connection, below(left, right))
        self.say(connection, int(left < right <= LIMIT))
        self.say(connection, halve(left))
        self.say(connection, halve(by=7, value=left))
        self.say(connection, POWERS[data[16] & 3])
        self.say(connection, data.u16be(1) + data.u16le(2) + data.u32be(3) + data.u32le(4))
        self.say(connection, data.u64be(5) + data.u8(23) + data[-1] + data[-24])
        self.say(connection, left if left > right else right)

    def loops(self, connection: Connection[Session], data: View) -> None:
        """All kinds of loops."""
        total = 0
        for index in range(len(data) - 1, 0, -2):
            if data[index] == 7:
                continue
            if index == 3:
                break
            total += data[index] * index
        for power in POWERS:
            total += power
        while total > 1000:
            total //= 3
        self.say(connection, total)

    def say(self, connection: Connection[Session], number: int) -> None:
        """One number in decimal."""
        connection.send_int(number)
        connection.send(b" ")


class Arrays(DataActor):
    """Fields of fields, in a state that lives beside the record."""

    core: Wide
    config: Settings

    def on_data(self, connection: Connection[Wide], data: View) -> int:
        state = connection.state
        state.name.copy_from(data[:4])
        state.name.copy_from(b"-", at=5)
        state.length = len(state.name)
        state.numbers[0] = -2
        state.numbers[-1] += 70000
        state.points[1].x = 5
        state.points[2] = state.points[1]
        state.points[2].y -= 1
        state.corner = state.points[2]
        self.core.numbers.fill(9)
        self.core.points[data[0] - 48].x += state.corner.x
        self.core.corner.y += 1
        connection.send(state.name.head(8), b" ", self.config.banner.head(2))
        connection.send_int(state.numbers[-1] + state.numbers[0] + len(state.numbers))
        connection.send_int(self.config.greeting)
        connection.send_int(state.points[2].y)
        return len(data)


class Sender(DataActor):
    """Messages both ways, sends of every sort, timers, closes, other connections."""

    core: Session

    def on_start(self, restarted: bool) -> None:
        self.core.byte = 1 if restarted else 2

    def on_tick(self) -> None:
        self.core.word += 1

    def on_open(self, connection: Connection[Session]) -> None:
        connection.send(b"open ")
        self.core.big = connection.handle
        connection.send_int(connection.remote.port)

    def on_end(self, connection: Connection[Session]) -> None:
        connection.send(b" end")
        connection.close()

    def on_timer(self, connection: Connection[Session]) -> None:
        connection.send(b" timer ")
        connection.send_int(self.now // 1_000_000_000 * 0 + self.core_id)

    def on_close(self, connection: Connection[Session], reason: int) -> None:
        self.core.count += 1
        if reason == CloseReason.PEER or reason == CloseReason.LOCAL:
            self.core.small = 1
        self.tell(Note(number=reason))

    def on_data(self, connection: Connection[Session], data: View) -> int:
        verb = data[0]
        if verb == ord_of(b"c"):
            connection.close()
        elif verb == ord_of(b"a"):
            connection.abort()
        elif verb == ord_of(b"t"):
            connection.set_timer(milliseconds=50)
        elif verb == ord_of(b"T"):
            connection.cancel_timer()
        elif verb == ord_of(b"w"):
            writer = connection.reserve(64)
            connection.send(b"<")
            writer.u8(300)
            writer.u16be(0x12345)
            writer.u32be(-1)
            writer.u64be(1 << 63)
            writer.put(data[1:])
            writer.put(b"!")
            writer.commit()
            connection.send(b">")
        elif verb == ord_of(b"m"):
            self.tell(Note(number=-5, text=data[1:5]), to=-1)
            if self.tell(Note(number=6, other=2, text=Array(b"xy"))):
                connection.send(b"told")
        elif verb == ord_of(b"o"):
            self.other(connection, data.u64be(1))
        elif verb == ord_of(b"y"):
            taken = connection.try_send(b"try ", data[1:])
            connection.send(b"room" if taken and connection.room > 100 else b"none")
        return len(data)

    def other(self, connection: Connection[Session], handle: int) -> None:
        """Says something to another connection of the core."""
        found = self.connection(handle)
        if found:
            found.send(b"hello from ", b"there")
            found.state.count += 1
            connection.send_int(found.state.count)
            connection.send_int(1 if found.handle == handle else 0)
        else:
            connection.send(b"gone")

    @on(Note)
    def note(self, message: Note) -> None:
        self.core.signed += message.number + message.other + message.text[1]

    @on(Ask)
    def ask(self, message: Ask) -> Session:
        self.core.count *= message.factor
        return self.core

    @on(Sum)
    def sum(self, message: Sum) -> Note:
        return Note(number=message.left + message.right, other=message.left)


def ord_of(text: View | bytes) -> int:
    """The first byte."""
    return text[0]


def outcome(actor: type[DataActor], mode: Mode, sends: list[bytes], **options: Any) -> list[Any]:
    """Everything one can see of a run."""
    seen: list[Any] = []
    with Bench(actor, mode=mode, **options) as bench:
        peer = bench.connect()
        for data in sends:
            peer.send(data)
            seen.append(peer.take())
            if peer.status != "open":
                break
        faults = [each._replace(error=each.error.partition(":")[0]) for each in bench.faults]
        seen += [peer.status, peer.reason, bench.told, faults]
        if bench.spec.core:
            seen.append(bytes(bench.core.to_bytes()))
        if peer.status == "open":
            seen.append(peer.state.to_bytes())
    return seen


def same(actor: type[DataActor], sends: list[bytes], **options: Any) -> list[Any]:
    """The outcome, after seeing that both modes give it."""
    interpreted = outcome(actor, "interpreted", sends, **options)
    assert outcome(actor, "compiled", sends, **options) == interpreted
    return interpreted


def test_views() -> None:
    """Views do the same in both modes."""
    lines = [b"same", b"GET", b"prefix", b"case", b"12345", b"12:ab", b"banana", b"a", b"9:", b""]
    seen = same(Views, [line + b"\n" for line in lines])
    assert seen[0].startswith(b"line 4 ame am\n1,-1,-1,-1,-7,")
    assert not seen[-2]


NUMBERS = [0, 1, -1, 2, 7, 255, 256, 1 << 31, 1 << 32, (1 << 63) - 1, -(1 << 63), 0x123456789ABCDEF]


def test_numbers() -> None:
    """Integers are 64-bit two's complement in both modes, and stores keep the low bits."""
    packed = [
        b"".join(each.to_bytes(8, "little", signed=True) for each in (left, right, left ^ right))
        for left in NUMBERS
        for right in NUMBERS
    ]
    seen = same(Numbers, packed)
    assert len(seen) > len(packed)
    assert not seen[-3]


def test_arrays() -> None:
    """Arrays and nested States do the same in both modes."""
    seen = same(Arrays, [b"0abcdef", b"1abcdef", b"2a"], config={"greeting": 5})
    assert seen[0] == b"0abc\0-\0\0 hi" + str(70000 - 65536 - 2 + 4).encode() + b"5-1"


def test_array_index_outside() -> None:
    """An index outside an array is a fault at the same line in both modes."""
    seen = same(Arrays, [b"3abcdef"])
    assert seen[-2][0].error == "IndexError"


@pytest.mark.parametrize("mode", ["interpreted", "compiled"])
def test_messages(mode: Mode) -> None:
    """Messages are told, taken and answered."""
    with Bench(Sender, mode=mode, tick_milliseconds=10) as bench:
        assert bench.core.byte == 2
        bench.tell(Note(number=10, text=b"ab"))  # type: ignore[arg-type]
        assert bench.core.signed == 10 + 7 + 98
        peer = bench.connect(port=4321)
        assert peer.take() == b"open 4321"
        peer.send(b"mtext")
        assert peer.take() == b"told"
        first, second = bench.told
        assert (first.number, first.other, bytes(first.text)) == (-5, 7, b"text\0\0\0\0")  # type: ignore[attr-defined]
        assert (second.number, second.other, bytes(second.text)) == (6, 2, b"xy\0\0\0\0\0\0")  # type: ignore[attr-defined]
        bench.core.count = 4
        assert bench.ask(Ask(factor=3)).count == 12
        assert bench.ask(Sum(left=-1, right=5)).number == 4
        assert bench.ask(Sum(left=-1, right=5)).other == 0xFFFFFFFF
        bench.advance(milliseconds=100)
        assert bench.core.word == 10
        assert not bench.faults


@pytest.mark.parametrize("mode", ["interpreted", "compiled"])
def test_sends(mode: Mode) -> None:
    """Writers, try_send, other connections, timers and closes work."""
    with Bench(Sender, mode=mode) as bench:
        peer, other = bench.connect(), bench.connect()
        peer.take()
        other.take()
        peer.send(b"wabc")
        assert peer.take() == b"<\x2c\x23\x45\xff\xff\xff\xff\x80\0\0\0\0\0\0\0abc!>"
        peer.send(b"yxyz")
        assert peer.take() == b"try xyzroom"
        peer.send(b"o" + other.handle.to_bytes(8, "big"))
        assert (peer.take(), other.take(), other.state.count) == (b"11", b"hello from there", 1)
        peer.send(b"t")
        bench.advance(milliseconds=100)
        assert peer.take().startswith(b" timer ")
        peer.send(b"t")
        peer.send(b"T")
        bench.advance(milliseconds=100)
        assert peer.take() == b""
        handle = other.handle
        other.send(b"a")
        assert (other.status, other.reason) == ("reset", CloseReason.ABORTED)
        peer.send(b"o" + handle.to_bytes(8, "big"))
        assert peer.take() == b"gone"
        peer.end()
        assert peer.take() == b" end"
        assert [each.number for each in bench.told] == [CloseReason.ABORTED, bench.told[-1].number]  # type: ignore[attr-defined]
        assert bench.core.count == 2
        assert not bench.faults
