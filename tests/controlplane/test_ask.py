"""Asks that are given up: cancelled, late, or too many; the cores' side of the rings is played by the tests."""

import asyncio
import random
import struct
import time
from collections.abc import Iterator

import pytest
import structlog
from service_world import VISIT, GetTotal, Total, Visit, World, play, until
from splitplane.controlplane import asks as asks_module
from splitplane.controlplane import peer as module
from splitplane.controlplane.peer import CorePeer
from splitplane.controlplane.tally import counters, levels
from splitplane.dataplane.ring import Received
from structlog.testing import capture_logs


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Logged are events, not lines."""
    with capture_logs():
        yield
    structlog.reset_defaults()


async def cancelled(ask: "asyncio.Task[Total]") -> None:
    ask.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ask


async def sent(now: World) -> Received:
    """The next message to core 0."""
    found: list[Received] = []
    await until(lambda: (one := now.received()) is not None and not found.append(one))
    return found[0]


def test_cancelled_before_the_reply() -> None:
    """It is forgotten at once; its reply, should it come, is dropped and counted, and is nobody else's."""

    async def scene(now: World) -> None:
        core = now.service.group("web")[0]
        first = asyncio.ensure_future(core.ask(GetTotal(of=1)))
        asked = await sent(now)
        await cancelled(first)
        assert core.asks == 0
        second = asyncio.ensure_future(core.ask(GetTotal(of=2)))
        again = await sent(now)
        assert again.tag != asked.tag
        now.reply(asked, 1)
        await until(lambda: counters(now.service)["replies_late"] == 1)
        assert not second.done()
        now.reply(again, 2)
        assert (await second).value == 2
        now.reply(again, 3)  # once more
        await until(lambda: counters(now.service)["replies_late"] == 2)

    play(scene)


def test_cancelled_together_with_its_reply() -> None:
    """A reply that arrives while its asker is being cancelled harms nobody, whichever comes first."""

    async def scene(now: World) -> None:
        core = now.service.group("web")[0]
        for _ in range(50):
            ask = asyncio.ensure_future(core.ask(GetTotal(of=1)))
            asked = await sent(now)
            core.replied(asked.tag, asked.type, struct.pack("<Q", 7))
            ask.cancel()
            (result,) = await asyncio.gather(ask, return_exceptions=True)
            assert isinstance(result, asyncio.CancelledError)
            assert core.asks == 0

    play(scene)


def test_cancelled_while_it_waits_for_room() -> None:
    """An ask given up before the ring had room is never sent; what waited behind it is, in order."""

    async def scene(now: World) -> None:
        core = now.service.group("web")[0]
        for number in range(64):
            core.tell(Visit(number=number))
        waiting = [asyncio.ensure_future(core.ask(GetTotal(of=of))) for of in range(3)]
        core_tell = core.tell(Visit(number=64))
        await asyncio.sleep(0)
        last = asyncio.ensure_future(core.ask(GetTotal(of=3)))
        await asyncio.sleep(0)
        assert levels(now.service)["tells_waiting"] == 5
        await cancelled(waiting[1])
        with pytest.raises(TimeoutError):
            await core.ask(GetTotal(of=9), timeout=0.01)
        got = [await sent(now) for _ in range(64)]
        await core_tell
        got += [await sent(now) for _ in range(4)]
        await asyncio.sleep(0.02)
        assert now.received() is None
        assert [message.type == VISIT for message in got] == [True] * 65 + [False] * 3
        asks = [message for message in got if message.type != VISIT]
        assert [struct.unpack("<I", ask.payload)[0] for ask in asks] == [0, 2, 3]
        for ask in asks:
            now.reply(ask, ask.tag)
        tags = [(await one).value for one in (waiting[0], waiting[2], last)]
        assert tags == [ask.tag for ask in asks]
        assert (core.asks, core.waiting, core.late) == (0, 0, 0)

    play(scene)


def test_replies_are_never_mixed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asks answered in any order, many of them cancelled or late, while tags wrap: each gets its own reply or none."""
    monkeypatch.setattr(asks_module, "TAGS", 63)
    dice = random.Random(5)

    async def scene(now: World) -> None:
        core = now.service.group("web")[0]
        given_up = 0
        for round_ in range(60):
            asks = [
                asyncio.ensure_future(core.ask(GetTotal(of=round_ * 20 + at))) for at in range(20)
            ]
            got = [await sent(now) for _ in asks]
            gone = set(dice.sample(range(20), 7))
            for at in gone:
                await cancelled(asks[at])
            for message in dice.sample(got, 20):
                (of,) = struct.unpack("<I", message.payload)
                now.reply(message, of)
            for at, ask in enumerate(asks):
                if at not in gone:
                    assert (await ask).value == round_ * 20 + at
            given_up += len(gone)
            await until(lambda given_up=given_up: core.late == given_up)
        assert core.asks == 0

    play(scene)


def test_too_many_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond ASKS_MAX without a reply one more is refused, until one of them is through or given up."""
    assert asks_module.TAGS > module.ASKS_MAX
    monkeypatch.setattr(module, "ASKS_MAX", 40)

    async def scene(now: World) -> None:
        core: CorePeer = now.service.group("web")[0]
        asks = [asyncio.ensure_future(core.ask(GetTotal(of=1))) for _ in range(40)]
        first = await sent(now)
        with pytest.raises(asyncio.QueueFull, match="40 asks to core 0"):
            await core.ask(GetTotal(of=1))
        await cancelled(asks[39])
        now.reply(first, 1)
        assert (await asks[0]).value == 1
        more = [asyncio.ensure_future(core.ask(GetTotal(of=1))) for _ in range(2)]
        await asyncio.sleep(0)
        assert core.asks == 40
        with pytest.raises(asyncio.QueueFull):
            await core.ask(GetTotal(of=1))
        for ask in (*asks[1:39], *more):
            await cancelled(ask)

    play(scene)


def test_the_event_loop_sees_a_quick_reply_itself() -> None:
    """Whoever asks out of an event loop that slept is not overtaken by the poller, which would wake it once more."""

    async def scene(now: World) -> None:
        core = now.service.group("web")[0]
        await asyncio.sleep(0.05)
        for number in range(50):
            await asyncio.sleep(0.001)
            before = now.service.wakeups
            ask = asyncio.ensure_future(core.ask(GetTotal(of=number)))
            await asyncio.sleep(0)
            asked = now.received()
            assert asked is not None
            now.reply(asked, number)
            time.sleep(0.001)  # noqa: ASYNC251 - the poller's time to see it, if it looks
            assert (await ask).value == number
            assert now.service.wakeups == before

    play(scene)
