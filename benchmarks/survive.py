"""How long a kernel client across a veth gets no answer when the worker is killed -9 under load, over AF_XDP.

Client CPU 0, core CPU 1; a line is echoed on each of 64 connections, paced in all. Beside it stands the longest time
without an answer in as many windows of the same length in which nobody was killed: what this machine's scheduling
makes of it. Needs root, cc.
"""

import argparse
import asyncio
import json
import logging
import os
import platform
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import structlog
from splitplane.controlplane.demo_network import OURS, Network, network
from splitplane.nic.afxdp import audit
from splitplane.runtime.layout import Layout
from splitplane.runtime.runtime import Runtime

HERE = Path(__file__).parent
CLIENT_CPU, SERVER_CPU = 0, 1
CONNECTIONS = 64
PORT = 7
WINDOW = 0.1  # seconds after a kill in which a gap is the kill's
NOTICE = 200  # microseconds without an answer that count as a gap


def layout() -> Layout:
    """The echo example over the interface."""
    return Layout.model_validate(
        {
            "name": "survive",
            "machine": {"control_cpus": [CLIENT_CPU]},
            "supervision": {"restarts": 1_000_000},
            "nic": {"front": {"driver": "afxdp", "interface": "front"}},
            "group": {
                "web": {
                    "cpus": [SERVER_CPU],
                    "nic": "front",
                    "connections": 4096,
                    "idle": "spin",
                    "listen": [{"port": f"tcp:{PORT}", "actor": "echo:Echo"}],
                }
            },
        }
    ).located(HERE.parent / "examples" / "echo", "survive")


def built(folder: Path) -> str:
    """The client, compiled."""
    program = folder / "survive"
    subprocess.run(["cc", "-O2", str(HERE / "survive.c"), "-o", str(program)], check=True)
    return str(program)


async def kill_all(runtime: Runtime, kills: int) -> list[float]:
    """Kills the worker so many times; when each was, on the monotonic clock."""
    dice, times = random.Random(1), []
    for number in range(1, kills + 1):
        await asyncio.sleep(0.12 + dice.uniform(0, 0.02))
        times.append(time.monotonic())
        os.kill(runtime.workers[0].pid, signal.SIGKILL)
        while runtime.workers[0].deaths < number or not runtime.workers[0].pid:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.2)
    return times


async def measure(around: Network, kills: int, rate: int, program: str) -> dict[str, Any]:
    """One run."""
    assert around.client is not None
    events: list[Any] = []
    runtime = Runtime(layout())
    runtime.listen(events.append)
    async with runtime:
        seconds = int(kills * 0.16) + 8
        words = [OURS, str(PORT), str(CONNECTIONS), str(rate), str(seconds), str(NOTICE)]
        inside = ["nsenter", f"--net=/proc/{around.client.pid}/ns/net", "taskset", "-c"]
        client = await asyncio.create_subprocess_exec(
            *inside, str(CLIENT_CPU), program, *words, stdout=subprocess.PIPE
        )
        assert client.stdout
        assert (await client.stdout.readline()).strip() == b"ready"
        began = time.monotonic()
        await asyncio.sleep(1)
        times = await kill_all(runtime, kills)
        over = time.monotonic()
        text = (await client.stdout.read()).decode()
        await client.wait()
        front = runtime.interface("web")
        counted = runtime.counters(0)
        frames = [audit(descriptor, address) for descriptor, address in runtime.held_queues("web")]
    caught = sum(1 for event in events if event.kind == "died" and event.fields["record"])
    return summary(text, times, began, over) | {
        # At most: frames that Linux dropped at the queue, and those that dead workers had in hand, handled or not.
        "frames_lost": sum(each.dropped + each.in_hand for each in frames),
        "frames_dropped": sum(each.dropped for each in frames),
        "frames_in_hand": sum(each.in_hand for each in frames),
        "frames_received": counted["rx_frames"],
        "frames_leaked": sum(each.lost for each in frames),
        "connections_reset": caught,
        "adoptions": counted["adoptions"],
        "interface": front,
    }


def summary(text: str, times: list[float], began: float, over: float) -> dict[str, Any]:
    """Gaps after kills, and those of quiet windows."""
    gaps = [(int(one[1]) / 1e9, int(one[2]) / 1e9) for one in re.finditer(r"gap (\d+) (\d+)", text)]

    def worst(at: float) -> float:
        return max(
            (end - start for start, end in gaps if at <= end and start <= at + WINDOW), default=0.0
        )

    killed = sorted(worst(at) * 1e3 for at in times)
    tail = re.search(r"answers (\d+) lost (\d+) wrong (\d+)", text)
    assert tail, text
    quiet = sorted(worst(over + 0.2 + number * WINDOW) * 1e3 for number in range(20))
    return {
        "kills": len(times),
        "gap_p50_ms": statistics.median(killed),
        "gap_p99_ms": killed[int(len(killed) * 0.99)] if len(killed) > 1 else killed[0],
        "gap_max_ms": killed[-1],
        "quiet_gap_p50_ms": statistics.median(quiet),
        "quiet_gap_max_ms": quiet[-1],
        "answers": int(tail[1]),
        "answers_per_s": int(tail[1]) / (over - began + 1),
        "connections_lost": int(tail[2]),
        "wrong_answers": int(tail[3]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rate", type=int, default=100_000, help="lines a second, in all")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if os.geteuid() != 0:
        sys.exit("root is needed: AF_XDP and a network namespace of our own")
    with tempfile.TemporaryDirectory() as folder, network("afxdp") as around:
        program = built(Path(folder))
        found = asyncio.run(measure(around, options.kills, options.rate, program))
    found["machine"] = {
        "linux": platform.release(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:20} {value}")


if __name__ == "__main__":
    main()
