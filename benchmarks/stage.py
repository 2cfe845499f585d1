"""What the benchmarks across a wire share: two veth pairs into one client's namespace, pinned programs, medians.

Ours steers the first pair by its XDP program; the peers have the second, alike but for that, so that our program isn't
in their way. The client runs on CPU 0, whoever serves on CPU 1. Offloads (checksums, segmentation, GRO) are off at all
four ends unless a benchmark says otherwise. Everything vanishes with this process.
"""

import contextlib
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitplane.controlplane.demo_network import FRONT, OURS, PEER, Client, network
from splitplane.nic.interface import read_interface

HERE = Path(__file__).parent
CLIENT_CPU, SERVER_CPU = 0, 1
BARE, BARE_PEER = "bare", "bareclient"
THEIRS = "10.78.0.1"
DRIVER = ("xdp_queue", "afxdp", "xdp_recover", "bpf", "steer", "steer_program")
OFFLOADS = ("tx", "rx", "sg", "tso", "gso", "gro")
RUN = "import sys; from splitplane.controlplane.command import main; sys.exit(main())"
NGINX = """
worker_processes 1; daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 4096; accept_mutex off; }}
http {{ access_log off; keepalive_requests 1000000000; tcp_nodelay on; server_tokens off;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen {address}:{port}; location / {{ default_type text/plain; return 200 "hello\\n"; }} }} }}
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """Two wires: OURS is ours at FRONT, THEIRS the peers' at BARE."""

    client: Client

    @property
    def inside(self) -> list[str]:
        """Words that run a command on the client's side."""
        return [
            "nsenter",
            f"--net=/proc/{self.client.pid}/ns/net",
            "taskset",
            "-c",
            str(CLIENT_CPU),
        ]

    def connects(self, address: str, port: int) -> bool:
        """Whether somebody over there could connect."""
        ask = f"import socket; socket.create_connection(({address!r}, {port}), 1)"
        words = [*self.inside, sys.executable, "-c", ask]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0


def need(*programs: str) -> None:
    """Exits with the remedy if a program isn't there, or rights, or CPUs."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        packages = "wrk nginx-light util-linux iproute2 ethtool gcc libc6-dev"
        sys.exit(f"{', '.join(missing)} needed: apt-get install {packages}")
    if not {CLIENT_CPU, SERVER_CPU} <= os.sched_getaffinity(0):
        sys.exit(f"CPUs {CLIENT_CPU} and {SERVER_CPU} are needed: here, {os.sched_getaffinity(0)}")


def need_root() -> None:
    """Exits unless this user may make wires."""
    if os.geteuid() != 0:
        sys.exit("root is needed: AF_XDP and a network namespace of our own")


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.stderr}")


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """Makes the wires."""
    need_root()
    need("ip", "ethtool", "nsenter", "taskset", "cc")
    with network("afxdp") as around:
        assert around.client is not None
        made = Stage(around.client)
        _run(*f"ip link add {BARE} type veth peer name {BARE_PEER} netns {made.client.pid}".split())
        _run(*f"ip address add {THEIRS}/24 dev {BARE}".split())
        _run(*f"ip link set {BARE} up".split())
        _run(*made.inside, *f"ip address add 10.78.0.2/24 dev {BARE_PEER}".split())
        _run(*made.inside, *f"ip link set {BARE_PEER} up".split())
        off = [word for name in OFFLOADS for word in (name, "off")]
        for name in (FRONT, BARE):
            _run("ethtool", "-K", name, *off)
        for name in (PEER, BARE_PEER):
            _run(*made.inside, "ethtool", "-K", name, *off)
        yield made


def compiled(name: str, folder: Path, *more: str) -> str:
    """A C program beside this file, compiled into `folder`."""
    program = folder / name
    source = str(HERE / f"{name}.c")
    _run("cc", "-O2", "-std=gnu11", source, "-o", str(program), *more)
    return str(program)


def on(cpu: int) -> list[str]:
    """Words that pin a command to one CPU."""
    return ["taskset", "-c", str(cpu)]


def run(layout: Path) -> list[str]:
    """The command that runs a layout."""
    return [sys.executable, "-c", RUN, "run", str(layout)]


def nginx(folder: Path, address: str, port: int) -> list[str]:
    """The command that runs one worker of nginx there, which says hello; its files are written into `folder`."""
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, address=address, port=port))
    return [*on(SERVER_CPU), "nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


class Frames:
    """The programs that send and receive bare frames, compiled into a folder: wire.c with the sources of the data plane
    beside this folder, frames.c for the client's flood and for Linux's ways."""

    def __init__(self, folder: Path) -> None:
        root = HERE.parent
        places = [f"-I{root / name}" for name in ("dataplane", "runtime", "nic")]
        driver = [str(root / "nic" / f"{name}.c") for name in DRIVER]
        sources = [
            str(path) for name in ("dataplane", "runtime") for path in (root / name).glob("*.c")
        ]
        fast = ["-O3", "-fno-strict-aliasing"]  # as meson.build compiles them
        self.frames = compiled("frames", folder, driver[0])
        self._wire = compiled("wire", folder, *fast, *places, *sources, *driver, "-lpthread")

    def ours(self, mode: str, seconds: float) -> list[str]:
        """The command of our end: `echo`, `bare` or `receive`."""
        return [self._wire, mode, FRONT, OURS, str(seconds)]

    def flooded(self, around: Stage, kind: str, receiver: list[str], seconds: float) -> float:
        """What the receiver prints while the client sends frames of that kind: tcp to our wire, others to the peers'."""
        front, peer, source, to = (
            (FRONT, PEER, "10.77.0.2", OURS)
            if kind == "tcp"
            else (BARE, BARE_PEER, "10.78.0.2", THEIRS)
        )
        address = read_interface(front).mac.hex(":")
        words = [self.frames, "flood", kind, peer, address, source, to, str(seconds + 1)]
        sender = subprocess.Popen([*around.inside, *words])
        try:
            command = [*on(SERVER_CPU), *receiver]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            if done.returncode:
                sys.exit(f"{' '.join(command)}: {done.stderr}")
            return float(done.stdout)
        finally:
            sender.wait(60)


