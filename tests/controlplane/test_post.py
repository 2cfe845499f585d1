"""Spawned actors, iterations over messages, timers and supervision, over cores whose side the tests play."""

import asyncio
import gc

import pytest
from service_world import Visit, World, play, until
from splitplane import ControlActor, Sender, on
from splitplane.controlplane.restarts import Restarts
from splitplane.events import WorkerDied, event_message
from splitplane.runtime.mesh import CONTROL


class Fragile(ControlActor):
    """Fails at every visit of number 0."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.seen: list[int] = []
        self.beats = 0

    @on(Visit)
    async def visit(self, message: Visit, sender: Sender) -> None:
        if message.number == 0:
            raise ValueError("nothing")
        self.seen.append(message.number)

    async def beat(self) -> None:
        self.beats += 1


def test_an_iteration_is_bounded_and_loses_nothing() -> None:
    """It takes what the rings hold beyond its limit, and no more; read, all of it comes in order."""

    async def scene(world: World) -> None:
        visits = world.service.post.messages(Visit, 10)
        sent, most = 0, 10 + 64 + 2 * (256 + 64 + 1)
        while sent < most + 64:
            sent += world.tell(sent, mailbox=255)
            await asyncio.sleep(0)
        assert visits.waiting == most
        assert [(await anext(visits)).number for _ in range(sent)] == list(range(sent))
        visits.close()
        with pytest.raises(StopAsyncIteration):
            await anext(visits)

    play(scene, cells=64)


def test_a_dropped_iteration_holds_nobody_up() -> None:
    """Once nobody holds it, the ring that it held back is read on, and tells are taken again."""

    async def scene(world: World) -> None:
        held = [world.service.post.messages(Visit, 1)]
        sent = 0
        while sent < 1 + 64 + 2 * (256 + 64 + 1) + 64:
            sent += world.tell(sent)
            await asyncio.sleep(0)
        assert held[0].waiting < sent
        held.clear()
        gc.collect()
        await until(lambda: world.reporter.seen == list(range(sent)))
        assert not world.mesh.ring(0, CONTROL).pointer.full[0]

    play(scene)


def test_a_supervised_actor_is_replaced_and_given_up() -> None:
    """Each error gives it a fresh instance; one too many ends it, once, with that error; its mailbox empties still."""
    ended: list[tuple[str, str]] = []

    async def scene(world: World) -> None:
        Fragile.made = 0
        limits = Restarts(Fragile, 2, 60.0, lambda name, error: ended.append((name, str(error))))
        spawned = await world.service.post.spawn(Fragile(), "fragile", 10, limits)
        for number in (1, 0, 2, 0, 3):
            await spawned.tell(Visit(number=number))
        await until(lambda: not spawned.waiting)
        assert Fragile.made == 3
        assert spawned.actor.seen == [3]
        for number in (0, 4, 5):
            await spawned.tell(Visit(number=number))
        await until(lambda: not spawned.waiting)
        assert ended == [("fragile", "nothing")]
        await spawned.stop()
        with pytest.raises(RuntimeError, match="has stopped"):
            await spawned.tell(Visit(number=6))

    play(scene)


def test_timers_run_among_the_messages_and_end_with_the_actor() -> None:
    """every repeats, after runs once, cancel ends both, and nothing runs after stop."""

    async def scene(world: World) -> None:
        actor = Fragile()
        spawned = await world.service.post.spawn(actor, "timed", 10, None)
        actor.after(0.001, actor.beat)
        await until(lambda: actor.beats == 1)
        timer = actor.every(0.001, actor.beat)
        await until(lambda: actor.beats > 4)
        timer.cancel()
        beats = actor.beats
        actor.every(0.001, actor.beat)
        await until(lambda: actor.beats > beats)
        with pytest.raises(ValueError, match="positive"):
            actor.every(0, actor.beat)
        await spawned.stop()
        beats = actor.beats
        await asyncio.sleep(0.01)
        assert actor.beats == beats

    play(scene)


def test_events_reach_who_takes_them() -> None:
    """What befalls a core comes to an iteration over its type, even to a full one."""

    async def scene(world: World) -> None:
        deaths = world.service.post.messages(WorkerDied, 1)
        fields = {"core": 1, "cpu": 3, "pid": 7, "exit": "killed", "record": 0}
        message = event_message("died", fields)
        assert message is not None
        for _ in range(3):
            world.service.publish(message, 1)
        for _ in range(3):
            died = await anext(deaths)
            assert (died.core, died.pid, died.reason) == (1, 7, "killed")
        assert deaths.sender is not None
        assert deaths.sender.core_id == 1

    play(scene)
