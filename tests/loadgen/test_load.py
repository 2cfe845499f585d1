"""The load generator against servers that lie or die, and its own death."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitplane.dataplane.native import lib
from splitplane.loadgen.bench import loaded
from splitplane.loadgen.clients import Order, Report
from splitplane.loadgen.server import make_layout, refuse_too_much
from splitplane.loadgen.show import Phases
from splitplane.runtime.errors import MachineError, StartError
from splitplane.runtime.layout import Layout
from splitplane.runtime.machine import read_machine

TOOLS = Path(__file__).parent.parent / "tools"
QUIET = Phases(silent=True)
PAYLOAD = 64


def layout(connections: int, actor: str | None = None) -> Layout:
    """A server of `actor`, a class of tests/tools, or of the one that tells the truth."""
    cpu = read_machine().cpus[-1]
    if actor is None:
        made = make_layout(connections, PAYLOAD, cpu)
    else:
        made = make_layout(connections, PAYLOAD, cpu, actor).located(TOOLS, "bench")
    return made.model_copy(
        update={"supervision": made.supervision.model_copy(update={"restarts": 1000})}
    )


@given(st.integers(0, 2**62))
def test_buckets(nanoseconds: int) -> None:
    """A time lies in a bucket that begins at most a sixteenth below it; the last one holds what is beyond."""
    bucket = lib.load_bucket(nanoseconds)
    least = lib.load_bucket_least(bucket)
    assert least <= nanoseconds
    assert nanoseconds - least <= least // 16 or bucket == lib.LOAD_BUCKETS - 1
    assert lib.load_bucket(least) == bucket


@pytest.mark.parametrize("actor", ["liars:Liar", "liars:Stammerer"])
def test_lies_are_found(actor: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A hundredth of the answers is wrong, or comes twice: exactly those are counted as errors, and named."""

    async def run() -> None:
        async with loaded(layout(10_000, actor), PAYLOAD, QUIET) as here:
            await here.open(10_000)
            assert here.errors == 100

    asyncio.run(run())
    assert "errors: wrong 100\n" in capsys.readouterr().err


def test_every_connection_once_a_round() -> None:
    """Random rounds ask each connection once: a second request, or none, would have another sequence number."""

    async def run() -> Report:
        async with loaded(layout(1500), PAYLOAD, QUIET) as here:
            await here.open(1500)
            order = Order("request", 1500, asked=1, rounds=40, sequence="random")
            report = await here.carry_out("rounds", order, 0)
            await here.close(1500, 41)
            assert here.errors == 0
            return report

    assert asyncio.run(run()).done == 60_000


def test_the_generator_killed() -> None:
    """Killed under load, it is named with its signal; the server stops as ever."""

    async def run() -> None:
        async with loaded(layout(2000), PAYLOAD, QUIET) as here:
            await here.open(2000)
            order = Order("request", 2000, asked=1, rounds=0)
            os.kill(here.clients.pid, signal.SIGKILL)
            await here.carry_out("requests", order, 0, 30)

    with pytest.raises(StartError, match="the load generator ended: killed by SIGKILL"):
        asyncio.run(run())


@pytest.mark.parametrize(("count", "kills"), [(20_000, 3), (1_000_000, 1)])
def test_the_server_killed_under_load(count: int, kills: int) -> None:
    """kill -9 at full load, also with a million connections: they live on, no answer is wrong or missing; a kill costs at
    most the connection whose handler it caught."""

    async def run() -> tuple[Report, int, int]:
        async with loaded(layout(count), PAYLOAD, QUIET) as here:
            await here.open(count)
            order = Order("request", count, asked=1, rounds=0, sequence="random")
            requests = asyncio.create_task(here.carry_out("requests", order, 0, 1.5))
            for death in range(1, kills + 1):
                await asyncio.sleep(0.3)
                os.kill(here.runtime.workers[0].pid, signal.SIGKILL)
                while here.runtime.workers[0].deaths < death or not here.runtime.workers[0].pid:
                    await asyncio.sleep(0.01)
            report = await requests
            adoptions = here.runtime.counters(0)["adoptions"]
            return report, adoptions, here.runtime.live(0)

    report, adoptions, live = asyncio.run(run())
    assert adoptions == kills
    assert (report.wrong, report.bad) == (0, 0)
    assert report.resets + report.lost <= kills * report.rounds
    assert report.done + report.resets + report.lost == report.rounds * count
    assert live >= count - kills


def test_what_memory_cannot_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused with the sum: what is wanted by part, what a connection takes, how many would fit."""
    small = read_machine()

    def poor() -> object:
        return type(small)(**(small.as_dict() | {"memory_available": 2**30, "huge_free": 0}))

    monkeypatch.setattr("splitplane.runtime.plan.read_machine", poor)
    with pytest.raises(MachineError) as refused:
        refuse_too_much(layout(10_000_000))
    said = str(refused.value)
    assert "--count = 10000000" in said
    assert "records 1,220.7 MiB" in said
    most = int(said.rpartition("at most ")[2].partition(" fit")[0])
    assert refuse_too_much(layout(most)).total < 2**30
