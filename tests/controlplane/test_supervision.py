"""Control actors that raise: replaced one for one, within limits, with what they had; over a real core."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import structlog
from processes import layout, until
from splitplane import ControlActor
from splitplane.controlplane.tally import levels
from splitplane.runtime.errors import StartError
from splitplane.runtime.layout import Layout
from splitplane.runtime.runtime import Runtime
from structlog.testing import capture_logs
from supervised import Fragile, Shift
from talkers import Burst, Clerk, Number, Stuck

MORE = """
reports_to = "fragile"
[[group.web.listen]]
port = "tcp:{port}"
actor = "talkers:Talker"
reports_to = "clerk"
[control.fragile]
actor = "supervised:Fragile"
on_error = "restart"
config = {{ shift = 7 }}
[control.clerk]
actor = "talkers:Clerk"
"""
RESTARTS = 2


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Logged are events, not lines."""
    with capture_logs():
        yield
    structlog.reset_defaults()


@asynccontextmanager
async def running() -> AsyncIterator[Runtime]:
    made: Layout = layout(7, actor="talkers:Talker", more=MORE.format(port=8))
    supervision = made.supervision.model_copy(update={"restarts": RESTARTS})
    made = made.model_copy(update={"supervision": supervision}).located(made.directory, made.file)
    async with Runtime(made) as runtime, asyncio.timeout(60):
        yield runtime


def play(scene: Callable[[Runtime], object]) -> None:
    async def main() -> None:
        async with running() as runtime:
            await scene(runtime)  # type: ignore[misc]

    asyncio.run(main())


async def burst(runtime: Runtime, count: int, listener: int = 0) -> None:
    """The listener's actor tells so many numbers, each one more than the last."""
    await runtime["web"][0].tell(Burst(count=count, long=0), target=listener)


def test_one_for_one() -> None:
    """Who raises is replaced, with its config as changed since the start and its pushes; what waits goes to the new one,
    and its neighbour keeps its instance and its messages."""
    Fragile.forget({3, 6})

    async def scene(runtime: Runtime) -> None:
        fragile, clerk = runtime._running.mailboxes
        neighbour, first = clerk.actor, fragile.actor
        assert isinstance(first, Fragile)
        assert isinstance(neighbour, Clerk)
        assert first.config.shift == 7
        first.config = Shift(shift=9)
        await burst(runtime, 10)
        await burst(runtime, 500, listener=1)
        await until(lambda: fragile.handled == 10 and len(neighbour.numbers) == 500)
        assert [one.seen for one in Fragile.made] == [[0, 1, 2], [4, 5], [7, 8, 9]]
        assert Fragile.life == ["start"] * 3
        assert fragile.actor is Fragile.made[2] is not first
        assert [one.config.shift for one in Fragile.made] == [9, 9, 9]
        assert {one.push for one in Fragile.made} == {runtime._running.pushes}
        assert (fragile.failed, fragile.restarted) == (2, 2)
        assert clerk.actor is neighbour
        assert (neighbour.numbers, clerk.restarted) == (list(range(500)), 0)

    play(scene)
    assert Fragile.life == ["start"] * 3 + ["stop"]


def test_a_start_that_fails_is_tried_again() -> None:
    """A new instance whose on_start raises counts as one of `restarts`, and the next one takes its place."""
    Fragile.forget({1}, fail_starts=1)

    async def scene(runtime: Runtime) -> None:
        await burst(runtime, 3)
        fragile = runtime._running.mailboxes[0]
        await until(lambda: fragile.handled == 3)
        assert [one.seen for one in Fragile.made] == [[0], [], [2]]
        assert (fragile.failed, fragile.restarted) == (1, 1)

    play(scene)


@pytest.mark.parametrize("fail_starts", [0, RESTARTS])
def test_too_often(fail_starts: int) -> None:
    """More than `restarts` of them: the runtime fails, naming the actor, the limit and the last error."""
    Fragile.forget({1, 2, 3}, fail_starts)

    async def scene(runtime: Runtime) -> None:
        waiting = asyncio.ensure_future(runtime.wait())
        await burst(runtime, 5)
        with pytest.raises(StartError, match=r"control\.fragile.*raised more than 2 times") as why:
            await waiting
        last = "OSError: no database" if fail_starts else "ValueError: number 3"
        assert last in str(why.value)
        assert len(Fragile.made) == 1 + RESTARTS
        await until(lambda: runtime._running.mailboxes[0].waiting == 0)

    play(scene)
    assert "stop" not in Fragile.life


def test_spawned_as_a_class() -> None:
    """The same for `spawn(Class)`; given as an instance it goes on; the actors of the layout notice nothing."""
    Fragile.forget({4})

    async def scene(runtime: Runtime) -> None:
        clerk = runtime._running.mailboxes[1].actor
        guest = await runtime.spawn(Fragile, name="guest")
        lasting = Fragile()
        other = await runtime.spawn(lasting)
        for value in (5, 4, 6):
            await guest.tell(Number(value=value))
            await other.tell(Number(value=value))
        await until(lambda: not guest.waiting and not other.waiting)
        assert isinstance(guest.actor, Fragile)
        assert guest.actor.seen == [6]
        assert guest.actor.push is runtime._running.pushes
        assert (lasting.seen, other.actor) == ([5, 6], lasting)
        for _ in range(RESTARTS):
            await guest.tell(Number(value=4))
        with pytest.raises(StartError, match=r"guest.*the last error: ValueError: number 4"):
            await runtime.wait()
        assert runtime._running.mailboxes[1].actor is clerk

    play(scene)


def test_spawned_and_failing_at_once() -> None:
    """An error of on_start, or of the class itself, passes through `spawn`; nothing of it stays."""

    class Broken(ControlActor):
        async def on_start(self) -> None:
            self.every(0.001, self.on_start)
            raise OSError("no database")

    class Unmade(ControlActor):
        def __init__(self) -> None:
            raise ValueError("no such thing")

    async def scene(runtime: Runtime) -> None:
        tasks = len(asyncio.all_tasks())
        for actor, error in ((Broken, OSError), (Broken(), OSError), (Unmade, ValueError)):
            with pytest.raises(error, match="no "):
                await runtime.spawn(actor)
        assert levels(runtime._running)["spawned"] == 0
        assert len(asyncio.all_tasks()) == tasks

    Fragile.forget(set())
    play(scene)


def test_a_spawned_actor_that_is_stuck() -> None:
    """stop() gives it its time, then cancels it, says what is lost, and wakes whoever waits to tell it more."""
    Fragile.forget(set())

    async def scene(runtime: Runtime) -> None:
        stuck = await runtime.spawn(Stuck, name="stuck", mailbox=2)
        for value in range(2):
            await stuck.tell(Number(value=value))
        telling = asyncio.ensure_future(stuck.tell(Number(value=2)))
        await until(lambda: stuck.waiting == 2)
        with capture_logs() as logged:
            await stuck.stop()
        assert {
            "event": "messages_lost",
            "mailbox": "stuck",
            "count": 2,
            "log_level": "warning",
        } in logged
        with pytest.raises(RuntimeError, match="stuck has stopped"):
            await telling
        await stuck.stop()
        assert levels(runtime._running)["spawned"] == 0

    play(scene)
