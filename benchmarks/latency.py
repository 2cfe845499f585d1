"""How long an answer takes as the load grows, from a tenth to nine tenths of the most that one core answers.

`python latency.py --json` prints one object, made of what `splitplane bench` prints: the most, of `bench frames` over
100 000 connections in random order (a request and its acknowledgement are two frames), then `bench latency` at parts of
it. Each request is timed from when it was due, so that a stall shows in all that it delayed. The floor is how often a
loop that only reads the clock stood still on the same CPU for as long. Two CPUs, 8 minutes.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

from frames import bench
from ring import cpu_name

CONNECTIONS = 100_000
PARTS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9)
SECONDS = 30.0


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="3 seconds each")
    options = parser.parse_args()
    live = ("--connections", str(CONNECTIONS))
    seconds = ("--seconds", str(3.0 if options.quick else SECONDS))
    most = bench("frames", *live, *seconds)["frames_per_s"] / 2
    found = {
        str(part): bench("latency", *live, *seconds, "--rate", str(round(most * part)))
        for part in PARTS
    }
    result: dict[str, Any] = {
        "machine": {"cpu": cpu_name()},
        "setting": f"{CONNECTIONS} connections in random order, 64 B requests, memory wire, {seconds[1]} s each",
        "floor": {
            f"spin_gaps_over_10us_at_{part}": one["spin_gaps_over_10us"]
            for part, one in found.items()
        },
        "ratios": {"p99_at_0.9_vs_0.1": found["0.9"]["p99_us"] / found["0.1"]["p99_us"]},
        "most_requests_per_s": round(most),
        "by_part_of_the_most": found,
    }
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
