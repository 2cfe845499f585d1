"""TCP over bad wires on a virtual clock: every byte arrives once and in order, every connection closes, nothing leaks."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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


def crowd(simulation: Simulation, count: int, size: int, seed: int) -> None:
    """So many connections at once, each with bytes both ways, each closed by one side, the other, or both at once."""
    dice = random.Random(seed)
    pairs = [simulation.connect() for _ in range(count)]
    data = [(dice.randbytes(dice.randint(0, size)), dice.randbytes(size)) for _ in pairs]
    for (left, right), (down, up) in zip(pairs, data, strict=True):
        left.send(down)
        right.send(up)

    def arrived() -> bool:
        lengths = [(left.length, right.length) for left, right in pairs]
        return lengths == [(len(up), len(down)) for down, up in data]

    assert simulation.until(arrived, 3600)
    for (left, right), (down, up) in zip(pairs, data, strict=True):
        assert (left.received, right.received) == (up, down)
        for end in dice.choice([(left,), (right,), (left, right)]):
            end.close()
    everyone = [end for pair in pairs for end in pair]
    assert simulation.until(lambda: all(end.closed for end in everyone), 600)
    assert {end.reason for end in everyone} <= {"local", "peer"}


@pytest.mark.parametrize("seed", range(4))
def test_many_connections_share_a_bad_wire(seed: int) -> None:
    """Thirty connections at once, bytes both ways, closed from either side or both at once: all whole, nothing left."""
    plan = FaultPlan(
        seed=seed,
        loss=0.02,
        duplicate=0.02,
        reorder=0.02,
        delay=2 * MILLISECOND,
        jitter=MILLISECOND,
    )
    with Simulation(plan, connections=40, room=20_000) as simulation:
        crowd(simulation, 30, 8000, seed)
        simulation.assert_nothing_left()


@pytest.mark.parametrize("seed", range(4))
def test_too_little_memory_is_slow_but_never_stuck(seed: int) -> None:
    """With a twentieth of the buffers that all would like, each connection comes through whole or is reset by the
    relief of a shortage; nobody waits for ever, and nothing is left."""
    plan = FaultPlan(seed=seed, delay=MILLISECOND)
    data = random.Random(seed).randbytes(30_000)
    with Simulation(plan, connections=24, room=30_000, buffers=1 << 16) as simulation:
        pairs = [simulation.connect() for _ in range(20)]
        for left, right in pairs:
            left.send(data)
            right.send(data)

        def settled() -> bool:
            for left, right in pairs:
                if left.length == right.length == len(data) and not left.closed:
                    left.close()
            return all(end.closed for pair in pairs for end in pair)

        assert simulation.until(settled, 600)
        whole = [(left, right) for left, right in pairs if right.reason == "peer"]
        assert all(left.received == right.received == data for left, right in whole)
        assert len(whole) >= 5
        simulation.assert_nothing_left()


def test_aborts_in_the_midst_free_everything() -> None:
    """Connections aborted by either side while bytes fly leave nothing behind."""
    dice = random.Random(3)
    with Simulation(FaultPlan(loss=0.05, delay=MILLISECOND), connections=40) as simulation:
        pairs = [simulation.connect() for _ in range(30)]
        for pair in pairs:
            dice.choice(pair).send(dice.randbytes(50_000))
        for pair in pairs:
            simulation.step()
            dice.choice(pair).abort()
        everyone = [end for pair in pairs for end in pair]
        for end in everyone:
            if not end.closed:
                end.send(b"is anyone there?")  # a reset may have been lost: asking finds out
        assert simulation.until(lambda: all(end.closed for end in everyone), 1200)
        simulation.assert_nothing_left()


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(1, 40_000), st.sampled_from([0, 0, 1, 30, 100, 1000])),
        max_size=15,
    ),
    st.sampled_from([0, 1, 40]),
    st.sampled_from([600, 5000, 65536]),
)
def test_a_clean_wire_needs_no_second_try(
    steps: list[tuple[bool, int, int]], delay: int, room: int
) -> None:
    """Whatever is said by whom at what pace: nothing is sent twice, nothing is dropped, no timer of last resort fires."""
    plan = FaultPlan(delay=delay * MILLISECOND)
    with Simulation(plan, room=room) as simulation:
        pair = simulation.connect()
        expected = [0, 0]
        for side, size, pause in steps:
            pair[side].send(b"x" * size)
            expected[1 - side] += size
            simulation.until(lambda: [end.take() for end in pair] == [], pause / 1000)
        assert simulation.until(lambda: [end.length for end in pair] == expected, 600)
        pair[0].close()
        assert simulation.until(lambda: all(end.closed for end in pair), 100)
        for peer in simulation.peers:
            counters = peer.counters()
            assert counters["retransmitted"] == counters["timeouts"] == 0
            assert {n: v for n, v in counters.items() if n.startswith("drop_") and v} == {}
            assert room < 5000 or counters["zero_window_probes"] == 0
