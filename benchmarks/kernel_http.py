"""examples/hello over the kernel driver against nginx, uvloop (http_uvloop.py) and an empty C server (http_floor.c).

wrk -c 64 on loopback: the client has CPU 0, each server CPU 1. All servers run throughout and take turns within every
round, so that a ratio compares neighbours in time. With one request in flight a connection wrk itself takes most of
its CPU, and servers differ little; 16 in flight show what a server costs. Needs wrk, nginx, uvloop, cc.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CLIENT_CPU, SERVER_CPU = 0, 1
KINDS = ("requests", "pipelined")  # one request in flight a connection, or 16
PEERS = ("nginx", "uvloop", "uvloop_bare", "floor")
LAYOUT = """
name = "kernel-http-{port}"
[machine]
control_cpus = [{client}]
[nic.front]
driver = "kernel"
bind = "127.0.0.1"
[group.web]
cpus = [{server}]
nic = "front"
connections = 4096
[[group.web.listen]]
port = "tcp:{port}"
actor = "hello:Hello"
config = {{ report_every = 1_000_000 }}
reports_to = "reporter"
[control.reporter]
actor = "hello:Reporter"
"""
PIPELINE = """
init = function(args)
  local requests = {}
  for i = 1, 16 do requests[i] = wrk.format(nil, "/") end
  all = table.concat(requests)
end
request = function() return all end
"""
NGINX = """
worker_processes 1; daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 4096; accept_mutex off; }}
http {{ access_log off; keepalive_requests 1000000000; tcp_nodelay on; server_tokens off;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{port}; location / {{ default_type text/plain; return 200 "hello\\n"; }} }} }}
"""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def commands(folder: Path, ports: dict[str, int]) -> dict[str, list[str]]:
    """What starts each server; their files are written into `folder`."""
    shutil.copy(HERE.parent / "examples" / "hello" / "hello.py", folder)
    layout = LAYOUT.format(port=ports["splitplane"], client=CLIENT_CPU, server=SERVER_CPU)
    (folder / "layout.toml").write_text(layout)
    (folder / "nginx.conf").write_text(NGINX.format(port=ports["nginx"], folder=folder))
    uvloop = [sys.executable, str(HERE / "http_uvloop.py")]
    floor = folder / "http_floor"
    subprocess.run(["cc", "-O2", str(HERE / "http_floor.c"), "-o", str(floor)], check=True)
    pinned = ["taskset", "-c", str(SERVER_CPU)]
    run = "import sys; from splitplane.controlplane.command import main; sys.exit(main())"
    return {
        "splitplane": [sys.executable, "-c", run, "run", str(folder / "layout.toml")],
        "nginx": [*pinned, "nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")],
        "uvloop": [*pinned, *uvloop, str(ports["uvloop"]), "hello"],
        "uvloop_bare": [*pinned, *uvloop, str(ports["uvloop_bare"]), "bare"],
        "floor": [*pinned, str(floor), str(ports["floor"])],
    }


def wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Returns once somebody listens there; SystemExit with its last words if the server ends before."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    sys.exit(f"{process.args!r} does not serve: {log.read_text()[-2000:]}")


@contextlib.contextmanager
def servers(folder: Path, ports: dict[str, int]) -> Iterator[None]:
    """All of them, running; ended afterwards."""
    started = []
    try:
        for name, command in commands(folder, ports).items():
            log = folder / f"{name}.out"
            with log.open("wb") as out:
                process = subprocess.Popen(command, stdout=out, stderr=out, cwd=folder)
            started.append(process)
            wait_for(ports[name], process, log)
        yield
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


def microseconds(text: str) -> float:
    """wrk's `1.23ms` and its like."""
    value, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(value) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def measure(port: int, seconds: float, script: Path | None = None) -> dict[str, float]:
    """One run of wrk: requests a second, p50 and p99 in microseconds."""
    command = ["taskset", "-c", str(CLIENT_CPU), "wrk", "-t", "1", "-c", "64", "--latency"]
    # wrk takes whole seconds only, so a part of one is a run cut by a signal, which it reports as usual.
    command += ["-d", "60s", *(["-s", str(script)] if script else []), f"http://127.0.0.1:{port}/"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    text = process.communicate(timeout=20)[0]
    found = re.search(r"\n +50% +(\S+).*\n +99% +(\S+).*Requests/sec: +([\d.]+)", text, re.DOTALL)
    if "Socket errors" in text or "Non-2xx" in text or found is None:
        sys.exit(f"port {port}: {text}")
    return {
        "requests_per_second": float(found[3]),
        "p50_us": microseconds(found[1]),
        "p99_us": microseconds(found[2]),
    }


def machine() -> dict[str, Any]:
    """Where it was measured."""
    names = re.findall(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": names[0] if names else platform.machine(),
        "cpus": os.cpu_count(),
        "linux": platform.release(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one run of wrk")
    options = parser.parse_args()
    for name in ("wrk", "nginx", "taskset", "cc"):
        if shutil.which(name) is None:
            sys.exit(f"{name} is needed: apt-get install wrk nginx-light util-linux gcc libc6-dev")
    if not {CLIENT_CPU, SERVER_CPU} <= os.sched_getaffinity(0):
        sys.exit(
            f"CPUs {CLIENT_CPU} and {SERVER_CPU} are needed; here are {os.sched_getaffinity(0)}"
        )
    ports = {name: free_port() for name in ("splitplane", *PEERS)}
    runs: dict[str, dict[str, list[dict[str, float]]]] = {
        kind: {name: [] for name in ports} for kind in KINDS
    }
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder), ports):
        script = Path(folder) / "pipeline.lua"
        script.write_text(PIPELINE)
        for number in range(-1, options.rounds):
            first = number % len(ports)
            for name in [*ports, *ports][first : first + len(ports)]:
                for kind in KINDS:
                    lua = script if kind == "pipelined" else None
                    result = measure(ports[name], options.seconds, lua)
                    if number >= 0:  # the first round warms
                        runs[kind][name].append(result)
    report(runs, options.json)


def report(runs: dict[str, dict[str, list[dict[str, float]]]], as_json: bool) -> None:
    """Medians, and medians of the ratios within a round."""
    medians = {
        kind: {
            name: {key: statistics.median(run[key] for run in found) for key in found[0]}
            for name, found in servers.items()
        }
        for kind, servers in runs.items()
    }
    ratios = {
        f"{kind}_vs_{peer}": statistics.median(
            ours["requests_per_second"] / theirs["requests_per_second"]
            for ours, theirs in zip(runs[kind]["splitplane"], runs[kind][peer], strict=True)
        )
        for kind in KINDS
        for peer in PEERS
    }
    if as_json:
        floor = {kind: found.pop("floor") for kind, found in medians.items()}
        found = {"machine": machine(), "floor": floor, "ratios": ratios}
        print(json.dumps(found | {"medians": medians, "runs": runs}))
        return
    for kind, found in medians.items():
        for name, values in found.items():
            shown = "  ".join(f"{key} {value:,.0f}" for key, value in values.items())
            print(f"{kind:10} {name:12} {shown}")
    print("\n".join(f"{name} {value:.2f}" for name, value in ratios.items()))


if __name__ == "__main__":
    main()
