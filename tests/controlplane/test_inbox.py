"""Full mailboxes and iterations between real rings; the cores' sides are played by the tests, mostly without heeding what
a full mailbox tells them. test_stuck.py has real cores.
"""

import asyncio
from collections.abc import Iterator

import pytest
import structlog
from service_world import GetTotal, Visit, World, play, until
from splitplane import Sender
from splitplane.controlplane.post import EVENTS_BEYOND
from splitplane.controlplane.tally import counters
from splitplane.dataplane.ring import Received
from splitplane.runtime.mesh import CONTROL
from structlog.testing import capture_logs


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Logged are events, not lines."""
    with capture_logs():
        yield
    structlog.reset_defaults()


BEYOND = 64 + 2 * (256 + 64 + 1)
"""What a mailbox here takes over its limit: a ring's cells, then of each core a run and another ring's."""


async def filled(now: World) -> int:
    """A reporter that takes nothing is told as much as it and the ring hold; how many that were."""
    now.reporter.gate.clear()
    told = 0
    while now.service.mailboxes[0].waiting < 10 + BEYOND or not now.service.held:
        told += now.tell(told)
        await asyncio.sleep(0)
    while now.tell(told):
        told += 1
    return told


def test_a_core_that_heeds_nothing_is_left_alone() -> None:
    """Bounded also where tells are not refused: the ring is read no more, then fills; nothing is lost, other cores go on."""

    async def scene(now: World) -> None:
        told = await filled(now)
        for _ in range(200):
            told += now.tell(told)
            await asyncio.sleep(0)
        assert now.service.mailboxes[0].waiting == 10 + BEYOND
        assert told <= 10 + BEYOND + 256 + 64  # the mailbox, a run in hand, the ring
        assert now.tell(0, core=1, mailbox=1)  # another ring, another mailbox
        await until(lambda: now.other.seen == [0])
        now.reporter.gate.set()
        await until(lambda: len(now.reporter.seen) == told)
        assert now.reporter.seen == list(range(told))

    play(scene, limit=10)


def test_tells_are_refused_while_a_mailbox_is_full() -> None:
    """From a ring's cells beyond its limit on the core reads in its ring that this mailbox, and no other, takes nothing;
    until half of the limit is free, whoever else is full.
    """

    def refused(now: World, target: int, core: int = 0) -> bool:
        return bool(now.mesh.ring(core, CONTROL).pointer.full[target >> 6] >> (target & 63) & 1)

    async def scene(now: World) -> None:
        now.reporter.gate.clear()
        visits = now.service.post.messages(Visit, 10)
        sent = 0
        while not refused(now, 0):
            assert now.service.mailboxes[0].waiting < 10 + 64
            sent += now.tell(sent)
            await asyncio.sleep(0)
        assert sent < 10 + 64 + 64 + 1
        await until(lambda: now.service.mailboxes[0].waiting == sent)
        assert [target for target in range(256) if refused(now, target)] == [0]
        assert not refused(now, 0, core=1)
        now.reporter.gate.set()
        await until(lambda: len(now.reporter.seen) == sent)
        assert refused(now, 0)  # nobody has read the iteration
        for number in range(sent):
            assert refused(now, 0) == (sent - number > 5)
            assert (await anext(visits)).number == number

    play(scene, limit=10)


def test_events_find_room_where_messages_find_none() -> None:
    """What befalls the cores reaches a mailbox that is as full as can be, in order; what doesn't is counted."""

    async def scene(now: World) -> None:
        told = await filled(now)
        for number in range(EVENTS_BEYOND + 5):
            now.service.publish(Visit(number=number), 0)
        assert now.service.mailboxes[0].waiting == 10 + BEYOND + EVENTS_BEYOND
        assert counters(now.service)["events_lost"] == 5
        now.reporter.gate.set()
        await until(lambda: len(now.reporter.seen) == told + EVENTS_BEYOND)

    play(scene, limit=10)


def test_idle_with_a_full_mailbox() -> None:
    """A ring that waits for a full mailbox keeps nobody awake."""

    async def scene(now: World) -> None:
        await filled(now)
        before = counters(now.service)["wakeups"]
        await asyncio.sleep(0.2)
        assert counters(now.service)["wakeups"] - before <= 2
        now.reporter.gate.set()

    play(scene, limit=10)


def test_reply_behind_a_full_mailbox() -> None:
    """An actor that asks a core gets its reply although its own full mailbox stands before it in the ring."""

    async def scene(now: World) -> None:
        answers: list[int] = []

        async def hook(number: int, sender: Sender) -> None:
            if number == 0:
                answers.append((await sender.ask(GetTotal(of=1))).value)

        now.reporter.hook = hook
        now.tell(0)
        asked: list[Received] = []
        await until(lambda: (found := now.received()) is not None and not asked.append(found))
        for number in range(1, 40):
            await until(lambda number=number: now.tell(number))
        await asyncio.sleep(0.05)
        now.reply(asked[0], 33)
        await until(lambda: len(now.reporter.seen) == 40)
        assert answers == [33]
        assert now.reporter.seen == list(range(40))

    play(scene, limit=5)
