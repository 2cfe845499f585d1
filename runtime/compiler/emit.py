"""What an operation writes machine code with, and `operation`, which makes an intrinsic of it.

Everything a handler can do is an operation: a Python function that emits LLVM instructions into the handler itself, so
that nothing is compiled, typed or linked twice.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from ...dataplane.symbols import address_of, call_fields
from ..types import Integer
from . import types

__all__ = ["I8", "I32", "I64", "POINTER", "VOID", "Emit", "call_field", "operation"]

I1, I8, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))
POINTER = I8.as_pointer()
VOID = ir.VoidType()

call_field = lru_cache(maxsize=None)(lambda name: call_fields()[name])


@cache
def symbol(name: str) -> str:
    """Makes the C function `name` known to the linker of compiled code; returns its name there."""
    known = f"splitplane.{name}"
    llvmlite.binding.add_symbol(known, address_of(name))
    return known


class Emit:
    """One operation being written: the builder, the types of its arguments, and where in the user's file it stands."""

    def __init__(self, context: Any, builder: Any, signature: Any, loc: Any) -> None:
        self.context = context
        self.builder = builder
        self.kinds = signature.args
        self.returns = signature.return_type
        self.loc = loc

    def number(self, value: int) -> Any:
        """A 64-bit constant."""
        return I64(value)

    def address(self, base: Any, offset: Any) -> Any:
        """`base` + `offset` bytes."""
        return self.builder.gep(base, [I64(offset) if isinstance(offset, int) else offset])

    def load(self, base: Any, offset: Any, integer: Integer, *, big: bool = False) -> Any:
        """The integer at base + offset, widened to 64 bits."""
        kind = ir.IntType(integer.bits)
        where = self.builder.bitcast(self.address(base, offset), kind.as_pointer())
        value = self.builder.load(where, align=1)
        if big and integer.bits > 8:
            value = self.builder.bswap(value)
        if integer.bits == 64:
            return value
        return self.builder.sext(value, I64) if integer.signed else self.builder.zext(value, I64)

    def store(self, base: Any, offset: Any, bits: int, value: Any, *, big: bool = False) -> None:
        """The low `bits` of `value` at base + offset."""
        kind = ir.IntType(bits)
        where = self.builder.bitcast(self.address(base, offset), kind.as_pointer())
        low = value if bits == 64 else self.builder.trunc(value, kind)
        self.builder.store(self.builder.bswap(low) if big and bits > 8 else low, where, align=1)

    def call_word(self, call: Any, name: str) -> Any:
        """A 64-bit integer field of struct call."""
        return self.load(call, call_field(name)[0], Integer(64, signed=True))

    def call_address(self, call: Any, name: str) -> Any:
        """A pointer field of struct call."""
        where = self.address(call, call_field(name)[0])
        return self.builder.load(self.builder.bitcast(where, POINTER.as_pointer()))

    def set_call_word(self, call: Any, name: str, value: Any) -> None:
        """Stores into a 64-bit integer field of struct call."""
        self.store(call, call_field(name)[0], 64, value)

    def load_address(self, base: Any, offset: int) -> Any:
        """The address at base + offset."""
        return self.builder.load(
            self.builder.bitcast(self.address(base, offset), POINTER.as_pointer())
        )

    def store_address(self, base: Any, offset: int, value: Any) -> None:
        """Stores an address at base + offset."""
        self.builder.store(
            value, self.builder.bitcast(self.address(base, offset), POINTER.as_pointer())
        )

    def flag(self, value: int) -> Any:
        """A bit on the stack, set to `value` here."""
        cell = cgutils.alloca_once(self.builder, I1)
        self.builder.store(I1(value), cell)
        return cell

    def blank(self, kind: Any) -> Any:
        """A Connection to be filled in, by name."""
        return cgutils.create_struct_proxy(kind)(self.context, self.builder)

    def symbol(self, name: str, *arguments: Any, returns: Any = I64) -> Any:
        """Calls the C function `name`."""
        kind = ir.FunctionType(returns, [argument.type for argument in arguments])
        function = cgutils.get_or_insert_function(self.builder.module, kind, symbol(name))
        return self.builder.call(function, arguments)

    def shared(self, name: str, write: Callable[..., None], *arguments: Any) -> Any:
        """Calls a function of this module that returns a bit; the first use writes it with `write`."""
        module = self.builder.module
        function = module.globals.get(name)
        if function is None:
            kind = ir.FunctionType(I1, [argument.type for argument in arguments])
            function = ir.Function(module, kind, name)
            function.linkage = "linkonce_odr"
            builder = ir.IRBuilder(function.append_basic_block())
            write(self.elsewhere(builder), *function.args)
        return self.builder.call(function, arguments)

    def elsewhere(self, builder: Any) -> Emit:
        """The same, writing to another function."""
        made = copy.copy(self)
        made.builder = builder
        return made

    def external(self, name: str, returns: Any, *arguments: Any) -> Any:
        """Calls a function of the C library that LLVM knows and may expand in place."""
        kind = ir.FunctionType(returns, [argument.type for argument in arguments])
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, arguments)

    def fault_if(self, condition: Any, error: type[Exception], text: str) -> None:
        """Ends the handler with `error` if `condition`."""
        with cgutils.if_unlikely(self.builder, condition):
            self.context.call_conv.return_user_exc(self.builder, error, (text,), loc=self.loc)

    def copy(self, target: Any, source: Any, length: Any) -> None:
        """memcpy."""
        cgutils.raw_memcpy(self.builder, target, source, length, 1)

    def zero(self, target: Any, length: Any) -> None:
        """memset to 0."""
        cgutils.memset(self.builder, target, length, 0)

    def stack(self, length: int) -> Any:
        """`length` bytes that live as long as the handler's call."""
        cell = cgutils.alloca_once(self.builder, ir.ArrayType(I64, max(-(-length // 8), 1)))
        return self.builder.bitcast(cell, POINTER)

    def parts(self, kind: Any, value: Any) -> Any:
        """The fields of a View or a Connection, by name."""
        return cgutils.create_struct_proxy(kind)(self.context, self.builder, value)

    def view(self, data: Any, length: Any) -> Any:
        """A View of `length` bytes."""
        made = cgutils.create_struct_proxy(types.view)(self.context, self.builder)
        made.data, made.length = data, length
        return made._getvalue()

    def text(self, constant: bytes) -> Any:
        """The address of a constant in read-only memory."""
        kind = ir.ArrayType(I8, len(constant) + 1)
        name = f".bytes.{constant.hex() if len(constant) < 32 else hash(constant)}"
        held = self.builder.module.globals.get(name)
        if held is None or bytes(held.initializer.constant) != constant + b"\0":
            held = cgutils.add_global_variable(
                self.builder.module, kind, self.builder.module.get_unique_name(name)
            )
            held.linkage, held.global_constant = "internal", True
            held.initializer = kind(bytearray(constant + b"\0"))
        return self.builder.bitcast(held, POINTER)

    def compare32(self, left: Any, how: str, right: int) -> Any:
        """Signed comparison of a C int."""
        return self.builder.icmp_signed(how, left, I32(right))

    def compare(self, left: Any, how: str, right: Any) -> Any:
        """Signed comparison; `right` may be a Python int."""
        return self.builder.icmp_signed(how, left, I64(right) if isinstance(right, int) else right)

    def is_null(self, address: Any) -> Any:
        """Whether an address is NULL."""
        return cgutils.is_null(self.builder, address)

    def pair(self, first: Any, second: Any) -> Any:
        """A tuple of two ints."""
        return self.context.make_tuple(self.builder, self.returns, (first, second))

    def bit(self, value: int) -> Any:
        """An i1 constant."""
        return I1(value)

    def memmove(self) -> Any:
        """LLVM's memmove of addresses and a 64-bit length."""
        return self.builder.module.declare_intrinsic("llvm.memmove", [POINTER, POINTER, I64])

    @contextmanager
    def loop(self, count: int) -> Iterator[Any]:
        """Instructions that run `count` times, with the index."""
        with cgutils.for_range(self.builder, I64(count)) as each:
            yield each.index

    @contextmanager
    def when(self, condition: Any) -> Iterator[None]:
        """Instructions that run only if `condition`."""
        with self.builder.if_then(condition):
            yield

    def nothing(self) -> Any:
        """None."""
        return self.context.get_dummy_value()


def operation(
    returns: Any, *takes: Any, names: list[str] | None = None
) -> Callable[[Callable[..., Any]], Any]:
    """Makes an intrinsic of a function `(emit, *values) -> value`.

    `returns` and `takes` are Numba types; arguments are converted to them. `names` are those of the values, if the
    function doesn't say.
    """

    def wrap(function: Callable[..., Any]) -> Any:
        def definition(typing_context: Any, *kinds: Any) -> Any:

            def emit(context: Any, builder: Any, signature: Any, arguments: Any, loc: Any) -> Any:
                value = function(Emit(context, builder, signature, loc), *arguments)
                return context.get_dummy_value() if value is None else value

            return returns(*takes), emit

        named = list(inspect.signature(function).parameters)[1:] if names is None else names
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = [inspect.Parameter(name, kind) for name in ["typing_context", *named]]
        definition.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        definition.__name__ = definition.__qualname__ = function.__name__
        made = intrinsic(definition)
        made.name, made.takes, made.names, made.returns = function.__name__, takes, named, returns
        return made

    return wrap
