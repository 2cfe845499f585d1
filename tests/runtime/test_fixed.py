"""States, messages and configs: layout as in C, values that survive the bytes, and errors that name the field."""

import ctypes
from typing import Any, Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitplane.runtime.config import Config, config_of
from splitplane.runtime.errors import ActorError
from splitplane.runtime.message import MESSAGE_MAX, Message, Request, reply_of
from splitplane.runtime.shape import shape_of
from splitplane.runtime.state import State
from splitplane.runtime.types import (
    Array,
    Integer,
    below,
    i8,
    i16,
    i32,
    i64,
    u8,
    u16,
    u32,
    u64,
    wrap,
)

KINDS = {
    u8: ctypes.c_uint8,
    u16: ctypes.c_uint16,
    u32: ctypes.c_uint32,
    u64: ctypes.c_uint64,
    i8: ctypes.c_int8,
    i16: ctypes.c_int16,
    i32: ctypes.c_int32,
    i64: ctypes.c_int64,
}


class Inner(State):
    a: u8
    b: u32


class Everything(Message):
    first: u8
    wide: u64
    signed: i16
    inner: Inner
    row: Array[u16, Literal[3]]
    text: Array[u8, Literal[5]]
    last: i8 = -1


def made(annotations: dict[str, Any], base: type = State) -> Any:
    """A class with these fields."""
    return type("Made", (base,), {"__annotations__": annotations, "__module__": __name__})


@given(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=12))
def test_layout_is_that_of_c(kinds: list[Any]) -> None:
    """Size, alignment and every offset are those that a C compiler gives; NumPy's structured type has them too."""
    names = [f"field{number}" for number in range(len(kinds))]
    shape = shape_of(made(dict(zip(names, kinds, strict=True))))
    fields = [(name, KINDS[kind]) for name, kind in zip(names, kinds, strict=True)]
    c = type("C", (ctypes.Structure,), {"_fields_": fields})
    assert (shape.size, shape.alignment) == (ctypes.sizeof(c), ctypes.alignment(c))
    assert [field.offset for field in shape.fields] == [getattr(c, name).offset for name in names]
    assert shape.dtype.itemsize == shape.size
    assert [shape.dtype.fields[name][1] for name in names] == [
        field.offset for field in shape.fields
    ]


@given(
    st.integers(0, 255),
    st.integers(0, 2**64 - 1),
    st.integers(-(2**15), 2**15 - 1),
    st.lists(st.integers(0, 65535), max_size=3),
    st.binary(max_size=5),
)
def test_bytes_and_back(first: int, wide: int, signed: int, row: list[int], text: bytes) -> None:
    """to_bytes and from_bytes are inverse; NumPy reads the same values; equal values are equal and hash alike."""
    message = Everything(
        first=first,
        wide=wide,
        signed=signed,
        inner=Inner(a=first, b=3),
        row=Array(row),
        text=Array(text),
    )
    data = message.to_bytes()
    again = Everything.from_bytes(data)
    assert again == message
    assert hash(again) == hash(message)
    assert (again.first, again.wide, again.signed, again.inner.a, again.last) == (
        first,
        wide,
        signed,
        first,
        -1,
    )
    assert again.row.tolist() == [*row, 0, 0, 0][:3]
    assert bytes(again.text) == text.ljust(5, b"\0")
    import numpy as np

    (seen,) = np.frombuffer(data, Everything.dtype())
    assert (seen["wide"], seen["signed"], seen["inner"]["a"]) == (wide, signed, first)


@given(st.sampled_from([8, 16, 32, 64]), st.booleans(), st.integers(-(2**70), 2**70))
def test_narrow_and_wrap(bits: int, signed: bool, value: int) -> None:
    """What a store in a handler leaves is congruent and in range; wrap is narrowing to i64; below compares unsigned."""
    kind = Integer(bits, signed)
    assert kind.low <= kind.narrow(value) <= kind.high
    assert (kind.narrow(value) - value) % 2**bits == 0
    assert wrap(value) == Integer(64, signed=True).narrow(value)
    assert below(wrap(value), wrap(bits)) == (value % 2**64 < bits)


@pytest.mark.parametrize(
    ("annotation", "complaint"),
    [
        (int, "Made.field: int has no size in memory: choose u8"),
        (str, "Made.field: str can't be a field: use u8"),
        (Array[u8, Literal[0]], "no length of an array"),
        (Array[u8, int], "no length of an array"),
        (Array[Array[u8, Literal[2]], Literal[2]], "array of arrays"),
        (list[int], "list can't be a field"),
        ("Nowhere", "its annotations do not resolve: name 'Nowhere' is not defined"),
    ],
)
def test_fields_that_cannot_be(annotation: Any, complaint: str) -> None:
    """An annotation without a layout is refused with class, field and remedy."""
    with pytest.raises(ActorError) as error:
        shape_of(made({"field": annotation}))
    assert complaint in str(error.value)


def test_all_problems_at_once() -> None:
    """Every bad field of a class is named in one error; names that the class itself uses are taken."""
    with pytest.raises(ActorError) as error:
        shape_of(made({"a": int, "to_bytes": u8, "b": str, "_c": u8}))
    assert [problem.key for problem in error.value.problems] == [
        "Made.a",
        "Made.to_bytes",
        "Made.b",
        "Made._c",
    ]


