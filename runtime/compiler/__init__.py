"""Compiles data actors: from the user's Python to C functions that the loop calls.

A handler's syntax tree is read with the kinds of all its values known beforehand (expressions, calls, statements); what
cannot compile is refused there, with the user's line and a caret. What is left is plain enough for Numba, which compiles
it with intrinsics for all that touches connections, views and records (view, records, connection, writer, actor)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compile import CompiledActor, compile_actor

__all__ = ["CompiledActor", "compile_actor"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from . import compile as module

        return getattr(module, name)
    raise AttributeError(name)
