"""What the benchmarks of structures share: their C programs, compiled with the data plane's sources and DPDK, and the
lines of `name number value` that these print."""

import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ring import dpdk

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PARTS = ("runtime", "dataplane", "nic", "loadgen")


def program(folder: Path, *names: str) -> tuple[str, Path]:
    """DPDK's version, and the program of these C files beside this one, called like the first."""
    version, compile_flags, link_flags = dpdk()
    sources = [str(HERE / f"{name}.c") for name in names]
    sources += [str(path) for part in PARTS for path in (ROOT / part).glob("*.c")]
    # As meson.build compiles the data plane.
    flags = ["-O3", "-flto=auto", "-std=gnu11", "-fno-strict-aliasing", *compile_flags]
    includes = [f"-I{ROOT}", *(f"-I{ROOT / part}" for part in PARTS)]
    made = folder / names[0]
    command = ["cc", *flags, *includes, *sources, "-o", str(made), *link_flags, "-lpthread"]
    subprocess.run(command, check=True)
    return version, made


def figures(command: Sequence[object], seconds: float = 300) -> dict[str, list[float]]:
    """What a program prints, by name."""
    words = [str(word) for word in command]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, timeout=seconds)
    found: dict[str, list[float]] = {}
    for line in done.stdout.splitlines():
        name, _, value = line.split()
        found.setdefault(name, []).append(float(value))
    return found


def against(ours: list[float], theirs: list[float]) -> float:
    """The median of pairs' ratios: how many times as fast."""
    pairs = zip(ours, theirs, strict=True)
    return statistics.median(their / our for our, their in pairs)


def medians(found: dict[str, list[float]]) -> dict[str, float]:
    """Of each name."""
    return {name: statistics.median(values) for name, values in found.items()}
