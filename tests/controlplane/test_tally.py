"""What the control plane counts, from the mailboxes to `stats` and the metrics."""

import asyncio
import json
from collections.abc import Iterator

import pytest
import structlog
from seen import attached, seen
from service_world import GetTotal, Reporter, Visit, World, play, until
from splitplane.controlplane.figures import Figures
from splitplane.controlplane.metrics import _families
from splitplane.controlplane.stats import stats_text
from splitplane.controlplane.tally import counters, levels
from splitplane.runtime.facts import CONTROL_COUNTERS, CONTROL_LEVELS, MAILBOX_WORDS
from structlog.testing import capture_logs


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Logged are events, not lines."""
    with capture_logs():
        yield
    structlog.reset_defaults()


def test_who_is_full_is_counted() -> None:
    """Spawned actors and iterations count while they live; what actors handled counts for good, what waits no more."""

    async def scene(now: World) -> None:
        spawned = await now.service.post.spawn(Reporter(), "guest", 5, None)
        actor = spawned.actor
        assert isinstance(actor, Reporter)
        actor.gate.clear()
        visits = now.service.post.messages(Visit, 5)
        for number in range(5 + 64):
            await until(lambda number=number: now.tell(number))
        await until(lambda: levels(now.service)["iterations_full"])
        found = levels(now.service)
        assert (found["spawned"], found["spawned_waiting"], found["spawned_full"]) == (1, 69, 1)
        assert (found["iterations"], found["iterations_waiting"]) == (1, 69)
        visits.close()
        assert levels(now.service)["iterations"] == 0
        actor.gate.set()
        await until(lambda: len(actor.seen) == 69)
        assert levels(now.service)["spawned_full"] == 0
        await spawned.stop()
        assert levels(now.service)["spawned"] == levels(now.service)["rings_held"] == 0
        assert counters(now.service)["messages_handled"] == 2 * 69

    play(scene, limit=1000)


def test_waiting_asks_and_tells_are_counted() -> None:
    """Each ask without a reply, each tell beyond the ring, until they are through."""

    async def scene(now: World) -> None:
        core = now.service.group("web")[0]
        asks = [asyncio.ensure_future(core.ask(GetTotal(of=of))) for of in range(3)]
        await asyncio.sleep(0)
        for number in range(64):
            core.tell(Visit(number=number))
        found = levels(now.service)
        assert (found["asks"], found["tells_waiting"]) == (3, 3)
        told = counters(now.service)
        assert (told["asked"], told["told"], told["tells_waited"]) == (3, 64, 3)
        for ask in asks:
            ask.cancel()
        await asyncio.gather(*asks, return_exceptions=True)
        assert levels(now.service)["asks"] == 0

    play(scene)


def test_an_operator_sees_them() -> None:
    """Every counter and level is in `stats`, in `stats --json` and in the metrics, and who is full stands in the head."""
    words = {name: 1000 + at for at, name in enumerate((*CONTROL_COUNTERS, *CONTROL_LEVELS))}
    box = {name: 2000 + at for at, name in enumerate(MAILBOX_WORDS)}
    with seen() as world, attached(world) as it:
        it.words.set_runtime(**words)
        it.words.set_mailbox("reporter", **box)
        figures = Figures.of(it)
        text = stats_text(figures)
        for name, count in words.items():
            assert any(line.split() == [name, str(count)] for line in text.splitlines()), name
        assert f"FULL: {box['full']} cores refuse tells to it" in text
        assert f"{words['iterations_full']} FULL: tells to them are refused" in text
        said = json.loads(json.dumps(figures.as_dict()))["control_plane"]
        assert said["counters"] | said["levels"] == words
        assert said["mailboxes"] == {"reporter": box}
        scraped = {
            sample.name: sample.value for family in _families(figures) for sample in family.samples
        }
        for name in CONTROL_COUNTERS:
            assert scraped[f"splitplane_control_{name}_total"] == words[name]
        for name in CONTROL_LEVELS:
            assert scraped[f"splitplane_control_{name}"] == words[name]
        assert scraped["splitplane_mailbox_full"] == box["full"]
        assert scraped["splitplane_mailbox_replaced_total"] == box["replaced"]
