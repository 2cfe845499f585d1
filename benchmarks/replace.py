"""How long a killed worker is missed, over both drivers, and where the time of a start goes.

kill -9, then: over `kernel` a new connection and its first answer; over `memory` the next answer on the connection that
was open. Beside it the floor: how long this machine takes to tell a process of another's death. 100 kills of each by
turns; the client sleeps between looks, because the launcher shares its CPU.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import select
import signal
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from splitplane.dataplane.peer import Peer
from splitplane.nic.memory import Wire
from splitplane.runtime.layout import Layout
from splitplane.runtime.runtime import Runtime

HERE = Path(__file__).parent
OURS = "10.0.0.1"
PAUSE = 0.02
"""Seconds between a replacement and the next kill: the next standby is ready by then."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def layout(driver: str, connections: int, cpu: int) -> Layout:
    """examples/echo on one CPU."""
    nic: dict[str, Any] = {"driver": driver}
    nic |= {"bind": "127.0.0.1"} if driver == "kernel" else {"address": f"{OURS}/24"}
    listen = {"port": f"tcp:{free_port()}", "actor": "echo:Echo"}
    web = {"cpus": [cpu], "nic": "front", "connections": connections, "listen": [listen]}
    made = {
        "name": f"replace-{driver}",
        "supervision": {"restarts": 1_000_000, "drain_seconds": 0.5},
        "nic": {"front": nic},
        "group": {"web": web},
    }
    return Layout.model_validate(made).located(HERE.parent / "examples" / "echo", "layout")


async def kill(runtime: Runtime) -> float:
    """Kills the worker; when."""
    pid = runtime.workers[0].pid
    now = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    return now


async def settled(runtime: Runtime, deaths: int) -> None:
    """Until the death has been told and another worker runs."""
    while runtime.workers[0].deaths < deaths or not runtime.workers[0].pid:
        await asyncio.sleep(0.001)
    await asyncio.sleep(PAUSE)


def answered(port: int) -> None:
    """A new connection, and its first answer."""
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as one:
            one.sendall(b"here")
            if one.recv(16):
                return


async def over_kernel(connections: int, kills: int, cpu: int) -> tuple[list[float], dict[str, Any]]:
    """Seconds from each kill to the first answer on a new connection."""
    runtime = Runtime(layout("kernel", connections, cpu))
    port = runtime.layout.group["web"].listen[0].port_number
    found = []
    async with runtime:
        facts = {"page_size": runtime.page_size, "steps": runtime.steps}
        for deaths in range(1, kills + 1):
            answered(port)
            began = await kill(runtime)
            answered(port)
            found.append(time.perf_counter() - began)
            await settled(runtime, deaths)
    return found, facts


async def over_memory(connections: int, kills: int, cpu: int) -> tuple[list[float], dict[str, Any]]:
    """Seconds from each kill to the next answer on the connection that was open; it must survive them all."""
    runtime = Runtime(layout("memory", connections, cpu))
    port = runtime.layout.group["web"].listen[0].port_number
    found = []
    async with runtime:
        facts = {"page_size": runtime.page_size, "steps": runtime.steps}
        with Wire(runtime.wire(0), 1) as wire, Peer(wire) as peer:
            peer.start()
            one = peer.connect(OURS, port)
            if not peer.until(lambda: one.opened):
                sys.exit("no connection over the memory wire")
            for deaths in range(1, kills + 1):
                one.clear()
                began = await kill(runtime)
                one.send(b"here")
                if not peer.until(lambda: one.length == 4 or one.closed) or one.closed:
                    sys.exit(f"kill {deaths}: the connection is {one.reason or 'silent'}")
                found.append(time.perf_counter() - began)
                await settled(runtime, deaths)
    return found, facts


def floor(kills: int) -> list[float]:
    """Seconds from kill -9 of a sleeping child until a pidfd says so."""
    found = []
    for _ in range(kills):
        pid = os.fork()
        if pid == 0:
            while True:
                signal.pause()
        descriptor = os.pidfd_open(pid)
        time.sleep(0.001)
        began = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        select.select([descriptor], [], [])
        found.append(time.perf_counter() - began)
        os.waitpid(pid, 0)
        os.close(descriptor)
    return found


def milliseconds(seconds: list[float]) -> dict[str, float]:
    """p50 and max."""
    return {
        "p50_ms": round(statistics.median(seconds) * 1e3, 3),
        "max_ms": round(max(seconds) * 1e3, 3),
    }


async def measure(connections: int, kills: int, cpu: int) -> dict[str, Any]:
    """Everything, as printed."""
    began = time.perf_counter()
    kernel, first = await over_kernel(connections, kills, cpu)
    memory, _ = await over_memory(connections, kills, cpu)
    lowest = floor(kills)
    start = sum(first["steps"].values())
    return {
        "machine": {
            "cpu_count": os.cpu_count(),
            "linux": platform.release(),
            "python": platform.python_version(),
        },
        "connections": connections,
        "kills": kills,
        "page_size": first["page_size"],
        "kernel": milliseconds(kernel),
        "memory": milliseconds(memory),
        "floor_death_told": milliseconds(lowest),
        "start_steps_ms": {
            step: round(seconds * 1e3, 1) for step, seconds in first["steps"].items()
        },
        "seconds": round(time.perf_counter() - began, 1),
        "ratios": {
            "kernel_vs_start": round(statistics.median(kernel) / start, 4),
            "memory_vs_start": round(statistics.median(memory) / start, 4),
            "memory_vs_floor": round(statistics.median(memory) / statistics.median(lowest), 1),
        },
    }


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object on one line")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument(
        "--connections", type=int, default=10_000, help="room for so many, per core"
    )
    options = parser.parse_args()
    with tempfile.TemporaryFile() as quiet:  # the log of 200 deaths
        saved = os.dup(1)
        os.dup2(quiet.fileno(), 1)
        cpu = max(os.sched_getaffinity(0))
        result = asyncio.run(measure(options.connections, options.kills, cpu))
        os.dup2(saved, 1)
    print(json.dumps(result, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
