"""Rewritten functions compute as handlers do and look to a debugger as they were written."""

import math
import sys
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitplane.runtime.errors import ActorError
from splitplane.runtime.rewrite import rewritten
from splitplane.runtime.types import wrap

numbers = st.integers(-(2**63), 2**63 - 1)
BIG = 2**64 - 5
CALLS: list[str] = []


def helper(one: int, two: int = 2**62, *, three: int = 1) -> int:
    return one * two + three


def everything(a: int, b: int) -> tuple[int, ...]:
    total: int = a
    total += b
    total *= 31
    row = [1, 2, 3]
    row[noted("index", 1)] -= a
    return (
        total,
        -a,
        ~b,
        a * b - BIG,
        helper(a, three=b),
        abs(a),
        row[1],
        (a << 3) ^ (b >> 2),
        [n * a for n in (2, 3)][1],
    )


def noted(name: str, value: int) -> int:
    CALLS.append(name)
    return value


@given(numbers, numbers)
def test_arithmetic_wraps(a: int, b: int) -> None:
    """Every result is the exact one, wrapped to 64 bits; functions called by name compute so too."""
    total, minus, inverse, product, helped, size, row, shifted, listed = rewritten(everything)(a, b)
    assert total == wrap((a + b) * 31)
    assert (minus, inverse, product) == (wrap(-a), ~b, wrap(a * b - BIG))
    assert (helped, size, row) == (wrap(a * 2**62 + b), wrap(abs(a)), wrap(2 - a))
    assert (shifted, listed) == (wrap((a << 3) ^ (b >> 2)), wrap(3 * a))


def test_parts_are_evaluated_once() -> None:
    """An augmented assignment evaluates its target's parts once, as Python does."""
    CALLS.clear()
    rewritten(everything)(1, 2)
    assert CALLS == ["index"]


def faulty(value: int) -> int:
    first = value + 1
    return first // (first - first)


def test_tracebacks_and_locals_stay() -> None:
    """File, line, function and local variables in a traceback are those of the source."""
    with pytest.raises(ZeroDivisionError) as error:
        rewritten(faulty)(4)
    frame = next(
        frame for frame in traceback.walk_tb(error.tb) if frame[0].f_code.co_name == "faulty"
    )
    assert Path(frame[0].f_code.co_filename) == Path(__file__)
    assert frame[1] == faulty.__code__.co_firstlineno + 2
    assert frame[0].f_locals == {"value": 4, "first": 5}


def test_breakpoints_hit() -> None:
    """A tracer sees the lines of the source, in order: so pdb's breakpoints and steps work."""
    seen = []

    def trace(frame, event, argument):  # type: ignore[no-untyped-def]
        if frame.f_code.co_name == "helper" and event == "line":
            seen.append(frame.f_lineno - helper.__code__.co_firstlineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        rewritten(helper)(1)
    finally:
        sys.settrace(before)
    assert seen == [1]


def shifts(a: int, b: int) -> tuple[int, int]:
    return a << b, a >> b


def test_shifts() -> None:
    """Any count shifts, 64 and more shift everything out; a negative one is an error."""
    shift = rewritten(shifts)
    assert shift(-1, 63) == (-(2**63), -1)
    assert shift(-1, 10**9) == (0, -1)
    assert shift(5, 64) == (0, 0)
    with pytest.raises(ValueError, match="negative shift count"):
        shift(1, -1)


def uses_module(a: int) -> int:
    return math.gcd(a, 12) + BIG


def test_globals_freeze_and_wrap() -> None:
    """Module constants are 64-bit numbers; functions of modules that are not Python's own source stay as they are."""
    assert rewritten(uses_module)(8) == 4 - 5


def test_closures() -> None:
    """A function with free variables keeps them."""
    step = 2**62

    def add(a: int) -> int:
        return a + step * 2

    assert rewritten(add)(0) == -(2**63)


def test_without_source() -> None:
    """A function that stands in no file is refused with its name."""
    space: dict[str, object] = {}
    exec("def lost(a): return a", space)
    with pytest.raises(ActorError, match="the source of lost can't be read"):
        rewritten(space["lost"])  # type: ignore[arg-type]
