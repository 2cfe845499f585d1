"""Ten million connections on one core: opened, asked in random order, closed, and what a frame costs as they grow more.

`python frames.py --json` prints one object, made of what `splitplane bench` prints: requests of 64 B over 10 000 to 10
million live connections, each frame an Ethernet, IPv4 and TCP frame whole, checksums made and checked at both ends,
every answer checked byte by byte and acknowledged. The ceiling beside is the same clients against an empty echo. Each
figure is the median of 30 seconds or more; those of the largest two sizes, and the opening of ten million at a million
a second, are medians of turns. `cost_10m_vs_1m` is the median of the turns' own ratios. Two CPUs, 3 GB, 15 minutes.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

from ring import cpu_name

SMALL = (10_000, 100_000)
LARGE = (1_000_000, 10_000_000)
TURNS = 3
SECONDS = 30.0


def bench(*words: str) -> dict[str, Any]:
    """One measurement of `splitplane bench`. Exits with its words when it fails or saw an error."""
    code = "import sys; from splitplane.controlplane.command import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "bench", *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.stdout}{done.stderr}")
    return dict(json.loads(done.stdout))


def frames(connections: int, seconds: float, order: str = "random") -> dict[str, Any]:
    """One measurement of frames."""
    options = ("--connections", str(connections), "--order", order, "--seconds", str(seconds))
    return bench("frames", *options)


def by_size(turns: int, seconds: float) -> dict[int, list[dict[str, Any]]]:
    """Each size's measurements; the large sizes take turns."""
    found = {size: [frames(size, seconds)] for size in SMALL}
    found |= {size: [] for size in LARGE}
    for _ in range(turns):
        for size in LARGE:
            found[size].append(frames(size, seconds))
    return found


def medians(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each figure of alike objects; the worst count of errors."""
    last = found[-1]
    middle = {
        name: statistics.median(one[name] for one in found)
        for name, value in last.items()
        if isinstance(value, int | float) and all(one[name] is not None for one in found)
    }
    return last | middle | {"errors": max(one["errors"] for one in found)}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="one turn of 3 seconds each")
    options = parser.parse_args()
    seconds, turns = (3.0, 1) if options.quick else (SECONDS, TURNS)
    found = by_size(turns, seconds)
    orders = {order: frames(LARGE[0], seconds, order) for order in ("hot", "robin")}
    largest = str(LARGE[1])
    opened = [bench("connections", "--count", largest, "--rate", "1000000") for _ in range(turns)]
    lives = bench(
        "churn", "--connections", largest, *(("--lives", largest) if options.quick else ())
    )
    pairs = zip(found[LARGE[0]], found[LARGE[1]], strict=True)
    ceilings = [one["ceiling_frames_per_s"] for rounds in found.values() for one in rounds]
    result: dict[str, Any] = {
        "machine": {"cpu": cpu_name()},
        "setting": f"64 B requests, bursts of up to 32 frames, memory wire, {turns} turns of {seconds:g} s",
        "floor": {"ceiling_frames_per_s": statistics.median(ceilings)},
        "ratios": {
            "cost_10m_vs_1m": statistics.median(
                more["cycles_per_frame"] / less["cycles_per_frame"] for less, more in pairs
            )
        },
        "frames_per_s": {
            str(size): statistics.median(one["frames_per_s"] for one in rounds)
            for size, rounds in found.items()
        },
        "cycles_per_frame": {
            str(size): statistics.median(one["cycles_per_frame"] for one in rounds)
            for size, rounds in found.items()
        },
        "orders_at_1m": {order: one["frames_per_s"] for order, one in orders.items()},
        "connections": medians(opened),
        "churn_beside_10m": lives,
    }
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