def test_wrong_values_are_named() -> None:
    """Out of range, of another type, too long, misspelt, missing: each error names class and field."""
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"a": 256}, ValueError, "Inner.a = 256: u8 holds 0 to 255"),
        ({"a": -1}, ValueError, "Inner.a = -1: u8 holds 0 to 255"),
        ({"a": b"x"}, TypeError, "Inner.a = b'x': an integer is wanted, not bytes"),
        ({"c": 1}, TypeError, "Inner: no field c (its fields: a, b)"),
    ]
    for values, kind, text in cases:
        with pytest.raises(kind) as error:
            Inner(**values)
        assert str(error.value) == text
    with pytest.raises(TypeError, match="field first is missing; field wide is missing"):
        Everything()  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="Inner: 3 bytes given, 8 wanted"):
        Inner.from_bytes(b"123")
    with pytest.raises(IndexError, match="6 bytes given"):
        Everything(
            first=1, wide=1, signed=1, inner=Inner(a=1, b=1), row=Array(), text=Array(b"123456")
        )


def test_messages_do_not_change() -> None:
    """A message refuses assignment, its nested parts too; a State takes it, checked."""
    message = Everything(
        first=1, wide=1, signed=1, inner=Inner(a=1, b=1), row=Array(), text=Array()
    )
    with pytest.raises(AttributeError, match=r"Everything\.first: a message cannot be changed"):
        message.first = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="cannot be changed"):
        message.inner.a = 3
    with pytest.raises(AttributeError, match="cannot be changed"):
        message.row[0] = 3
    state = Inner(a=1, b=2)
    state.b = 2**32 - 1
    with pytest.raises(ValueError, match="u32"):
        state.b += 1
    with pytest.raises(AttributeError, match="no field z"):
        state.z = 1  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="no field z"):
        state.z  # type: ignore[attr-defined]


def test_arrays() -> None:
    """Arrays check their bounds, count from the end, and are copied into and filled."""

    class Rows(State):
        bytes_: Array[u8, Literal[4]]
        inners: Array[Inner, Literal[2]]

    rows = Rows(bytes_=Array(), inners=Array())
    rows.bytes_[-1] = 7
    rows.bytes_.copy_from(b"ab", 1)
    rows.inners[1].b = 9
    assert bytes(rows.bytes_) == b"\0ab\x07"
    assert bytes(rows.bytes_.head(3)) == b"\0ab"
    assert rows.inners.tolist()[1].b == 9
    rows.bytes_.fill(5)
    assert rows.bytes_.tolist() == [5] * 4
    for wrong in (
        lambda: rows.bytes_[4],
        lambda: rows.bytes_.head(5),
        lambda: rows.bytes_.copy_from(b"123", 2),
    ):
        with pytest.raises(IndexError):
            wrong()
    with pytest.raises(TypeError):
        rows.inners.head(1)


def test_messages_have_a_limit() -> None:
    """A message longer than a ring takes is refused when it is declared."""
    assert shape_of(made({"text": Array[u8, Literal[MESSAGE_MAX]]}, Message)).size == MESSAGE_MAX  # type: ignore[valid-type]
    with pytest.raises(ActorError, match="3585 bytes: a message is at most 3584"):
        shape_of(made({"text": Array[u8, Literal[3585]]}, Message))


def test_replies() -> None:
    """A Request names its reply, a Message has none, and a Request without one is refused."""

    class Ask(Request[Inner]): ...

    class More(Ask): ...

    class Bare(Request): ...  # type: ignore[type-arg]

    assert reply_of(Ask) is reply_of(More) is Inner
    assert reply_of(Everything) is None
    with pytest.raises(ActorError, match="does not say what it is answered with"):
        reply_of(Bare)


class Settings(Config):
    limit: u16 = 10
    name: Array[u8, Literal[4]] = Array(b"no")
    needed: u8


def test_config() -> None:
    """A config fills from a layout's values; everything wrong with them is said at once."""
    settings = config_of(Settings, {"needed": 3, "name": "é"})
    assert (settings.limit, bytes(settings.name), settings.needed) == (
        10,
        "é".encode() + b"\0\0",
        3,
    )
    with pytest.raises(ActorError) as error:
        config_of(Settings, {"limit": 70000, "title": 1, "name": "too long"})
    assert [problem.key for problem in error.value.problems] == ["limit", "title", "name", "needed"]


def test_defaults() -> None:
    """A default that does not fit, and one in a State, are refused; defaults are inherited."""

    class Bad(Message):
        small: u8 = 256

    class Worse(State):
        small: u8 = 1

    class More(Settings):
        other: u8 = 1

    with pytest.raises(ActorError, match=r"Bad\.small = 256: u8 holds 0 to 255"):
        shape_of(Bad)
    with pytest.raises(ActorError, match="a state starts as zeros"):
        shape_of(Worse)
    assert config_of(More, {"needed": 1}).limit == 10


def test_integers_are_plain_ints_to_type_checkers() -> None:
    """u8 … i64 are ints with their width beside them."""
    assert {get_args(kind)[0] for kind in KINDS} == {int}
    assert [str(get_args(kind)[1]) for kind in KINDS] == [
        "u8",
        "u16",
        "u32",
        "u64",
        "i8",
        "i16",
        "i32",
        "i64",
    ]
