"""When a worker counts as stuck."""

from hypothesis import given
from hypothesis import strategies as st
from splitplane.runtime.stall import StallWatch
from splitplane.runtime.system import ProcessStatus


class Machine:
    """One process on a virtual clock."""

    def __init__(self, limit: int) -> None:
        self.cpu = 0
        self.now = 0.0
        self.state = "R"
        self.watch = StallWatch(
            limit,
            cpu_time=lambda _: self.cpu,
            clock=lambda: self.now,
            status=lambda _: ProcessStatus("x", self.state, 1, 1),
        )
        self.watch.start(7)

    def pass_time(self, wall: float, cpu: float) -> None:
        self.now += wall
        self.cpu += int(cpu * 1e9)


@given(st.lists(st.tuples(st.booleans(), st.floats(0.001, 0.5), st.floats(0, 1)), max_size=60))
def test_stuck_is_who_burns_the_limit_without_a_turn(
    steps: list[tuple[bool, float, float]],
) -> None:
    """A runnable worker is stuck exactly when the CPU time since its last turn was seen reaches the limit."""
    machine = Machine(limit=100)
    heartbeat, burnt = 0, 0
    machine.watch.look(heartbeat)
    for turned, wall, share in steps:
        before = machine.cpu
        machine.pass_time(wall, wall * share)
        heartbeat += turned
        burnt = 0 if turned else burnt + machine.cpu - before
        assert bool(machine.watch.look(heartbeat)) == (burnt >= 100_000_000)


def test_starved_worker_is_left_alone() -> None:
    """Minutes without a turn and without CPU time, runnable: it waits for its CPU and isn't stuck."""
    machine = Machine(limit=50)
    machine.watch.look(1)
    for _ in range(600):
        machine.pass_time(0.1, 0)
        assert machine.watch.look(1) == ""


def test_stopped_or_blocked_worker_is_given_up() -> None:
    """SIGSTOP or a system call that doesn't return: given up after a wall-clock wait; a debugger's stop is not."""
    for state, words in (("T", "stopped by a signal"), ("S", "blocked in a system call")):
        machine = Machine(limit=50)
        machine.state = state
        machine.watch.look(1)
        machine.pass_time(0.5, 0)
        assert machine.watch.look(1) == ""
        machine.pass_time(0.6, 0)
        assert words in machine.watch.look(1)
    machine = Machine(limit=50)
    machine.state = "t"
    machine.watch.look(1)
    machine.pass_time(60, 0)
    assert machine.watch.look(1) == ""


def test_no_worker_is_never_stuck() -> None:
    """Between two workers nothing is judged, and a new worker begins with nothing burnt."""
    machine = Machine(limit=50)
    machine.watch.look(1)
    machine.pass_time(1, 1)
    machine.watch.stop()
    assert machine.watch.look(1) == ""
    machine.watch.start(8)
    assert machine.watch.look(1) == ""
