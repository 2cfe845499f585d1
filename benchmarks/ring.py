"""What a message costs: our ring against DPDK's rte_ring in the same rounds, and the way into asyncio.

`python ring.py --json` prints one object. The rings: 64 B cells, capacity 4096, 4 KiB pages, producer and consumer
pinned to two CPUs, one, 8 and 32 messages a put, every message checked by the consumer; candidate and peer take turns at
going first, and a measurement in which a thread was preempted is taken again. `ratios` are medians of the rounds' own
ratios: throughput for batches (more is better), time for round trips (less is better). The floor is one cache line
handed to and fro between the same CPUs. `control`: a process puts messages into a core's ring, the service of this one
dispatches them to a control actor, in batches or one by one. Needs libdpdk-dev, pkg-config and a C compiler.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from splitplane import ControlActor, Message, Sender, on
from splitplane.controlplane.service import Service, running
from splitplane.dataplane.ring import header_dtype
from splitplane.runtime.mesh import CONTROL, Mesh
from splitplane.runtime.schema import schema_of
from splitplane.types import u32, u64

HERE = Path(__file__).resolve().parent
ROUNDS = 61
NAMES = ("batch1", "batch8", "batch32", "round_trip")
BATCHED, EACH, WAKES = 2_000_000, 200_000, 2_000


class Visit(Message):
    connection: u64
    requests: u32


class Batches(ControlActor):
    """Takes arrays."""

    def __init__(self) -> None:
        self.seen = 0

    @on(Visit, batch=True)
    async def visits(self, batch: "np.ndarray[Any, Any]") -> None:
        self.seen += len(batch)


class Singles(ControlActor):
    """Takes messages; notes how late each is."""

    def __init__(self) -> None:
        self.seen = 0
        self.late: list[int] = []

    @on(Visit)
    async def visit(self, message: Visit, sender: Sender) -> None:
        self.seen += 1
        if message.requests:
            self.late.append(time.monotonic_ns() - message.connection)


def dpdk() -> tuple[str, list[str], list[str]]:
    """Version and flags of DPDK. Exits with the remedy if it isn't there."""
    try:
        version, *flags = (
            subprocess.run(
                ["pkg-config", what, "libdpdk"], check=True, capture_output=True, text=True
            ).stdout.strip()
            for what in ("--modversion", "--cflags", "--libs")
        )
    except (OSError, subprocess.CalledProcessError):
        sys.exit("rte_ring is the peer: apt-get install libdpdk-dev pkg-config")
    return version, flags[0].split(), flags[1].split()


def rings(rounds: int, cpus: tuple[int, int]) -> tuple[str, dict[str, list[float]], int]:
    """DPDK's version, figures by name, and how many measurements were taken again."""
    version, compile_flags, link_flags = dpdk()
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "ring"
        sources = [str(HERE / "ring.c"), str(HERE.parent / "runtime" / "ring.c")]
        flags = ["-O3", "-std=gnu11", *compile_flags]
        subprocess.run(
            ["cc", *flags, *sources, "-o", str(program), *link_flags, "-lpthread"], check=True
        )
        command = [str(program), str(rounds), *map(str, cpus)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=500)
    found: dict[str, list[float]] = {}
    again = 0
    for line in done.stdout.splitlines():
        name, value, tries = line.split()
        found.setdefault(name, []).append(float(value))
        again += int(tries)
    return version, found, again


def produce(mesh: Mesh, mailbox: int, number: int, messages: int, cpu: int) -> int:
    """Forks a process that puts so many messages, 64 at once, and ends; its pid."""
    pid = os.fork()
    if pid:
        return pid
    os.sched_setaffinity(0, {cpu})
    ring = mesh.ring(0, CONTROL)
    headers = np.zeros(64, header_dtype())
    headers["type"], headers["target"], headers["tag"] = number, mailbox, 1
    headers["length"] = Visit.dtype().itemsize
    rows = np.zeros(64, Visit.dtype())
    while messages:
        count = min(64, messages)
        messages -= ring.put_batch(headers[:count], rows[:count])
    os._exit(0)


