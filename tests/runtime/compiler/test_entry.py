"""Entries are plain C functions: no reference counting, no Python on the way through, the same after a fork."""

import os
import re
import threading

import pytest
from splitplane.runtime.actor import Connection, ControlActor, DataActor
from splitplane.runtime.compiler import CompiledActor, compile_actor
from splitplane.runtime.compiler.unit import Unit
from splitplane.runtime.errors import ActorError
from splitplane.runtime.program import Compiled
from splitplane.runtime.schema import schema_of
from splitplane.runtime.state import State
from splitplane.runtime.types import u32
from splitplane.runtime.view import View
from splitplane.testing import Bench


class Session(State):
    requests: u32


class Echo(DataActor):
    def on_data(self, connection: Connection[Session], data: View) -> int:
        connection.state.requests += 1
        connection.send(data)
        return self.consumed(data)

    def consumed(self, data: View) -> int:
        """All of it."""
        return len(data)


class Nothing(DataActor):
    pass


class Reporter(ControlActor):
    pass


class Wrong(DataActor):
    def on_open(self, connection: Connection[Session]) -> None:
        connection.sned(b"")  # type: ignore[attr-defined]


class AlsoWrong(DataActor):
    def on_end(self, connection: Connection[Session]) -> None:
        connection.state.requets = 1  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def echo() -> CompiledActor:
    """Echo, compiled."""
    return compile_actor(Echo, schema_of([Echo]))


def body(llvm: str, kind: str) -> str:
    """The LLVM code of one entry."""
    found = re.search(rf"define [^\n]*Echo\.on_data\.{kind}[^\n]*\{{(.*?)\n\}}", llvm, re.DOTALL)
    assert found
    return found[1]


def test_inlined(echo: CompiledActor) -> None:
    """The whole handler, helpers included, stands inside its entry, which calls nothing but the loop and memcpy."""
    calls = set(re.findall(r"call [^@\n]*@\"?([\w.]+)", body(echo.llvm(), "quiet")))
    assert calls <= {"llvm.memcpy.p0.p0.i64", "splitplane.call_room", "splitplane.call_send"}
    assert "NRT_" not in echo.llvm()


def test_python_only_on_failure(echo: CompiledActor) -> None:
    """Only the reporting entry knows Python, and only where it failed."""
    assert "numba_gil_ensure" in body(echo.llvm(), "reporting")
    assert "numba_gil" not in body(echo.llvm(), "quiet")
    assert "Py" not in body(echo.llvm(), "quiet")


def test_addresses(echo: CompiledActor) -> None:
    """Each handler has two entries of its own, and only what is defined has any."""
    assert list(echo.handlers) == ["on_data"]
    assert len(set(echo.handlers["on_data"])) == 2
    assert compile_actor(Nothing, schema_of([Nothing])).handlers == {}


def echoed() -> bytes:
    """What one round over a bench gives."""
    with Bench(Echo, mode="compiled") as bench:
        peer = bench.connect()
        peer.send(b"round")
        return peer.received


def test_after_fork(echo: CompiledActor) -> None:
    """A process forked after compiling runs the same machine code."""
    assert echoed() == b"round"
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, echoed())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"round"
    assert os.waitpid(child, 0)[1] == 0
    assert echo.handlers


def test_other_thread() -> None:
    """A thread that Python knows little of runs it too."""
    seen: list[bytes] = []
    thread = threading.Thread(target=lambda: seen.append(echoed()))
    thread.start()
    thread.join()
    assert seen == [b"round"]


def test_program() -> None:
    """A program compiles the data actors of a layout and leaves control actors alone."""
    actors: list[type] = [Echo, Nothing, Reporter]
    program = Compiled(actors, schema_of(actors))
    assert set(program.seconds) == {Echo, Nothing}
    assert program.entries(Echo).handlers.keys() == {"on_data"}


def test_program_problems() -> None:
    """What is wrong with all actors is said at once."""
    actors: list[type] = [Wrong, Echo, AlsoWrong]
    with pytest.raises(ActorError) as caught:
        Compiled(actors, schema_of(actors))
    assert [problem.key for problem in caught.value.problems] == [
        "Wrong.on_open",
        "AlsoWrong.on_end",
    ]


def test_jit_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that keeps Numba from compiling is named."""
    monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    with pytest.raises(ActorError, match="unset NUMBA_DISABLE_JIT"):
        compile_actor(Echo, schema_of([Echo]))


def test_own_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the compiler itself fails, it says so instead of blaming the user's line; --verbose shows where."""

    def broken(*_: object) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(Unit, "compile", broken)
    with pytest.raises(ActorError, match="the compiler itself failed: RuntimeError: out of order"):
        compile_actor(Echo, schema_of([Echo]))
    with pytest.raises(ActorError, match="Traceback"):
        compile_actor(Echo, schema_of([Echo]), verbose=True)
