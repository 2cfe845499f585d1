"""Where compiled handlers find the loop: addresses of its functions, offsets and sizes of the fields they touch."""

from typing import Any

from .native import ffi, lib

__all__ = ["HANDLERS", "address_of", "call_fields", "constant", "note_fault", "offset_of"]

HANDLERS = (
    "on_start",
    "on_tick",
    "on_open",
    "on_data",
    "on_writable",
    "on_end",
    "on_close",
    "on_timer",
)
"""Names of `enum handler`, in its order."""


def address_of(name: str) -> int:
    """The address of the C function `name`, which one of the headers declares."""
    return int(ffi.cast("uintptr_t", ffi.addressof(lib, name)))


def call_fields() -> dict[str, tuple[int, int]]:
    """Offset and size in bytes of each field of `struct call`."""
    fields: Any = ffi.typeof("struct call").fields
    return {name: (field.offset, ffi.sizeof(field.type)) for name, field in fields}


def offset_of(struct: str, *path: str) -> int:
    """Bytes from the start of `struct NAME` to the field that `path` leads to."""
    return int(ffi.offsetof(f"struct {struct}", *path))


def note_fault(call: int, where: str, line: int) -> None:
    """Tells the core of the `struct call` at that address where its handler failed."""
    lib.fault_note(ffi.cast("struct call *", call).core, where.encode(errors="replace"), line)


def constant(name: str) -> int:
    """The value of an enumerator."""
    return int(getattr(lib, name))
