"""Compiled and interpreted handlers do the same: bytes, state, messages and faults, on numbers chosen to be nasty and on
programs made at random."""

import importlib.util
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splitplane.runtime.actor import Connection, DataActor
from splitplane.runtime.message import Message
from splitplane.runtime.state import State
from splitplane.runtime.types import Array, below, i8, i16, i32, i64, u8, u16, u32, u64
from splitplane.runtime.view import View
from splitplane.testing import Bench, Mode

MODES: tuple[Mode, Mode] = ("interpreted", "compiled")
EDGES = [
    0,
    1,
    -1,
    2,
    7,
    -7,
    63,
    64,
    65,
    255,
    256,
    2**31,
    2**32 - 1,
    2**62,
    2**63 - 1,
    -(2**63),
    -(2**63) + 1,
]
numbers = st.one_of(st.sampled_from(EDGES), st.integers(-(2**63), 2**63 - 1), st.integers(-70, 70))
ABOVE = 0xFFFF_FFFF_FFFF_FFFF
FRAME = struct.Struct("<Bqq")


class Fields(State):
    a: u8
    b: u16
    c: u32
    d: u64
    e: i8
    f: i16
    g: i32
    h: i64
    row: Array[u16, Literal[5]]


class Result(Message):
    narrow: u8
    short: i16
    wide: u64


class Torture(DataActor):
    core: Fields

    def on_data(self, connection: Connection[Fields], data: View) -> int:
        if len(data) < 17:
            return 0
        result = self.compute(data[0], data.u64le(1), data.u64le(9))
        state = connection.state
        state.a = result
        state.b += result
        state.c -= result
        state.d *= 3
        state.d ^= result
        state.e = result
        state.f -= result
        state.g += result
        state.h -= result
        state.row[result] += result >> 3
        self.core.d += state.d
        self.tell(Result(narrow=result, short=result, wide=state.d))
        writer = connection.reserve(34)
        writer.u64be(result)
        for value in (state.a, state.b, state.c, state.d, state.e, state.f, state.g, state.h):
            writer.u16be(value)
        writer.u64be(state.d)
        writer.u8(below(state.d, state.h))
        writer.u8(state.d < state.h)
        writer.commit()
        connection.send_int(state.d)
        return 17

    def compute(self, operation: int, a: int, b: int) -> int:
        if operation < 8:
            return self.first(operation, a, b)
        if operation == 8:
            return a << b
        if operation == 9:
            return a >> b
        if operation == 10:
            return abs(a) - min(a, b) + max(a, b, 3)
        if operation == 11:
            return a * ABOVE + (b & ABOVE)
        if operation == 12:
            return a // 7 * 1000 + b % -9
        if operation == 13:
            return (a < b) + (a <= b < 5) * 2 + (not a) * 4 + (a if b else 9)
        total = 0
        for step in range(a % 5, b % 50, 3):
            total = total * 31 + step
        return total

    def first(self, operation: int, a: int, b: int) -> int:
        if operation == 0:
            return a + b
        if operation == 1:
            return a - b
        if operation == 2:
            return a * b
        if operation == 3:
            return a // b
        if operation == 4:
            return a % b
        if operation == 5:
            return a & b | a ^ ~b
        if operation == 6:
            return -a
        return a * a * b


@pytest.fixture(scope="module")
def tortured() -> Iterator[tuple[Bench, Bench]]:
    """One bench a mode."""
    with Bench(Torture) as interpreted, Bench(Torture, mode="compiled") as compiled:
        yield interpreted, compiled


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 14), numbers, numbers), min_size=1, max_size=6))
def test_arithmetic_is_the_same(
    tortured: tuple[Bench, Bench], steps: list[tuple[int, int, int]]
) -> None:
    """Every operator and every width of field leaves the same bytes, states, messages and faults in both modes."""
    data = b"".join(FRAME.pack(*step) for step in steps)
    seen = []
    for bench in tortured:
        bench.advance(milliseconds=1001)  # so that every fault is reported
        bench.told.clear()
        bench.faults.clear()
        peer = bench.connect()
        peer.send(data)
        state = peer.state.to_bytes() if peer.status == "open" else b""
        faults = [(each.handler, each.line, each.error.split(":")[0]) for each in bench.faults]
        seen.append((peer.received, peer.reason, state, list(bench.told), faults))
        peer.reset() if peer.status == "open" else None
    assert seen[0] == seen[1]
    assert tortured[0].core.to_bytes() == tortured[1].core.to_bytes()


