"""One broadcast to parked connections on one core over a memory wire: how long until each has all of it, once.

The clients are a core of our own TCP in this process, on the first CPU; the server's worker has the last one. Prints
JSON: seconds from the call until the last client has it, and until the server has queued it to all, per broadcast; and
what a parked connection adds to the control plane's Python memory, in blocks.
"""

import argparse
import asyncio
import gc
import ipaddress
import json
import os
import socket
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import splitplane
from splitplane.dataplane.native import ffi, lib
from splitplane.dataplane.peer import Peer
from splitplane.nic.memory import Wire

sys.path.append(str(Path(__file__).parent))  # the worker imports Parked from here

PORTS = 25
FIRST_PORT = 7000
BATCH = 256  # handshakes begun before the wire is looked at


class Parked(splitplane.DataActor):
    """Takes what comes, says nothing."""


def layout(count: int, cpu: int) -> splitplane.Layout:
    """One core with room for them; as many of them may be busy as there are."""
    listen = [
        {"port": f"tcp:{FIRST_PORT + at}", "actor": "push:Parked", "tick_milliseconds": 0}
        for at in range(PORTS)
    ]
    group = {
        "cpus": [cpu],
        "nic": "front",
        "connections": count,
        "busy": 1.0,
        "buffers": f"{64 + count // 8000} MiB",
        "idle": "spin",
        "listen": listen,
    }
    return splitplane.Layout.model_validate(
        {
            "name": "pushbench",
            "nic": {"front": {"driver": "memory", "address": "10.0.0.1/8"}},
            "group": {"web": group},
        }
    )


def connect(peer: Peer, client: Any, count: int) -> None:
    """Opens them all: so many to each port."""
    address = ffi.new("uint32_t *")
    ffi.memmove(address, ipaddress.IPv4Address("10.0.0.1").packed, 4)
    for number in range(count):
        port = socket.htons(FIRST_PORT + number % PORTS)
        local = socket.htons(1024 + number // PORTS)
        made = lib.peer_connect(client, address[0], port, local, peer.next_hop)
        assert made == number, made
        if number % BATCH == BATCH - 1:
            while not lib.peer_at(client, number).opened:
                peer.core.turn()
    deadline = time.monotonic() + 60
    while not all(lib.peer_at(client, number).opened for number in range(count)):
        peer.core.run(1000)
        assert time.monotonic() < deadline, "not all opened"


async def broadcast(
    runtime: splitplane.Runtime, peer: Peer, count: int, text: bytes
) -> tuple[float, float]:
    """Seconds until `text` is queued to all connections, and until all its bytes have arrived."""
    before = runtime.counters(0)["pushed"]
    bytes_before = peer.counters()["received_bytes"]
    began = time.perf_counter()
    await runtime.broadcast("web", text)
    served = 0.0
    while peer.counters()["received_bytes"] - bytes_before < count * len(text):
        peer.core.run(200)
        if not served and runtime.counters(0)["pushed"] - before == count:
            served = time.perf_counter() - began
    received = time.perf_counter() - began
    return served or received, received


def took_once(client: Any, count: int, number: int, length: int) -> None:
    """Every connection has `length` bytes of this broadcast and no more."""
    into = ffi.new("uint8_t[]", 4 * length)
    for connection in range(count):
        got = lib.peer_receive(client, connection, into, 4 * length)
        assert got == length, (connection, got)
        assert into[0] == into[length - 1] == number


def objects() -> int:
    """Blocks of memory that this process, the controller, has for Python."""
    gc.collect()
    return sys.getallocatedblocks()


async def measure(count: int, rounds: int, length: int) -> dict[str, Any]:
    cpus = sorted(os.sched_getaffinity(0))
    runtime = splitplane.start(layout(count, cpus[-1]))
    async with runtime:
        os.sched_setaffinity(0, {cpus[0]})
        buffers = (64 << 20) + count * 256
        with (
            Wire(runtime.wire(0), 1) as wire,
            Peer(wire, connections=count, room=4 * length, buffers=buffers) as peer,
        ):
            peer.start()
            client = lib.peer_open(peer.core.pointer, 0, count, 4 * length, 1)
            before = objects()
            connect(peer, client, count)
            parked = objects() - before
            seconds, queued = [], []
            for number in range(rounds):
                served, received = await broadcast(runtime, peer, count, bytes([number]) * length)
                queued.append(served)
                seconds.append(received)
                took_once(client, count, number, length)
            counters = runtime.counters(0)
            return {
                "connections": count,
                "bytes": length,
                "page_size": runtime.page_size,
                "seconds_median": statistics.median(seconds),
                "seconds": seconds,
                "queued_seconds": queued,
                "python_objects_per_connection": parked / count,
                "exactly_once": True,
                "lost": {name: counters[name] for name in ("push_slow", "push_no_room")},
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bytes", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="the only form there is")
    options = parser.parse_args()
    made = asyncio.run(measure(options.count, options.rounds, options.bytes))
    json.dump(made, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
