"""The machine-code entries of an actor's handlers: C functions that take a struct call.

All entries of an actor are written into one module, into which LLVM inlines the handlers. A reporting entry hands an
exception to Python's unraisable hook, as `numba.cfunc` does; a quiet one drops it: no GIL, no Python, nanoseconds. Both
leave call->ok at 0 then. A small cfunc tells their addresses."""

from __future__ import annotations

import itertools
from typing import Any

from llvmlite import ir
from numba import cfunc
from numba.core import cgutils
from numba.extending import intrinsic

from .emit import I64, POINTER, VOID
from .report import MARK
from .types import int64, pointer

__all__ = ["link"]

serial = itertools.count()


def link(handlers: list[tuple[str, Any]]) -> tuple[list[tuple[int, int]], Any]:
    """The addresses (reporting, quiet) of each (name, compiled handler), and what keeps them alive."""
    made = [(name, dispatcher.overloads[(pointer,)], dispatcher) for name, dispatcher in handlers]

    @intrinsic
    def address(typing_context: Any, index: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            entries: list[Any] = []
            for name, result, _ in made:
                context.active_code_library.add_linking_library(result.library)
                body = context.declare_function(builder.module, result.fndesc)
                entries.append(entry(context, builder.module, body, result, name, reporting=True))
                entries.append(entry(context, builder.module, body, result, name, reporting=False))
            kind = ir.ArrayType(I64, len(entries))
            table = ir.GlobalVariable(builder.module, kind, f"splitplane.entries.{next(serial)}")
            table.linkage, table.global_constant = "internal", True
            table.initializer = kind([function.ptrtoint(I64) for function in entries])
            return builder.load(builder.gep(table, [I64(0), arguments[0]]))

        return int64(int64), emit

    @cfunc(int64(int64))
    def entries(index: int) -> Any:
        return address(index)

    ask = entries.ctypes
    return [(ask(2 * index), ask(2 * index + 1)) for index in range(len(made))], (entries, made)


def entry(context: Any, module: Any, body: Any, result: Any, name: str, *, reporting: bool) -> Any:
    """Writes one entry: void (struct call *)."""
    kind = "reporting" if reporting else "quiet"
    function = ir.Function(
        module, ir.FunctionType(VOID, [POINTER]), f"{name}.{kind}.{next(serial)}"
    )
    builder = ir.IRBuilder(function.append_basic_block())
    signature = result.signature
    status, _ = context.call_conv.call_function(
        builder, body, signature.return_type, signature.args, [function.args[0]]
    )
    if reporting:
        with cgutils.if_unlikely(builder, status.is_error):
            python = context.get_python_api(builder)
            held = python.gil_ensure()
            context.call_conv.raise_error(builder, python, status)
            mark = python.string_from_string(context.insert_const_string(module, MARK))
            where = python.long_from_longlong(builder.ptrtoint(function.args[0], I64))
            both = python.tuple_pack([mark, where])
            python.err_write_unraisable(both)
            for held_object in (both, mark, where):
                python.decref(held_object)
            python.gil_release(held)
    builder.ret_void()
    return function