def expression(pick: random.Random, depth: int) -> str:
    """A random expression over a, b, c and constants."""
    if depth == 0:
        return pick.choice(
            ["a", "b", "c", "len(data)", "data[0]", str(pick.choice(EDGES)), "LIMIT"]
        )
    left, right = expression(pick, depth - 1), expression(pick, depth - 1)
    match pick.randrange(9):
        case 0:
            return f"-({left})"
        case 1:
            return f"~({left})"
        case 2:
            return f"({left} if {right} > 3 else {expression(pick, depth - 1)})"
        case 3:
            return f"({left} < {right})"
        case 4:
            return f"helper({left}, {right})"
        case 5:
            return f"(({left}) {pick.choice(['<<', '>>'])} (({right}) & 67))"
        case 6:
            return f"(({left}) {pick.choice(['//', '%'])} (({right}) | 1))"
        case _:
            return f"(({left}) {pick.choice(['+', '-', '*', '&', '|', '^'])} ({right}))"


def program(seed: int) -> str:
    """A module with one actor whose handler computes at random."""
    pick = random.Random(seed)
    lines = []
    for _ in range(14):
        value = expression(pick, 3)
        target = pick.choice(
            ["a", "b", "c", "connection.state.x", "self.core.y", "connection.state.z[1]"]
        )
        if pick.random() < 0.3:
            lines += [
                f"        if {expression(pick, 1)} > {expression(pick, 1)}:",
                f"            {target} ^= {value}",
            ]
        else:
            lines.append(f"        {target} {pick.choice(['=', '+=', '-=', '*='])} {value}")
        lines.append(
            "        connection.send_int(a + connection.state.x + connection.state.z[1] + self.core.y)"
        )
    return PRELUDE + "\n".join(lines) + "\n        return len(data)\n"


PRELUDE = """
from typing import Literal
from splitplane.runtime.actor import Connection, DataActor
from splitplane.runtime.state import State
from splitplane.runtime.types import Array, i16, u32, u64
from splitplane.runtime.view import View

LIMIT = 2**64 - 5

class Session(State):
    x: u32
    z: Array[i16, Literal[3]]

class Core(State):
    y: u64

def helper(one: int, two: int = 3) -> int:
    return one * 31 - two

class Random(DataActor):
    core: Core

    def on_data(self, connection: Connection[Session], data: View) -> int:
        a, b, c = data.u64le(1), data.u64le(9), 5
"""


def load(path: Path, name: str) -> ModuleType:
    """The module in a file."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", range(8))
def test_random_programs_are_the_same(tmp_path: Path, seed: int) -> None:
    """A handler of random arithmetic answers random numbers the same in both modes."""
    path = tmp_path / f"program{seed}.py"
    path.write_text(program(seed))
    actor = load(path, f"program{seed}").Random
    pick = random.Random(seed)
    with Bench(actor) as interpreted, Bench(actor, mode="compiled") as compiled:
        one, two = interpreted.connect(), compiled.connect()
        for _ in range(30):
            values = [
                pick.choice(EDGES) if pick.random() < 0.5 else pick.getrandbits(63) for _ in "ab"
            ]
            data = FRAME.pack(pick.randrange(256), *values)
            one.send(data)
            two.send(data)
            assert one.take() == two.take(), path.read_text()
        assert one.state.to_bytes() == two.state.to_bytes()
        assert interpreted.core.to_bytes() == compiled.core.to_bytes()
