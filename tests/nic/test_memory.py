"""Driver `memory`: a wire keeps every frame, in order, once, whoever dies where."""

import os
import platform
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from c_program import compiled, run
from hypothesis import given, settings
from hypothesis import strategies as st
from splitplane.dataplane.native import ffi, lib
from splitplane.nic.memory import Wire, create

CAN_STREAM = platform.machine() == "x86_64"


@pytest.fixture
def descriptor() -> Iterator[int]:
    fd = create(8)
    yield fd
    os.close(fd)


def test_frames_arrive_in_order_both_ways(descriptor: int) -> None:
    """What one side sends the other receives, unchanged and in order."""
    with Wire(descriptor, 0) as left, Wire(descriptor, 1) as right:
        for number in range(20):
            assert left.send(bytes([number]) * (60 + number))
            assert right.send(bytes([255 - number]) * 1514)
            assert right.receive() == [bytes([number]) * (60 + number)]
            assert left.receive() == [bytes([255 - number]) * 1514]


def test_a_full_wire_refuses_and_recovers(descriptor: int) -> None:
    """A wire of 8 slots takes 8 frames, refuses the ninth, and takes 8 again once they were received."""
    with Wire(descriptor, 0) as left, Wire(descriptor, 1) as right:
        for _ in range(3):
            assert [left.send(b"x" * 60) for _ in range(9)] == [True] * 8 + [False]
            assert len(right.receive()) == 8


def test_sides_and_descriptors_are_checked(descriptor: int) -> None:
    """A third side, a frame too long, a slot count that is no power of two and a memfd that is no wire are refused."""
    with pytest.raises(OSError, match="side 2"):
        Wire(descriptor, 2)
    with Wire(descriptor, 0) as left, pytest.raises(ValueError, match="2111"):
        left.send(bytes(2111))
    with pytest.raises(OSError, match="7 slots"):
        create(7)
    other = os.memfd_create("other")
    os.ftruncate(other, 4096)
    with pytest.raises(OSError, match="wire"):
        Wire(other, 0)
    os.close(other)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["send", "alloc", "take", "release", "kill0", "kill1"]),
            st.integers(1, 5),
        ),
        max_size=60,
    )
)
def test_no_slot_is_lost_when_either_side_is_killed(steps: list[tuple[str, int]]) -> None:
    """Against a deque: frames published are received in order; a killed producer loses only what it had not
    published, a killed consumer receives again what it had not released; all slots stay usable."""
    descriptor = create(8)
    ends = [Wire(descriptor, 0), Wire(descriptor, 1)]
    frames = ffi.new("struct frame[]", 8)
    published: deque[int] = deque()
    claimed = number = 0
    held: list[int] = []
    stalled = -1
    released = 0
    for step, count in steps:
        left, right = ends
        if step == "send" and not held:
            number = publish(left, published, number, count)
        elif step == "alloc" and not held:
            held = [0] * left.nic.driver.tx_alloc(left.nic, frames, count)
        elif step == "take":
            got = right.nic.driver.rx_burst(right.nic, frames, count)
            for index in range(got):
                assert frames[index].data[0] == published[claimed + index] % 256
            claimed += got
        elif step == "release":
            give = min(count, claimed)
            right.nic.driver.release(right.nic, frames, give)
            claimed -= give
            released += give
            drop(published, give)
        elif step.startswith("kill"):
            side = int(step[-1])
            ends[side] = Wire(descriptor, side)  # the dead end's memory is simply left behind
            ends[side].adopt()
            if side == 0:
                held = []
            else:
                if claimed and stalled == released:
                    drop(published, claimed)
                    released += claimed
                claimed = 0
                stalled = released
    settle(descriptor, published, claimed, frames)
    os.close(descriptor)


def settle(descriptor: int, published: deque[int], claimed: int, frames: Any) -> None:
    """Both ends anew: what was published and not released arrives, and every slot can be used."""
    left, right = Wire(descriptor, 0), Wire(descriptor, 1)
    left.adopt()
    lib.memory_open(right._base, lib.memory_bytes(8), 1, ffi.new("struct nic **"))
    right.nic.driver.release(right.nic, frames, claimed)
    drop(published, claimed)
    assert [frame[0] for frame in right.receive()] == [n % 256 for n in published]
    assert [left.send(b"z" * 60) for _ in range(9)] == [True] * 8 + [False]
    assert len(right.receive()) == 8


