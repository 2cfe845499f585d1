"""One running handler as interpreted Python sees it: struct call and the functions that handlers may call.

`python_handler` is the entry that the loop calls; it finds what `interpret` put there for the actor. A Call is good until
the handler returns.
"""

from collections.abc import Callable
from typing import Any

from .native import ffi, lib

__all__ = ["HANDLER_COUNT", "Call", "entry", "forget", "interpret"]

HANDLER_COUNT: int = lib.HANDLER_COUNT

runners: dict[int, Callable[["Call"], None]] = {}  # by the address of struct actor
escaped: list[BaseException] = []


def address(pointer: Any) -> int:
    """Where a C pointer points."""
    return int(ffi.cast("uintptr_t", pointer))


def entry() -> int:
    """The address of the entry that all interpreted handlers share."""
    return address(ffi.addressof(lib, "python_handler"))


def interpret(actor: Any, runner: Callable[["Call"], None]) -> None:
    """Handlers of this struct actor whose entry is `entry()` run `runner`."""
    runners[address(actor)] = runner


def forget(actor: Any) -> None:
    """Undoes `interpret`."""
    runners.pop(address(actor), None)


def raise_escaped() -> None:
    """Raises what a handler let through that is no fault: KeyboardInterrupt, a debugger's quit. Call it between turns."""
    if escaped:
        error = escaped[0]
        escaped.clear()
        raise error


@ffi.def_extern()  # type: ignore[untyped-decorator]
def python_handler(pointer: Any) -> None:
    """Called by the loop."""
    call = Call(pointer)
    try:
        runners[address(pointer.actor)](call)
    except BaseException as error:  # noqa: BLE001 - nothing may pass through C
        escaped.append(error)
    finally:
        call.pointer = None


class Call:
    """struct call. Records are opaque: pass them back."""

    __slots__ = ("pointer",)
    staging: int = lib.CORE_STAGING

    def __init__(self, pointer: Any) -> None:
        self.pointer = pointer

    @property
    def handler(self) -> int:
        """enum handler, or HANDLER_COUNT + message type."""
        return int(self.pointer.core.state.current_handler)

    @property
    def record(self) -> Any:
        """The connection's record, or None."""
        return self.pointer.record or None

    @property
    def now(self) -> int:
        """Nanoseconds."""
        return int(self.pointer.now)

    @property
    def core_id(self) -> int:
        """The core's number."""
        return int(self.pointer.core_id)

    @property
    def argument(self) -> int:
        """`restarted`, the close reason, or who sent a message."""
        return int(self.pointer.argument)

    def data(self) -> memoryview:
        """The bytes of on_data, or the message."""
        return self.memory(self.pointer.data, self.pointer.length)

    def memory(self, start: Any, length: int) -> memoryview:
        """`length` bytes at a pointer."""
        return memoryview(ffi.buffer(start, length)) if length else memoryview(b"")

    def core_state(self, length: int) -> memoryview:
        """self.core"""
        return self.memory(self.pointer.core_state, length)

    def config(self, length: int) -> memoryview:
        """self.config"""
        return self.memory(ffi.cast("uint8_t *", self.pointer.config), length).toreadonly()

    def state(self, record: Any, length: int) -> memoryview:
        """connection.state"""
        return self.memory(lib.call_state(self.pointer, record), length)

    def reply(self, data: bytes) -> None:
        """Answers an ask."""
        ffi.memmove(self.pointer.reply, data, len(data))

    def succeed(self, result: int) -> None:
        """The handler came through."""
        self.pointer.result = result
        self.pointer.ok = 1

    def fail(self, where: str, line: int) -> None:
        """The handler failed at `where` ("file: Exception: text")."""
        text = where.encode(errors="replace")[: lib.FAULT_WHERE - 1]
        lib.fault_note(self.pointer.core, text, line)

    def connection(self, handle: int) -> Any:
        """The record of a handle, or None."""
        return lib.call_connection(self.pointer, handle) or None

    def handle(self, record: Any) -> int:
        """connection.handle"""
        return int(lib.call_handle(self.pointer, record))

    def addresses(self, record: Any) -> tuple[int, int, int, int]:
        """Remote address and port, local address and port, in host order."""
        flow = record.flow
        values = (flow.remote_address, flow.remote_port, flow.local_address, flow.local_port)
        return tuple(swap(value, size) for value, size in zip(values, (4, 2, 4, 2), strict=True))  # type: ignore[return-value]

    def room(self, record: Any) -> int:
        """Bytes that send can take."""
        return int(lib.call_room(self.pointer, record))

    def send(self, record: Any, data: bytes) -> bool:
        """All of `data`, or False."""
        return bool(lib.call_send(self.pointer, record, ffi.from_buffer(data), len(data)))

    def want_writable(self, record: Any) -> None:
        """on_writable when there is room."""
        lib.call_want_writable(self.pointer, record)

    def need(self, length: int) -> None:
        """connection.need"""
        lib.call_need(self.pointer, length)

    def subscribe(self, record: Any, topic: int) -> bool:
        """self.subscribe"""
        return bool(lib.call_subscribe(self.pointer, record, topic))

    def unsubscribe(self, record: Any, topic: int) -> bool:
        """self.unsubscribe"""
        return bool(lib.call_unsubscribe(self.pointer, record, topic))

    def close(self, record: Any) -> None:
        """connection.close"""
        lib.call_close(self.pointer, record)

    def abort(self, record: Any) -> None:
        """connection.abort"""
        lib.call_abort(self.pointer, record)

    def hand_over(self, record: Any, data: bytes) -> bool:
        """connection.hand_over"""
        return bool(lib.call_hand_over(self.pointer, record, data, len(data)))

    def set_timer(self, record: Any, milliseconds: int) -> None:
        """connection.set_timer"""
        lib.call_set_timer(self.pointer, record, milliseconds)

    def cancel_timer(self, record: Any) -> None:
        """connection.cancel_timer"""
        lib.call_cancel_timer(self.pointer, record)

    def tell(self, number: int, target: int, data: bytes) -> bool:
        """self.tell; target as call_tell takes it."""
        return bool(lib.call_tell(self.pointer, number, target, data, len(data)))

    def tell_cores(self, number: int, cores: int, data: bytes) -> bool:
        """self.tell to a group: to each core whose bit is set in `cores`. True if every one took it."""
        return bool(lib.call_tell_cores(self.pointer, number, cores, data, len(data)))


def swap(value: int, size: int) -> int:
    """A number of network byte order as the record holds it, in host order."""
    return int.from_bytes(int(value).to_bytes(size, "little"), "big")
