"""The control plane's end of the relay against a plain reading of the same messages."""

import mmap

from hypothesis import given
from hypothesis import strategies as st
from splitplane.dataplane import relay
from splitplane.dataplane.relay import EVENT_STREAM, HEAD, HEAD_BYTES, INDEX_BITS, MASK, PIECE
from splitplane.dataplane.ring import EVENT, TELL, Ring, ring_bytes

HEARD = (relay.DATA, relay.END, relay.CLOSED, relay.CREDIT, relay.GONE)
OTHERS = (relay.OPEN, relay.CONNECTING, relay.RESYNC)

pieces = st.one_of(st.binary(max_size=80), st.integers(0, PIECE).map(bytes))
messages = st.tuples(
    st.sampled_from([*HEARD, relay.DATA, relay.DATA, *OTHERS]),
    st.integers(1, 3),  # index
    st.integers(1, 2),  # generation
    pieces,
)


def make(cells: int) -> Ring:
    """An empty ring."""
    return Ring.format(mmap.mmap(-1, ring_bytes(cells)), cells)


@given(st.lists(messages, max_size=200), st.integers(0, MASK))
def test_what_is_heard_is_what_was_said(
    said: list[tuple[int, int, int, bytes]], start: int
) -> None:
    """Each connection's bytes come whole and in order with the place of their first, whether merged or not, between its
    other messages; messages of another kind are left in the ring, in their place."""
    ring = make(16384)
    hearing = relay.Hearing(ring)
    at = dict.fromkeys([(index, generation) for index in (1, 2, 3) for generation in (1, 2)], start)
    expected: list[tuple[int, int, int, bytes]] = []
    for what, index, generation, data in said:
        key = generation << INDEX_BITS | index
        place = at[index, generation]
        body = data if what == relay.DATA else b""
        assert ring.put(
            EVENT_STREAM, HEAD.pack(generation, place) + body, kind=EVENT, target=what, tag=index
        )
        at[index, generation] = place + len(body) & MASK
        expected.append((what, key, place, body))
    assert ring.put(9, b"told", kind=TELL)
    got: list[tuple[int, int, int, bytes]] = []
    while True:
        count, heard = hearing.take()
        found = list(heard)
        assert len(found) == count
        got += [(what, key, place, hearing.view[a:b]) for key, what, place, a, b in found]
        if not count:
            one = ring.get()
            assert one is not None
            ring.advance()
            if one.kind == TELL:
                break
            assert one.target in OTHERS
            generation, place = HEAD.unpack_from(one.payload)
            got.append((one.target, generation << INDEX_BITS | one.tag, place, b""))
    assert merged(got) == merged(expected)
    assert ring.get() is None
    assert ring.fill() == 0


def merged(heard: list[tuple[int, int, int, bytes]]) -> list[tuple[int, int, int, bytes]]:
    """DATA that follows on DATA of the same connection made one."""
    made: list[tuple[int, int, int, bytes]] = []
    for what, key, place, data in heard:
        if made and what == relay.DATA == made[-1][0] and made[-1][1] == key:
            before = made.pop()
            assert place == before[2] + len(before[3]) & MASK
            made.append((what, key, before[2], before[3] + data))
        else:
            made.append((what, key, place, data))
    return made


@given(
    st.lists(
        st.tuples(st.integers(0, 20_000), st.sampled_from([bytes, bytearray, memoryview])),
        max_size=12,
    )
)
def test_what_is_written_is_what_the_core_gets(writes: list[tuple[int, type]]) -> None:
    """Bytes of any length go as pieces whose places follow each other; what finds no room is not counted as gone, and
    goes later."""
    ring = make(1024)
    write = relay.writer(ring)
    sent, read = 0, bytearray()
    whole = b"".join(bytes([number]) * size for number, (size, _) in enumerate(writes))

    def drain() -> None:
        while (one := ring.get()) is not None:
            ring.advance()
            assert (one.type, one.kind, one.target, one.tag) == (
                EVENT_STREAM,
                EVENT,
                relay.WRITE,
                5,
            )
            assert HEAD.unpack_from(one.payload) == (77, len(read))
            read.extend(one.payload[HEAD_BYTES:])

    for number, (size, kind) in enumerate(writes):
        left: bytes = bytes([number]) * size
        while left:
            data = kind(left)
            gone = write(5, 77, sent, data if kind is bytes else relay.as_bytes(data), len(left))
            assert gone == len(left) or not ring.room(PIECE + HEAD_BYTES)
            sent += gone
            left = left[gone:]
            if left:
                drain()
    drain()
    assert bytes(read) == whole
