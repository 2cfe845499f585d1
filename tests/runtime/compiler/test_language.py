"""Corners of the language that handlers are written in: what resolves to what, and what lives how long."""

from enum import IntEnum
from typing import ClassVar, Literal, NamedTuple

from splitplane.runtime.actor import Connection, DataActor
from splitplane.runtime.message import Message
from splitplane.runtime.state import State
from splitplane.runtime.types import Array, i64, u8, u32
from splitplane.runtime.view import View
from splitplane.testing import Bench, Mode, in_both_modes

DEBUG = False
VERBS = (b"GET", b"PUT")
WEIGHTS = (3, 1 << 40, -5)


class Verb(IntEnum):
    STOP = 48
    GO = 49


class Cell(State):
    value: u32
    tag: u8

    def grow(self, by: int) -> int:
        """A method of a State."""
        self.value += by
        return self.value


class Grid(State):
    cells: Array[Cell, Literal[4]]
    name: Array[u8, Literal[8]]
    SIZE: ClassVar[int] = 4


class Note(Message):
    number: i64
    name: Array[u8, Literal[8]]


class Span(NamedTuple):
    start: int
    stop: int = 3

    def of(self, view: View) -> View:
        """A method of a NamedTuple."""
        return view[self.start : self.stop]


def maker(step: int):
    """A function with a closure."""

    def stepped(value: int) -> int:
        return value + step

    return stepped


stepped = maker(7)


class Base(DataActor):
    core: Grid
    PREFIX = b"<"
    LIMIT = 2

    def helper(self, value: int) -> int:
        """To be called by name."""
        return value * self.LIMIT

    @staticmethod
    def plain(value: int, add: int = 1) -> int:
        """Without self."""
        return value + add


class Corners(Base):
    LIMIT = 3

    def helper(self, value: int) -> int:
        return Base.helper(self, value) + 1

    def on_data(self, connection: Connection[Grid], data: View) -> int:
        if DEBUG:
            print(data)
        if not DEBUG:
            connection.send(self.PREFIX)
        state = connection.state
        cell = state.cells[1]
        cell.tag = 9
        self.say(connection, cell.grow(5))
        state.cells[2] = cell
        cell.value = 0
        self.say(connection, state.cells[2].value + state.cells[2].tag)
        state.name.copy_from(b"abcdefgh")
        state.name = state.name.head(3)  # type: ignore[assignment]
        connection.send(state.name.head(Grid.SIZE + 1))
        state.name.copy_from(state.name.head(3), at=1)
        connection.send(state.name.head(6))
        self.say(connection, self.helper(10))
        self.say(connection, self.plain(1) + Corners.plain(1, add=4))
        self.say(connection, stepped(1))
        self.say(connection, Verb.GO if data[0] == Verb.STOP else Verb.STOP)
        first, second = 1, data
        span = Span(1)
        connection.send(span.of(data), Span(stop=2, start=0).of(data))
        self.say(connection, span.start + span[1] + first + len(second))
        for verb in VERBS:
            connection.send(verb if data.startswith(verb) else b"-")
        self.say(connection, WEIGHTS[data[0] % 3] + len(WEIGHTS) + WEIGHTS[-1])
        note = Note(number=1, name=state.name)
        self.tell(note)
        for index in range(2):
            note = Note(number=note.number + index, name=note.name)
            self.tell(note)
        value: int
        value = other = 4
        self.say(connection, value + other)
        connection.send(b"a" + b"b" * 2)
        return len(data)

    def say(self, connection: Connection[Grid], number: int) -> None:
        """One number."""
        connection.send_int(number)
        connection.send(b" ")


def test_corners() -> None:
    """Constants, closures, base classes, methods of States and tuples, copies that overlap: the same in both modes."""

    def run(mode: Mode) -> tuple[bytes, list[bytes]]:
        with Bench(Corners, mode=mode, messages=[Note]) as bench:
            peer = bench.connect()
            peer.send(b"0GET")
            assert not bench.faults
            return peer.received, [message.to_bytes() for message in bench.told]

    interpreted, compiled = in_both_modes(run)
    assert compiled == interpreted
    assert compiled[0].startswith(b"<5 14 abc\0\0aabc\0\x0031 ")
    assert [int.from_bytes(each[:8], "little") for each in compiled[1]] == [1, 1, 2]
