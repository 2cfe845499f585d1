"""What a View can do. Every accessor checks its own bounds and faults with IndexError."""

from __future__ import annotations

from typing import Any

from ..types import Integer
from .emit import I32, I64, Emit, operation
from .types import boolean, int64, view

__all__ = ["METHODS", "constant", "is_one_of", "view_at", "view_equal", "view_length", "view_slice"]

BYTE = Integer(8, signed=False)
OUTSIDE = "index outside the view"


def constant(value: bytes) -> Any:
    """An operation that gives a bytes constant as a View."""

    @operation(view)
    def text(emit: Emit) -> Any:
        return emit.view(emit.text(value), I64(len(value)))

    return text


@operation(int64, view)
def view_length(emit: Emit, self: Any) -> Any:
    """len(view)"""
    return emit.parts(view, self).length


@operation(int64, view, int64)
def view_at(emit: Emit, self: Any, index: Any) -> Any:
    """view[index], from the end if negative"""
    parts, builder = emit.parts(view, self), emit.builder
    at = builder.select(emit.compare(index, "<", 0), builder.add(index, parts.length), index)
    emit.fault_if(builder.icmp_unsigned(">=", at, parts.length), IndexError, OUTSIDE)
    return emit.load(parts.data, at, BYTE)


def clamp(emit: Emit, index: Any, length: Any) -> Any:
    """A slice bound as Python takes it: from the end if negative, never outside."""
    builder = emit.builder
    at = builder.select(emit.compare(index, "<", 0), builder.add(index, length), index)
    at = builder.select(emit.compare(at, "<", 0), I64(0), at)
    return builder.select(emit.compare(at, ">", length), length, at)


@operation(view, view, int64, int64)
def view_slice(emit: Emit, self: Any, start: Any, stop: Any) -> Any:
    """view[start:stop]"""
    parts, builder = emit.parts(view, self), emit.builder
    first, last = clamp(emit, start, parts.length), clamp(emit, stop, parts.length)
    length = builder.sub(last, first)
    length = builder.select(emit.compare(length, "<", 0), I64(0), length)
    return emit.view(emit.address(parts.data, first), length)


@operation(view, view, int64)
def view_from(emit: Emit, self: Any, start: Any) -> Any:
    """view[start:]"""
    parts = emit.parts(view, self)
    first = clamp(emit, start, parts.length)
    return emit.view(emit.address(parts.data, first), emit.builder.sub(parts.length, first))


def same(emit: Emit, left: Any, right: Any, length: Any) -> Any:
    """Whether `length` bytes at two addresses are equal."""
    return emit.compare32(emit.external("memcmp", I32, left, right, length), "==", 0)


def equal_if(emit: Emit, condition: Any, left: Any, right: Any, length: Any) -> Any:
    """`condition` and equal bytes, without reading them when it doesn't hold."""
    before = emit.builder.block
    with emit.when(condition):
        equal = same(emit, left, right, length)
        inside = emit.builder.block
    result = emit.builder.phi(equal.type)
    result.add_incoming(equal.type(0), before)
    result.add_incoming(equal, inside)
    return result


@operation(boolean, view, view)
def view_equal(emit: Emit, left: Any, right: Any) -> Any:
    """left == right"""
    one, two = emit.parts(view, left), emit.parts(view, right)
    lengths = emit.compare(one.length, "==", two.length)
    return equal_if(emit, lengths, one.data, two.data, two.length)


def is_one_of(values: tuple[bytes, ...]) -> Any:
    """An operation that looks for a View among constants."""

    @operation(boolean, view)
    def contained(emit: Emit, self: Any) -> Any:
        one, found = emit.parts(view, self), emit.bit(0)
        for value in values:
            length = I64(len(value))
            lengths = emit.compare(one.length, "==", length)
            equal = equal_if(emit, lengths, one.data, emit.text(value), length)
            found = emit.builder.or_(found, equal)
        return found

    return contained


