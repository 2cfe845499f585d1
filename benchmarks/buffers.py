"""What a send buffer costs: our buddies against malloc and DPDK's rte_mempool in the same rounds.

`python buffers.py --json` prints one object. One pinned thread, 2 MiB pages (malloc too); a line of each buffer taken is
written. `hot`: one taken and given back, again and again. `exchange`: each of many, in random order, for another.
`drain`: many given back in random order, then taken again. Of 64 B, of 2 KiB, and of six sizes from 64 B to 2 KiB at
random, where rte_mempool has a pool for each and an exchange is for another size. The floor is a bare list through the
free buffers of one size, which never makes one size of another. Needs libdpdk-dev, pkg-config, a C compiler and 4 GB.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

from programs import against, figures, medians, program
from ring import cpu_name

SETS = {"64": (1_000_000, 6, 6), "2048": (250_000, 11, 11), "mixed": (500_000, 6, 11)}
"""How many are held, and the log2 of the smallest and the largest."""
WAYS = ("hot", "exchange", "drain")
PEERS = ("malloc", "mempool")
ROUNDS = 15


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="a fifth of the rounds")
    options = parser.parse_args()
    cpu = max(os.sched_getaffinity(0))
    rounds = ROUNDS // 5 if options.quick else ROUNDS
    # glibc's own way to huge pages: without it malloc would pay for its pages, not for its lists.
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        version, made = program(Path(folder), "buffers")
        for name, (count, least, most) in SETS.items():
            found |= figures([made, cpu, name, count, least, most, rounds])
    middle = medians(found)
    ways = [f"{way}_{name}" for way in WAYS for name in SETS]
    held = ", ".join(f"{count:,} of {name}" for name, (count, *_) in SETS.items())
    result: dict[str, Any] = {
        "machine": {"cpu": cpu_name(), "cpu_number": cpu, "dpdk": version},
        "setting": f"one pinned thread, 2 MiB pages, random order, one at a time; held: {held}; ns for one given and "
        f"one taken, medians of {rounds} interleaved rounds",
        "floor": {way: middle[f"{way}_floor"] for way in ways},
        "ratios": {
            f"{way}_vs_{peer}": against(found[f"{way}_ours"], found[f"{way}_{peer}"])
            for way in ways
            for peer in PEERS
        },
        "nanoseconds": {
            way: {name: middle[f"{way}_{name}"] for name in ("ours", *PEERS)} for way in ways
        },
    }
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
