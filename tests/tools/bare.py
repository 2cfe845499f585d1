"""A core without actors or transport, over memory of its own: for the tests of what lies in an arena."""

import mmap
from collections.abc import Iterable
from typing import Any

from splitplane.dataplane.native import check, ffi, lib

Key = tuple[int, int, int, int]


class Bare:
    """`core` over `memory`; `functions` stand in for the module's, `sizes` are fields of struct arena_config."""

    def __init__(
        self,
        memory: Any = None,
        *,
        adopt: bool = False,
        number: int = 3,
        functions: Any = lib,
        **sizes: int,
    ) -> None:
        self.lib = functions
        sizes = {"connections": 24, "busy_blocks": 8, "buffer_bytes": 1 << 16} | sizes
        header = ffi.new("struct arena_header *")
        config = ffi.new("struct arena_config *", {"page_size": 4096, "core_id": number} | sizes)
        check(lib.arena_plan(config, header), "the plan")
        self.memory = mmap.mmap(-1, header.bytes) if memory is None else memory
        self._base = ffi.from_buffer(self.memory)
        if not adopt:
            check(lib.arena_format(self._base, header), "the arena")
        made = ffi.new("struct core **")
        config = ffi.new("struct core_config *", {"core_id": number})
        check(self.lib.core_open(self._base, config, int(adopt), made), "the core")
        self.core = made[0]
        self._length = ffi.new("uint32_t *")

    def close(self) -> None:
        if self.core is not None:
            self.lib.core_close(self.core)
            self.core = None

    def adopted(self) -> "Bare":
        """This memory under a new core, as after a crash."""
        header = ffi.cast("struct arena_header *", self._base)
        names = ("connections", "busy_blocks", "buffer_bytes", "subscriptions")
        sizes = {name: int(getattr(header.config, name)) for name in names}
        number = int(header.core_id)
        self.close()
        return Bare(self.memory, adopt=True, number=number, functions=self.lib, **sizes)

    @property
    def state(self) -> Any:
        return self.core.state

    def take(self) -> int:
        """A record without a flow, established."""
        index = int(lib.record_take(self.core))
        if index:
            self.core.records[index].state = lib.STATE_ESTABLISHED
        return index

    def kept(self, index: int) -> bytes:
        data = lib.stream_kept(self.core, index, self._length)
        return bytes(ffi.buffer(data, self._length[0])) if self._length[0] else b""

    def queued(self, index: int) -> bytes:
        """What waits to be sent, read piece by piece as a transport would."""
        found = b""
        while len(found) < lib.stream_queued(self.core, index):
            data = lib.stream_peek(self.core, index, len(found), self._length)
            assert self._length[0]
            found += bytes(ffi.buffer(data, self._length[0]))
        return found

    def buckets(self) -> Any:
        return ffi.cast("struct bucket *", self.core.index)

    def index_entries(self) -> list[tuple[int, int, int]]:
        """(bucket, tag, record) of every slot in use."""
        found = []
        for number in range(self.core.buckets):
            bucket = self.buckets()[number]
            for slot in range(lib.BUCKET_SLOTS):
                if bucket.tag[slot]:
                    packed = bytes(bucket.index[3 * slot + i] for i in range(3))
                    found.append((number, bucket.tag[slot], int.from_bytes(packed, "little")))
        return found


def flow(key: Key) -> Any:
    """struct flow * of (local address, remote address, local port, remote port)."""
    return ffi.new("struct flow *", key)


def taken(bare: Bare, index: int) -> bool:
    return bool(bare.core.records[index].next >= lib.RECORD_TAKEN)


def check_pools(bare: Bare, live: Iterable[int]) -> None:
    """No record, block or buffer is lost or has two owners; `live` are the records that should be in use."""
    live = set(live)
    core, state = bare.core, bare.state
    assert {index for index in range(1, state.record_fresh) if taken(bare, index)} == live
    assert state.live == len(live)
    check_records(bare, live)
    check_blocks(bare, live)
    check_buffers(bare, live)
    assert core.state.intent.kind == 0


def check_records(bare: Bare, live: set[int]) -> None:
    free = []
    index = bare.state.record_free
    while index:
        free.append(index)
        index = bare.core.records[index].next
        assert len(free) <= bare.core.capacity
    assert len(set(free)) == len(free)
    assert set(free) | live == set(range(1, bare.state.record_fresh))
    assert not set(free) & live


