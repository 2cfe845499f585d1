"""examples/hello over the kernel driver against nginx, uvloop (http_uvloop.py) and an empty C server (http_floor.c).

wrk -c 64 on loopback: the client has CPU 0, each server CPU 1. All servers run throughout and take turns within every
round, so that a ratio compares neighbours in time. With one request in flight a connection wrk itself takes most of
its CPU, and servers differ little; 16 in flight show what a server costs. Needs wrk, nginx, uvloop, cc.
"""

import argparse
import contextlib
import shutil
import socket
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

import stage
from stage import CLIENT_CPU, SERVER_CPU

HERE = Path(__file__).parent
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
    nginx = stage.nginx(folder, "127.0.0.1", ports["nginx"])
    uvloop = [sys.executable, str(HERE / "http_uvloop.py")]
    floor = stage.compiled("http_floor", folder)
    pinned = stage.on(SERVER_CPU)
    return {
        "splitplane": stage.run(folder / "layout.toml"),
        "nginx": nginx,
        "uvloop": [*pinned, *uvloop, str(ports["uvloop"]), "hello"],
        "uvloop_bare": [*pinned, *uvloop, str(ports["uvloop_bare"]), "bare"],
        "floor": [*pinned, floor, str(ports["floor"])],
    }


def serves(port: int) -> bool:
    """Whether somebody listens there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one run of wrk")
    options = parser.parse_args()
    stage.need("wrk", "nginx", "taskset", "cc")
    ports = {name: free_port() for name in ("splitplane", *PEERS)}
    runs: dict[str, dict[str, list[dict[str, float]]]] = {
        kind: {name: [] for name in ports} for kind in KINDS
    }
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        script = folder / "pipeline.lua"
        script.write_text(PIPELINE)
        everyone = commands(folder, ports)
        with stage.servers(everyone, lambda name: serves(ports[name]), folder):
            for number, name in stage.turns(list(ports), options.rounds):
                for kind in KINDS:
                    lua = script if kind == "pipelined" else None
                    url = f"http://127.0.0.1:{ports[name]}/"
                    client = stage.on(CLIENT_CPU)
                    result = stage.wrk(url, 64, options.seconds, prefix=client, script=lua)
                    if number >= 0:  # the first round warms
                        runs[kind][name].append(result)
    report(runs, options.json)


def report(runs: dict[str, dict[str, list[dict[str, float]]]], as_json: bool) -> None:
    """Medians, and medians of the ratios within a round."""

    def rates(kind: str, name: str) -> list[float]:
        return [run["requests_per_second"] for run in runs[kind][name]]

    ratios = {
        f"{kind}_vs_{peer}": stage.ratio(rates(kind, "splitplane"), rates(kind, peer))
        for kind in KINDS
        for peer in PEERS
    }
    stage.report(runs, ratios, as_json)


if __name__ == "__main__":
    main()
