"""Streams: the bytes that went in come out, once, in order, whatever the pieces; too much is refused whole."""

from bare import Bare, check_pools
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from splitplane.dataplane.native import ffi, lib

RECORDS = 3
records = st.integers(1, RECORDS)
lengths = st.one_of(st.integers(0, 200), st.integers(200, 70_000))


def text(start: int, length: int) -> bytes:
    """Bytes that tell their place apart."""
    return bytes((start + i) * 167 >> 3 & 255 for i in range(length))


class StreamMachine(RuleBasedStateMachine):
    """Against bytes objects; small sections, so that memory runs out."""

    @initialize(
        size=st.sampled_from([1024, 1 << 15, 1 << 18]), blocks=st.sampled_from([1, RECORDS])
    )
    def open(self, size: int, blocks: int) -> None:
        self.bare = Bare(connections=RECORDS, busy_blocks=blocks, buffer_bytes=size)
        self.live = [self.bare.take() for _ in range(RECORDS)]
        self.sending = dict.fromkeys(self.live, b"")
        self.keeping = dict.fromkeys(self.live, b"")
        self.written = 0

    @rule(index=records, length=lengths)
    def send(self, index: int, length: int) -> None:
        """All or nothing."""
        data = text(self.written, length)
        room = lib.stream_room(self.bare.core, index)
        result = lib.stream_send(self.bare.core, index, data, length)
        assert (result == 0) == (length <= room)
        if result == 0:
            self.sending[index] += data
            self.written += length

    @rule(index=records)
    def send_all_room(self, index: int) -> None:
        """As many bytes as stream_room says go in, and not one more."""
        room = lib.stream_room(self.bare.core, index)
        data = text(self.written, room + 1)
        assert lib.stream_send(self.bare.core, index, data, room + 1) != 0
        assert lib.stream_send(self.bare.core, index, data, room) == 0
        self.sending[index] += data[:room]
        self.written += room

    @rule(index=records, length=lengths)
    def acknowledge(self, index: int, length: int) -> None:
        """Acknowledged bytes are gone from the front."""
        lib.stream_acknowledge(self.bare.core, index, length)
        self.sending[index] = self.sending[index][length:]

    @rule(length=st.integers(1, 5000), to=st.sets(records))
    def share(self, length: int, to: set[int]) -> None:
        """One copy goes behind what each of several connections has queued; whoever has no memory for it goes without."""
        data = text(self.written, length)
        share = lib.share_make(self.bare.core, length)
        if not share:
            return
        ffi.memmove(lib.share_bytes(self.bare.core, share), data, length)
        for index in to:
            if lib.share_append(self.bare.core, index, share) == 0:
                self.sending[index] += data
                assert lib.share_has(self.bare.core, index, share)
        lib.share_drop(self.bare.core, share)
        self.written += length

    @rule(index=records, length=lengths)
    def keep(self, index: int, length: int) -> None:
        """All or nothing."""
        data = text(self.written, length)
        if lib.stream_keep(self.bare.core, index, data, length) == 0:
            self.keeping[index] += data
            self.written += length

    @rule(index=records, length=lengths)
    def consume(self, index: int, length: int) -> None:
        """Consumed bytes are gone from the front."""
        lib.stream_consume(self.bare.core, index, length)
        self.keeping[index] = self.keeping[index][length:]

    @rule(index=records)
    def drop(self, index: int) -> None:
        """Everything goes, both ways."""
        lib.stream_drop(self.bare.core, index)
        self.sending[index] = self.keeping[index] = b""

    @rule(index=records)
    def release(self, index: int) -> None:
        """A block that holds nothing goes back; one that holds something stays."""
        lib.busy_release(self.bare.core, index)
        held = bool(self.sending[index] or self.keeping[index])
        assert bool(self.bare.core.records[index].busy) == held

    @rule()
    def adopt(self) -> None:
        """Another worker has the same bytes."""
        self.bare = self.bare.adopted()

    @invariant()
    def bytes_are_the_same(self) -> None:
        """What waits is what was put in, and no buffer is lost."""
        if not hasattr(self, "bare"):
            return
        for index in self.live:
            assert self.bare.queued(index) == self.sending[index]
            assert lib.stream_queued(self.bare.core, index) == len(self.sending[index])
            assert self.bare.kept(index) == self.keeping[index]
        check_pools(self.bare, self.live)

    def teardown(self) -> None:
        if hasattr(self, "bare"):
            self.bare.close()


TestStream = StreamMachine.TestCase
TestStream.settings = settings(max_examples=60, stateful_step_count=30)


def test_an_idle_connection_holds_no_buffer() -> None:
    """Acknowledged and consumed to the end, both buffers are back, and the block may go."""
    bare = Bare()
    before = lib.buffer_free_bytes(bare.core)
    index = bare.take()
    lib.stream_send(bare.core, index, b"x" * 500, 500)
    lib.stream_keep(bare.core, index, b"y" * 500, 500)
    lib.stream_acknowledge(bare.core, index, 500)
    lib.stream_consume(bare.core, index, 500)
    assert lib.buffer_free_bytes(bare.core) == before
    lib.busy_release(bare.core, index)
    assert bare.core.records[index].busy == 0
    bare.close()


def test_a_send_stream_is_bounded() -> None:
    """However much memory there is, a connection has at most STREAM_SEND_MOST bytes queued."""
    bare = Bare(buffer_bytes=8 << 20)
    index = bare.take()
    data = bytes(1 << 18)
    for _ in range(4):
        assert lib.stream_send(bare.core, index, data, len(data)) == 0
    assert lib.stream_queued(bare.core, index) == lib.STREAM_SEND_MOST
    assert lib.stream_room(bare.core, index) == 0
    assert lib.stream_send(bare.core, index, b"x", 1) != 0
    bare.close()


def test_kept_bytes_are_bounded() -> None:
    """A connection keeps at most a buffer of the largest class."""
    bare = Bare(buffer_bytes=8 << 20)
    index = bare.take()
    data = bytes(1 << 19)
    assert lib.stream_keep(bare.core, index, data, len(data)) == 0
    assert lib.stream_keep(bare.core, index, data, len(data)) == 0
    assert lib.stream_keep(bare.core, index, b"x", 1) != 0
    bare.close()
