"""Arenas: sections apart and in order, attached only by whom they are for, on pages that are what they say."""

import errno
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitplane.dataplane.core import Core
from splitplane.dataplane.native import ffi
from splitplane.dataplane.sections import ArenaConfig, arena_plan
from splitplane.runtime.arena import Arena
from splitplane.runtime.errors import StartError

SMALL = ArenaConfig(
    connections=100,
    busy_blocks=50,
    buffer_bytes=1 << 20,
    time_wait=100,
    side_state_bytes=48,
    actor_bytes=200,
    frame_bytes=0,
    core_id=5,
    layout_hash=77,
    page_size=4096,
)


@pytest.fixture
def arena() -> Iterator[Arena]:
    with Arena.create(SMALL, hugepages="off") as made:
        yield made


configs = st.builds(
    ArenaConfig,
    connections=st.one_of(st.integers(0, 1 << 25), st.integers(1, 5000)),
    busy_blocks=st.integers(0, 1 << 24),
    buffer_bytes=st.integers(0, 1 << 36),
    time_wait=st.integers(0, 1 << 24),
    side_state_bytes=st.integers(0, 4096),
    actor_bytes=st.integers(0, 1 << 47),
    frame_bytes=st.integers(0, 1 << 40),
    core_id=st.integers(0, 130),
    layout_hash=st.integers(0, 2**64 - 1),
    page_size=st.sampled_from([0, 4096, 5000, 2 << 20]),
)


@given(config=configs)
def test_sections_lie_apart(config: ArenaConfig) -> None:
    """Any plan is refused, or has every section on a cache line, behind the header and the one before, inside."""
    try:
        plan = arena_plan(config)
    except OSError as error:
        assert error.errno in (errno.EINVAL, errno.EOVERFLOW)
        return
    end = 4096
    for offset, size in plan.sections.values():
        assert offset % 64 == 0
        assert offset >= end
        end = offset + size
    assert end <= plan.total < end + config.page_size
    assert plan.total % config.page_size == 0
    assert plan.sections["frames"][0] % 4096 == 0
    assert plan.sections["records"][1] == (config.connections + 1) * 128
    assert plan.sections["index"][1] == -(-config.connections // 12) * 64


@pytest.mark.parametrize(
    "changes",
    [
        {"connections": 0},
        {"connections": 1 << 24},
        {"busy_blocks": 1 << 24},
        {"core_id": 128},
        {"page_size": 0},
        {"page_size": 6000},
        {"buffer_bytes": 1 << 39},
        {"time_wait": 1 << 24},
        {"side_state_bytes": 1 << 20},
    ],
)
def test_what_indexes_cannot_name_is_refused(changes: dict[str, int]) -> None:
    """Records beyond 24 bits, cores beyond 7, buffers beyond 32 bits of 64 B, pages that are none: EINVAL."""
    with pytest.raises(OSError, match="arena plan") as caught:
        arena_plan(replace(SMALL, **changes))
    assert caught.value.errno == errno.EINVAL


def test_another_mapping_is_the_same_arena(arena: Arena) -> None:
    """What one process stores, one that attaches the descriptor finds, at whatever address it lies there."""
    with Core(arena.memory, number=5) as core:
        core.pointer.counters[0] = 12
        other = Arena.attach(os.dup(arena.fd), layout_hash=77)
        assert other.address != arena.address
        with Core(other.memory, number=5, adopt=True) as again:
            assert again.counters()["turns"] == 12
            assert again.pointer.state.adoptions == 1
        other.close()


def test_attach_refuses_what_is_not_for_us(arena: Arena) -> None:
    """Empty, short, foreign, unfinished, of another version, size or layout: each is refused in words."""
    empty = os.memfd_create("empty")
    with pytest.raises(StartError, match="it is empty"):
        Arena.attach(empty)
    os.ftruncate(empty, 100)
    with pytest.raises(StartError, match="another size"):
        Arena.attach(empty)
    os.ftruncate(empty, 1 << 16)
    with pytest.raises(StartError, match="no finished arena"):
        Arena.attach(empty)
    os.close(empty)
    with pytest.raises(StartError, match="another layout"):
        Arena.attach(arena.fd, layout_hash=78)
    header = ffi.cast("struct arena_header *", ffi.from_buffer(arena.memory))
    header.bytes += 4096
    with pytest.raises(StartError, match="another size"):
        Arena.attach(arena.fd)
    header.abi += 1
    with pytest.raises(StartError, match="another version"):
        Arena.attach(arena.fd)
    header.ready = 0
    with pytest.raises(StartError, match="no finished arena"):
        Arena.attach(arena.fd)


def test_nobody_can_shrink_it(arena: Arena) -> None:
    """The descriptor is sealed: neither shorter nor longer, so no loop dies of SIGBUS."""
    for size in (0, arena.size + 4096):
        with pytest.raises(PermissionError):
            os.ftruncate(arena.fd, size)


def test_every_arena_has_keys_of_its_own(arena: Arena) -> None:
    """Two arenas of one configuration have different random keys."""
    with (
        Arena.create(SMALL, hugepages="off") as other,
        Core(arena.memory, number=5) as core,
        Core(other.memory, number=5) as second,
    ):
        keys = [list(one.pointer.state.key) for one in (core, second)]
    assert len({word for words in keys for word in words}) == 8


def test_closing_twice_is_closing_once(arena: Arena) -> None:
    """close and unmap may be repeated; the descriptor is closed once."""
    arena.unmap()
    arena.close()
    arena.close()
    assert arena.fd == -1
