"""What finding a connection costs: our table against DPDK's rte_hash in the same rounds, from 10 000 to 10 million.

`python table.py --json` prints one object; `--sizes` takes other numbers of connections. One pinned thread, 2 MiB pages,
flows in random order over all, bursts of 32 and of one; a look-up is followed by a store into the connection's record,
an insert is preceded by a look-up. Candidate and peer take turns, part by part; `ratios` are medians of the parts' own
ratios at the largest size. The floor is one line of a random record read and written, 32 at a time. Needs libdpdk-dev,
pkg-config, a C compiler and 4 GB.
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

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
ROUNDS = 15


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="a fifth of the rounds")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES, help="connections, ascending"
    )
    options = parser.parse_args()
    cpu = max(os.sched_getaffinity(0))
    rounds = ROUNDS // 5 if options.quick else ROUNDS
    with tempfile.TemporaryDirectory() as folder:
        version, made = program(Path(folder), "table")
        found = {size: figures([made, cpu, size, rounds]) for size in options.sizes}
    middle = {size: medians(parts) for size, parts in found.items()}
    largest = found[options.sizes[-1]]
    result: dict[str, Any] = {
        "machine": {"cpu": cpu_name(), "cpu_number": cpu, "dpdk": version},
        "setting": "one pinned thread, 2 MiB pages, random order over all, bursts of 32; ns an operation, "
        "medians of interleaved rounds",
        "floor": {
            f"record_read_and_written_at_{size}": parts["floor"] for size, parts in middle.items()
        },
        "ratios": {
            "lookup_vs_rte_hash": against(largest["find_ours"], largest["find_theirs"]),
            "lookup_one_vs_rte_hash": against(largest["find_one_ours"], largest["find_one_theirs"]),
            "insert_vs_rte_hash": against(largest["insert_ours"], largest["insert_theirs"]),
            "lookup_vs_dram_floor": against(largest["floor"], largest["find_ours"]),
        },
        "nanoseconds": {
            str(size): {name: value for name, value in parts.items() if name != "floor"}
            for size, parts in middle.items()
        },
    }
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
