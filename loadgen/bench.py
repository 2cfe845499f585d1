"""`splitplane bench connections|frames|churn|latency`: one core of ours under stateless clients on another, measured.

Each is a coroutine that returns the object `--json` prints.
"""

import asyncio
import statistics
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ..runtime.errors import LayoutError, Problem
from ..runtime.layout import Layout
from ..runtime.machine import read_machine
from ..runtime.plan import CorePlan
from ..runtime.runtime import Runtime
from .clients import Kind, Order, Report
from .generator import Generator
from .resident import huge_pages_taken, resident
from .road import MEMORY, Road
from .server import (
    Place,
    make_layout,
    place,
    refuse_too_much,
    state_bytes,
    target,
    target_of,
)
from .show import Phases

Visit = Literal["random", "hot", "robin"]
Closer = Literal["client", "server"]
ERRORS = ("wrong", "lost", "resets", "bad", "duplicates")
"""Those of a Report."""
HOT = 100
"""A hot subset is one part in so many of the connections."""
SETTLED = 20.0
"""Seconds within which the server has seen the last of what its clients did: a frame of it may be lost, and go again."""
LOOK = 0.005
GAP = 10.0
"""Microseconds: longer, and a core stood still."""
CEILING = 2.0
"""Seconds for which a floor is measured."""


@dataclass(slots=True)
class Site:
    """A running server and its clients."""

    runtime: Runtime
    clients: Generator
    core: CorePlan
    place: Place
    phases: Phases
    payload: int
    wrongs: Counter[str] = field(default_factory=Counter)
    """Errors by their kind."""
    answers: int = 0
    again: int = 0
    slices: list[tuple[int, int, int]] = field(default_factory=list)
    """(nanoseconds, frames received, operations done) of the last order, as it went."""

    async def carry_out(
        self, title: str, order: Order, total: int, seconds: float = 0, *, stop: bool = False
    ) -> Report:
        """An order under a progress bar; its errors are added up. `seconds` and `stop`: see Generator.order_for."""
        self.slices, before = [], self.received
        with self.phases.phase(title, total) as moved:

            def hear(report: Report) -> None:
                self.slices.append((report.nanoseconds, self.received - before, report.done))
                moved(report.done)

            if seconds:
                report = await self.clients.order_for(order, seconds, hear, stop=stop)
            else:
                report = await self.clients.order(order, hear)
            hear(report)
        self.count(report)
        return report

    @property
    def received(self) -> int:
        """Frames that have reached the server: those that its clients sent may have been lost."""
        return self.runtime.counters(0)["rx_frames"]

    def count(self, report: Report) -> None:
        """Adds up what went wrong, and the answers."""
        self.wrongs.update({kind: getattr(report, kind) for kind in ERRORS})
        self.answers += report.answers + report.wrong
        self.again += report.again

    @property
    def errors(self) -> int:
        """Wrong, lost and doubled answers. What was lost and sent again is no error: as many answers may come again as
        the core's TCP has sent again, if its actor said no more than it was asked."""
        counters = self.runtime.counters(0)
        repeats = max(self.again - counters["retransmitted"], 0)
        said = counters["sent_bytes"] // self.payload - self.answers
        return max(self.wrongs.total() + repeats, said)

    def explain(self) -> None:
        """On standard error what the errors were, if there are any."""
        if self.errors:
            parts = [f"{kind} {count}" for kind, count in self.wrongs.items() if count]
            self.phases.warn(f"errors: {', '.join(parts) or 'answers that nobody asked for'}")

    async def open(self, count: int, rate: float = 0, first: int = 0) -> Report:
        """So many connections from number `first` on, each with its first answer."""
        return await self.carry_out("open", Order("open", count, first=first, rate=rate), count)

    async def close(self, count: int, asked: int) -> None:
        """Closes them; what is still there then is an error."""
        await self.carry_out("close", Order("close", count, asked=asked), count)
        await self.left(0)

    async def left(self, wanted: int) -> None:
        """So many connections must be live in the end; others, and those that aren't, are errors."""
        for _ in range(round(SETTLED / LOOK)):
            if self.runtime.live(0) == wanted:
                break
            await asyncio.sleep(LOOK)
        self.wrongs["left over or missing"] += abs(self.runtime.live(0) - wanted)