def check_blocks(bare: Bare, live: set[int]) -> None:
    free = []
    block = bare.state.busy_free
    while block:
        free.append(block)
        block = bare.core.busy[block].next
        assert len(free) <= bare.core.busy_blocks
    owned = {bare.core.records[index].busy: index for index in live}
    owned.pop(0, None)
    assert sorted([*free, *owned]) == list(range(1, bare.state.busy_fresh))
    assert all(bare.core.busy[block].owner == index for block, index in owned.items())


def check_buffers(bare: Bare, live: set[int]) -> None:
    """Free and owned buffers tile what was ever used, and the map names exactly the free ones."""
    spans = []
    units = bare.core.buffer_bytes // 64
    found = {}
    for place in range(lib.BUFFER_CLASS_MAX - lib.BUFFER_CLASS_MIN + 1):
        first = buffer = bare.state.buffer_free[place]
        count = 0
        while buffer:
            spans.append((buffer, 1 << place))
            found[buffer] = place + lib.BUFFER_CLASS_MIN
            count += 1
            link = ffi.cast("uint32_t *", bare.core.buffers + buffer * 64)
            after = link[0]
            assert ffi.cast("uint32_t *", bare.core.buffers + after * 64)[1] == buffer
            buffer = 0 if after == first else after
        assert count == bare.state.buffer_count[place]
    spans += [(bare.core.at_hand[i], 1) for i in range(bare.state.buffers_at_hand)]
    named = ffi.buffer(bare.core.buffers + bare.core.buffer_bytes, units)[:]
    assert {unit: kind for unit, kind in enumerate(named) if kind} == found
    for index in live:
        if bare.core.records[index].busy:
            busy = bare.core.busy[bare.core.records[index].busy]
            for buffer, kind in (
                (busy.send_buffer, busy.send_class),
                (busy.receive_buffer, busy.receive_class),
            ):
                if buffer:
                    spans.append((buffer, 1 << (kind - lib.BUFFER_CLASS_MIN)))
    spans += shared_spans(bare, live)
    at = 1
    for start, length in sorted(spans):
        assert start == at, "a buffer is lost or has two owners"
        assert start % length == 0
        at += length
    assert at * 64 == bare.state.buffer_fresh


def shared_spans(bare: Bare, live: set[int]) -> list[tuple[int, int]]:
    """Lists of shared bytes, and what they and the pushes under way share, each once; references are as counted here."""
    spans, references = [], dict.fromkeys(pushed(bare), 1)
    for index in live:
        busy = bare.core.busy[bare.core.records[index].busy]
        if not bare.core.records[index].busy or not busy.shared_list:
            continue
        spans.append((busy.shared_list, 1 << (busy.shared_class - lib.BUFFER_CLASS_MIN)))
        size = (1 << busy.shared_class) // 16
        entries = ffi.cast("struct share_entry *", bare.core.buffers + busy.shared_list * 64)
        assert busy.shared_count > 0
        for number in range(busy.shared_count):
            share = entries[(busy.shared_first + number) % size].share
            references[share] = references.get(share, 0) + 1
    for share, count in references.items():
        head = ffi.cast("struct share *", bare.core.buffers + share * 64)
        assert head.references == count, "a share's references are wrong"
        spans.append((share, 1 << (head.size_class - lib.BUFFER_CLASS_MIN)))
    return spans


def pushed(bare: Bare) -> list[int]:
    """The shares that pushes under way hold."""
    push = bare.core.push
    jobs = [
        push.jobs[(push.job_first + number) % lib.PUSH_JOBS].share
        for number in range(push.job_count)
    ]
    return [*jobs, push.part_share] if push.part_share else jobs


def check_index(bare: Bare, live: Iterable[int]) -> None:
    """Every live record with a flow stands in the index once, and each bucket counts the keys that passed it."""
    live = set(live)
    entries = bare.index_entries()
    assert sorted(index for _, _, index in entries) == sorted(live)
    passed = [0] * bare.core.buckets
    for place, _, index in entries:
        at = bare.core.records[index].hash * bare.core.buckets >> 32
        while at != place:
            passed[at] += 1
            at = (at + 1) % bare.core.buckets
    for number, count in enumerate(passed):
        overflow = bare.buckets()[number].overflow
        assert overflow == count or overflow == 255
