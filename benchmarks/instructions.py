"""Where a request's instructions go: a core under load, counted one by one by valgrind.

`python instructions.py --json` prints one object. The core of `splitplane bench frames` (a Python-defined, compiled actor
over a memory wire) and its clients take turns in one process under callgrind, which counts what runs inside the loop and
nothing else. A request is two frames received, itself and the acknowledgement of its answer, and one sent. Two runs of
different length are subtracted, so that opening the connections doesn't count. No clock is involved: two runs on any
machine of one kind, busy or not, agree to a thousandth, which no measurement of time does. What a cache miss costs doesn't
show here; with all in reach a core runs two to three and a half of these instructions a cycle, two when another program
runs on the other half of its CPU. Needs valgrind.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from ring import cpu_name

CONNECTIONS, PAYLOAD = 2000, 64
ROUNDS = (5, 105)
"""Requests of each connection, in the shorter run and in the longer one."""
LEAST = 1.0
"""Functions with fewer instructions a request are the rest."""
COST = re.compile(r"[0-9+*-]\S* [0-9]+$")
"""A source line, perhaps relative to the last one, and its instructions."""
NATIVE = re.compile(r"_native\.|\?\?\?|libc")
"""Objects whose instructions count: the C module, compiled handlers, memcpy."""


def inside(rounds: int) -> None:
    """What runs under valgrind: core and clients, turn by turn."""
    from splitplane.dataplane.native import lib
    from splitplane.loadgen.clients import Clients, Order
    from splitplane.loadgen.end import End
    from splitplane.loadgen.road import MEMORY
    from splitplane.loadgen.server import make_layout, target
    from splitplane.runtime.holdings import Holdings
    from splitplane.runtime.program import Compiled
    from splitplane.runtime.schema import schema_of
    from splitplane.runtime.worker import Kit, open_core

    layout = make_layout(CONNECTIONS, PAYLOAD, min(os.sched_getaffinity(0)))
    with Holdings(layout, pinned=False) as holdings:
        actors, held = holdings.actors, holdings.cores[0]
        schema = schema_of(actors.all, layout.cores_of, actors.messages)
        program = Compiled(actors.all, schema, verbose=False)
        kit = Kit(holdings.boot(), layout, actors, schema, program)
        core = open_core(kit, held.order, held.arena, holdings.mesh, adopt=False)
        core.start(restarted=False)
        lib.memory_distance(core.pointer.nic, lib.MEMORY_NEAR)  # valgrind's clock says nothing
        with End("memory", held.order.wire, 1).open() as wire:
            aim = target(PAYLOAD, MEMORY, MEMORY.flight, held.state.sequence_key)
            with Clients(wire, aim, (1, 2), time.monotonic_ns()) as clients:
                for order in (
                    Order("open", CONNECTIONS),
                    Order("request", CONNECTIONS, asked=1, rounds=rounds, sequence="random"),
                ):
                    clients.begin(order)
                    while not clients.run(0):
                        core.run(1)
                    if clients.report().errors:
                        sys.exit(f"errors: {clients.report().as_dict()}")


def counted(folder: Path, rounds: int) -> Counter[str]:
    """Instructions by function, of one run."""
    out = folder / str(rounds)
    command = [
        "valgrind",
        "-q",
        "--tool=callgrind",
        "--toggle-collect=loop_run",
        f"--callgrind-out-file={out}",
    ]
    words = [*command, sys.executable, __file__, "--inside", str(rounds)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return parse(out.read_text(errors="replace"))


def parse(text: str) -> Counter[str]:
    """Each function's own instructions, of a file in callgrind's format."""
    found: Counter[str] = Counter()
    names: dict[str, str] = {}
    function = path = ""
    of_call = False
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key in ("ob", "fn"):
            number, _, name = value.partition(" ")
            names.setdefault(key + number, name)
            if key == "ob":
                path = names[key + number]
            else:
                function = names[key + number]
        elif key in ("cob", "cfn"):
            number, _, name = value.partition(" ")
            names.setdefault(key[1:] + number, name)
        elif key == "calls":
            of_call = True
        elif COST.match(line):
            if not of_call and NATIVE.search(path or "???"):
                name = (
                    "compiled handler" if function.startswith("0x") else function.partition(".")[0]
                )
                found[name] += int(line.split()[1])
            of_call = False
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--inside", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        inside(options.inside)
        return
    if not shutil.which("valgrind"):
        sys.exit("valgrind is needed: apt-get install valgrind")
    with tempfile.TemporaryDirectory() as folder:
        short, long = (counted(Path(folder), rounds) for rounds in ROUNDS)
    requests = CONNECTIONS * (ROUNDS[1] - ROUNDS[0])
    each = {name: (count - short[name]) / requests for name, count in long.most_common()}
    total = sum(each.values())
    shown = {name: round(value, 1) for name, value in each.items() if value >= LEAST}
    result = {
        "machine": {"cpu": cpu_name()},
        "setting": f"{CONNECTIONS} connections, {PAYLOAD} B, bursts of 32; instructions a request",
        "total": round(total, 1),
        "figures": shown | {"the rest": round(total - sum(shown.values()), 1)},
    }
    if options.json:
        print(json.dumps(result))
        return
    print(f"{total:9.1f}  instructions a request")
    for name, value in shown.items():
        print(f"{value:9.1f}  {name}")


if __name__ == "__main__":
    main()
