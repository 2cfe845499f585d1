"""Opening a core: only what is an arena for this machine, and times that mean something."""

import errno
import mmap
import time

import pytest
from bare import Bare
from hypothesis import given
from hypothesis import strategies as st
from splitplane.dataplane.core import Core
from splitplane.dataplane.native import ffi, lib


@given(now=st.one_of(st.integers(0, 2**62), st.integers(0, 50).map(lambda n: n * 2**32 * 10**6)))
def test_a_tick_is_never_zero(now: int) -> None:
    """A tick is the milliseconds modulo 2^32, but 1 instead of 0, which means "no deadline"."""
    bare = Bare()
    lib.core_clock(bare.core, now)
    assert bare.core.tick == (now // 10**6 % 2**32 or 1)
    assert bare.core.now == now
    bare.close()


def test_the_clock_is_pythons_monotonic_one() -> None:
    """clock_now and time.monotonic_ns agree, so that both planes may compare their times."""
    before = time.monotonic_ns()
    now = lib.clock_now()
    assert before <= now <= time.monotonic_ns()


def test_memory_that_is_no_arena_is_refused() -> None:
    """Zeroes, rubbish and an unfinished arena: EBADMSG or EPROTO, never a crash."""
    for content, error in ((bytes(8192), errno.EBADMSG), (b"rubbish!" * 1024, errno.EBADMSG)):
        memory = mmap.mmap(-1, 8192)
        memory[:] = content
        with pytest.raises(OSError, match="core 0") as caught:
            Core(memory)
        assert caught.value.errno == error
    bare = Bare()
    ffi.cast("struct arena_header *", ffi.from_buffer(bare.memory)).abi += 1
    with pytest.raises(OSError, match="core 0") as caught:
        Core(bare.memory, adopt=True)
    assert caught.value.errno == errno.EPROTO
    bare.close()


def test_hashes_this_cpu_cannot_make_are_refused() -> None:
    """An arena whose records were hashed in a way that isn't known here is not adopted: none would be found."""
    bare = Bare()
    bare.state.hash_kind = 7
    with pytest.raises(OSError, match="core 0") as caught:
        Core(bare.memory, adopt=True)
    assert caught.value.errno == errno.ENOTSUP
    bare.close()


def test_too_many_listeners_are_refused() -> None:
    """The 33rd listener and a peer beyond the last are refused; what was there stays."""
    bare = Bare()
    with Core(bare.memory, adopt=True) as core:
        for _ in range(lib.ACTOR_LISTENERS - 1):
            core.listen(80)
        with pytest.raises(OSError, match="more than 32 listeners"):
            core.listen(80)
        lib.core_peer(core.pointer, lib.CORE_PEERS, ffi.NULL, ffi.NULL)
    bare.close()
