"""Streams across a veth pair: our TCP over AF_XDP against Linux's, one flow and eight, to the server and from it.

The client is Linux in both cases (bulk.c), on CPU 0; the server is on CPU 1. Offloads are off at all ends: a frame is a
segment. Needs root, ethtool, cc.
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

SINK, SOURCE = 7001, 7002
ADDRESSES = {"splitplane": OURS, "linux": THEIRS}
KINDS = {f"{way}_{flows}": (way, flows) for flows in (1, 8) for way in ("send", "receive")}
LAYOUT = f"""
name = "bulk"
[machine]
control_cpus = [{CLIENT_CPU}]
[nic.front]
driver = "afxdp"
interface = "{FRONT}"
[group.web]
cpus = [{SERVER_CPU}]
nic = "front"
connections = 1024
frames = "32 MiB"
[[group.web.listen]]
port = "tcp:{SINK}"
actor = "bulk_actors:Sink"
max_unconsumed = "1 MiB"
[[group.web.listen]]
port = "tcp:{SOURCE}"
actor = "bulk_actors:Source"
"""


def measured(around: Stage, program: str, address: str, kind: str, seconds: float) -> float:
    """Bytes a second of one run."""
    way, flows = KINDS[kind]
    port = SINK if way == "send" else SOURCE
    words = [*around.inside, program, way, address, str(port), str(flows), str(seconds)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        sys.exit(f"{kind} to {address}: {done.stderr}")
    return float(done.stdout)


def measure(rounds: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """By kind and server, bytes a second of each round."""
    runs: dict[str, dict[str, list[float]]] = {
        kind: {name: [] for name in ADDRESSES} for kind in KINDS
    }
    with tempfile.TemporaryDirectory() as name_of_folder, stage.stage() as around:
        folder = Path(name_of_folder)
        shutil.copy(stage.HERE / "bulk_actors.py", folder)
        (folder / "layout.toml").write_text(LAYOUT)
        program = stage.compiled("bulk", folder)
        linux = [*stage.on(SERVER_CPU), program, "serve", THEIRS, str(SINK), str(SOURCE)]
        commands = {"splitplane": stage.run(folder / "layout.toml"), "linux": linux}

        def ready(name: str) -> bool:
            return around.connects(ADDRESSES[name], SOURCE)

        with stage.servers(commands, ready, folder):
            for number, name in stage.turns(list(ADDRESSES), rounds):
                for kind in KINDS:
                    found = measured(around, program, ADDRESSES[name], kind, seconds)
                    if number >= 0:  # the first round warms
                        runs[kind][name].append(found)
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one run")
    options = parser.parse_args()
    runs = measure(options.rounds, options.seconds)
    ratios = {
        f"{kind}_vs_linux": stage.ratio(found["splitplane"], found["linux"])
        for kind, found in runs.items()
    }
    stage.report(runs, ratios, options.json)


if __name__ == "__main__":
    main()