@contextlib.contextmanager
def servers(
    commands: dict[str, list[str]], ready: Callable[[str], bool], folder: Path
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """All of them, running at once; ended afterwards. SystemExit with its last words if one doesn't get `ready`."""
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            log = folder / f"{name}.out"
            with log.open("wb") as out:
                started[name] = subprocess.Popen(command, stdout=out, stderr=out, cwd=folder)
            deadline = time.monotonic() + 60
            while not ready(name):
                if time.monotonic() > deadline or started[name].poll() is not None:
                    sys.exit(f"{name} does not serve: {log.read_text()[-2000:]}")
                time.sleep(0.05)
        yield started
    finally:
        for process in started.values():
            process.send_signal(signal.SIGTERM)
        for process in started.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


def microseconds(text: str) -> float:
    """wrk's `1.23ms` and its like."""
    found = re.fullmatch(r"([\d.]+)(us|ms|s)", text)
    if found is None:
        raise ValueError(f"wrk gives a time as {text!r}: not in us, ms or s")
    return float(found[1]) * {"us": 1, "ms": 1e3, "s": 1e6}[found[2]]


def wrk(
    url: str, connections: int, seconds: float, *, prefix: Sequence[str], script: Path | None = None
) -> dict[str, float]:
    """One run of wrk: requests a second, p50 and p99 in microseconds."""
    command = [*prefix, "wrk", "-t", "1", "-c", str(connections), "--latency"]
    # wrk takes whole seconds only, so a part of one is a run cut by a signal, which it reports as usual.
    command += ["-d", "60s", *(["-s", str(script)] if script else []), url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    text = process.communicate(timeout=20)[0]
    found = re.search(r"\n +50% +(\S+).*\n +99% +(\S+).*Requests/sec: +([\d.]+)", text, re.DOTALL)
    if "Socket errors" in text or "Non-2xx" in text or found is None:
        sys.exit(f"{url}: {text}")
    return {
        "requests_per_second": float(found[3]),
        "p50_us": microseconds(found[1]),
        "p99_us": microseconds(found[2]),
    }


def turns(names: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Each name once a round, another one first each time; round -1 warms."""
    for number in range(-1, rounds):
        first = number % len(names)
        for name in [*names, *names][first : first + len(names)]:
            yield number, name


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the rounds' own ratios."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


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


def report(runs: dict[str, dict[str, list[Any]]], ratios: dict[str, float], as_json: bool) -> None:
    """Prints by kind and name the medians of the rounds, and the ratios; as JSON with the raw figures and the machine.

    A figure is a number, or a dictionary of numbers. The name `floor` stands apart.
    """

    def median(found: list[Any]) -> Any:
        if isinstance(found[0], dict):
            return {key: statistics.median(run[key] for run in found) for key in found[0]}
        return statistics.median(found)

    medians = {
        kind: {name: median(found) for name, found in named.items()} for kind, named in runs.items()
    }
    if as_json:
        floor = {kind: named.pop("floor") for kind, named in medians.items() if "floor" in named}
        found = {"machine": machine(), "floor": floor, "ratios": ratios}
        print(json.dumps(found | {"medians": medians, "runs": runs}))
        return
    for kind, named in medians.items():
        for name, values in named.items():
            parts = values if isinstance(values, dict) else {"": values}
            shown = "  ".join(f"{key} {value:,.0f}" for key, value in parts.items())
            print(f"{kind:12} {name:12} {shown}")
    print("\n".join(f"{name} {value:.2f}" for name, value in ratios.items()))