def _refuse(connections: int, payload: int, road: Road) -> None:
    """What `site` would refuse, before a floor is measured. LayoutError, MachineError."""
    refuse_too_much(make_layout(connections, payload, place(read_machine()).server, road=road))


@asynccontextmanager
async def site(
    connections: int, payload: int, phases: Phases, road: Road, numbers: int = 0
) -> AsyncIterator[Site]:
    """A server with room for so many connections and clients beside it, more of them in all if `numbers` says so.

    MachineError if it can't be had.
    """
    layout = make_layout(connections, payload, place(read_machine()).server, road=road)
    async with loaded(layout, payload, phases, road, max(numbers, connections)) as made:
        yield made


@asynccontextmanager
async def loaded(
    layout: Layout, payload: int, phases: Phases, road: Road = MEMORY, numbers: int = 1
) -> AsyncIterator[Site]:
    """As `site`, with a layout of one's own: one core at the end of a road, whose actor sends requests back."""
    where = place(read_machine())
    core = refuse_too_much(layout)
    phases.say(f"server on CPU {where.server}, clients on CPU {where.clients}")
    async with Runtime(layout) as runtime:
        with road.beside(runtime, numbers) as end:
            known = target_of(runtime, payload, road)
            async with Generator(end, where.clients, known) as clients:
                made = Site(runtime, clients, core, where, phases, payload)
                yield made
                made.explain()


async def connections(
    count: int, beside: int, rate: float, payload: int, phases: Phases, road: Road = MEMORY
) -> dict[str, Any]:
    """Opens them at a rate, beside others that are there already; asks all once more in random order, closes all."""
    if beside < 0:
        raise LayoutError(
            Problem("", "0 or more connections are there already", "--beside", beside)
        )
    every, taken = beside + count, huge_pages_taken()
    async with site(every, payload, phases, road) as here:
        if beside:
            await here.open(beside)
        opened = await here.open(count, rate, first=beside)
        live = here.runtime.live(0)
        again = Order("request", every, asked=1, sequence="random")
        verified = await here.carry_out("verify", again, every)
        kernel = _as_the_kernel_says(here, every, huge_pages_taken() - taken)
        await here.close(every, 2)
        return {
            "driver": road.driver,
            "opened": opened.done,
            "live": live,
            "verified": verified.done,
            "errors": here.errors,
            "connects_per_s": round(opened.done / opened.seconds),
            "state_bytes_per_connection": round(state_bytes(here.core) / every, 1),
            **kernel,
            "arena_bytes": here.core.total,
            "page_size": here.runtime.page_size,
            "beside": beside,
        }


def _as_the_kernel_says(here: Site, count: int, taken: int) -> dict[str, float | None]:
    """The same state by two other ways. None: the arena is not on hugetlb pages, or others gave some back."""
    arena, own = resident(here.runtime.workers[0].pid)
    payload = here.core.sections["buffers"] + here.core.sections["frames"]
    whole = taken + here.core.lists - payload if taken >= here.core.total else None
    return {
        "state_bytes_by_smaps": round((arena + own - payload) / count, 1),
        "state_bytes_by_huge_pages": whole and round(whole / count, 1),
    }