@operation(boolean, view, view)
def startswith(emit: Emit, self: Any, prefix: Any) -> Any:
    """view.startswith(prefix)"""
    one, two = emit.parts(view, self), emit.parts(view, prefix)
    return equal_if(
        emit, emit.compare(two.length, "<=", one.length), one.data, two.data, two.length
    )


@operation(boolean, view, view)
def endswith(emit: Emit, self: Any, suffix: Any) -> Any:
    """view.endswith(suffix)"""
    one, two = emit.parts(view, self), emit.parts(view, suffix)
    tail = emit.address(one.data, emit.builder.sub(one.length, two.length))
    return equal_if(emit, emit.compare(two.length, "<=", one.length), tail, two.data, two.length)


@operation(boolean, view, view)
def equals_ignore_case(emit: Emit, self: Any, other: Any) -> Any:
    """view.equals_ignore_case(other)"""
    one, two, builder = emit.parts(view, self), emit.parts(view, other), emit.builder
    lengths = emit.compare(one.length, "==", two.length)
    length = builder.select(lengths, one.length, I64(0))
    equal = emit.symbol("text_equal_fold", one.data, two.data, length)
    return builder.and_(lengths, emit.compare(equal, "!=", 0))


@operation(int64, view, view, int64)
def find(emit: Emit, self: Any, what: Any, start: Any) -> Any:
    """view.find(what, start)"""
    one, two, builder = emit.parts(view, self), emit.parts(view, what), emit.builder
    at = builder.select(emit.compare(start, "<", 0), builder.add(start, one.length), start)
    at = builder.select(emit.compare(at, "<", 0), I64(0), at)
    return emit.symbol("view_find", one.data, one.length, two.data, two.length, at)


@operation(int64, view, view, int64)
def span(emit: Emit, self: Any, allowed: Any, start: Any) -> Any:
    """view.span(allowed, start)"""
    one, two = emit.parts(view, self), emit.parts(view, allowed)
    emit.fault_if(
        emit.compare(two.length, "!=", 256), ValueError, "span wants a table of 256 bytes"
    )
    emit.fault_if(emit.builder.icmp_unsigned(">", start, one.length), IndexError, OUTSIDE)
    return emit.symbol("text_span", one.data, one.length, two.data, start)


@operation(int64, view, int64)
def to_int(emit: Emit, self: Any, default: Any) -> Any:
    """view.to_int(default)"""
    parts = emit.parts(view, self)
    return emit.symbol("text_to_int", parts.data, parts.length, default)


@operation(int64, view)
def hashed(emit: Emit, self: Any) -> Any:
    """view.hash()"""
    parts = emit.parts(view, self)
    return emit.symbol("text_hash", parts.data, parts.length)


def number(integer: Integer, *, big: bool) -> Any:
    """An operation that reads an integer at an offset."""

    @operation(int64, view, int64)
    def read(emit: Emit, self: Any, at: Any) -> Any:
        parts = emit.parts(view, self)
        short = emit.compare(parts.length, "<", integer.size)
        last = emit.builder.sub(parts.length, I64(integer.size))
        outside = emit.builder.or_(short, emit.builder.icmp_unsigned(">", at, last))
        emit.fault_if(outside, IndexError, OUTSIDE)
        return emit.load(parts.data, at, integer, big=big)

    return read


METHODS = {
    "find": (find, {"start": 0}),
    "startswith": (startswith, {}),
    "endswith": (endswith, {}),
    "equals_ignore_case": (equals_ignore_case, {}),
    "span": (span, {"start": 0}),
    "to_int": (to_int, {"default": -1}),
    "hash": (hashed, {}),
    "u8": (number(BYTE, big=False), {}),
    **{
        f"u{bits}{order}": (number(Integer(bits, signed=False), big=order == "be"), {})
        for bits in (16, 32, 64)
        for order in ("be", "le")
    },
}
"""Name: the operation, and its defaults."""
