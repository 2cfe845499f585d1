"""An arena's arithmetic, as arena_plan (runtime/arena.c) does it: which section takes how many bytes."""

from dataclasses import asdict, dataclass
from typing import Any

from .native import check, ffi, lib

RECORD_STATE_BYTES: int = lib.RECORD_STATE_BYTES
"""Application state that fits a connection's own record."""


@dataclass(frozen=True, slots=True)
class ArenaConfig:
    """`struct arena_config` of runtime/arena.h, field by field."""

    connections: int
    busy_blocks: int
    buffer_bytes: int
    time_wait: int
    side_state_bytes: int
    actor_bytes: int
    frame_bytes: int
    core_id: int
    layout_hash: int
    page_size: int
    subscriptions: int = 0
    config_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ArenaPlan:
    """Where each section will lie: name → (offset, bytes), and the bytes of all, whole pages."""

    total: int
    sections: dict[str, tuple[int, int]]


def arena_header(config: ArenaConfig) -> Any:
    """`struct arena_header *` as arena_plan fills it. Raises OSError when the sizes are out of range."""
    header = ffi.new("struct arena_header *")
    check(lib.arena_plan(ffi.new("struct arena_config *", asdict(config)), header), "arena plan")
    return header


def arena_plan(config: ArenaConfig) -> ArenaPlan:
    """The sections of an arena under `config`. Raises OSError (EINVAL, EOVERFLOW) when it can't be."""
    header = arena_header(config)
    sections = {
        name.removeprefix("SECTION_").lower(): (
            int(header.sections[number].offset),
            int(header.sections[number].bytes),
        )
        for number, name in sorted(ffi.typeof("enum arena_section").elements.items())
        if name != "SECTION_COUNT"
    }
    return ArenaPlan(int(header.bytes), sections)


def list_bytes(connections: int, *, frames: bool) -> int:
    """Bytes of a core's process-local lists; `frames`: it speaks our TCP."""
    lists = int(lib.core_list_bytes(connections))
    return lists + (int(lib.tcp_list_bytes()) if frames else 0)


def arena_format(memory: Any, header: Any) -> None:
    """Makes an arena of zeroed `memory`, as arena_header planned it, with random keys of its own. Raises OSError."""
    check(lib.arena_format(ffi.from_buffer(memory, require_writable=True), header), "arena")


def arena_read(memory: Any) -> tuple[int, int, int]:
    """(0 or -errno as arena_check says it, core number, layout hash) of whatever lies in `memory`."""
    base = ffi.from_buffer(memory)
    header = ffi.cast("struct arena_header *", base)
    error = lib.arena_check(base, len(base), header.layout_hash)
    return int(error), int(header.core_id), int(header.layout_hash)


def arena_section(memory: Any, name: str) -> tuple[int, int]:
    """(offset, bytes) of one section of the arena in `memory`."""
    number = getattr(lib, f"SECTION_{name.upper()}")
    span = ffi.cast("struct arena_header *", ffi.from_buffer(memory)).sections[number]
    return int(span.offset), int(span.bytes)