async def frames(
    connections: int,
    visit: Visit,
    seconds: float,
    payload: int,
    phases: Phases,
    road: Road = MEMORY,
) -> dict[str, Any]:
    """Requests over all live connections, or a hundredth of them, each at most once a round, as fast as answered."""
    count = max(connections // HOT, 1) if visit == "hot" else connections
    order = Order(
        "request", count, asked=1, rounds=0, sequence="robin" if visit == "robin" else "random"
    )
    _refuse(connections, payload, road)
    most = await _ceiling(payload, phases, replace(order, asked=0), road)
    async with site(connections, payload, phases, road) as here:
        await here.open(connections)
        await here.carry_out("requests", order, 0, seconds)
        await here.left(connections)
        rate = _rate([(now, frames) for now, frames, _ in here.slices])
        return {
            "driver": road.driver,
            "connections": connections,
            "order": visit,
            "frames_per_s": round(rate),
            "cycles_per_frame": round(cycles_per_second() / rate, 1),
            "ceiling_frames_per_s": most,
            "errors": here.errors,
        }


async def churn(
    connections: int,
    lives: int,
    closer: Closer,
    payload: int,
    phases: Phases,
    road: Road = MEMORY,
) -> dict[str, Any]:
    """Open, ask, answer, close, so many times, beside so many connections that stay."""
    kind: Kind = "life" if closer == "client" else "served"
    room = connections + 2 * road.flight
    async with site(room, payload, phases, road, connections + lives) as here:
        if connections:
            await here.open(connections)
        if closer == "server":
            await here.runtime.configure("load", closes=1)
        report = await here.carry_out("lives", Order(kind, lives, first=connections), lives)
        await here.left(connections)
        counts = [(now, done) for now, _, done in here.slices]
        return {
            "driver": road.driver,
            "lives_per_s": round(_rate([*counts, (report.nanoseconds, report.done)])),
            "errors": here.errors,
            "closer": closer,
            "time_wait_recycled": here.runtime.counters(0)["time_wait_recycled"],
        }


async def latency(
    connections: int,
    load: float,
    seconds: float,
    payload: int,
    phases: Phases,
    road: Road = MEMORY,
) -> dict[str, Any]:
    """Requests at a rate, timed from when each was due; and how often the CPU stands still by itself."""
    _refuse(connections, payload, road)
    gaps = await _gaps(seconds, phases)
    async with site(connections, payload, phases, road) as here:
        await here.open(connections)
        order = Order("request", connections, asked=1, rounds=0, rate=load, sequence="random")
        total = round(load * seconds)
        report = await here.carry_out("requests", order, total, seconds, stop=True)
        await here.left(connections)
        middle = report.quantile(0.5)
        return {
            "driver": road.driver,
            "load": round(report.done / report.seconds),
            "p50_us": middle,
            "p99_us": report.quantile(0.99),
            "p999_us": report.quantile(0.999),
            "stalls_over_10us": report.slower(middle + GAP),
            "spin_gaps_over_10us": gaps,
            "errors": here.errors,
        }


async def _ceiling(payload: int, phases: Phases, order: Order, road: Road) -> int:
    """Frames a second that reach an empty echo in the server's place."""
    where = place(read_machine())
    with phases.phase("ceiling", 0), road.bare(order.count) as (server, clients):
        known = target(payload, road, road.flight)
        async with (
            Generator(server, where.server) as mirror,
            Generator(clients, where.clients, known) as load,
        ):
            before = await mirror.mirrored()
            report = await load.order_for(order, CEILING, stop=True)
            return round((await mirror.mirrored() - before) / report.seconds)


async def _gaps(seconds: float, phases: Phases) -> int:
    """How often a loop that only reads the clock stands still on the server's CPU."""
    with phases.phase("gaps of an empty loop", 0), MEMORY.bare(1) as (end, _):
        async with Generator(end, place(read_machine()).server) as alone:
            return await alone.spin_gaps(seconds, GAP)


def _rate(counts: list[tuple[int, int]]) -> float:
    """The median of the seconds' own rates, from (nanoseconds, how many by then)."""
    rates, (began, before) = [], (0, 0)
    for now, count in counts:
        if now - began >= 1e9:
            rates.append((count - before) * 1e9 / (now - began))
            began, before = now, count
    if not rates:
        now, count = counts[-1]
        return count * 1e9 / now
    return statistics.median(rates)


def cycles_per_second() -> float:
    """The CPU's nominal frequency, at which its time-stamp counter runs; 0.0 where it isn't said."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("cpu MHz"):
            return float(line.partition(":")[2]) * 1e6
    return 0.0
