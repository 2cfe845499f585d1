"""A core's sleep ends when the control plane has a message for it, whatever its driver."""

import mmap
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from splitplane.dataplane.core import CONTROL, Core
from splitplane.dataplane.native import lib
from splitplane.dataplane.ring import Ring, ring_bytes
from splitplane.dataplane.sections import ArenaConfig
from splitplane.nic.memory import Wire, create
from splitplane.nic.tap import Tap
from splitplane.runtime.arena import Arena

HOUR = 3600 * 10**9
CELLS = 16


@pytest.fixture
def bell() -> Iterator[int]:
    number = os.eventfd(0, os.EFD_NONBLOCK)
    yield number
    os.close(number)


@pytest.fixture
def arena() -> Iterator[Arena]:
    config = ArenaConfig(
        connections=16,
        busy_blocks=16,
        buffer_bytes=1 << 16,
        time_wait=16,
        side_state_bytes=0,
        actor_bytes=0,
        frame_bytes=0,
        core_id=0,
        layout_hash=1,
        page_size=4096,
    )
    with Arena.create(config, hugepages="off") as made:
        yield made


@pytest.fixture(params=["kernel", "memory", "tap"])
def core(request: Any, arena: Arena, bell: int) -> Iterator[Core]:
    """One that sleeps over each driver; a pipe stands for the TAP's descriptor: it never becomes readable."""
    fd, reading, writing = create(8), *os.pipe()
    with Core(arena.memory, bell=bell) as made:
        if request.param == "kernel":
            made.attach_kernel()
        else:
            made.attach_tcp(Wire(fd, 0) if request.param == "memory" else Tap(reading, bytes(6)))
        yield made
    for number in (fd, reading, writing):
        os.close(number)


def ring() -> Ring:
    return Ring.format(mmap.mmap(-1, ring_bytes(CELLS)), CELLS)


def rung(bell: int) -> bool:
    """Whether it was rung since the last look."""
    try:
        return os.eventfd_read(bell) > 0
    except BlockingIOError:
        return False


def test_a_put_ends_the_sleep(core: Core, bell: int) -> None:
    """A core that would sleep for an hour wakes for one message, and its next sleep isn't ended by the same bell."""
    letters = ring()
    letters.wake_by(bell)
    core.peer(CONTROL, ring(), letters)
    assert lib.bell_may_sleep(letters.pointer)
    sleeper = threading.Thread(
        target=lambda: core.pointer.transport.idle(core.pointer, HOUR), daemon=True
    )
    sleeper.start()
    assert letters.put(1, b"wake up")
    sleeper.join()
    assert lib.bell_awake(letters.pointer, bell)
    assert not rung(bell)


def test_only_a_sleeper_is_rung_for(bell: int) -> None:
    """No system call for a core that is awake; one for the first message to one that sleeps, none for the next."""
    letters = ring()
    letters.wake_by(bell)
    assert letters.put(1, b"awake")
    assert not rung(bell)
    assert not lib.bell_may_sleep(letters.pointer), "there is a message"
    letters.get()
    letters.advance()
    assert lib.bell_may_sleep(letters.pointer)
    assert letters.put(1, b"first")
    assert rung(bell)
    assert letters.put(1, b"second")
    assert not rung(bell)


def test_it_may_be_rung_before_there_is_a_message(bell: int) -> None:
    """Whoever is about to ask rouses the core; the message that follows needs no bell. An end of its own is none."""
    letters = ring()
    letters.wake_by(bell)
    assert lib.bell_may_sleep(letters.pointer)
    assert not lib.bell_awake(letters.pointer, bell), "nobody rang"
    assert lib.bell_may_sleep(letters.pointer)
    letters.rouse()
    assert letters.put(1, b"hello")
    assert rung(bell)
    assert lib.bell_awake(letters.pointer, bell)


def test_a_successor_is_awake(bell: int) -> None:
    """A worker killed in its sleep leaves nothing behind that has somebody ring for its successor in vain."""
    letters = ring()
    letters.wake_by(bell)
    assert lib.bell_may_sleep(letters.pointer)
    letters.adopt_consumer()
    assert letters.put(1, b"hello")
    assert not rung(bell)


def test_without_a_bell_a_put_is_a_put() -> None:
    """Rings between cores have none: a core never signals anybody."""
    letters = ring()
    assert lib.bell_may_sleep(letters.pointer)
    assert letters.put(1, b"x")
    assert letters.ready()
