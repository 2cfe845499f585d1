"""How fast two of our TCPs are over bad wires, on a virtual clock: a table kept beside this file.

A change of behaviour shows as a change of the table; `SPLITPLANE_SNAPSHOT=write` in the environment renews it.
"""

import json
import os
import random
from pathlib import Path

from simulation import SECOND, Simulation
from splitplane.nic.faults import FaultPlan

TABLE = Path(__file__).with_name("throughput.json")
MILLISECOND = 1_000_000
BYTES = 400_000
LOSS = (0.0, 0.001, 0.01, 0.05)
REORDER = (0.0, 0.01)
ROOM = (16 << 10, 64 << 10, 256 << 10)


def kilobytes_per_second(loss: float, reorder: float, room: int) -> float:
    """One way, 10 ms of delay each way, so at most `room` bytes every 20 ms."""
    plan = FaultPlan(
        seed=5,
        loss=loss,
        reorder=reorder,
        delay=10 * MILLISECOND,
        reorder_delay=2 * MILLISECOND,
    )
    data = random.Random(1).randbytes(BYTES)
    with Simulation(plan, room=room) as simulation:
        left, right = simulation.connect()
        started = simulation.now
        left.send(data)
        assert simulation.until(lambda: right.length == BYTES, 3600)
        assert right.received == data
        return round(BYTES / ((simulation.now - started) / SECOND) / 1000, 1)


def test_throughput_is_what_it_was() -> None:
    """Loss × reordering × window: kilobytes a virtual second, the same on every machine."""
    table = {
        f"loss {loss:.1%}, reordered {reorder:.0%}, room {room >> 10} KiB": kilobytes_per_second(
            loss, reorder, room
        )
        for loss in LOSS
        for reorder in REORDER
        for room in ROOM
    }
    if os.environ.get("SPLITPLANE_SNAPSHOT") == "write":
        TABLE.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n")
    assert table == json.loads(TABLE.read_text())


def test_larger_windows_and_better_wires_are_faster() -> None:
    """The table makes sense: on a clean wire the window rules, and no loss is better than some."""
    table = json.loads(TABLE.read_text())
    clean = [table[f"loss 0.0%, reordered 0%, room {room >> 10} KiB"] for room in ROOM]
    assert clean == sorted(clean)
    assert clean[0] > 0.7 * (16 << 10) / 0.020 / 1000
    for room in ROOM:
        losses = [table[f"loss {loss:.1%}, reordered 0%, room {room >> 10} KiB"] for loss in LOSS]
        assert losses[0] == max(losses)