def publish(wire: Wire, published: deque[int], number: int, count: int) -> int:
    """Sends up to `count` numbered frames; the next number."""
    for _ in range(count):
        if wire.send(bytes([number % 256]) * 60):
            published.append(number)
            number += 1
        else:
            assert len(published) == 8
    return number


def drop(published: deque[int], count: int) -> None:
    """The oldest `count` are done with."""
    for _ in range(count):
        published.popleft()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("alloc"), st.integers(1, 40)),
        st.tuples(st.just("alloc"), st.integers(30, 128)),  # more than has room outside the wire
        st.tuples(st.just("publish"), st.integers(1, 128)),
        st.tuples(st.just("receive"), st.integers(1, 128)),
        st.tuples(st.just("distance"), st.sampled_from([lib.MEMORY_NEAR, lib.MEMORY_FAR])),
        st.tuples(st.just("kill"), st.just(0)),
    ),
    min_size=20,
    max_size=80,
)


@settings(deadline=None, max_examples=200)
@given(STEPS)
def test_frames_are_whole_wherever_they_are_built(steps: list[tuple[str, int]]) -> None:
    """Against a list: whatever is allocated while the other end is near and published when it is far, or the other way
    round, and however much is in hand, arrives in order and byte for byte; what a killed sender had in hand is gone."""
    descriptor = create(128)
    left, right = Wire(descriptor, 0), Wire(descriptor, 1)
    frames = ffi.new("struct frame[]", 128)
    held: list[tuple[Any, bytes]] = []
    published: deque[bytes] = deque()
    number = 0
    for step, count in steps:
        if step == "alloc":
            for index in range(left.nic.driver.tx_alloc(left.nic, frames, count)):
                number += 1
                says = number.to_bytes(4, "little") * (15 + number * 37 % 512)
                ffi.memmove(frames[index].data, says, len(says))
                slot = ffi.new("struct frame *", frames[index])
                slot.length = len(says)
                held.append((slot, says))
        elif step == "publish" and held:
            going, held = held[:count], held[count:]
            for index, (slot, says) in enumerate(going):
                frames[index] = slot[0]
                published.append(says)
            left.nic.driver.tx_burst(left.nic, frames, len(going))
        elif step == "receive":
            waiting = right.nic.driver.rx_burst(right.nic, frames, count)
            got = [bytes(ffi.buffer(frames[i].data, frames[i].length)) for i in range(waiting)]
            assert got == [published.popleft() for _ in got]
            right.nic.driver.release(right.nic, frames, waiting)
        elif step == "distance":
            lib.memory_distance(left.nic, count)
        elif step == "kill":
            left.close()  # changes nothing on the wire
            left = Wire(descriptor, 0)
            left.adopt()
            held = []
    assert right.receive() == list(published)
    left.close()
    right.close()
    os.close(descriptor)


@given(st.lists(st.integers(0, 60), min_size=100), st.lists(st.integers(70, 900), min_size=100))
def test_distance_follows_the_samples(near: list[int], far: list[int]) -> None:
    """A hundred lines that took 70 ns or more: far; then a hundred of 20 or less: near; one interrupted counts not; a
    distance that was told stays."""
    state = ffi.new("struct distance *")
    lib.distance_begin(state)
    assert not state.far
    for took in far:
        lib.distance_sample(state, state.clock + took)
    lib.distance_sample(state, state.clock + 50_000_000)
    assert state.far == CAN_STREAM
    for took in near:
        lib.distance_sample(state, state.clock + took // 3)
    assert not state.far
    lib.distance_set(state, lib.MEMORY_FAR)
    for took in near:
        lib.distance_sample(state, state.clock + took // 3)
    assert state.far == CAN_STREAM


@pytest.mark.parametrize("sanitizer", ["thread", "address"])
def test_both_ends_at_once(sanitizer: str) -> None:
    """Two threads, frames both ways, each whole and in order; no race and no byte out of bounds."""
    program = compiled("wire_stress.c", "nic/memory.c", "nic/memory_far.c", sanitizer=sanitizer)
    run(program, 50_000)
