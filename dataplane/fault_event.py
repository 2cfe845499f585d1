"""What a core tells of a failed handler (struct fault_event of dataplane/actor.h), as a Python value."""

from typing import NamedTuple, Self

from .native import ffi, lib

EVENT_FAULT: int = lib.EVENT_FAULT
HANDLER_COUNT: int = lib.HANDLER_COUNT

FAULT_LEAST: int = ffi.offsetof("struct fault_event", "data")
"""Bytes of an event without data."""


class FaultEvent(NamedTuple):
    """A handler failed; `faults` failures of its actor on that core since the last such event, this one included."""

    handle: int
    """Of the connection; 0 if none was in hand."""
    actor: int
    """Number of the listener in the layout."""
    handler: int
    """Place in spec.HANDLERS, or HANDLER_COUNT + message type."""
    line: int
    """0: not known."""
    faults: int
    data: bytes
    """What the handler was called with, cut to 1024 bytes."""
    data_total: int
    """Bytes it was really called with."""
    state: bytes
    """The first 32 bytes of the connection's state before the call."""
    where: str
    """`file: Exception: text`, or nothing."""

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        """Reads the payload of an EVENT message. ValueError if it is too short."""
        if len(payload) < FAULT_LEAST:
            raise ValueError(
                f"a fault event of {len(payload)} bytes: at least {FAULT_LEAST} wanted"
            )
        event = ffi.from_buffer(
            "struct fault_event *", payload.ljust(ffi.sizeof("struct fault_event"))
        )
        return cls(
            handle=event.handle,
            actor=event.actor,
            handler=event.handler,
            line=event.line,
            faults=event.count,
            data=payload[FAULT_LEAST : FAULT_LEAST + event.data_length],
            data_total=event.data_total,
            state=bytes(ffi.buffer(event.state)),
            where=ffi.string(event.where).decode(errors="replace"),
        )
