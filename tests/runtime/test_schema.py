"""What an actor class declares, and the numbers of a layout's messages."""

import subprocess
import sys
from typing import Any, Literal

import pytest
from splitplane.runtime.actor import CloseReason, Connection, ControlActor, DataActor, Sender, on
from splitplane.runtime.errors import ActorError
from splitplane.runtime.message import Message, Request
from splitplane.runtime.schema import schema_of
from splitplane.runtime.spec import HANDLERS, spec_of
from splitplane.runtime.state import State
from splitplane.runtime.types import Array, u8, u32
from splitplane.runtime.view import View


class Session(State):
    count: u32


class Large(State):
    text: Array[u8, Literal[5000]]


class Totals(State):
    served: u32


class Visit(Message):
    count: u32


class GetTotals(Request[Totals]): ...


class GetLarge(Request[Large]): ...


class Good(DataActor):
    core: Totals

    def on_open(self, connection: Connection[Session]) -> None: ...

    def on_data(self, connection: Connection[Session], data: View) -> int:
        return len(data)

    @on(GetTotals)
    def totals(self, message: GetTotals) -> Totals:
        return self.core


class Taker(ControlActor):
    @on(Visit)
    async def visit(self, message: Visit, sender: Sender) -> None: ...


def test_a_spec_has_what_the_class_declares() -> None:
    """States, handlers that the user defined and no others, and @on methods with their replies."""
    spec = spec_of(Good)
    assert (spec.state, spec.core, spec.config) == (Session, Totals, None)
    assert (spec.state_size, spec.core_size) == (4, 4)
    assert list(spec.handlers) == ["on_open", "on_data"]
    (handler,) = spec.messages
    assert (handler.name, handler.message, handler.reply) == ("totals", GetTotals, Totals)
    assert spec_of(Good) is spec


def test_numbers_are_the_same_everywhere() -> None:
    """Types are numbered by name: the order of actors does not matter, nor does the process."""
    schema = schema_of([Good, Taker])
    assert schema == schema_of([Taker, Good, Taker])
    assert sorted(schema.types) == [1, 2, 3]
    assert [schema.type_of(schema.number(cls)) for cls in (GetTotals, Totals, Visit)] == [
        GetTotals,
        Totals,
        Visit,
    ]
    assert schema.reply_number(GetTotals) == schema.number(Totals)
    assert schema.reply_number(Visit) == 0


def test_what_nobody_takes_is_refused() -> None:
    """A type without an @on has no number, and the error says who would need one."""
    with pytest.raises(ActorError, match=r"@on\(Visit\) is nowhere; taken are GetTotals, Totals"):
        schema_of([Good]).number(Visit)


def test_groups_by_name() -> None:
    """A group's name stands for its cores; an unknown one is refused with those there are; without a layout, any does."""
    schema = schema_of([Good], {"web": 3, "store": 4})
    assert (schema.cores("web"), schema.cores("store")) == (3, 4)
    with pytest.raises(
        ActorError, match=r"no group 'stora'; its groups are web, store: did you mean \"store\"\?"
    ):
        schema.cores("stora")
    with pytest.raises(ActorError, match=r"no group 'far'; its groups are web, store$"):
        schema.cores("far")
    assert schema_of([Good]).cores("far")


class Wrong(DataActor):
    core: u32  # type: ignore[assignment]

    def on_open(self, connection: Connection[Session], more: int) -> None: ...  # type: ignore[override]

    async def on_end(self, connection: Connection[Totals]) -> None: ...  # type: ignore[override]

    def on_timer(self, connection: Connection[Session]) -> None: ...

    def on_writable(self, connection: Connection[int]) -> None: ...  # type: ignore[type-var]

    @on(Visit)
    def one(self, message: Visit) -> None: ...

    @on(Visit)
    def two(self, message: Visit) -> None: ...

    @on(GetTotals)
    def three(self) -> None: ...  # type: ignore[arg-type]


def test_all_problems_at_once() -> None:
    """Wrong arguments, async handlers, two states, a type taken twice: one error lists them all."""
    with pytest.raises(ActorError) as error:
        spec_of(Wrong)
    said = {problem.key.removeprefix("Wrong.") for problem in error.value.problems}
    assert said == {"core", "on_open", "on_end", "on_writable", "two", "three", "Wrong"}
    assert "Totals in on_end" in str(error.value)


def test_sizes_have_limits() -> None:
    """A connection's state beyond 4096 bytes and a reply beyond a message are refused."""

    class Heavy(DataActor):
        def on_open(self, connection: Connection[Large]) -> None: ...

    class Talker(DataActor):
        core: Large

        @on(GetLarge)
        def large(self, message: GetLarge) -> Large:
            return self.core

    with pytest.raises(ActorError, match="Large is 5000 bytes, a connection's state at most 4096"):
        spec_of(Heavy)
    with pytest.raises(ActorError, match="the reply to GetLarge is at most 3584"):
        schema_of([Talker])


def test_batches_are_for_control_actors() -> None:
    """A data actor can't take batches, nor a control actor have a plain method."""

    class Batcher(DataActor):
        @on(Visit, batch=True)  # type: ignore[arg-type]
        def visits(self, batch: Any) -> None: ...

    class Plain(ControlActor):
        @on(Visit)  # type: ignore[arg-type]
        def visit(self, message: Visit, sender: Sender) -> None: ...

    with pytest.raises(ActorError, match="batches are for control actors"):
        spec_of(Batcher)
    with pytest.raises(ActorError, match="write async def"):
        spec_of(Plain)
    with pytest.raises(TypeError, match="a class derived from Message is wanted"):
        on(Session)  # type: ignore[type-var]


def test_names_and_numbers_are_those_of_c() -> None:
    """The handlers' order and the close reasons are those of dataplane/actor.h."""
    from splitplane.dataplane.symbols import constant

    assert [constant(name.upper()) for name in HANDLERS] == list(range(constant("HANDLER_COUNT")))
    assert {reason.name: constant(f"CLOSE_{reason.name}") for reason in CloseReason} == {
        reason.name: reason.value for reason in CloseReason
    }


def test_actors_import_lightly() -> None:
    """A module of actors loads neither NumPy nor Numba nor asyncio: the launcher compiles, users need not wait."""
    code = (
        "import sys; from splitplane import DataActor, ControlActor, Message, State, View, on, Config;"
        "print([name for name in ('numpy', 'numba', 'asyncio', 'cffi', 'pydantic') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
