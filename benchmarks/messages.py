"""Messages between a core and the control plane: how many a second, one call each and in batches, and how long an ask
takes while both sides sleep or spin; beside multiprocessing.Queue, pykka and a POSIX message queue in the same run.

The control plane has the first CPU, the core the last; the peers have both.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import statistics
import struct
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

import numpy
from messages_actors import Flow, Get, Many, One
from splitplane import ControlActor, Sender, on
from splitplane.runtime.layout import Layout
from splitplane.runtime.runtime import Runtime

HERE = Path(__file__).parent
PEER_MESSAGES = 100_000


class Sink(ControlActor):
    """Counts."""

    def __init__(self) -> None:
        self.ones = self.many = 0

    @on(One)
    async def one(self, message: One, sender: Sender) -> None:
        self.ones += 1

    @on(Many, batch=True)
    async def batch(self, rows: "numpy.ndarray[Any, Any]") -> None:
        self.many += len(rows)


def layout(cpu: int, idle: str) -> Layout:
    """One core over a wire that nobody uses."""
    listen = {"port": "tcp:7", "actor": "messages_actors:Source", "tick_milliseconds": 1}
    group = {"cpus": [cpu], "nic": "front", "connections": 16, "idle": idle, "listen": [listen]}
    made = {
        "name": f"messages-{idle}",
        "rings": {"control": 65536},
        "messages": ["messages_actors:One", "messages_actors:Many"],
        "nic": {"front": {"driver": "memory", "address": "10.0.0.1/24"}},
        "group": {"web": group},
    }
    return Layout.model_validate(made).located(HERE, "layout")


async def rate(runtime: Runtime, sink: Sink, flow: Flow, seconds: float) -> float:
    """Messages that the sink took in a second, while the core sends as many as the ring takes."""
    await runtime["web"].tell(flow)
    await asyncio.sleep(0.2)
    before, began = sink.ones + sink.many, time.perf_counter()
    await asyncio.sleep(seconds)
    taken, passed = sink.ones + sink.many - before, time.perf_counter() - began
    await runtime["web"].tell(Flow(ones=0, many=0))
    await asyncio.sleep(0.1)
    return taken / passed


async def ask(runtime: Runtime, asks: int, pause: float) -> float:
    """The median of so many asks, microseconds; with a pause between them both sides fall asleep."""
    times = []
    for _ in range(asks):
        if pause:
            await asyncio.sleep(pause)
        began = time.perf_counter()
        await runtime["web"][0].ask(Get())
        times.append((time.perf_counter() - began) * 1e6)
    return statistics.median(times)


async def ours(cpus: list[int], seconds: float) -> dict[str, float]:
    """All four figures."""
    found: dict[str, float] = {}
    apart = cpus[:-1] or cpus  # as `splitplane run` leaves the core's CPU alone
    async with Runtime(layout(cpus[-1], "adaptive")) as runtime:
        os.sched_setaffinity(0, apart)
        sink = Sink()
        await runtime.spawn(sink, mailbox=1 << 20)
        one = await rate(runtime, sink, Flow(ones=20_000, many=0), seconds)
        batched = await rate(runtime, sink, Flow(ones=0, many=60_000), seconds)
        found["data_to_control_per_s"] = round(one)
        found["data_to_control_batched_per_s"] = round(batched)
        found["ask_sleeping_p50_us"] = round(await ask(runtime, 200, 0.01), 1)
    os.sched_setaffinity(0, cpus)
    async with Runtime(layout(cpus[-1], "spin")) as runtime:
        os.sched_setaffinity(0, apart)
        found["ask_spinning_p50_us"] = round(await ask(runtime, 3000, 0), 1)
    os.sched_setaffinity(0, cpus)
    return found


async def socketpair_echo(cpus: list[int], asks: int, pause: float) -> float:
    """The same of an echo by a process that sleeps in recv on the core's CPU: the least that asyncio can ask of it."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if not pid:
        ours.close()
        os.sched_setaffinity(0, cpus[-1:])
        while data := theirs.recv(64):
            theirs.send(data)
        os._exit(0)
    theirs.close()
    os.sched_setaffinity(0, cpus[:-1] or cpus)
    reader, writer = await asyncio.open_connection(sock=ours)
    times = []
    for _ in range(asks):
        await asyncio.sleep(pause)
        began = time.perf_counter()
        writer.write(b"0123456789abcdef")
        await reader.readexactly(16)
        times.append((time.perf_counter() - began) * 1e6)
    writer.close()
    await writer.wait_closed()
    os.waitpid(pid, 0)
    os.sched_setaffinity(0, cpus)
    return statistics.median(times)


def queue_feed(queue: Any) -> None:
    for number in range(PEER_MESSAGES):
        queue.put(number)


def multiprocessing_queue() -> float:
    """Messages a second of 8 bytes from another process."""
    queue: Any = multiprocessing.Queue()
    feeder = multiprocessing.Process(target=queue_feed, args=(queue,))
    feeder.start()
    queue.get()
    began = time.perf_counter()
    for _ in range(PEER_MESSAGES - 1):
        queue.get()
    passed = time.perf_counter() - began
    feeder.join()
    return PEER_MESSAGES / passed


def pykka_tells() -> float:
    """Messages a second told to a pykka actor's thread."""
    import pykka

    class Counter(pykka.ThreadingActor):
        def on_receive(self, message: Any) -> Any:
            return message

    counter = Counter.start()
    began = time.perf_counter()
    for number in range(PEER_MESSAGES // 2):
        counter.tell(number)
    counter.ask(0)
    passed = time.perf_counter() - began
    counter.stop()
    return PEER_MESSAGES / 2 / passed


def posix_feed(name: str) -> None:
    import posix_ipc

    queue = posix_ipc.MessageQueue(name)
    for number in range(PEER_MESSAGES):
        queue.send(struct.pack("<Q", number))
    queue.close()


def posix_queue() -> float:
    """Messages a second of 8 bytes from another process."""
    import posix_ipc

    name = f"/splitplane-bench-{os.getpid()}"
    queue = posix_ipc.MessageQueue(name, posix_ipc.O_CREX, max_message_size=64)
    feeder = multiprocessing.Process(target=posix_feed, args=(name,))
    try:
        feeder.start()
        queue.receive()
        began = time.perf_counter()
        for _ in range(PEER_MESSAGES - 1):
            queue.receive()
        passed = time.perf_counter() - began
        feeder.join()
    finally:
        queue.close()
        queue.unlink()
    return PEER_MESSAGES / passed


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object on stdout (always so)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each rate")
    options = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    found: dict[str, Any] = asyncio.run(ours(cpus, options.seconds))
    peers = {
        "multiprocessing_queue": round(multiprocessing_queue()),
        "pykka": round(pykka_tells()),
        "posix_ipc": round(posix_queue()),
    }
    floor = asyncio.run(socketpair_echo(cpus, 200, 0.01))
    found["floor"] = {"socketpair_echo_sleeping_p50_us": round(floor, 1)}
    one = found["data_to_control_per_s"]
    found["peers_per_s"] = peers
    found["ratios"] = {f"vs_{name}": round(one / value, 2) for name, value in peers.items()}
    found["ratios"]["ask_sleeping_vs_socketpair"] = round(found["ask_sleeping_p50_us"] / floor, 2)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
