"""The wheel: every deadline fires once, on its tick, whatever was set, moved or cleared before, across 2^32."""

from collections.abc import Iterator
from typing import Any

import pytest
from bare import Bare
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from splitplane.dataplane.native import ffi, lib

RECORDS = 6
WHICH = ("TIMER_TRANSPORT", "TIMER_APPLICATION")
near = st.integers(1, 600)
far = st.one_of(st.integers(500, 140_000), st.integers(65_000, 9_000_000), st.just(2**31 - 1))
starts = st.sampled_from(
    [1, 1000, 2**31 - 5, 2**32 - 3, 2**32 - 700, 2**32 - 70_000, 2**32 - 9 * 10**6]
)


class Wheel:
    """A bare core whose transport and only actor note what fires: `fired` is (record, which, tick)."""

    def __init__(self, start: int = 1000, records: int = RECORDS, **sizes: int) -> None:
        self.bare = Bare(connections=records, **sizes)
        self.fired: list[tuple[int, int, int]] = []
        self._prepare()
        self.at = start
        self.clock(0)
        self.records = [self.bare.take() for _ in range(records)]

    def _prepare(self) -> None:
        core = self.bare.core

        @ffi.callback("void(struct core *, uint32_t)")
        def transport(_core: object, index: int) -> None:
            self.fire(index, lib.TIMER_TRANSPORT)

        @ffi.callback("void(struct call *)")
        def application(call: Any) -> None:
            self.fire(call.record - self.bare.core.records, lib.TIMER_APPLICATION)
            call.ok = 1

        self._transport = ffi.new("struct transport *", {"timer": transport})
        self._entries = (transport, application)
        core.transport = self._transport
        actor = lib.core_listen(core, 0, -1)
        actor.reporting[lib.ON_TIMER] = application
        actor.quiet[lib.ON_TIMER] = application

    def fire(self, index: int, which: int) -> None:
        self.fired.append((index, which, self.bare.core.tick))

    def clock(self, ticks: int) -> None:
        self.at += ticks
        lib.core_clock(self.bare.core, self.at * 1_000_000)

    @property
    def tick(self) -> int:
        return int(self.bare.core.tick)

    def set(self, index: int, which: int, after: int) -> int:
        deadline = (self.tick + after) % 2**32 or 1
        lib.timer_set(self.bare.core, index, which, deadline)
        return deadline

    def poll(self) -> int:
        """Until nothing is found, or, with too few chunks, until every record was swept twice."""
        looked = sweeps = 0
        while (found := lib.timer_poll(self.bare.core, lib.TIMER_BUDGET)) and sweeps < 6:
            looked += found
            sweeps += bool(self.bare.state.wheel_missed)
        return looked

    def advance(self, ticks: int) -> None:
        """As the loop does when idle: sleeps until something may expire, polls, goes on."""
        while ticks:
            step = max(lib.timer_next(self.bare.core, ticks), 1)
            self.clock(step)
            ticks -= step
            self.poll()

    def adopt(self) -> None:
        self.bare = self.bare.adopted()
        self._prepare()
        self.clock(0)

    def close(self) -> None:
        self.bare.close()


@pytest.fixture
def wheel() -> Iterator[Wheel]:
    made = Wheel()
    yield made
    made.close()


