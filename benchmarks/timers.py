"""What a deadline costs with many armed: our wheel against the textbook's cascading wheel of linked lists, a binary heap
and DPDK's rte_timer, in the same rounds.

`python timers.py --json` prints one object. One pinned thread, 2 MiB pages, records of 128 B in random order, asked for
in bursts of 32. All are armed, due within 10 s; of a sample some are re-armed later than they were, re-armed anywhere,
and cancelled; then a clock of milliseconds runs and all run out, each on its very tick, at most 15 in a poll.
rte_timer has neither a budget nor another's clock: all of its run out in one call, and being slow it is measured once,
with a twentieth of the sample. `ratios` are of medians at the largest size. The floor does nothing with the record but
read and write a line of it. Needs libdpdk-dev, pkg-config, a C compiler and 5 GB.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

from programs import figures, medians, program
from ring import cpu_name

SIZES = (1_000_000, 10_000_000)
ROUNDS = 3
PEERS = ("list", "heap", "dpdk")
OPERATIONS = ("arm", "later", "either", "cancel", "expire")
POLLS = ("poll_p50", "poll_p99", "poll_most")


def shown(found: dict[str, float]) -> dict[str, dict[str, float]]:
    """By operation and candidate: nanoseconds an operation, microseconds a poll."""
    candidates = ("ours", *PEERS)
    result = {
        operation: {name: found[f"{operation}_{name}"] for name in candidates}
        for operation in OPERATIONS
    }
    polls = {
        f"{poll}_us": {name: found[f"{poll}_{name}"] / 1000 for name in candidates}
        for poll in POLLS
    }
    return result | polls


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="one round, the smaller size only")
    options = parser.parse_args()
    cpu = max(os.sched_getaffinity(0))
    sizes, rounds = (SIZES[:1], 1) if options.quick else (SIZES, ROUNDS)
    with tempfile.TemporaryDirectory() as folder:
        version, made = program(Path(folder), "timers", "timers_peers")
        found = {size: medians(figures([made, cpu, size, rounds], 540)) for size in sizes}
    largest = found[sizes[-1]]
    result: dict[str, Any] = {
        "machine": {"cpu": cpu_name(), "cpu_number": cpu, "dpdk": version},
        "setting": f"one pinned thread, 2 MiB pages, random order, bursts of 32; medians of {rounds} interleaved "
        "rounds; ns an operation, or microseconds a poll",
        "floor": {
            f"{operation}_at_{size}": parts[f"{operation}_floor"]
            for size, parts in found.items()
            for operation in ("arm", "expire", "poll_p99", "poll_most")
        },
        "ratios": {
            f"{operation}_vs_{peer}": largest[f"{operation}_{peer}"] / largest[f"{operation}_ours"]
            for operation in (*OPERATIONS, "poll_p99", "poll_most")
            for peer in PEERS
            if peer != "dpdk" or not operation.startswith("poll")
        },
        "nanoseconds": {str(size): shown(parts) for size, parts in found.items()},
    }
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
