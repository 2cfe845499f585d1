"""The one integer model, where Numba's differs from it: 64-bit two's complement that wraps, Python's floor division and
remainder, division by zero a fault, shifts by any count."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core.types import UniTuple

from .emit import I64, Emit, operation
from .types import boolean, int64

__all__ = [
    "add",
    "below",
    "divide_both",
    "floor_divide",
    "is_one_of",
    "larger",
    "magnitude",
    "multiply",
    "negate",
    "remainder",
    "shift_left",
    "shift_right",
    "smaller",
    "subtract",
    "table",
    "to_int",
]


def divide(emit: Emit, left: Any, right: Any) -> tuple[Any, Any]:
    """Quotient and remainder, rounded towards minus infinity; -2**63 // -1 wraps to itself."""
    builder = emit.builder
    emit.fault_if(
        emit.compare(right, "==", 0), ZeroDivisionError, "integer division or modulo by zero"
    )
    minus = emit.compare(right, "==", -1)
    safe = builder.select(minus, I64(1), right)
    quotient, rest = builder.sdiv(left, safe), builder.srem(left, safe)
    apart = emit.compare(builder.xor(rest, right), "<", 0)
    adjust = builder.and_(emit.compare(rest, "!=", 0), apart)
    quotient = builder.sub(quotient, builder.zext(adjust, I64))
    rest = builder.select(adjust, builder.add(rest, right), rest)
    return builder.select(minus, builder.sub(I64(0), left), quotient), builder.select(
        minus, I64(0), rest
    )


@operation(int64, int64, int64)
def add(emit: Emit, left: Any, right: Any) -> Any:
    """left + right. Numba's own would promise LLVM that it can't overflow; so would its -, * and negation."""
    return emit.builder.add(left, right)


@operation(int64, int64, int64)
def subtract(emit: Emit, left: Any, right: Any) -> Any:
    """left - right"""
    return emit.builder.sub(left, right)


@operation(int64, int64, int64)
def multiply(emit: Emit, left: Any, right: Any) -> Any:
    """left * right"""
    return emit.builder.mul(left, right)


@operation(int64, int64)
def negate(emit: Emit, value: Any) -> Any:
    """-value"""
    return emit.builder.sub(I64(0), value)


@operation(int64, int64, int64)
def floor_divide(emit: Emit, left: Any, right: Any) -> Any:
    """left // right"""
    return divide(emit, left, right)[0]


@operation(int64, int64, int64)
def remainder(emit: Emit, left: Any, right: Any) -> Any:
    """left % right"""
    return divide(emit, left, right)[1]


@operation(int64, int64, int64)
def shift_left(emit: Emit, left: Any, right: Any) -> Any:
    """left << right; 64 and more shift everything out"""
    emit.fault_if(emit.compare(right, "<", 0), ValueError, "negative shift count")
    far = emit.compare(right, ">", 63)
    return emit.builder.select(
        far, I64(0), emit.builder.shl(left, emit.builder.select(far, I64(0), right))
    )


@operation(int64, int64, int64)
def shift_right(emit: Emit, left: Any, right: Any) -> Any:
    """left >> right, keeping the sign"""
    emit.fault_if(emit.compare(right, "<", 0), ValueError, "negative shift count")
    far = emit.compare(right, ">", 63)
    return emit.builder.ashr(left, emit.builder.select(far, I64(63), right))


@operation(int64, int64)
def to_int(emit: Emit, value: Any) -> Any:
    """int(value), of a bool too"""
    return value


@operation(int64, int64)
def magnitude(emit: Emit, value: Any) -> Any:
    """abs(value); that of -2**63 is itself"""
    return emit.builder.select(emit.compare(value, "<", 0), emit.builder.neg(value), value)


@operation(boolean, int64, int64)
def below(emit: Emit, left: Any, right: Any) -> Any:
    """left < right as unsigned numbers"""
    return emit.builder.icmp_unsigned("<", left, right)


@operation(int64, int64, int64)
def smaller(emit: Emit, left: Any, right: Any) -> Any:
    """min(left, right)"""
    return emit.builder.select(emit.compare(right, "<", left), right, left)


@operation(int64, int64, int64)
def larger(emit: Emit, left: Any, right: Any) -> Any:
    """max(left, right)"""
    return emit.builder.select(emit.compare(right, ">", left), right, left)


@operation(UniTuple(int64, 2), int64, int64)
def divide_both(emit: Emit, left: Any, right: Any) -> Any:
    """divmod(left, right)"""
    return emit.pair(*divide(emit, left, right))


def table(values: tuple[int, ...]) -> Any:
    """An operation that looks up a constant tuple of integers."""

    @operation(int64, int64)
    def look_up(emit: Emit, index: Any) -> Any:
        at = emit.builder.select(
            emit.compare(index, "<", 0), emit.builder.add(index, I64(len(values))), index
        )
        beyond = emit.builder.icmp_unsigned(">=", at, I64(len(values)))
        emit.fault_if(beyond, IndexError, "tuple index out of range")
        kind = ir.ArrayType(I64, len(values))
        name = emit.builder.module.get_unique_name(".table")
        held = ir.GlobalVariable(emit.builder.module, kind, name)
        held.linkage, held.global_constant, held.initializer = "internal", True, kind(list(values))
        return emit.builder.load(emit.builder.gep(held, [I64(0), at]))

    return look_up


def is_one_of(values: tuple[int, ...]) -> Any:
    """An operation that looks for a number among constants."""

    @operation(boolean, int64)
    def contained(emit: Emit, number: Any) -> Any:
        found = emit.bit(0)
        for value in values:
            found = emit.builder.or_(found, emit.compare(number, "==", value))
        return found

    return contained
