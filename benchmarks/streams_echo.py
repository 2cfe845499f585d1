"""Echoes of 64 bytes through a stream against the same callback on asyncio's and uvloop's own sockets, over loopback.

1 and 64 connections with one request under way on each. The client (echo.c) has CPU 0. A server of asyncio, of uvloop
and the floor (an epoll loop in C) has CPU 1. Streams are served by two processes, and with two CPUs one of them shares:
`streams` has the callback on CPU 1 as asyncio has, and the core beside the client (on CPU 2, if there is one);
`streams_core_apart` has the core on CPU 1 and the callback beside the client; `streams_one_cpu` has both on CPU 1, no
more than asyncio has. One server runs at a time and each has its turn in every round. `callback_cpu_us` is the CPU time
a request of the process that runs the callback: what moves least with the machine's other work. Needs uvloop, cc.
"""

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

import psutil
import stage
from echo_servers import HERE
from kernel_http import free_port
from stage import CLIENT_CPU, SERVER_CPU

KINDS = {"c1": 1, "c64": 64}
OURS = ("streams", "streams_core_apart", "streams_one_cpu")
THEIRS = ("asyncio", "uvloop")
WARM = 0.2
"""Seconds of a run whose figure isn't kept."""


def command(name: str, port: int, program: str) -> list[str]:
    """What starts a server."""
    script = [sys.executable, str(stage.HERE / "echo_servers.py")]
    beside = 2 if 2 in os.sched_getaffinity(0) else CLIENT_CPU
    cpus = {
        "streams": (beside, SERVER_CPU),
        "streams_uvloop": (beside, SERVER_CPU),
        "streams_core_apart": (SERVER_CPU, CLIENT_CPU),
        "streams_one_cpu": (SERVER_CPU, SERVER_CPU),
    }.get(name)
    if cpus is not None:
        kind = "streams_uvloop" if name.endswith("uvloop") else "streams"
        return [*script, kind, str(port), *map(str, cpus)]
    if name == "floor":
        return [*stage.on(SERVER_CPU), program, "serve", str(port)]
    return [*stage.on(SERVER_CPU), *script, name, str(port)]


def echoes(port: int) -> bool:
    """Whether a byte comes back from there."""
    with contextlib.suppress(OSError), socket.create_connection((HERE, port), 1) as probe:
        probe.sendall(b"?")
        return probe.recv(1) == b"?"
    return False


def measured(program: str, port: int, connections: int, seconds: float) -> dict[str, float]:
    """One run of the client."""
    words = [program, "ask", HERE, str(port), str(connections), str(seconds)]
    command = [*stage.on(CLIENT_CPU), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.stderr}")
    rate, middle = map(float, done.stdout.split())
    return {"requests_per_second": rate, "p50_us": middle}


def measure(rounds: int, seconds: float) -> dict[str, dict[str, list[dict[str, float]]]]:
    """By kind and server, the figures of each round."""
    names = [*OURS, "streams_uvloop", *THEIRS, "floor"]
    runs: dict[str, dict[str, list[dict[str, float]]]] = {
        kind: {name: [] for name in names} for kind in KINDS
    }
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        program = stage.compiled("echo", folder)
        for number, name in stage.turns(names, rounds):
            if number < 0:
                continue  # every server is warmed below
            for kind, found in served(name, program, folder, seconds).items():
                runs[kind][name].append(found)
    return runs


def served(name: str, program: str, folder: Path, seconds: float) -> dict[str, dict[str, float]]:
    """By kind, the figures of one life of a server."""
    found = {}
    port = free_port()
    commands = {name: command(name, port, program)}
    with stage.servers(commands, lambda _: echoes(port), folder) as started:
        process = psutil.Process(started[name].pid)
        for kind, connections in KINDS.items():
            measured(program, port, connections, WARM)
            before = process.cpu_times()
            found[kind] = measured(program, port, connections, seconds)
            after = process.cpu_times()
            used = after.user + after.system - before.user - before.system
            requests = found[kind]["requests_per_second"] * seconds
            found[kind]["callback_cpu_us"] = used / requests * 1e6
    return found


def main() -> None:
    """Prints medians, and medians of the ratios within a round."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one run")
    options = parser.parse_args()
    stage.need("taskset", "cc")
    runs = measure(options.rounds, options.seconds)

    def rates(kind: str, name: str) -> list[float]:
        return [run["requests_per_second"] for run in runs[kind][name]]

    pairs = [(ours, theirs) for ours in OURS for theirs in THEIRS]
    pairs.append(("streams_uvloop", "uvloop"))
    ratios = {
        f"{ours}_vs_{theirs}_{kind}": stage.ratio(rates(kind, ours), rates(kind, theirs))
        for kind in KINDS
        for ours, theirs in pairs
    }
    stage.report(runs, ratios, options.json)


if __name__ == "__main__":
    main()
