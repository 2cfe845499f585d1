"""How long one turn of a core takes while a million timers a second expire on its connections, half of them TCP's.

`python turns.py --json` prints one object. On one CPU a core with our TCP over a memory wire, 2 MiB pages; on another,
clients who acknowledge a random half of what they are sent. Each connection's application timer sends 64 B; whatever is
not acknowledged runs into the retransmission timer, backs off and goes again. Every turn that finds work is timed, from
one look at the clock to the next: input of up to 32 frames, timers with their handlers, output. The handler is written
in C; handlers.py shows what a compiled one costs beside it. The floor is a loop that only reads the clock, on the same
CPU for the same time: what the machine itself does. `tx_full_per_s` should be next to nothing: a clients' CPU that other
programs use leaves the wire full, and connections then wait for it a millisecond at a time. Two CPUs, 5 GB.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

from programs import figures, program
from ring import cpu_name

SIZES = (1_000_000, 10_000_000)
SECONDS = 30
APPLICATION_RATE = 540_000
"""Application timers a second; as many messages, each sent again once on average, make a million timers of both."""


def measure(made: Path, connections: int, seconds: int) -> dict[str, float]:
    """What the program prints."""
    cpus = sorted(os.sched_getaffinity(0))
    period = connections * 1000 // APPLICATION_RATE
    command = [made, cpus[-1], cpus[0], connections, period, seconds]
    return {name: values[0] for name, values in figures(command, 4 * seconds + 120).items()}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="the smaller size only, for 5 seconds")
    options = parser.parse_args()
    sizes, seconds = (SIZES[:1], 5) if options.quick else (SIZES, SECONDS)
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two CPUs are needed: one for the core, one for its clients")
    with tempfile.TemporaryDirectory() as folder:
        _, made = program(Path(folder), "turns")
        found = {size: measure(made, size, seconds) for size in sizes}
    result: dict[str, Any] = {
        "machine": {"cpu": cpu_name()},
        "setting": f"memory wire of 1024 frames, 2 MiB pages, connections in random order, {seconds} s each",
        "floor": {
            f"{name}_at_{size}": value
            for size, one in found.items()
            for name, value in one.items()
            if name.startswith("spin_")
        },
        "ratios": {
            f"over_10us_vs_spin_at_{size}": one["turn_over_10us_per_s"]
            / max(one["spin_over_10us_per_s"], 1 / seconds)
            for size, one in found.items()
        },
        "turns": {
            str(size): {name: value for name, value in one.items() if not name.startswith("spin_")}
            | {"timers_per_s": one["application_timers_per_s"] + one["retransmission_timers_per_s"]}
            for size, one in found.items()
        },
    }
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
