"""Whatever comes and goes leaves nothing behind: descriptors, threads, tasks, entries of our own, objects.

CYCLES are as many as a test run can bear; SPLITPLANE_CYCLES=100000 runs more.
"""

import asyncio
import gc
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import structlog
from seen import registered, seen
from service_world import GetTotal, Reporter, Visit, World, play, until
from splitplane.controlplane.tally import levels
from splitplane.dataplane.pushes import EVENT_PUSH
from splitplane.dataplane.ring import EVENT
from splitplane.runtime.attached import attach
from structlog.testing import capture_logs

CYCLES = int(os.environ.get("SPLITPLANE_CYCLES", "0"))
Cycle = Callable[[int], Awaitable[None]]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Logged are events, not lines."""
    with capture_logs():
        yield
    structlog.reset_defaults()


def cycles(otherwise: int) -> int:
    return CYCLES or otherwise


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def objects() -> int:
    gc.collect()
    return len(gc.get_objects())


def left(now: World) -> list[int]:
    """The entries that the control plane keeps."""
    service: Any = now.service
    counts = [len(asyncio.all_tasks()), threading.active_count(), descriptors()]
    counts += [len(os.listdir("/proc/self/task")), *levels(service).values()]
    for core in service.cores:
        counts += [len(core._asks), len(core._letters)]
    for streams in service.streams.cores:
        counts += [len(streams._asked), len(streams._opening), len(streams._letters)]
    counts += [len(service.post._others), len(service.post._spawned), len(service.post._iterations)]
    counts += [len(inbox._full) for inbox in service._inboxes]
    return counts + [len(box._on_room) for box in service.mailboxes]


async def flat(now: World, many: int, cycle: Cycle) -> None:
    """Nothing grows from a tenth of the cycles on to the last: entries not at all, objects not by one in 100 cycles."""
    count, before = 0, [0]
    for number in range(many):
        if number == many // 10:
            count, before = objects(), left(now)
        await cycle(number)
    await asyncio.sleep(0)
    grown = objects() - count
    assert left(now) == before
    assert grown < many // 100 + 100


def test_cancelled_asks() -> None:
    """Cancelled before their reply or while they wait for room, the reply late or never."""

    async def scene(now: World) -> None:
        core = now.service.group("web")[0]

        async def cycle(number: int) -> None:
            ask = asyncio.ensure_future(core.ask(GetTotal(of=number)))
            await asyncio.sleep(0)
            if number % 2 and (asked := now.received()) is not None:
                now.reply(asked, number)
            ask.cancel()
            await asyncio.gather(ask, return_exceptions=True)
            if number % 200 == 199:
                while now.received() is not None or core.waiting:
                    if core.waiting:
                        await asyncio.sleep(0)

        await flat(now, cycles(10_000), cycle)

    play(scene)


def test_spawned_actors() -> None:
    """Started, told, stopped; some with messages in hand."""

    async def scene(now: World) -> None:
        async def cycle(number: int) -> None:
            spawned = await now.service.post.spawn(Reporter(), "guest", 10, None)
            if number % 2:
                await spawned.tell(Visit(number=number))
            await spawned.stop()

        await flat(now, cycles(5_000), cycle)

    play(scene)


def test_iterations() -> None:
    """Opened and closed, opened and dropped, read or full."""

    async def scene(now: World) -> None:
        async def cycle(number: int) -> None:
            visits = now.service.post.messages(Visit, 1)
            if number % 3 == 0:
                assert now.tell(number)
                assert (await anext(visits)).number == number
            if number % 1000 == 1:
                for at in range(1 + 64):
                    await until(lambda at=at: now.tell(at))
                await until(lambda: levels(now.service)["iterations_full"])
            if number % 2:
                visits.close()

        await flat(now, cycles(20_000), cycle)

    play(scene)


def test_pushes() -> None:
    """Sent to connections that are gone, to all, and to topics; awaited while the ring is full."""

    async def scene(now: World) -> None:
        pushes = now.service.pushes

        def drain() -> None:
            for number in range(2):
                while (message := now.received(number)) is not None:
                    assert (message.kind, message.type) == (EVENT, EVENT_PUSH)

        async def all_of(waits: list[Awaitable[None]]) -> None:
            for wait in waits:
                await wait

        async def cycle(number: int) -> None:
            data = bytes(100 + number % 3 * 5000)
            waits = [pushes.send(1 << 56 | 1 << 24 | 1, data), pushes.broadcast("web", data)]
            waits.append(pushes.publish(f"topic {number}", data))
            if number % 50 == 49:  # the rings are full by now
                through = asyncio.ensure_future(all_of(waits))
                while not through.done():
                    drain()
                    await asyncio.sleep(0)

        await flat(now, cycles(2_000), cycle)

    play(scene, cells=256)


def test_attached_and_closed() -> None:
    """`attach` gives back all that it opened and mapped."""
    with seen() as world, registered(world) as entry:
        many = cycles(5_000)
        before = (0, 0, 0)
        for number in range(many):
            if number == many // 10:
                before = (objects(), descriptors(), len(maps()))
            with attach(entry.name) as it:
                assert it.live(0) == 0
        grown = objects() - before[0]
        assert (descriptors(), len(maps())) == before[1:]
        assert grown < many // 100 + 100


def maps() -> list[str]:
    """What is mapped of ours."""
    with open("/proc/self/maps") as file:
        return [line for line in file if "splitplane" in line]
