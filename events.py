"""What befalls the cores, as messages: `async for event in runtime.messages(WorkerDied)`, or `@on(WorkerDied)` in a
control actor. Texts are cut to their field's length.
"""

from __future__ import annotations

from typing import Any, Literal

from .runtime.message import Message
from .runtime.types import Array, u8, u32, u64

__all__ = ["EVENTS", "GroupQuarantined", "HandlerFault", "WorkerAdopted", "WorkerDied"]


def _text(field: Array[u8, Any]) -> str:
    return bytes(field.tolist()).rstrip(b"\0").decode(errors="replace")


def _field(text: object, length: int) -> Array[u8, Any]:
    return Array(str(text).encode()[:length].decode(errors="ignore").encode())


class WorkerDied(Message):
    """A core's worker is dead; a standby takes its place."""

    core: u32
    cpu: u32
    pid: u32
    record: u32
    """The connection whose handler ran, as the low 24 bits of its handle; 0: none. It is reset."""
    why: Array[u8, Literal[112]]

    @property
    def reason(self) -> str:
        """How it ended."""
        return _text(self.why)


class WorkerAdopted(Message):
    """A worker has taken over a dead one's core."""

    core: u32
    cpu: u32
    pid: u32
    outage_microseconds: u64


class GroupQuarantined(Message):
    """A group's workers die too often: its cores stay empty, the others go on."""

    core: u32
    group: Array[u8, Literal[32]]
    why: Array[u8, Literal[160]]

    @property
    def name(self) -> str:
        """The group's."""
        return _text(self.group)

    @property
    def reason(self) -> str:
        """How the last worker ended."""
        return _text(self.why)


class HandlerFault(Message):
    """A data actor's handler failed; so many times since the last message."""

    core: u32
    line: u32
    count: u32
    connection: u64
    """The handle; 0 without one."""
    actor_text: Array[u8, Literal[64]]
    handler_text: Array[u8, Literal[32]]
    file_text: Array[u8, Literal[160]]
    error_text: Array[u8, Literal[160]]

    @property
    def actor(self) -> str:
        """`module:Class`"""
        return _text(self.actor_text)

    @property
    def handler(self) -> str:
        """The method."""
        return _text(self.handler_text)

    @property
    def file(self) -> str:
        """Where it failed, with `line`; empty if that isn't known."""
        return _text(self.file_text)

    @property
    def error(self) -> str:
        """`Exception: text`"""
        return _text(self.error_text)


EVENTS = (WorkerDied, WorkerAdopted, GroupQuarantined, HandlerFault)


def event_message(kind: str, fields: dict[str, Any]) -> Message | None:
    """The message of a controller's event; None for those that have none."""
    if kind == "died":
        return WorkerDied(
            core=fields["core"],
            cpu=fields["cpu"],
            pid=fields["pid"],
            record=fields.get("record", 0),
            why=_field(fields.get("exit", ""), 112),
        )
    if kind == "running" and fields.get("outage") is not None:
        outage = round(fields["outage"] * 1e6)
        return WorkerAdopted(
            core=fields["core"],
            cpu=fields["cpu"],
            pid=fields["pid"],
            outage_microseconds=max(outage, 0),
        )
    if kind == "quarantined":
        why = _field(fields["cause"], 160)
        core, group = fields.get("core", 0), _field(fields["group"], 32)
        return GroupQuarantined(core=core, group=group, why=why)
    return None


def fault_message(told: dict[str, Any]) -> HandlerFault:
    """The message of a fault, as the log has it."""
    return HandlerFault(
        core=told["core"],
        line=told["line"],
        count=told["count"],
        connection=told["handle"] & (2**64 - 1),
        actor_text=_field(told["actor"], 64),
        handler_text=_field(told["handler"], 32),
        file_text=_field(told["file"], 160),
        error_text=_field(told["error"], 160),
    )
