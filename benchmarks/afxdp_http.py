"""examples/hello over AF_XDP against nginx and an empty C server (http_floor.c) over Linux's TCP, across veth pairs.

wrk with 64 connections and with one, then open_loop.c at half of nginx's rate: there latency counts from when a request
was due. Client CPU 0, servers CPU 1; all servers run throughout and take turns within every round, so that a ratio
compares neighbours in time. Offloads are off at all ends. Needs root, wrk, nginx, ethtool, cc.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

import stage
from splitplane.controlplane.demo_network import FRONT, OURS
from stage import CLIENT_CPU, SERVER_CPU, THEIRS, Stage

KINDS = ("c64", "c1", "open")
PEERS = ("nginx", "floor")
PLACES = {"splitplane": (OURS, 8080), "nginx": (THEIRS, 8081), "floor": (THEIRS, 8082)}
LAYOUT = f"""
name = "http"
[machine]
control_cpus = [{CLIENT_CPU}]
[nic.front]
driver = "afxdp"
interface = "{FRONT}"
[group.web]
cpus = [{SERVER_CPU}]
nic = "front"
connections = 4096
[[group.web.listen]]
port = "tcp:8080"
actor = "hello:Hello"
config = {{ report_every = 1_000_000 }}
reports_to = "reporter"
[control.reporter]
actor = "hello:Reporter"
"""

Figures = dict[str, float]


def commands(folder: Path) -> dict[str, list[str]]:
    """What starts each server; their files are written into `folder`."""
    shutil.copy(stage.HERE.parent / "examples" / "hello" / "hello.py", folder)
    (folder / "layout.toml").write_text(LAYOUT)
    floor = stage.compiled("http_floor", folder)
    return {
        "splitplane": stage.run(folder / "layout.toml"),
        "nginx": stage.nginx(folder, *PLACES["nginx"]),
        "floor": [*stage.on(SERVER_CPU), floor, str(PLACES["floor"][1]), THEIRS],
    }


def open_loop(around: Stage, program: str, name: str, rate: float, seconds: float) -> Figures:
    """One run at `rate` requests a second whatever comes back."""
    address, port = PLACES[name]
    words = [program, address, str(port), "64", str(int(rate)), str(seconds)]
    done = subprocess.run(
        [*around.inside, *words], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        sys.exit(f"{name}: {done.stderr}")
    answers, p50, p99, largest = map(float, done.stdout.split())
    return {"requests_per_second": answers, "p50_us": p50, "p99_us": p99, "max_us": largest}


def measure(rounds: int, seconds: float) -> dict[str, dict[str, list[Figures]]]:
    """By kind and server, a figure a round."""
    runs: dict[str, dict[str, list[Figures]]] = {
        kind: {name: [] for name in PLACES} for kind in KINDS
    }
    with tempfile.TemporaryDirectory() as name_of_folder, stage.stage() as around:
        folder = Path(name_of_folder)
        client = stage.compiled("open_loop", folder, "-lm")
        rate = 10_000.0
        with stage.servers(commands(folder), lambda name: around.connects(*PLACES[name]), folder):
            for number, name in stage.turns(list(PLACES), rounds):
                address, port = PLACES[name]
                for kind in KINDS:
                    if kind == "open":
                        found = open_loop(around, client, name, rate, seconds)
                    else:
                        url = f"http://{address}:{port}/"
                        found = stage.wrk(url, int(kind[1:]), seconds, prefix=around.inside)
                    if number >= 0:  # the first round warms, and says nginx's rate
                        runs[kind][name].append(found)
                    elif name == "nginx" and kind == "c64":
                        rate = found["requests_per_second"] / 2
    return runs


def ratios(runs: dict[str, dict[str, list[Figures]]]) -> dict[str, float]:
    """Medians of the ratios within a round."""

    def ratio(kind: str, key: str, peer: str) -> float:
        of = {name: [run[key] for run in found] for name, found in runs[kind].items()}
        return stage.ratio(of["splitplane"], of[peer])

    return {
        f"{name}_vs_{peer}_{kind}": ratio(kind, key, peer)
        for peer in PEERS
        for kind in KINDS
        for name, key in (("requests", "requests_per_second"), ("p50", "p50_us"), ("p99", "p99_us"))
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one run of a client")
    options = parser.parse_args()
    stage.need("wrk", "nginx")
    runs = measure(options.rounds, options.seconds)
    stage.report(runs, ratios(runs), options.json)


if __name__ == "__main__":
    main()