class WheelMachine(RuleBasedStateMachine):
    """Against a dict of deadlines, on the whole ticks of a virtual clock."""

    @initialize(start=starts, chunks=st.sampled_from([0, 1, 3]))
    def open(self, start: int, chunks: int) -> None:
        self.wheel = Wheel(start)
        if chunks:
            self.wheel.bare.core.timer_chunks = chunks
        self.starved = bool(chunks)
        self.model: dict[tuple[int, int], int] = {}

    @rule(index=st.integers(1, RECORDS), which=st.integers(0, 1), after=st.one_of(near, far))
    def set(self, index: int, which: int, after: int) -> None:
        """Set, earlier or later than before."""
        self.wheel.set(index, which, after)
        self.model[index, which] = self.wheel.at + after + ((self.wheel.tick + after) % 2**32 == 0)

    @rule(index=st.integers(1, RECORDS), which=st.integers(0, 1))
    def clear(self, index: int, which: int) -> None:
        """Cleared, it never fires."""
        lib.timer_clear(self.wheel.bare.core, index, which)
        self.model.pop((index, which), None)

    @rule(index=st.integers(1, RECORDS))
    def reuse(self, index: int) -> None:
        """A record freed and taken again inherits no deadline."""
        lib.record_free(self.wheel.bare.core, index)
        assert self.wheel.bare.take() == index
        for which in (0, 1):
            self.model.pop((index, which), None)

    @rule(index=st.integers(1, RECORDS))
    def hold(self, index: int) -> None:
        """A record takes a busy block, perhaps one that another's deadlines left in the wheel."""
        lib.busy_take(self.wheel.bare.core, index)

    @rule(index=st.integers(1, RECORDS))
    def let_go(self, index: int) -> None:
        """Its block gone, a record keeps its deadlines."""
        lib.busy_discard(self.wheel.bare.core, index)

    @rule()
    def adopt(self) -> None:
        """Another worker's wheel fires the same."""
        chunks = self.wheel.bare.core.timer_chunks
        self.wheel.adopt()
        self.wheel.bare.core.timer_chunks = chunks

    @rule(ticks=st.one_of(near, far))
    def advance(self, ticks: int) -> None:
        """What is due fires, each on its own tick, and nothing else does."""
        if self.starved:
            ticks = min(ticks, 600)  # such a wheel sleeps a tick at a time
        end = self.wheel.at + ticks
        self.wheel.fired.clear()
        self.wheel.advance(ticks)
        due = {key: tick for key, tick in self.model.items() if tick <= end}
        fired = {(index, which): tick for index, which, tick in self.wheel.fired}
        assert len(fired) == len(self.wheel.fired)
        assert fired.keys() == due.keys()
        for key, tick in due.items():
            assert fired[key] == (tick % 2**32 or 1), "on its tick"
            del self.model[key]

    @rule(ticks=st.one_of(near, far))
    def jump(self, ticks: int) -> None:
        """A clock that leaps fires everything due, late but complete."""
        self.wheel.fired.clear()
        self.wheel.clock(ticks)
        self.wheel.poll()
        due = {key for key, tick in self.model.items() if tick <= self.wheel.at}
        assert sorted((index, which) for index, which, _ in self.wheel.fired) == sorted(due)
        for key in due:
            del self.model[key]

    def teardown(self) -> None:
        if hasattr(self, "wheel"):
            self.wheel.close()


TestWheel = WheelMachine.TestCase
TestWheel.settings = settings(max_examples=60, stateful_step_count=30)


def test_a_turn_looks_at_no_more_than_its_budget() -> None:
    """10 000 entries on one tick, all cleared: each poll looks at the budget at most, rounded up to a piece."""
    wheel = Wheel(records=10_000)
    for index in wheel.records:
        wheel.set(index, lib.TIMER_TRANSPORT, 7)
        lib.timer_clear(wheel.bare.core, index, lib.TIMER_TRANSPORT)
    wheel.clock(7)
    looked = []
    while found := lib.timer_poll(wheel.bare.core, lib.TIMER_BUDGET):
        looked.append(found)
    assert max(looked) <= lib.TIMER_BUDGET + 7
    assert sum(looked) == 10_000
    assert not wheel.fired
    wheel.close()


def test_a_turn_fires_few() -> None:
    """10 000 deadlines on one tick: each poll fires few, so that a turn stays short whatever handlers do; all fire."""
    wheel = Wheel(records=10_000)
    for index in wheel.records:
        wheel.set(index, lib.TIMER_TRANSPORT, 7)
    wheel.clock(7)
    before = 0
    while lib.timer_poll(wheel.bare.core, lib.TIMER_BUDGET):
        assert len(wheel.fired) - before <= lib.TIMER_FIRES + 7
        before = len(wheel.fired)
    assert len({index for index, _, _ in wheel.fired}) == len(wheel.fired) == 10_000
    wheel.close()


def test_entries_do_not_pile_up(wheel: Wheel) -> None:
    """A connection whose next deadline is now near, now far, thousands of times, keeps a handful of entries.

    An hour's idle time and a delayed ACK is such a connection: an entry left behind at each turn would fill the wheel.
    """
    index = wheel.records[0]
    most = 0
    for _ in range(3000):
        wheel.set(index, lib.TIMER_APPLICATION, 3_600_000)
        wheel.set(index, lib.TIMER_TRANSPORT, 1000)
        wheel.advance(5)
        wheel.set(index, lib.TIMER_TRANSPORT, 40)
        wheel.advance(45)
        most = max(most, wheel.bare.state.wheel_entries)
    assert most <= 6
    assert len(wheel.fired) == 3000


