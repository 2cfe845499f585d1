"""The index: what was inserted and not deleted is found, under its key and under no other, whatever the hashes."""

from bare import Bare, Key, check_index, check_pools, flow
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)
from splitplane.dataplane.native import ffi, lib

keys = st.tuples(*[st.integers(0, 2)] * 4)
# Few values: the first and the last bucket, equal tags, neighbours.
HASHES = (0, 1, 256, 0x55555555, 0x80000000, 0xFFFFFF00, 0xFFFFFFFF)


def colliding(key: Key) -> int:
    """A hash as bad as can be, but always the same for a key."""
    return HASHES[sum(key) % len(HASHES)]


class IndexMachine(RuleBasedStateMachine):
    """Against a dict, with hashes that collide."""

    handles = Bundle("handles")

    @initialize(connections=st.sampled_from([1, 11, 12, 13, 40]))
    def open(self, connections: int) -> None:
        self.bare = Bare(connections=connections)
        self.model: dict[Key, int] = {}
        self.handle_of: dict[int, int] = {}

    @rule(key=keys, target=handles)
    def insert(self, key: Key) -> int:
        """A key goes in unless every record is taken; its handle is positive."""
        if key in self.model:
            return self.handle_of[self.model[key]]
        before = self.bare.state.epoch
        index = lib.table_insert(self.bare.core, flow(key), colliding(key))
        assert (index == 0) == (len(self.model) == self.bare.core.capacity)
        if not index:
            return 0
        assert self.bare.state.epoch != before
        self.bare.core.records[index].state = lib.STATE_ESTABLISHED
        self.model[key] = index
        self.handle_of[index] = lib.record_handle(self.bare.core, index)
        assert self.handle_of[index] > 0
        return self.handle_of[index]

    @rule(handle=consumes(handles))
    def delete(self, handle: int) -> None:
        """A live handle names its record; deleted, it names none for ever."""
        index = lib.record_of_handle(self.bare.core, handle)
        assert index == next((i for i, h in self.handle_of.items() if h == handle), 0)
        if not index:
            return
        before = self.bare.state.epoch
        lib.table_delete(self.bare.core, index)
        assert self.bare.state.epoch != before
        assert lib.record_of_handle(self.bare.core, handle) == 0
        del self.handle_of[index]
        self.model = {key: at for key, at in self.model.items() if at != index}

    @rule(key=keys)
    def find(self, key: Key) -> None:
        """What is there is found, what isn't is not."""
        found = lib.table_find_one(self.bare.core, flow(key), colliding(key))
        assert found == self.model.get(key, 0)

    @rule()
    def adopt(self) -> None:
        """A core adopted between two operations is the same core."""
        if self.bare.core.capacity:
            self.bare = self.bare.adopted()

    @invariant()
    def nothing_is_lost(self) -> None:
        """Every record is free or in the index, once; overflow counts are exact."""
        if hasattr(self, "bare"):
            check_index(self.bare, self.model.values())
            check_pools(self.bare, self.model.values())

    def teardown(self) -> None:
        if hasattr(self, "bare"):
            self.bare.close()


TestIndex = IndexMachine.TestCase
TestIndex.settings = settings(max_examples=60, stateful_step_count=40)


def test_a_burst_finds_what_single_lookups_find() -> None:
    """table_find agrees with a dict for bursts of 1 to 32, hits and misses mixed, through 5000 inserts and deletes."""
    bare = Bare(connections=700)
    model: dict[Key, int] = {}
    flows, found = ffi.new("struct flow[32]"), ffi.new("uint32_t[32]")
    sums = ffi.new("uint32_t[32]")
    seed = 7
    for _ in range(600):
        burst: list[Key] = []
        for place in range(1 + seed % 32):
            seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
            key = (seed >> 33 & 1, seed >> 35 & 31, 80, seed >> 44 & 63)
            burst.append(key)
            flows[place] = flow(key)[0]
        lib.table_find(bare.core, flows, sums, found, len(burst))
        for place, key in enumerate(burst):
            assert found[place] == model.get(key, 0)
            assert sums[place] == lib.table_hash(bare.core, flow(key))
        for place, key in enumerate(burst):
            if key in model:
                lib.table_delete(bare.core, model.pop(key))
            elif index := lib.table_insert(bare.core, flow(key), sums[place]):
                bare.core.records[index].state = lib.STATE_ESTABLISHED
                model[key] = index
    assert len(model) > 300
    check_index(bare, model.values())
    check_pools(bare, model.values())
    bare.close()


def test_a_stuck_overflow_count_hides_nobody() -> None:
    """More than 255 keys displaced from one bucket: all are found, also when all but a few are gone again."""
    bare = Bare(connections=600)
    model: dict[Key, int] = {}
    for number in range(600):
        key = (1, number, 2, 3)
        model[key] = lib.table_insert(bare.core, flow(key), 5)
    assert bare.buckets()[0].overflow == 255
    for number in range(600):
        key = (1, number, 2, 3)
        assert lib.table_find_one(bare.core, flow(key), 5) == model[key]
        if number % 50:
            lib.table_delete(bare.core, model.pop(key))
    assert bare.buckets()[0].overflow == 255
    for key, index in model.items():
        assert lib.table_find_one(bare.core, flow(key), 5) == index
    check_index(bare, model.values())
    bare.close()


def test_both_hashes_spread_and_depend_on_the_key() -> None:
    """AES and SipHash: 4096 neighbouring flows spread evenly; another arena hashes them differently."""
    for kind in (0, 1):
        first, second = Bare(), Bare()
        seen = []
        for bare in (first, second):
            bare.state.hash_kind = kind
            key = [(0x0A000001, n >> 6, 80, n & 63) for n in range(4096)]
            seen.append([lib.table_hash(bare.core, flow(one)) for one in key])
            bare.close()
        assert len(set(seen[0])) > 4090
        assert sum(a == b for a, b in zip(*seen, strict=True)) < 4
        for shift in (0, 8, 16, 24):
            counts = [0] * 256
            for value in seen[0]:
                counts[value >> shift & 255] += 1
            assert max(counts) < 48
            assert min(counts) >= 1


def test_handles_of_other_cores_and_rubbish_name_nothing() -> None:
    """A handle of another core, of the future, negative, zero or out of range gives RECORD_NONE."""
    bare, other = Bare(number=3), Bare(number=4)
    index = bare.take()
    handle = lib.record_handle(bare.core, index)
    assert lib.record_of_handle(bare.core, handle) == index
    assert lib.record_handle(other.core, other.take()) != handle
    bad = (0, -1, handle + (1 << 56), handle + (1 << 24), handle ^ 0xFFFFFF, -handle, 2**63 - 1)
    assert [lib.record_of_handle(bare.core, one) for one in bad] == [0] * len(bad)
    assert lib.record_of_handle(other.core, handle) == 0
    bare.close()
    other.close()


def test_a_generation_is_never_zero() -> None:
    """After the last of 2^32 generations comes 1, not 0."""
    bare = Bare()
    index = bare.take()
    bare.core.records[index].generation = 0xFFFFFFFF
    lib.record_free(bare.core, index)
    assert bare.take() == index
    assert bare.core.records[index].generation == 1
    bare.close()


def test_a_record_freed_twice_is_freed_once() -> None:
    """Freeing a free record, or one that never was, changes nothing."""
    bare = Bare()
    index = bare.take()
    for what in (index, index, 0, 5, 2**24 - 1):
        lib.record_free(bare.core, what)
        lib.table_delete(bare.core, what)
    check_pools(bare, [])
    bare.close()
