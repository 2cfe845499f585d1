"""TCP over bad wires on a virtual clock: every byte arrives once and in order, every connection closes, nothing leaks."""

import random

import pytest
from simulation import SECOND, Simulation
from splitplane.nic.faults import FaultPlan

MILLISECOND = 1_000_000


def transfer(
    simulation: Simulation, sizes: tuple[int, int], seed: int, chunk: int = 20_000
) -> float:
    """Sends so many bytes each way, checks them, closes; returns the virtual seconds of the transfer."""
    dice = random.Random(seed)
    left, right = simulation.connect()
    started = simulation.now
    ends = (left, right)
    data = [dice.randbytes(size) for size in sizes]
    given = [0, 0]

    def arrived() -> bool:
        for side, end in enumerate(ends):
            if given[side] < sizes[side] and end.unsent < chunk:
                size = dice.randint(1, chunk)
                end.send(data[side][given[side] : given[side] + size])
                given[side] += size
        return (left.length >= sizes[1]) & (right.length >= sizes[0])  # both take what is there

    assert simulation.until(arrived, 3600), (left.length, right.length, left.reason, right.reason)
    seconds = (simulation.now - started) / SECOND
    assert left.received == data[1]
    assert right.received == data[0]
    dice.choice(ends).close()
    assert simulation.until(lambda: left.closed and right.closed, 300)
    assert simulation.until(
        lambda: not any(p.core.pointer.state.live for p in simulation.peers), 300
    )
    assert left.received == data[1]
    assert right.received == data[0]
    return seconds


FAULTS = {
    "clean": FaultPlan(),
    "loss 1 %": FaultPlan(loss=0.01, delay=MILLISECOND),
    "loss 10 %": FaultPlan(loss=0.1, delay=MILLISECOND),
    "loss 30 %": FaultPlan(loss=0.3, delay=MILLISECOND),
    "duplicates": FaultPlan(duplicate=0.3, delay=MILLISECOND),
    "reordered": FaultPlan(reorder=0.1, delay=MILLISECOND, reorder_delay=3 * MILLISECOND),
    "damaged": FaultPlan(corrupt=0.05, delay=MILLISECOND),
    "jitter": FaultPlan(delay=MILLISECOND, jitter=80 * MILLISECOND),
    "everything": FaultPlan(
        loss=0.05,
        duplicate=0.05,
        reorder=0.05,
        corrupt=0.02,
        delay=5 * MILLISECOND,
        jitter=10 * MILLISECOND,
        reorder_delay=20 * MILLISECOND,
    ),
}


@pytest.mark.parametrize("room", [3000, 65536, 1 << 18], ids=lambda room: f"room{room}")
@pytest.mark.parametrize("faults", FAULTS)
def test_bytes_survive_the_wire(faults: str, room: int) -> None:
    """Whatever the wire does, and however small the windows, both directions arrive whole and everything is freed."""
    size = 40_000 if "30" in faults else 150_000
    with Simulation(FAULTS[faults], room=room) as simulation:
        transfer(simulation, (size, size // 2), seed=room)
        simulation.assert_nothing_left()
