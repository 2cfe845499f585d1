"""Interpreted handlers keep the rules that compiled ones can't break, and say so in words; replays find the line."""

from pathlib import Path
from typing import Any

import pytest
from splitplane.runtime.actor import Connection, DataActor, on
from splitplane.runtime.errors import StaleError
from splitplane.runtime.message import Message, Request
from splitplane.runtime.replay import replay
from splitplane.runtime.spec import HANDLERS
from splitplane.runtime.state import State
from splitplane.runtime.types import u8, u32, u64
from splitplane.runtime.view import View
from splitplane.testing import Bench

KEPT: list[Any] = []


class Session(State):
    count: u32


class Core(State):
    total: u64


class Note(Message):
    small: u8


class Ask(Request[Core]):
    divisor: u32


class Keeper(DataActor):
    core: Core

    def on_data(self, connection: Connection[Session], data: View) -> int:
        if data[0] == 0:
            writer = connection.reserve(4)
            KEPT.extend([data, data[1:], connection, connection.state, self.core, writer])
        elif data[0] == 1:
            self.kept = data
        elif data[0] == 2:
            connection.state.cuont = 3  # type: ignore[attr-defined]
        elif data[0] == 3:
            return "x"  # type: ignore[return-value]
        elif data[0] == 4:
            return len(data) + 1
        elif data[0] == 5:
            self.tell(Note(small=257))
            self.core.total -= 1
            connection.state.count = self.core.total
        elif data[0] == 6:
            connection.send(data[9:8], b"", data)
            connection.state.count //= connection.state.count - 7
        elif data[0] == 7:
            self.connection(12345).close()
        return len(data)

    @on(Ask)
    def ask(self, message: Ask) -> Core:
        self.core.total //= message.divisor
        return self.core


def test_nothing_outlives_its_call() -> None:
    """View, Connection, State, self.core and Writer that a handler leaked are dead after it, with an error in words."""
    KEPT.clear()
    with Bench(Keeper) as bench:
        bench.connect().send(b"\0ab")
        view, part, connection, state, core, writer = KEPT
        uses = (
            lambda: view[0],
            lambda: bytes(part),
            lambda: connection.handle,
            lambda: writer.u8(1),
            lambda: state.count,
            lambda: core.total,
        )
        for use in uses:
            with pytest.raises(StaleError, match="earlier call"):
                use()


@pytest.mark.parametrize(
    ("byte", "error"),
    [
        (
            1,
            "AttributeError: self.kept can't be set: what an actor remembers stands in self.core or connection.state",
        ),
        (2, "AttributeError: Session: no field cuont (its fields: count)"),
        (3, "TypeError: on_data must return how many bytes it consumed, not 'x'"),
        (7, "LookupError: this connection is gone: look at bool(connection) first"),
    ],
)
def test_misuse_is_answered_in_words(byte: int, error: str) -> None:
    """What compiled code is refused for beforehand is a fault with a sentence."""
    with Bench(Keeper) as bench:
        peer = bench.connect()
        peer.send(bytes([byte]))
        (fault,) = bench.faults
        assert (fault.handler, fault.error, peer.status) == ("on_data", error[:127], "reset")
        assert fault.file == __file__ or byte == 3


def test_a_result_outside_the_data_is_a_fault() -> None:
    """on_data can't consume more than there is."""
    with Bench(Keeper) as bench:
        peer = bench.connect()
        peer.send(b"\4")
        assert (peer.status, bench.counters["faults"]) == ("reset", 1)


def test_numbers_wrap_in_messages_and_fields() -> None:
    """A message made in a handler keeps low bits where one made outside is refused."""
    with Bench(Keeper) as bench:
        peer = bench.connect()
        peer.send(b"\5")
        assert bench.told == [Note(small=1)]
        assert (bench.core.total, peer.state.count) == (2**64 - 1, 2**32 - 1)
    with pytest.raises(ValueError, match=r"Note\.small = 257"):
        Note(small=257)


def test_an_ask_that_fails_is_an_error_for_who_asked() -> None:
    """A failing @on method names itself and its line."""
    with Bench(Keeper) as bench:
        bench.core.total = 9
        assert bench.ask(Ask(divisor=4)) == Core(total=2)
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            bench.ask(Ask(divisor=0))
        assert bench.faults[0].handler == "ask"


def test_replay_finds_the_line() -> None:
    """With the bytes and the state before the call, a replay finds file, line and error, and touches nothing."""
    handler = HANDLERS.index("on_data")
    state = Session(count=7).to_bytes()
    place = replay(Keeper, handler, state, b"\6")
    assert place is not None
    lines = Path(__file__).read_text().splitlines()
    assert (place.file, "//= connection" in lines[place.line - 1]) == (__file__, True)
    assert isinstance(place.error, ZeroDivisionError)
    assert replay(Keeper, handler, Session(count=8).to_bytes(), b"\6") is None
    assert replay(Keeper, handler, state, b"\5") is None


def test_keyboard_interrupts_get_through() -> None:
    """Ctrl-C in a handler is no fault: it reaches whoever runs the core."""
    with Bench(Stopper) as bench:
        with pytest.raises(KeyboardInterrupt):
            bench.connect().send(b"x")
        assert not bench.faults


class Stopper(DataActor):
    def on_data(self, connection: Connection[State], data: View) -> int:
        raise KeyboardInterrupt