def wake(mesh: Mesh, mailbox: int, number: int, cpu: int) -> int:
    """Forks a process that puts one message with its time every 0.7 ms; its pid."""
    pid = os.fork()
    if pid:
        return pid
    os.sched_setaffinity(0, {cpu})
    ring = mesh.ring(0, CONTROL)
    for _ in range(WAKES):
        time.sleep(0.0007)
        visit = Visit(connection=time.monotonic_ns(), requests=1)
        ring.put(number, visit.to_bytes(), target=mailbox, tag=1)
    os._exit(0)


async def control(cpus: tuple[int, int], rounds: int) -> dict[str, list[float]]:
    """Messages a second in batches and one by one, and microseconds from a put to the idle control actor's method."""
    schema = schema_of([Batches, Singles])
    mesh = Mesh.create(1)
    batches, singles = Batches(), Singles()
    actors: dict[str, tuple[ControlActor, int]] = {
        "batches": (batches, 65536),
        "singles": (singles, 65536),
    }
    service = Service(mesh, schema, actors=actors, groups={"all": [0]})
    found: dict[str, list[float]] = {"batched_per_s": [], "each_per_s": [], "wake_us": []}
    os.sched_setaffinity(0, {cpus[0]})
    async with running(service):
        plans: list[tuple[str, Batches | Singles, int]] = [
            ("batched_per_s", batches, BATCHED),
            ("each_per_s", singles, EACH),
        ]
        for _ in range(rounds):
            for mailbox, (name, actor, many) in enumerate(plans):
                wanted, begin = actor.seen + many, time.perf_counter()
                pid = produce(mesh, mailbox, schema.number(Visit), many, cpus[1])
                while actor.seen < wanted:
                    await asyncio.sleep(0.001)
                found[name].append(many / (time.perf_counter() - begin))
                os.waitpid(pid, 0)
        pid = wake(mesh, 1, schema.number(Visit), cpus[1])
        while len(singles.late) < WAKES:
            await asyncio.sleep(0.1)
        os.waitpid(pid, 0)
        found["wake_us"] = [late / 1000 for late in singles.late]
    mesh.close()
    os.close(mesh.fd)
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="a fifth of the rounds")
    options = parser.parse_args()
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        sys.exit(f"two CPUs are wanted, one to put and one to get: this process may use {allowed}")
    cpus = allowed[0], allowed[1]
    version, found, again = rings(ROUNDS // 5 if options.quick else ROUNDS, cpus)
    told = asyncio.run(control(cpus, 1 if options.quick else 5))

    def against(name: str) -> float:
        pairs = zip(found[name], found[f"rte_{name}"], strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)

    wakes = sorted(told["wake_us"])
    result: dict[str, Any] = {
        "machine": {
            "cpu": cpu_name(),
            "cpus": cpus,
            "python": platform.python_version(),
            "dpdk": version,
        },
        "setting": "64 B cells, capacity 4096, 4 KiB pages, two pinned threads, medians of interleaved rounds; "
        "M messages/s, and ns a round trip",
        "floor": {"cache_line_round_trip_ns": statistics.median(found["floor"])},
        "ratios": {f"{name}_vs_rte_ring": against(name) for name in NAMES},
        "medians": {name: statistics.median(values) for name, values in found.items()},
        "taken_again": again,
        "control": {
            "batched_per_s": statistics.median(told["batched_per_s"]),
            "each_per_s": statistics.median(told["each_per_s"]),
            "wake_p50_us": wakes[len(wakes) // 2],
            "wake_p99_us": wakes[len(wakes) * 99 // 100],
        },
        "raw": {**found, **{name: told[name] for name in ("batched_per_s", "each_per_s")}},
    }
    print(json.dumps(result) if options.json else json.dumps({**result, "raw": None}, indent=2))


def cpu_name() -> str:
    """The CPU's model."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
