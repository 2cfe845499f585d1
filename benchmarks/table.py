"""What finding a connection costs: our table against DPDK's rte_hash in the same rounds, from 10 000 to 10 million.

`python table.py --json` prints one object. One pinned thread, 2 MiB pages, flows in random order over all, bursts of 32
and of one; a look-up is followed by a store into the connection's record, an insert is preceded by a look-up. Candidate
and peer take turns, part by part; `ratios` are medians of the parts' own ratios at the largest size. The floor is one
line of a random record read and written, 32 at a time. Needs libdpdk-dev, pkg-config, a C compiler and 4 GB.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

from ring import cpu_name, dpdk

ROOT = Path(__file__).resolve().parent.parent
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
ROUNDS = 15


def build(folder: Path) -> tuple[str, Path]:
    """DPDK's version, and the program."""
    version, compile_flags, link_flags = dpdk()
    sources = [
        str(path) for name in ("runtime", "dataplane", "nic") for path in (ROOT / name).glob("*.c")
    ]
    program = folder / "table"
    flags = [
        "-O3",
        "-flto=auto",
        "-std=gnu11",
        "-fno-strict-aliasing",
        *compile_flags,
    ]
    includes = [f"-I{ROOT / name}" for name in (".", "runtime", "dataplane", "nic")]
    command = ["cc", *flags, *includes, str(ROOT / "benchmarks" / "table.c"), *sources]
    subprocess.run([*command, "-o", str(program), *link_flags, "-lpthread"], check=True)
    return version, program


def measure(program: Path, connections: int, rounds: int, cpu: int) -> dict[str, list[float]]:
    """Nanoseconds an operation, by name."""
    command = [str(program), str(cpu), str(connections), str(rounds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=300)
    found: dict[str, list[float]] = {}
    for line in done.stdout.splitlines():
        name, _, value = line.split()
        found.setdefault(name, []).append(float(value))
    return found


def against(ours: list[float], theirs: list[float]) -> float:
    """The median of pairs' ratios: how many times as fast."""
    pairs = zip(ours, theirs, strict=True)
    return statistics.median(their / our for our, their in pairs)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="a fifth of the rounds")
    options = parser.parse_args()
    cpu = max(os.sched_getaffinity(0))
    rounds = ROUNDS // 5 if options.quick else ROUNDS
    with tempfile.TemporaryDirectory() as folder:
        version, program = build(Path(folder))
        found = {size: measure(program, size, rounds, cpu) for size in SIZES}
    largest = found[SIZES[-1]]
    result: dict[str, Any] = {
        "machine": {"cpu": cpu_name(), "cpu_number": cpu, "dpdk": version},
        "setting": "one pinned thread, 2 MiB pages, random order over all, bursts of 32; ns an operation, "
        "medians of interleaved rounds",
        "floor": {
            f"record_read_and_written_at_{size}": statistics.median(parts["floor"])
            for size, parts in found.items()
        },
        "ratios": {
            "lookup_vs_rte_hash": against(largest["find_ours"], largest["find_theirs"]),
            "lookup_one_vs_rte_hash": against(largest["find_one_ours"], largest["find_one_theirs"]),
            "insert_vs_rte_hash": against(largest["insert_ours"], largest["insert_theirs"]),
            "lookup_vs_dram_floor": against(largest["floor"], largest["find_ours"]),
        },
        "nanoseconds": {
            str(size): {
                name: statistics.median(values) for name, values in parts.items() if name != "floor"
            }
            for size, parts in found.items()
        },
    }
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
