"""The control plane's service between real rings and control actors; the cores' side is played by the tests."""

import asyncio
import os
import struct
import threading
from collections.abc import Awaitable, Iterator

import numpy as np
import pytest
import structlog
from service_world import (
    SCHEMA,
    VISIT,
    Bell,
    GetTotal,
    Gong,
    Reporter,
    Row,
    Stranger,
    Total,
    Visit,
    World,
    play,
    until,
    world,
)
from splitplane import ControlActor, Sender
from splitplane.controlplane.service import Service
from splitplane.controlplane.tally import counters
from splitplane.dataplane.ring import ASK, EVENT, EVERY_LISTENER, REPLY, TELL, Received
from splitplane.runtime.errors import ActorError, AskError
from splitplane.runtime.mesh import CONTROL, Mesh
from structlog.testing import capture_logs


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Logged are events, not lines."""
    with capture_logs():
        yield
    structlog.reset_defaults()


def test_messages_arrive_in_order() -> None:
    """Each core's messages reach each mailbox in order and once, whichever thread sleeps when."""

    async def scene(now: World) -> None:
        def core(number: int) -> None:
            for at in range(4000):
                while not now.tell(at, core=number, mailbox=number):
                    pass

        threads = [threading.Thread(target=core, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        await until(lambda: len(now.reporter.seen) + len(now.other.seen) == 8000)
        for thread in threads:
            thread.join()
        assert now.reporter.seen == now.other.seen == list(range(4000))
        assert now.service.taken == counters(now.service)["messages_handled"] == 8000

    play(scene)


def test_batches() -> None:
    """A batch method gets structured arrays: all messages, in order, many at a time."""

    async def scene(now: World) -> None:
        now.reporter.gate.clear()
        ring = now.mesh.ring(1, CONTROL)
        for at in range(300):
            await until(lambda at=at: ring.put(SCHEMA.number(Row), struct.pack("<II", at, 1)))
        now.reporter.gate.set()
        await until(lambda: sum(map(len, now.reporter.rows)) == 300)
        rows = np.concatenate(now.reporter.rows)
        assert rows.dtype.names == ("number", "core")
        assert rows["number"].tolist() == list(range(300))
        assert set(rows["core"].tolist()) == {1}
        assert len(now.reporter.rows) < 300

    play(scene)


def test_messages_without_fields() -> None:
    """Are counted and handled as often as they came."""

    async def scene(now: World) -> None:
        ring = now.mesh.ring(0, CONTROL)
        now.reporter.gate.clear()
        for cls in (Bell, Gong, Gong, Bell, Gong):
            for _ in range(7):
                assert ring.put(SCHEMA.number(cls), b"")
            await asyncio.sleep(0.005)
        now.reporter.gate.set()
        await until(lambda: len(now.reporter.seen) == 35)
        assert now.reporter.seen == [-1] * 7 + [-2] * 14 + [-1] * 7 + [-2] * 7
        await until(lambda: now.service.mailboxes[0].waiting == 0)

    play(scene)


def test_an_actor_that_raises_goes_on() -> None:
    """Its error is logged with actor and handler, counted, and the next message handled; a flood is cut short."""

    async def scene(now: World) -> None:
        async def hook(number: int, sender: Sender) -> None:
            if number % 2:
                raise ValueError(f"visit {number}")

        now.reporter.hook = hook
        with capture_logs() as logged:
            for number in range(60):
                now.tell(number)
            await until(lambda: len(now.reporter.seen) == 30)
        assert now.reporter.seen == list(range(0, 60, 2))
        assert now.service.mailboxes[0].failed == 30
        errors = [entry for entry in logged if entry["event"] == "actor_error"]
        assert 10 <= len(errors) < 30
        assert errors[0]["actor"] == "Reporter"
        assert errors[0]["handler"] == "visit"
        assert errors[0]["mailbox"] == "reporter"

    play(scene)


def test_an_actor_that_waits_for_what_is_cancelled_goes_on() -> None:
    """A CancelledError out of something the actor awaited is an error like any other, and not the end of its mailbox."""

    async def scene(now: World) -> None:
        async def hook(number: int, sender: Sender) -> None:
            if number == 1:
                sleep = asyncio.ensure_future(asyncio.sleep(60))
                sleep.cancel()
                await sleep

        now.reporter.hook = hook
        for number in range(3):
            now.tell(number)
        await until(lambda: now.reporter.seen == [0, 2])
        assert now.service.mailboxes[0].failed == 1

    play(scene)


def test_ask() -> None:
    """The reply is typed; a core that can't answer is an AskError, one that doesn't a TimeoutError; late replies are
    dropped.
    """

    async def scene(now: World) -> None:
        core = now.service.group("web")[0]
        asks = [asyncio.ensure_future(core.ask(GetTotal(of=of))) for of in range(3)]
        got: list[Received] = []
        await until(lambda: (found := now.received()) and not got.append(found) and len(got) == 3)
        assert [struct.unpack("<I", ask.payload)[0] for ask in got] == [0, 1, 2]
        assert {ask.kind for ask in got} == {ASK}
        assert len({ask.tag for ask in got}) == 3
        now.reply(got[2], 102)
        now.reply(got[0], 100)
        now.reply(got[1], None)
        assert (await asks[2]).value == 102
        assert isinstance(await asks[0], Total)
        with pytest.raises(AskError, match="core 0 could not answer GetTotal"):
            await asks[1]
        with pytest.raises(TimeoutError, match=r"core 0 did not answer GetTotal within 0\.01 s"):
            await core.ask(GetTotal(of=1), timeout=0.01)
        late = now.received()
        assert late is not None
        now.reply(late, 5)
        await until(lambda: core.late == 1)
        assert core.asks == 0

    play(scene)


def test_tell_waits_for_room() -> None:
    """Beyond a full ring tells wait, in order; awaiting one waits until it is in the ring; nothing is lost."""

    async def scene(now: World) -> None:
        group = now.service.group("back")
        waits = [group.tell(Visit(number=number)) for number in range(200)]
        waiting = asyncio.ensure_future(_all(waits))
        await asyncio.sleep(0.02)
        assert not waiting.done()
        seen: list[int] = []
        while len(seen) < 200:
            message = now.received(1)
            if message is None:
                await asyncio.sleep(0.0005)
            else:
                assert (message.kind, message.target) == (TELL, EVERY_LISTENER)
                seen.append(struct.unpack("<Q", message.payload)[0])
        await waiting
        assert seen == list(range(200))
        assert group[0].waited == 200 - 64

    play(scene)


async def _all(waits: list[Awaitable[None]]) -> None:
    for wait in waits:
        await wait


def test_tells_that_wait_are_bounded() -> None:
    """Who tells without awaiting is refused in the end, and a tell given up while it waits is not sent."""

    async def scene(now: World) -> None:
        core = now.service.group("web")[1]
        for number in range(4096 + 64):
            core.tell(Visit(number=number))
        with pytest.raises(asyncio.QueueFull, match="core 1"):
            core.tell(Visit(number=0))
        assert core.waiting == 4096
        for _ in range(4096 + 64):
            await until(lambda: now.received(1))
        for number in range(64):
            core.tell(Visit(number=number))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(core.tell(Visit(number=64)), 0.01)
        await_me = core.tell(Visit(number=65))
        seen = [message for _ in range(64) if (message := now.received(1))]
        await await_me
        seen.append(now.received(1))
        assert [struct.unpack("<Q", message.payload)[0] for message in seen if message] == [
            *range(64),
            65,
        ]

    play(scene)


def test_sender_reaches_the_listener_that_told() -> None:
    """`sender.tell` goes to the core and listener that the message came from, and a group's tell to each core."""

    async def scene(now: World) -> None:
        async def hook(number: int, sender: Sender) -> None:
            await sender.tell(Visit(number=number + sender.core_id))

        now.reporter.hook = hook
        now.tell(10, core=1, listener=3)
        await until(lambda: now.reporter.seen)
        assert now.received(1) == Received(VISIT, TELL, 3, 0, struct.pack("<Q", 11))
        await now.service.group("web").tell(Visit(number=1))
        assert (
            now.received(0)
            == now.received(1)
            == Received(VISIT, TELL, 255, 0, bytes([1, *[0] * 7]))
        )
        with pytest.raises(KeyError, match="web, back"):
            now.service.group("front")

    play(scene)


def test_undeclared_types_are_refused_by_the_sender() -> None:
    """A type that no actor takes is named, and nothing is sent; a plain Message can't be asked."""

    async def scene(now: World) -> None:
        core = now.service.group("web")[0]
        with pytest.raises(ActorError, match="Stranger"):
            core.tell(Stranger(value=1))
        with pytest.raises(TypeError, match="only a Request"):
            await core.ask(Visit(number=1))  # type: ignore[arg-type]
        assert now.received() is None

    play(scene)


def test_other_threads_are_refused() -> None:
    """A ring has one producer: telling from another thread is an error, not a race."""

    async def scene(now: World) -> None:
        core = now.service.group("web")[0]
        with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
            await asyncio.to_thread(core.tell, Visit(number=1))

    play(scene)


def test_garbage_from_a_core() -> None:
    """Unknown types, mailboxes, kinds and replies are counted and harm nobody."""

    async def scene(now: World) -> None:
        ring = now.mesh.ring(0, CONTROL)
        ring.put(4000, b"??")
        ring.put(VISIT, b"short")
        ring.put(VISIT, bytes(8), target=200)
        ring.put(VISIT, bytes(8), kind=ASK)
        ring.put(VISIT, bytes(8), kind=REPLY, tag=77)
        ring.put(1, b"short", kind=EVENT)
        ring.put(99, b"", kind=EVENT)
        ring.put(0, b"")
        now.tell(5)
        await until(lambda: 5 in now.reporter.seen)
        found = counters(now.service)
        assert found["replies_late"] == 1
        assert found["messages_taken"] == 9
        assert found["messages_unknown"] == 7

    play(scene)


def test_stop_finishes_what_came() -> None:
    """What lies in rings and mailboxes is handled before `on_stop`; who waits for a core is told that it is over."""

    async def main() -> None:
        async with world() as now:
            core = now.service.group("web")[0]
            ask = asyncio.ensure_future(core.ask(GetTotal(of=1)))
            await asyncio.sleep(0.01)
            for number in range(60):
                assert now.tell(number)
        assert now.reporter.seen == list(range(60))
        assert now.reporter.life == ["start", "stop"]
        with pytest.raises(RuntimeError, match="has stopped"):
            await ask
        with pytest.raises(RuntimeError, match="has stopped"):
            core.tell(Visit(number=1))

    asyncio.run(main())


def test_an_actor_that_waits_for_a_reply_does_not_hold_up_the_stop() -> None:
    """Once the cores have stopped no reply can come: the ask fails at once, and what waits behind is handled."""

    async def main() -> None:
        async with world() as now:

            async def hook(number: int, sender: Sender) -> None:
                if number == 0:
                    await sender.ask(GetTotal(of=1), timeout=60)

            now.reporter.hook = hook
            for number in range(5):
                now.tell(number)
            await until(now.received)
            begin = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - begin < 30
        assert now.reporter.seen == [1, 2, 3, 4]
        assert now.service.mailboxes[0].failed == 1

    asyncio.run(main())


def test_an_actor_that_can_not_start() -> None:
    """Its error comes out of `start`, those that had started are stopped, and no thread is left."""

    class Broken(ControlActor):
        async def on_start(self) -> None:
            raise OSError("no database")

    async def main() -> None:
        mesh = Mesh.create(1, control_cells=64, core_cells=64)
        first, last = Reporter(), Reporter()
        actors = {"first": (first, 1), "broken": (Broken(), 1), "last": (last, 1)}
        threads = len(os.listdir("/proc/self/task"))
        service = Service(mesh, SCHEMA, actors=actors, groups={"web": [0]})
        with pytest.raises(OSError, match="no database"):
            await service.start()
        await service.stop()
        assert first.life == ["start", "stop"]
        assert last.life == []
        assert len(os.listdir("/proc/self/task")) <= threads
        mesh.close()
        os.close(mesh.fd)

    asyncio.run(main())


def test_stop_gives_up_on_a_stuck_actor() -> None:
    """An actor that never returns costs the given time, and its messages are logged as lost."""

    async def main() -> None:
        mesh = Mesh.create(1, control_cells=64, core_cells=64)
        stuck = Reporter()
        stuck.gate.clear()
        service = Service(mesh, SCHEMA, actors={"stuck": (stuck, 3)}, groups={"web": [0]})
        await service.start()
        for number in range(20):
            mesh.ring(0, CONTROL).put(VISIT, struct.pack("<Q", number))
        await asyncio.sleep(0.02)
        with capture_logs() as logged:
            await service.stop(timeout=0.1)
        lost = [entry for entry in logged if entry["event"] == "messages_lost"]
        assert sum(entry["count"] for entry in lost) == 20
        assert stuck.life == ["start", "stop"]
        mesh.close()
        os.close(mesh.fd)

    asyncio.run(main())