def test_later_and_cleared_only_store(wheel: Wheel) -> None:
    """Moving a deadline away, or clearing it, adds no entry."""
    index = wheel.records[0]
    wheel.set(index, lib.TIMER_TRANSPORT, 100)
    for after in range(101, 1000):
        wheel.set(index, lib.TIMER_TRANSPORT, after)
    lib.timer_clear(wheel.bare.core, index, lib.TIMER_TRANSPORT)
    assert wheel.bare.state.wheel_entries == 1
    wheel.advance(2000)
    assert wheel.fired == []
    assert wheel.bare.state.wheel_entries == 0


def test_blocks_keep_their_entries_for_the_next(wheel: Wheel) -> None:
    """A thousand connections in turn, each with a request answered in time: one entry serves them all.

    An entry for each would be looked at, and its record fetched from memory for it, when nothing is left to do.
    """
    core, state = wheel.bare.core, wheel.bare.state
    for request in range(1000):
        index = wheel.records[request % RECORDS]
        lib.busy_take(core, index)
        wheel.set(index, lib.TIMER_TRANSPORT, 200)
        lib.timer_clear(core, index, lib.TIMER_TRANSPORT)
        lib.busy_discard(core, index)
        assert not core.records[index].queued
    assert state.wheel_entries == 1
    wheel.advance(199)
    assert state.wheel_entries == 1
    wheel.advance(1)
    assert state.wheel_entries == 0
    assert wheel.fired == []


def test_a_block_entry_finds_its_owner_of_today(wheel: Wheel) -> None:
    """The entry that one connection's deadline left serves another's, which fires on its own tick."""
    core = wheel.bare.core
    first, second = wheel.records[:2]
    lib.busy_take(core, first)
    wheel.set(first, lib.TIMER_TRANSPORT, 10)
    lib.timer_clear(core, first, lib.TIMER_TRANSPORT)
    lib.busy_discard(core, first)
    lib.busy_take(core, second)
    wheel.set(second, lib.TIMER_TRANSPORT, 300)
    wheel.advance(400)
    assert wheel.fired == [(second, lib.TIMER_TRANSPORT, 1300)]


def test_a_callback_may_set_clear_and_free(wheel: Wheel) -> None:
    """A callback's own doing counts: a deadline set anew fires anew, that of a freed record doesn't."""
    first, second = wheel.records[:2]
    core = wheel.bare.core

    def fire(index: int, which: int) -> None:
        Wheel.fire(wheel, index, which)
        if index == second:
            lib.record_free(core, index)
        elif len(wheel.fired) < 4:
            wheel.set(index, which, 10)

    wheel.fire = fire  # type: ignore[method-assign]
    wheel.set(first, lib.TIMER_TRANSPORT, 10)
    wheel.set(second, lib.TIMER_TRANSPORT, 15)
    wheel.set(second, lib.TIMER_APPLICATION, 15)
    wheel.advance(100)
    assert [(index, tick - 1000) for index, _, tick in wheel.fired] == [
        (first, 10),
        (second, 15),
        (first, 20),
        (first, 30),
    ]


def test_next_is_when_something_may_expire(wheel: Wheel) -> None:
    """timer_next never oversleeps a deadline, and says `most` when there is none."""
    core = wheel.bare.core
    assert lib.timer_next(core, 50) == 50
    wheel.set(wheel.records[0], lib.TIMER_TRANSPORT, 30)
    assert lib.timer_next(core, 50) == 30
    assert lib.timer_next(core, 10) == 10
    wheel.clock(30)
    assert lib.timer_next(core, 50) == 0


def test_a_deadline_firing_at_the_kill_fires_again(wheel: Wheel) -> None:
    """A worker that dies in a timer's callback leaves its deadline to the next worker, soon."""
    index = wheel.records[0]
    for which in (lib.TIMER_TRANSPORT, lib.TIMER_APPLICATION):
        wheel.bare.state.firing = index | which << 24
        wheel.fired.clear()
        wheel.adopt()
        wheel.advance(3)
        assert [(i, w) for i, w, _ in wheel.fired] == [(index, which)]
        assert wheel.bare.state.firing == 0


def test_a_missed_deadline_is_not_covered_by_a_later_one(wheel: Wheel) -> None:
    """A deadline for which no chunk was left fires, also when another, farther one is set right after."""
    wheel.bare.core.timer_chunks = 1
    index = wheel.records[0]
    wheel.set(index, lib.TIMER_TRANSPORT, 2)
    wheel.set(index, lib.TIMER_TRANSPORT, 1)
    wheel.set(index, lib.TIMER_APPLICATION, 2**31 - 1)
    wheel.clock(1)
    wheel.poll()
    assert wheel.fired == [(index, lib.TIMER_TRANSPORT, 1001)]
