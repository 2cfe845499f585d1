"""Messages between the control plane and a real worker, both ways, also while workers are killed."""

import asyncio
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
import talkers
from processes import eventually, kill_worker, layout, replaced, until
from splitplane.runtime.claim import holder_of
from splitplane.runtime.errors import ActorError, AskError
from splitplane.runtime.imports import import_actors
from splitplane.runtime.layout import Layout
from splitplane.runtime.runtime import Runtime
from structlog.testing import capture_logs
from talkers import Burst, Clerk, Divide, GetTally, Number, Pass, Tally

LINES = Path(talkers.__file__).read_text().splitlines()


def talking() -> Layout:
    """One core with a Talker that reports to a Clerk."""
    more = 'reports_to = "clerk"\n[control.clerk]\nactor = "talkers:Clerk"'
    return layout(actor="talkers:Talker", more=more)


def clerk_of(runtime: Runtime) -> Clerk:
    service: Any = runtime._service
    actor = service.mailboxes[0].actor
    assert isinstance(actor, Clerk)
    return actor


async def tally_of(runtime: Runtime) -> Tally:
    return await runtime["web"][0].ask(GetTally(), timeout=20)


def test_both_ways() -> None:
    """Tells arrive in order on either side; what the full ring refused is what the actor was told; asks are typed."""

    async def scene() -> None:
        async with Runtime(talking()) as runtime:
            clerk, core = clerk_of(runtime), runtime["web"][0]
            for value in range(1, 20_001):
                await core.tell(Number(value=value))
            tally = await tally_of(runtime)
            assert (tally.got, tally.last, tally.disordered) == (20_000, 20_000, 0)
            core.tell(Burst(count=100, long=0))
            core.tell(Burst(count=100, long=1))
            core.tell(Burst(count=50_000, long=0))
            tally = await tally_of(runtime)
            assert tally.told + tally.refused == 50_200
            assert tally.told >= 8192 - 2 * 100  # a long one takes three cells
            await until(lambda: len(clerk.numbers) == tally.told)
            assert clerk.numbers == list(range(tally.told))
            assert runtime.control_messages >= tally.told
        assert runtime.counters(0)["mailbox_full"] == tally.refused

    asyncio.run(scene())


def test_fault_in_a_message_handler() -> None:
    """The asker is told, the log has handler, file and line, and the core goes on."""

    async def scene() -> None:
        async with Runtime(talking()) as runtime:
            core = runtime["web"][0]
            assert (await core.ask(Divide(by=1), timeout=20)).told == 0
            with capture_logs() as logged:
                with pytest.raises(AskError, match="Divide"):
                    await core.ask(Divide(by=0), timeout=20)
                await until(lambda: any(entry["event"] == "handler_fault" for entry in logged))
            fault = next(entry for entry in logged if entry["event"] == "handler_fault")
            assert fault["actor"] == "talkers:Talker"
            assert fault["handler"] == "divide"
            assert Path(fault["file"]).name == "talkers.py"
            assert "# fails" in LINES[fault["line"] - 1]
            assert (await tally_of(runtime)).refused == 0

    asyncio.run(scene())


KILLS = 30


def test_worker_killed() -> None:
    """kill -9 again and again under messages both ways. To the control plane: none that was told is lost, and a number
    comes twice at most once a kill (told, and not yet counted). To the core: in order, at most one lost a kill.
    """

    async def scene() -> None:
        dice = random.Random(3)
        async with Runtime(talking()) as runtime:
            clerk, core = clerk_of(runtime), runtime["web"][0]
            sent = kills = 0
            due = time.monotonic()
            while kills < KILLS:
                core.tell(Burst(count=50, long=sent % 2))
                for _ in range(50):
                    sent += 1
                    await core.tell(Number(value=sent))
                await asyncio.sleep(0)
                if time.monotonic() > due and kill_worker(runtime):
                    kills += 1
                    due = time.monotonic() + dice.uniform(0, 0.03)
            await replaced(runtime, KILLS)
            tally = await tally_of(runtime)
            assert tally.disordered == 0
            assert sent - KILLS <= tally.got <= sent
            await until(lambda: clerk.numbers and clerk.numbers[-1] == tally.told - 1)
            steps = [b - a for a, b in zip(clerk.numbers, clerk.numbers[1:], strict=False)]
            assert clerk.numbers[0] == 0
            assert set(steps) <= {0, 1}
            assert steps.count(0) <= KILLS

    asyncio.run(scene())


def test_ask_across_a_kill() -> None:
    """An ask that a dying worker took is answered by a TimeoutError, never by another's reply; the next one works."""

    async def scene() -> None:
        async with Runtime(talking()) as runtime:
            core = runtime["web"][0]
            for _ in range(5):
                asks = [asyncio.ensure_future(core.ask(GetTally(), timeout=1)) for _ in range(200)]
                await asyncio.sleep(0)
                kill_worker(runtime)
                done = await asyncio.gather(*asks, return_exceptions=True)
                assert all(isinstance(each, Tally | TimeoutError) for each in done)
                assert sum(isinstance(each, TimeoutError) for each in done) <= 1
                await until(lambda: runtime.workers[0].pid)
            assert isinstance(await tally_of(runtime), Tally)

    asyncio.run(scene())


def test_from_core_to_core() -> None:
    """Messages go from worker to worker, and from a worker to itself, in order and without loss."""

    async def scene(cpus: list[int]) -> None:
        more = 'reports_to = "clerk"\n[control.clerk]\nactor = "talkers:Clerk"'
        one = layout(actor="talkers:Relay", more=more)
        group = one.group["web"].model_copy(update={"cpus": tuple(cpus)})
        many = one.model_copy(update={"group": {"web": group}}).located(one.directory, one.file)
        async with Runtime(many) as runtime:
            cores, clerk = len(cpus), clerk_of(runtime)
            for value in range(300):
                await runtime["web"][0].tell(Pass(value=value, hops=20, cores=cores))
            await until(lambda: len(clerk.numbers) == 300)
            assert clerk.numbers == list(range(300))
            tallies = await runtime["web"].ask_all(GetTally(), timeout=20)
            assert [tally.told for tally in tallies] == [300 * 20 // cores] * cores

    cpus = sorted(os.sched_getaffinity(0))[-2:]
    assert eventually(lambda: all(holder_of(f"cpu/{cpu}") is None for cpu in cpus), 100)
    asyncio.run(scene(cpus))


def test_config_of_a_control_actor() -> None:
    """A control actor's config is filled from the layout; keys that don't fit are named, with all other problems."""

    async def scene() -> None:
        more = (
            'reports_to = "clerk"\n[control.clerk]\nactor = "talkers:Clerk"\nconfig = { shift = 7 }'
        )
        async with Runtime(layout(actor="talkers:Talker", more=more)) as runtime:
            assert clerk_of(runtime).config.shift == 7

    asyncio.run(scene())
    wrong = '[control.clerk]\nactor = "talkers:Clerk"\nconfig = { shft = 7, shift = -1 }'
    with pytest.raises(ActorError) as raised:
        import_actors(layout(actor="talkers:Talker", more=wrong))
    keys = {problem.key for problem in raised.value.problems}
    assert keys == {"control.clerk.config.shft", "control.clerk.config.shift"}
