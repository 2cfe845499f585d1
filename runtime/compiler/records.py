"""Fields of States, Messages and Configs, arrays in them, and messages built on the handler's stack."""

from __future__ import annotations

from functools import cache
from typing import Any

from ..shape import Field, Row, Shape
from ..types import Integer
from .emit import I64, Emit, operation
from .types import RecordKind, RowKind, ViewKind, int64, none, view

__all__ = [
    "built",
    "element_kind",
    "field_get",
    "field_put",
    "row_at",
    "row_copy",
    "row_fill",
    "row_head",
    "row_put",
]

OUTSIDE = "index outside the array"


def element_kind(owner: Any, kind: Integer | Shape | Row) -> Any:
    """What reading `kind` out of `owner` gives a handler."""
    if isinstance(kind, Integer):
        return int64
    if isinstance(kind, Row):
        return RowKind(kind, writable=owner.writable, local=owner.local)
    return RecordKind(kind, writable=owner.writable, local=owner.local)


def put(emit: Emit, kind: Integer | Shape | Row, target: Any, given: Any, value: Any) -> None:
    """Stores `value` of Numba type `given` as `kind` at `target`."""
    if isinstance(kind, Integer):
        emit.store(target, 0, kind.bits, value)
    elif isinstance(given, ViewKind):
        parts = emit.parts(view, value)
        emit.fault_if(
            emit.compare(parts.length, ">", kind.size),
            IndexError,
            "more bytes than the array holds",
        )
        emit.builder.call(emit.memmove(), [target, parts.data, parts.length, emit.bit(0)])
        rest = emit.builder.sub(I64(kind.size), parts.length)
        emit.zero(emit.address(target, parts.length), rest)
    else:
        emit.builder.call(emit.memmove(), [target, value, I64(kind.size), emit.bit(0)])


@cache
def field_get(owner: Any, field: Field) -> Any:
    """An operation that reads `field` of a record."""

    @operation(element_kind(owner, field.kind), owner)
    def get(emit: Emit, record: Any) -> Any:
        if isinstance(field.kind, Integer):
            return emit.load(record, field.offset, field.kind)
        return emit.address(record, field.offset)

    return get


@cache
def field_put(owner: Any, field: Field, given: Any) -> Any:
    """An operation that stores a value of type `given` into `field`."""

    @operation(none, owner, given)
    def store(emit: Emit, record: Any, value: Any) -> None:
        put(emit, field.kind, emit.address(record, field.offset), given, value)

    return store


def element(emit: Emit, row: Row, base: Any, index: Any) -> Any:
    """The address of an element, from the end if negative; faults if there is none."""
    builder = emit.builder
    at = builder.select(emit.compare(index, "<", 0), builder.add(index, I64(row.count)), index)
    emit.fault_if(builder.icmp_unsigned(">=", at, I64(row.count)), IndexError, OUTSIDE)
    return emit.address(base, builder.mul(at, I64(row.element.size)))


@cache
def row_at(owner: Any) -> Any:
    """array[index]"""
    row = owner.row

    @operation(element_kind(owner, row.element), owner, int64)
    def get(emit: Emit, base: Any, index: Any) -> Any:
        where = element(emit, row, base, index)
        return emit.load(where, 0, row.element) if isinstance(row.element, Integer) else where

    return get


@cache
def row_put(owner: Any, given: Any) -> Any:
    """array[index] = value"""
    row = owner.row

    @operation(none, owner, int64, given)
    def store(emit: Emit, base: Any, index: Any, value: Any) -> None:
        put(emit, row.element, element(emit, row, base, index), given, value)

    return store


@cache
def row_fill(owner: Any) -> Any:
    """array.fill(value)"""
    row = owner.row

    @operation(none, owner, int64)
    def fill(emit: Emit, base: Any, value: Any) -> None:
        with emit.loop(row.count) as index:
            emit.store(
                emit.address(base, emit.builder.mul(index, I64(row.element.size))),
                0,
                row.element.bits,
                value,
            )

    return fill


@cache
def row_head(owner: Any) -> Any:
    """array.head(length)"""

    @operation(view, owner, int64)
    def head(emit: Emit, base: Any, length: Any) -> Any:
        beyond = emit.builder.icmp_unsigned(">", length, I64(owner.row.count))
        emit.fault_if(beyond, IndexError, "head longer than the array")
        return emit.view(base, length)

    return head


@cache
def row_copy(owner: Any) -> Any:
    """array.copy_from(source, at)"""

    @operation(none, owner, view, int64)
    def copy_from(emit: Emit, base: Any, source: Any, at: Any) -> None:
        parts, builder = emit.parts(view, source), emit.builder
        room = builder.sub(I64(owner.row.count), at)
        outside = builder.or_(emit.compare(at, "<", 0), emit.compare(parts.length, ">", room))
        emit.fault_if(outside, IndexError, "more bytes than the array holds")
        target = emit.address(base, at)
        emit.builder.call(emit.memmove(), [target, parts.data, parts.length, emit.bit(0)])

    return copy_from


def built(kind: RecordKind, given: tuple[tuple[Field, Any], ...]) -> Any:
    """An operation that builds a record on the stack out of values for the `given` fields, of those types."""
    takes = [of for _, of in given]

    def build(emit: Emit, *values: Any) -> Any:
        size = I64(kind.shape.size)
        fresh, base = emit.stack(kind.shape.size), emit.stack(kind.shape.size)
        emit.zero(fresh, size)
        for (field, of), value in zip(given, values, strict=True):
            put(emit, field.kind, emit.address(fresh, field.offset), of, value)
        emit.copy(base, fresh, size)  # in a loop a value may lie in the record of the round before
        return base

    return operation(kind, *takes, names=[f"value{index}" for index in range(len(takes))])(build)
