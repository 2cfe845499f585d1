"""The ring from Python against a deque: any sequence of operations, any size, also where its counters wrap at 2**64."""

import gc
import mmap
from collections import deque
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from splitplane.dataplane import ring as rings
from splitplane.dataplane.ring import Batch, Received, Ring, header_dtype, ring_bytes

payloads = st.one_of(st.binary(max_size=57), st.binary(max_size=700))


class Letter(NamedTuple):
    """A message in the model."""

    type: int
    kind: int
    target: int
    tag: int
    payload: bytes

    @property
    def cells(self) -> int:
        return max(1, -(-len(self.payload) // rings.PAYLOAD))


letters = st.builds(
    Letter,
    st.integers(0, 4095),
    st.integers(0, 3),
    st.integers(0, 255),
    st.integers(0, 2**24 - 1),
    payloads,
)
alike = st.tuples(st.integers(1, 9), st.integers(0, 56))


def place(ring: Ring, memory: bytearray, offset: int, position: int) -> None:
    """Has an empty ring begin at `position`, as if so many cells had gone through it."""
    cells = ring.cells
    everything = np.frombuffer(memory, np.uint64, offset=offset, count=ring_bytes(cells) // 8)
    words = everything[ring_bytes(0) // 8 :: 8]
    for at in range(position, position + cells):
        words[at % cells] = 1 if at & cells else 0  # the lap bit of a cell not yet written
    for name in ("tail", "head", "next", "head_seen"):
        setattr(ring.pointer, name, position % 2**64)


class AgainstADeque(RuleBasedStateMachine):
    """`waiting`: put, not got; `hand`: got, not advanced past: comes again after an adoption."""

    @initialize(
        cells=st.sampled_from([1, 2, 4, 8, 64]),
        before=st.one_of(st.just(0), st.integers(1, 300)),
    )
    def begin(self, cells: int, before: int) -> None:
        self.memory = bytearray(ring_bytes(cells) + 128)
        offset = -np.frombuffer(self.memory, np.uint8).ctypes.data % 64
        self.ring = Ring.format(self.memory, cells, offset)
        if before:
            place(self.ring, self.memory, offset, 2**64 - before)
        self.waiting: deque[Letter] = deque()
        self.hand: deque[Letter] = deque()
        self.full = 0

    def used(self) -> int:
        return sum(letter.cells for letter in (*self.hand, *self.waiting))

    def fits(self, letter: Letter) -> bool:
        return self.used() + letter.cells <= self.ring.cells

    def got(self, received: Received | None) -> None:
        if received is None:
            assert not self.waiting
            return
        letter = self.waiting.popleft()
        assert tuple(received) == tuple(letter)
        self.hand.append(letter)

    @rule(letter=letters)
    def put(self, letter: Letter) -> None:
        arguments = {"kind": letter.kind, "target": letter.target, "tag": letter.tag}
        if letter.cells > self.ring.cells:
            with pytest.raises(OSError, match="message of"):
                self.ring.put(letter.type, letter.payload, **arguments)
            return
        assert self.ring.room(len(letter.payload)) == self.fits(letter)
        went = self.ring.put(letter.type, bytearray(letter.payload), **arguments)
        assert went == self.fits(letter)
        if went:
            self.waiting.append(letter)
        else:
            self.full += 1

    @rule(batch=st.lists(letters, max_size=12), stride=st.integers(1, 80))
    def put_batch(self, batch: list[Letter], stride: int) -> None:
        headers = np.zeros(len(batch), header_dtype())
        rows = np.zeros((len(batch), stride), np.uint8)
        room = self.ring.cells - self.used()
        expected = 0
        for number, letter in enumerate(batch):
            payload = np.frombuffer(letter.payload, np.uint8)
            headers[number] = (letter.type, len(payload), letter.kind, letter.target, letter.tag)
            rows[number, : len(payload)] = payload[:stride]
        while expected < min(room, len(batch)):
            if len(batch[expected].payload) > min(stride, rings.PAYLOAD):
                break
            expected += 1
        assert self.ring.put_batch(headers, rows) == expected
        self.waiting.extend(batch[:expected])
        self.full += expected == room and expected < len(batch)

    @rule(like=letters, run=alike)
    def put_alike(self, like: Letter, run: tuple[int, int]) -> None:
        for number in range(run[0]):
            self.put(like._replace(payload=bytes([number]) * run[1]))

    @rule()
    def get(self) -> None:
        self.got(self.ring.get())

    @rule(size=st.integers(1, 20), stride=st.integers(0, 300))
    def get_batch(self, size: int, stride: int) -> None:
        batch = Batch(size, stride)
        count = self.ring.get_batch(batch)
        for header, row in zip(batch.headers[:count], batch.rows[:count], strict=True):
            fields = (int(header[name]) for name in ("type", "kind", "target", "tag"))
            self.got(Received(*fields, row[: header["length"]].tobytes()))
        if count < size:
            assert not self.waiting or len(self.waiting[0].payload) > stride

    @rule(most=st.integers(1, 20))
    def get_run(self, most: int) -> None:
        run = self.ring.get_run(most)
        if run is None:
            assert not self.waiting
            return
        assert 1 <= run.many <= most
        assert len(run.data) == run.many * run.length
        for number in range(run.many):
            payload = run.data[number * run.length : (number + 1) * run.length]
            self.got(Received(run.type, run.kind, run.target, run.tag, payload))

    @rule()
    def advance(self) -> None:
        self.ring.advance()
        self.hand.clear()

    @rule()
    def adopt_producer(self) -> None:
        self.ring.adopt_producer()

    @rule()
    def adopt_consumer(self) -> None:
        self.ring.adopt_consumer()
        self.waiting.extendleft(reversed(self.hand))
        self.hand.clear()

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "ring"):
            assert self.ring.fill() == self.used()
            assert self.ring.ready() == bool(self.waiting)
            assert self.ring.refused == self.full


TestAgainstADeque = AgainstADeque.TestCase
TestAgainstADeque.settings = settings(max_examples=200, stateful_step_count=60)


@pytest.mark.parametrize("cells", [0, 3, 96, 2**25])
def test_only_powers_of_two(cells: int) -> None:
    """Capacities that aren't a power of two up to 2**24 are refused."""
    with pytest.raises((OSError, ValueError)):
        Ring.format(bytearray(ring_bytes(128) + 64), cells)


def test_no_ring_there() -> None:
    """A buffer without a ring, or cut short, is refused rather than read beyond its end."""
    memory = np.zeros(ring_bytes(64) + 64, np.uint8)
    offset = -memory.ctypes.data % 64
    with pytest.raises(ValueError, match="no ring"):
        Ring(memory, offset)
    Ring.format(memory, 64, offset)
    with pytest.raises(ValueError, match="no ring"):
        Ring(memory[: offset + ring_bytes(64) - 1], offset)
    with pytest.raises(ValueError, match="multiple of 64"):
        Ring.format(memory, 2, offset + 8)


def test_a_ring_may_be_garbage_in_a_cycle() -> None:
    """No memoryview stands between a ring and its memory: cleared by the garbage collector before cffi's buffer of it, it
    would take the process with it."""
    memory = mmap.mmap(-1, ring_bytes(8))
    ring = Ring.format(memory, 8)
    assert gc.get_referents(ring._buffer) == [memory]


def test_too_long() -> None:
    """What can never fit is an error, not a full ring."""
    memory = np.zeros(ring_bytes(64) + 64, np.uint8)
    ring = Ring.format(memory, 64, -memory.ctypes.data % 64)
    assert ring.put(1, bytes(rings.MESSAGE_MAX))
    with pytest.raises(ValueError, match="at most"):
        ring.put(1, bytes(rings.MESSAGE_MAX + 1))


def test_scribbled_cells() -> None:
    """Whatever stands in the cells, getting neither overruns its buffers nor loops for ever."""
    random = np.random.default_rng(5)
    memory = np.zeros(ring_bytes(16) + 64, np.uint8)
    offset = -memory.ctypes.data % 64
    for _ in range(300):
        ring = Ring.format(memory, 16, offset)
        memory[offset + 256 : offset + ring_bytes(16)] = random.integers(
            0, 256, 16 * 64, dtype=np.uint8
        )
        for _ in range(40):
            ring.get()
            ring.get_run()
            ring.get_batch(Batch(4, 56))
            ring.advance()
        ring.adopt_producer()
        ring.adopt_consumer()


def test_header_is_the_struct() -> None:
    """The Struct that packs a head, NumPy's type and C agree on every field's place."""
    values = np.zeros(1, header_dtype())
    values[0] = (0x123, 0x456, 2, 0x99, 0xABCDEF)
    assert rings.HEADER.pack(0x123, 0x456, 2, 0x99, 0xABCDEF) == values.tobytes()
    assert rings.HEADER.size == values.itemsize
