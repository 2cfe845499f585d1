"""What it costs a core to be looked at: `top`, a scrape of the metrics and `connections --limit 20` every second, beside
a core with a million connections under as many requests as its clients can send.

Looking takes CPU time, and here its CPU is the clients': fewer requests would come. So in the rounds between, a process
that looks at nothing takes as much of that CPU. `frames_vs_unseen` compares frames a second that the core received,
`cost_vs_unseen` what a frame costs the core (time in turns that found work, by its own clock). Two CPUs, 1 GB.
"""

import argparse
import asyncio
import json
import os
import pty
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

from ring import cpu_name
from splitplane.loadgen.bench import Site, loaded
from splitplane.loadgen.clients import Order
from splitplane.loadgen.server import make_layout, place
from splitplane.loadgen.show import Phases
from splitplane.runtime.layout import Metrics
from splitplane.runtime.machine import read_machine

PAYLOAD = 64
COMMAND = (
    "import sys; from splitplane.controlplane.command import main; sys.exit(main(sys.argv[1:]))"
)
BURN = """
import os, sys, time
share, parent = float(sys.argv[1]), os.getppid()
while os.getppid() == parent:
    end = time.process_time() + 0.01 * share
    while time.process_time() < end:
        pass
    time.sleep(0.01 * (1 - share))
"""


def cpu_seconds(pids: list[int]) -> float:
    """What these processes have taken of CPUs."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))  # with the children it has waited for
    return ticks / os.sysconf("SC_CLK_TCK")


def drain(descriptor: int) -> None:
    """A terminal that nobody reads would hold `top` up."""
    try:
        os.read(descriptor, 1 << 16)
    except OSError:
        asyncio.get_running_loop().remove_reader(descriptor)


@asynccontextmanager
async def looked_at(name: str, port: int) -> AsyncIterator[list[int]]:
    """`top` on a terminal, a scrape and `connections` about every second; the processes that look."""
    ours, theirs = pty.openpty()
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, drain, ours)
    command = [sys.executable, "-c", COMMAND]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "160", "LINES": "50"}
    top = subprocess.Popen(
        [*command, "top", name], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    words = f"'{sys.executable}' -c \"$0\" connections {name} --limit 20 --sort idle"
    again = subprocess.Popen(
        ["sh", "-c", f"while {words} >/dev/null; do sleep 1; done", COMMAND],
        stdin=subprocess.DEVNULL,
    )

    async def scrape() -> None:
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.0 200")
            writer.close()
            await asyncio.sleep(1)

    scraping = asyncio.ensure_future(scrape())
    try:
        yield [top.pid, again.pid, os.getpid()]
        if top.poll() is not None or again.poll() is not None or scraping.done():
            sys.exit("top, connections or the scrape ended: nobody looked")
    finally:
        scraping.cancel()
        loop.remove_reader(ours)
        for process in (again, top):
            process.kill()
            process.wait()
        os.close(ours)
        os.close(theirs)


@asynccontextmanager
async def beside(share: float) -> AsyncIterator[None]:
    """A process that takes this share of the clients' CPU."""
    burner = subprocess.Popen([sys.executable, "-c", BURN, str(share)])
    try:
        yield
    finally:
        burner.kill()
        burner.wait()


async def burst(here: Site, order: Order, seconds: float) -> dict[str, Any]:
    """Requests for so long, to the end of a round: frames a second, and nanoseconds of the core's working time for each."""
    counters = here.runtime.counters
    loop = asyncio.get_running_loop()
    marks: list[tuple[float, int, int]] = []

    def mark() -> None:
        now = counters(0)
        marks.append((time.monotonic(), now["rx_frames"], now["busy_nanoseconds"]))

    for at in (0.1, 0.9):
        loop.call_later(at * seconds, mark)
    report = await here.clients.order_for(order, seconds)
    here.count(report)
    (began, frames, busy), (ended, more, busier) = marks
    return {
        "frames_per_s": (more - frames) / (ended - began),
        "ns_per_frame": (busier - busy) / (more - frames),
        "rounds": report.rounds,
    }


async def rounds_of(
    here: Site, port: int, count: int, seconds: float, rounds: int
) -> dict[str, Any]:
    """Rounds with somebody looking and without, in turn."""
    name = here.runtime.layout.name
    found: dict[str, Any] = {"seen": [], "unseen": []}
    shares: list[float] = []
    order = Order("request", count, asked=1, rounds=0, sequence="random")

    async def next_burst(kind: str) -> None:
        nonlocal order
        found[kind].append(await burst(here, order, seconds))
        order = replace(order, asked=order.asked + found[kind][-1]["rounds"])

    for _ in range(rounds):
        async with looked_at(name, port) as pids:
            await asyncio.sleep(2)  # until they look
            began, taken = time.monotonic(), cpu_seconds(pids)
            await next_burst("seen")
            shares.append((cpu_seconds(pids) - taken) / (time.monotonic() - began))
        async with beside(statistics.median(shares)):
            await next_burst("unseen")
    return found | {"share_of_the_clients_cpu": statistics.median(shares)}


async def measure(count: int, seconds: float, rounds: int) -> dict[str, Any]:
    """The whole of it."""
    where = place(read_machine())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    layout = make_layout(count, PAYLOAD, where.server)
    layout = layout.model_copy(update={"metrics": Metrics(listen=f"127.0.0.1:{port}")})
    async with loaded(layout, PAYLOAD, Phases(silent=True)) as here:
        os.sched_setaffinity(0, {where.clients})
        await here.open(count)
        found = await rounds_of(here, port, count, seconds, rounds)
        errors = here.errors
    pairs = list(zip(found["seen"], found["unseen"], strict=True))
    return {
        "machine": {"cpu": cpu_name()},
        "setting": f"{count} connections, requests of {PAYLOAD} B in random order, memory wire, "
        f"{rounds} rounds of {seconds:g} s each",
        "ratios": {
            "frames_vs_unseen": statistics.median(
                a["frames_per_s"] / b["frames_per_s"] for a, b in pairs
            ),
            "cost_vs_unseen": statistics.median(
                a["ns_per_frame"] / b["ns_per_frame"] for a, b in pairs
            ),
        },
        "medians": {
            kind: {
                figure: statistics.median(one[figure] for one in found[kind])
                for figure in ("frames_per_s", "ns_per_frame")
            }
            for kind in ("seen", "unseen")
        },
        "share_of_the_clients_cpu": found["share_of_the_clients_cpu"],
        "errors": errors,
        "raw": found,
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--count", type=int, default=1_000_000, help="connections")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a round")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    found = asyncio.run(measure(options.count, options.seconds, options.rounds))
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
