"""Filling a struct actor: which entries serve which handler, where its memory lies, how it is paced."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .native import ffi, lib
from .symbols import HANDLERS, address_of

__all__ = ["Entry", "MessageEntry", "Pace", "bind", "config_offsets", "core_offsets", "relay"]

LINE = 64
STATE_IN_RECORD: int = lib.RECORD_STATE_BYTES


@dataclass(frozen=True, slots=True)
class Entry:
    """Addresses of a handler's two entries; both are `calls.entry()` for an interpreted one."""

    reporting: int
    quiet: int


@dataclass(frozen=True, slots=True)
class MessageEntry:
    """What takes messages of one type number; `reply_length` in bytes, 0 = none."""

    number: int
    reply_length: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class Pace:
    """How an actor is fed; the same keys as in the layout's `listen`. Bytes and milliseconds."""

    max_unconsumed: int = 64 * 1024
    reply_reserve: int = 16 * 1024
    calls_per_turn: int = 16
    tick_milliseconds: int = 0
    push_queue: int = 256 * 1024
    push_reset: bool = False


def core_offsets(sizes: Iterable[int]) -> tuple[list[int], int]:
    """Where each actor's `self.core` lies in the actors section, given their sizes in bytes, and the section's size."""
    offsets, end = [], 0
    for size in sizes:
        offsets.append(end)
        end += -(-size // LINE) * LINE
    return offsets, end


def config_offsets(sizes: Iterable[int]) -> tuple[list[int], int]:
    """Where each actor's config lies in an image of the configuration (configure.h), and the image's bytes."""
    offsets, end = [], 0
    for size in sizes:
        offsets.append(end)
        end += -(-size // 8) * 8
    return offsets, end


def set_pace(actor: Any, pace: Pace) -> None:
    """How a struct actor is fed."""
    actor.max_unconsumed, actor.reply_reserve = pace.max_unconsumed, pace.reply_reserve
    actor.calls_per_turn, actor.tick_period = pace.calls_per_turn, pace.tick_milliseconds
    actor.push_queue, actor.push_reset = pace.push_queue, pace.push_reset


def bind(
    core: Any,
    actor: Any,
    *,
    handlers: Mapping[str, Entry],
    messages: Iterable[MessageEntry],
    state_size: int,
    side_state_bytes: int,
    core_offset: int,
    config: bytes,
    pace: Pace,
    number: int = 0,
    reports_to: int = 0,
) -> Any:
    """Makes `actor` (a struct actor * of core_listen) what the rest says. Keep the result as long as the core.

    `side_state_bytes` is the arena's, one stride for all actors of the core, used if `state_size` exceeds a record's.
    `core_offset` is the actor's own in the actors section. `number` and `reports_to` are the layout's.
    """
    for index, name in enumerate(HANDLERS):
        entry = handlers.get(name)
        if entry is not None:
            actor.reporting[index] = ffi.cast("handler_entry", entry.reporting)
            actor.quiet[index] = ffi.cast("handler_entry", entry.quiet)
    count = 0
    for message in messages:
        if count == lib.ACTOR_MESSAGES:
            raise ValueError(f"an actor takes at most {lib.ACTOR_MESSAGES} message types")
        into = actor.messages[count]
        into.type, into.reply_length = message.number, message.reply_length
        into.reporting = ffi.cast("handler_entry", message.entry.reporting)
        into.quiet = ffi.cast("handler_entry", message.entry.quiet)
        count += 1
    actor.message_count = count
    side = state_size > STATE_IN_RECORD
    actor.state_size = side_state_bytes if side else state_size
    actor.side_state = core.side_state if side else ffi.NULL
    actor.core_state = core.actor_state + core_offset
    kept = ffi.new("uint64_t[]", -(-max(len(config), 1) // 8))
    ffi.memmove(kept, config, len(config))
    actor.config = ffi.cast("uint8_t *", kept)
    set_pace(actor, pace)
    actor.number, actor.reports_to = number, reports_to
    return kept


RELAY = {
    "on_open": "relay_opened",
    "on_data": "relay_data",
    "on_writable": "relay_writable",
    "on_end": "relay_end",
    "on_close": "relay_close",
    "on_timer": "relay_timer",
}


def relay(actor: Any) -> None:
    """Makes `actor`, which bind has filled, the relay: the control plane serves its connections."""
    for index, name in enumerate(HANDLERS):
        if name in RELAY:
            entry = ffi.cast("handler_entry", address_of(RELAY[name]))
            actor.reporting[index] = actor.quiet[index] = entry
    actor.relays = 1
    actor.reply_reserve = 0  # it reads on while its peer does not
