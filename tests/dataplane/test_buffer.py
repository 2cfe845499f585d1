"""Buffers and busy blocks: never two owners, never lost, and what is free can be had again in large pieces."""

from bare import Bare, check_pools
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from splitplane.dataplane.native import ffi, lib

classes = st.integers(lib.BUFFER_CLASS_MIN, lib.BUFFER_CLASS_MAX)
sizes = st.sampled_from([64, 4096, 1 << 16, (1 << 20) + 192, 3 << 20])


class PoolMachine(RuleBasedStateMachine):
    """Against a set of spans."""

    @initialize(size=sizes)
    def open(self, size: int) -> None:
        self.bare = Bare(buffer_bytes=size)
        self.size = size
        self.taken: dict[int, int] = {}

    @rule(kind=classes)
    def take(self, kind: int) -> None:
        """A buffer is aligned to its size, inside the section and nobody else's; its bytes are the taker's."""
        buffer = lib.buffer_take(self.bare.core, kind)
        if not buffer:
            return
        start, end = buffer * 64, buffer * 64 + (1 << kind)
        assert start % (1 << kind) == 0
        assert 64 <= start < end <= self.size
        for other, other_kind in self.taken.items():
            assert end <= other * 64 or other * 64 + (1 << other_kind) <= start
        self.taken[buffer] = kind
        ffi.memmove(lib.buffer_bytes_at(self.bare.core, buffer), b"\xa5" * (1 << kind), 1 << kind)

    @rule(data=st.data())
    def give(self, data: st.DataObject) -> None:
        """What was taken can be given back, in any order."""
        if self.taken:
            buffer = data.draw(st.sampled_from(sorted(self.taken)))
            lib.buffer_give(self.bare.core, buffer, self.taken.pop(buffer))

    @invariant()
    def bytes_add_up(self) -> None:
        """Free bytes are the section's less those taken, and less the first 64."""
        if hasattr(self, "bare"):
            used = sum(1 << kind for kind in self.taken.values())
            free = self.size // 64 * 64 - 64 - used
            assert lib.buffer_free_bytes(self.bare.core) == free

    @invariant()
    def largest_is_what_take_gives(self) -> None:
        """buffer_largest tells the class that buffer_take then gives."""
        if hasattr(self, "bare"):
            kind = lib.buffer_largest(self.bare.core, lib.BUFFER_CLASS_MAX)
            if kind < lib.BUFFER_CLASS_MAX:
                assert lib.buffer_take(self.bare.core, max(kind + 1, lib.BUFFER_CLASS_MIN)) == 0
            if kind:
                buffer = lib.buffer_take(self.bare.core, kind)
                assert buffer
                lib.buffer_give(self.bare.core, buffer, kind)

    def teardown(self) -> None:
        if not hasattr(self, "bare"):
            return
        for buffer, kind in self.taken.items():
            lib.buffer_give(self.bare.core, buffer, kind)
        check_pools(self.bare, [])
        # Everything given back, the largest buffer the section can hold is there again.
        fits = [kind for kind in range(6, 21) if (2 << kind) <= self.size or 1 << kind == 64]
        if self.size > 64:
            assert lib.buffer_take(self.bare.core, fits[-1] if self.size > 128 else 6)
        self.bare.close()


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=60, stateful_step_count=40)


@given(order=st.permutations(range(64)))
@settings(max_examples=20)
def test_small_buffers_join_again(order: list[int]) -> None:
    """A section used up in 64 B pieces, given back in any order, gives its largest piece again."""
    bare = Bare(buffer_bytes=1 << 16)
    taken = []
    while buffer := lib.buffer_take(bare.core, 6):
        taken.append(buffer)
    assert len(taken) == 1023
    for part in order:
        for buffer in taken[part::64]:
            lib.buffer_give(bare.core, buffer, 6)
    assert lib.buffer_take(bare.core, 15)
    bare.close()


def test_blocks_run_out_and_come_back() -> None:
    """busy_take gives the record's own block, then none when all are taken, and one again after a release."""
    bare = Bare(connections=5, busy_blocks=3)
    records = [bare.take() for _ in range(5)]
    blocks = [lib.busy_take(bare.core, index) for index in records]
    assert [bool(block) for block in blocks] == [True, True, True, False, False]
    assert lib.busy_take(bare.core, records[0]) == blocks[0] == lib.busy_of(bare.core, records[0])
    assert not lib.busy_left(bare.core)
    lib.busy_release(bare.core, records[1])
    assert not lib.busy_of(bare.core, records[1])
    assert lib.busy_take(bare.core, records[4]) == blocks[1]
    check_pools(bare, records)
    bare.close()


def test_a_block_in_use_is_not_released() -> None:
    """busy_release leaves a block that holds bytes, a wish for more, or a deadline; busy_discard takes it anyway."""
    bare = Bare()
    index = bare.take()
    block = lib.busy_take(bare.core, index)
    for field in ("need", "rto_deadline", "ack_deadline", "persist_deadline"):
        setattr(block, field, 1)
        lib.busy_release(bare.core, index)
        assert lib.busy_of(bare.core, index)
        setattr(block, field, 0)
    assert lib.stream_send(bare.core, index, b"x", 1) == 0
    lib.busy_release(bare.core, index)
    assert bare.queued(index) == b"x"
    lib.busy_discard(bare.core, index)
    assert not lib.busy_of(bare.core, index)
    check_pools(bare, [index])
    bare.close()


def test_a_freed_record_keeps_nothing() -> None:
    """Freeing a record gives back its block and both its buffers."""
    bare = Bare()
    before = lib.buffer_free_bytes(bare.core)
    index = bare.take()
    lib.stream_send(bare.core, index, b"x" * 1000, 1000)
    lib.stream_keep(bare.core, index, b"y" * 1000, 1000)
    lib.record_free(bare.core, index)
    assert lib.buffer_free_bytes(bare.core) == before
    check_pools(bare, [])
    bare.close()


@given(rubbish=st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 255)), max_size=8))
def test_recovery_believes_no_rubbish(rubbish: list[tuple[int, int]]) -> None:
    """Blocks that name buffers out of bounds, misaligned or another's lose them; nothing else is touched."""
    bare = Bare(connections=8, buffer_bytes=1 << 16)
    sound = bare.take()
    lib.stream_send(bare.core, sound, b"sound", 5)
    live = [sound]
    for buffer, kind in rubbish[:7]:
        index = bare.take()
        live.append(index)
        block = lib.busy_take(bare.core, index)
        if block:
            block.send_buffer, block.send_class, block.send_length = buffer % 2048, kind % 32, 3
    again = bare.adopted()
    check_pools(again, live)
    assert lib.stream_queued(again.core, sound) in (0, 5)
    again.close()
