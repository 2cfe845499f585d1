"""The load generator's own process: pinned, spinning, told what to do by lines of JSON on its standard input.

It ends with its parent, or when its input does. `python -m splitplane.loadgen.process ORDER`.
"""

import json
import os
import select
import sys
import time
from dataclasses import dataclass
from typing import Any

from ..runtime import system
from .clients import Clients, Order, Target, mirror, spin_gaps
from .end import End

SLICE = 0.02
"""Seconds between two looks at the input."""
TELL = 0.1
"""Seconds between two reports while an order runs."""
RESTING = 0.01
"""Seconds between two looks at the road without an order."""


@dataclass(frozen=True, slots=True)
class Boot:
    """What the process is told when it starts."""

    parent: int
    cpu: int
    end: dict[str, Any]
    """End's fields."""
    target: dict[str, Any] | None
    """Target's fields; None: it is no client but stands at the server's end."""


def main(text: str) -> int:
    """The process's life; its exit code."""
    boot = Boot(**json.loads(text))
    system.die_with(boot.parent)
    system.name_process("load")
    system.wake_exactly()
    system.pin(boot.cpu)
    os.set_blocking(0, False)
    with End(**boot.end).open() as opened:
        if boot.target is None:
            _floor(opened)
            return 0
        parts = dict(boot.target)
        parts["server_mac"] = bytes.fromhex(parts["server_mac"])
        parts["server_key"] = tuple(parts["server_key"])
        key = (int.from_bytes(os.urandom(8)), int.from_bytes(os.urandom(8)))
        with Clients(opened, Target(**parts), key, time.monotonic_ns()) as clients:
            _say({"ready": True})
            _serve(clients)
    return 0


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


class Input:
    """Lines of JSON as they come."""

    def __init__(self) -> None:
        self._rest = b""
        self.ended = False

    def take(self, seconds: float) -> list[dict[str, Any]]:
        """Those that came within so long."""
        if select.select([0], [], [], seconds)[0]:
            found = os.read(0, 65536)
            self.ended = self.ended or not found
            *lines, self._rest = (self._rest + found).split(b"\n")
            return [json.loads(line) for line in lines]
        return []


def _serve(clients: Clients) -> None:
    orders, running, told = Input(), False, 0.0
    while not orders.ended:
        for line in orders.take(0 if running else RESTING):
            if "begin" in line:
                clients.begin(Order(**line["begin"]))
                running = True
            elif "finish" in line:
                clients.finish()
            elif "stop" in line:
                clients.stop()
        finished = clients.run(SLICE if running else 0)
        if running and finished:
            _say({"done": clients.report().as_dict()})
            running = False
        elif running and time.monotonic() - told > TELL:
            told = time.monotonic()
            _say({"so_far": clients.report(latency=False).as_dict()})


def _floor(opened: Any) -> None:
    """At the server's end of a road, without a server: sends requests back and counts them, or spins when told to."""
    _say({"ready": True})
    orders, frames = Input(), 0
    while not orders.ended:
        for line in orders.take(0):
            gaps = spin_gaps(line["spin"], line["gap"]) if "spin" in line else 0
            _say({"done": {"gaps": gaps, "frames": frames}})
        frames += mirror(opened, SLICE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
