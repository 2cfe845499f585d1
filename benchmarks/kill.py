"""kill -9 of the worker of a core with a million connections, while its clients ask as fast as it answers.

`outage_ms`: until the next worker runs; `slowest_answer_ms`: of all answers, sent again ones too; `lost`: connections,
of which a kill may cost the one whose handler ran. Clients on the first CPU, the core on the last, memory wire, 2 MiB
pages where they can be had; each connection is asked in random order, all of them after the last kill too.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

import structlog
from ring import cpu_name
from splitplane.loadgen.bench import Site, loaded
from splitplane.loadgen.clients import Order
from splitplane.loadgen.server import make_layout, place
from splitplane.loadgen.show import Phases
from splitplane.runtime.machine import read_machine

PAYLOAD = 64
PAUSE = 2.0
"""Seconds between two kills."""


async def kill(here: Site) -> float:
    """Kills the worker; milliseconds until its core has another."""
    worker = here.runtime.workers[0]
    os.kill(worker.pid, signal.SIGKILL)
    while here.runtime.workers[0].deaths == worker.deaths or not here.runtime.workers[0].pid:
        await asyncio.sleep(0.001)
    return here.runtime.workers[0].outage * 1000


async def measure(count: int, kills: int) -> dict[str, Any]:
    """Opens them, kills again and again under load, ends with a whole round."""
    layout = make_layout(count, PAYLOAD, place(read_machine()).server)
    patient = layout.supervision.model_copy(update={"restarts": 10 * kills})
    async with loaded(
        layout.model_copy(update={"supervision": patient}), PAYLOAD, Phases(silent=True)
    ) as here:
        await here.open(count)
        order = Order("request", count, asked=1, rounds=0, sequence="random")
        asked = asyncio.create_task(here.carry_out("requests", order, 0, (kills + 1) * PAUSE))
        outages = []
        for _ in range(kills):
            await asyncio.sleep(PAUSE)
            outages.append(await kill(here))
        report = await asked
        slowest = max(least for least, answers in report.latency if answers)
        return {
            "machine": {"cpu": cpu_name()},
            "connections": count,
            "kills": kills,
            "page_size": here.runtime.page_size,
            "outage_ms": {"median": statistics.median(outages), "max": max(outages)},
            "slowest_answer_ms": slowest / 1e6,
            "answers": report.done,
            "wrong": report.wrong + report.bad,
            "lost": count - here.runtime.live(0),
            "adoptions": here.runtime.counters(0)["adoptions"],
        }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--count", type=int, default=1_000_000, help="connections")
    parser.add_argument("--kills", type=int, default=10)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    found = asyncio.run(measure(options.count, options.kills))
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
