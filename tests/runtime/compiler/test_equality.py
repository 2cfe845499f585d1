"""Random handlers do the same compiled as interpreted: bytes sent, state, messages, and faults at the same line.

Hypothesis writes the body of on_data: arithmetic on 64-bit integers with narrow stores, views cut and searched at any
place, arrays, branches, loops, calls, sends. Each program sees random bytes.
"""

import importlib.util
import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from splitplane.testing import Bench, Mode

HEAD = """
from typing import Literal
from splitplane.runtime.actor import Connection, DataActor
from splitplane.runtime.message import Message
from splitplane.runtime.state import State
from splitplane.runtime.types import Array, below, i8, i16, i32, i64, u8, u16, u32, u64
from splitplane.runtime.view import View

class Note(Message):
    number: i64
    byte: u8 = 1

class Session(State):
    f0: u8
    f1: i16
    f2: u32
    f3: u64
    row: Array[i16, Literal[4]]

def twice(x: int, y: int = 3) -> int:
    return x * 2 - y

class Random(DataActor):
    def on_data(self, connection: Connection[Session], data: View) -> int:
        state = connection.state
        a = data.to_int(5)
        b = len(data)
        c = state.f2
        v = data
"""
TAIL = """
        connection.send(b"|", v, b"|")
        connection.send_int(a)
        connection.send(b",")
        connection.send_int(b ^ c)
        return len(data)

    def helper(self, view: View, at: int) -> int:
        if at > 100:
            raise ValueError("far")
        return view[at] + len(view)
"""
EDGES = [
    0,
    1,
    2,
    7,
    63,
    64,
    255,
    1 << 31,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
    1 << 70,
    -1,
    -(1 << 63),
]
numbers = st.one_of(st.integers(-10, 300), st.sampled_from(EDGES)).map(str)
names = st.sampled_from(
    ["a", "b", "c", "state.f0", "state.f1", "state.f2", "state.f3", "state.row[1]"]
)
texts = st.sampled_from(
    ['b"a"', 'b"\\r\\n"', 'b""', 'b"GET "', "v", "data[1:3]", "data[a:]", "data[:b]"]
)


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Expressions made of smaller ones."""
    operators = st.sampled_from(["+", "-", "*", "//", "%", "<<", ">>", "&", "|", "^"])
    tests = st.sampled_from(["<", "<=", "==", "!=", ">", ">="])
    return st.one_of(
        st.tuples(inner, operators, inner).map(lambda x: f"({x[0]} {x[1]} {x[2]})"),
        st.tuples(inner, tests, inner).map(lambda x: f"({x[0]} {x[1]} {x[2]})"),
        st.tuples(st.sampled_from(["-", "~", "not "]), inner).map(lambda x: f"({x[0]}{x[1]})"),
        st.tuples(inner, inner, inner).map(lambda x: f"({x[0]} if {x[1]} else {x[2]})"),
        st.tuples(st.sampled_from(["min", "max", "below"]), inner, inner).map(
            lambda x: f"{x[0]}({x[1]}, {x[2]})"
        ),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda x: f"({x[0]} {x[1]} {x[2]})"
        ),
        inner.map(lambda x: f"abs({x})"),
        inner.map(lambda x: f"twice({x})"),
        st.tuples(inner, inner).map(lambda x: f"divmod({x[0]}, {x[1]})[1]"),
        st.tuples(inner, inner).map(lambda x: f"twice(y={x[0]}, x={x[1]})"),
        st.tuples(texts, inner).map(lambda x: f"data.find({x[0]}, {x[1]})"),
        inner.map(lambda x: f"data[{x}]"),
        inner.map(lambda x: f"data.u16be({x} & 3)"),
        inner.map(lambda x: f"(3, -4, 1 << 62, 9)[{x} & 3]"),
        inner.map(lambda x: f"self.helper(v, {x})"),
        inner.map(lambda x: f"int({x} in (0, 3, 255))"),
        texts.map(lambda x: f"(v == {x})"),
        texts.map(lambda x: f"v.startswith({x})"),
        st.just("v.hash()"),
        st.just("v.to_int()"),
        st.just("len(v)"),
    )


expressions = st.recursive(st.one_of(numbers, names), grown, max_leaves=5)


@st.composite
def statements(draw: st.DrawFn, depth: int = 2) -> list[str]:
    """One statement, as lines."""
    kind = draw(st.integers(0, 9 if depth else 6))
    value = draw(expressions)
    if kind <= 1:
        return [f"{draw(st.sampled_from('abc'))} = {value}"]
    if kind == 2:
        field = draw(
            st.sampled_from(
                ["state.f0", "state.f1", "state.f2", "state.f3", f"state.row[{draw(numbers)}]"]
            )
        )
        return [f"{field} {draw(st.sampled_from(['=', '+=', '*=', '//=', '<<=', '%=']))} {value}"]
    if kind == 3:
        return [f"v = data[{value} : {draw(expressions)}]"]
    if kind == 4:
        return [f"connection.send({draw(texts)}, v)"]
    if kind == 5:
        return [f"connection.send_int({value})"]
    if kind == 6:
        return [f"self.tell(Note(number={value}, byte=a))"]
    inner = draw(st.lists(statements(depth - 1), min_size=1, max_size=2))
    lines = ["    " + line for each in inner for line in each]
    if kind == 7:
        return [f"if {value}:", *lines]
    if kind == 8:
        return [f"for i in range({draw(st.integers(-2, 5))}):", "    a += i", *lines]
    left = f"left{depth}"  # of its own, so that nothing in the loop makes it endless
    return [
        f"{left} = b & 7",
        f"while {left} > {draw(st.integers(0, 5))}:",
        f"    {left} -= 1",
        *lines,
    ]


programs = st.lists(statements(), min_size=1, max_size=6).map(
    lambda parts: [line for part in parts for line in part]
)
serial = itertools.count()


def outcome(actor: Any, mode: Mode, inputs: list[bytes]) -> list[Any]:
    """Everything one can see of a run."""
    seen: list[Any] = []
    with Bench(actor, mode=mode, messages=[sys.modules[actor.__module__].Note]) as bench:
        for data in inputs:
            peer = bench.connect()
            peer.send(data)
            seen += [
                peer.received,
                peer.status,
                peer.state.to_bytes() if peer.status == "open" else b"",
            ]
        seen.append([message.to_bytes() for message in bench.told])
        seen.append([(each.line, each.error.partition(":")[0]) for each in bench.faults])
    return seen


@settings(max_examples=30)
@given(
    programs,
    st.lists(
        st.one_of(st.binary(min_size=1, max_size=12), st.just(b"12"), st.just(b"GET /a\r\n")),
        min_size=1,
        max_size=3,
    ),
)
def test_same(lines: list[str], inputs: list[bytes]) -> None:
    """A random handler and random bytes have one outcome."""
    name = f"random_handler_{next(serial)}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.py"
        file.write_text(HEAD + "".join(f"        {line}\n" for line in lines) + TAIL)
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        interpreted = outcome(module.Random, "interpreted", inputs)
        assert outcome(module.Random, "compiled", inputs) == interpreted
