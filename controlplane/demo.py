"""`splitplane demo`: examples/hello, visited by an ordinary client, and what happened."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from ..runtime.claim import holder_of
from ..runtime.layout import Layout
from ..runtime.load import load_layout
from ..runtime.machine import read_machine
from ..runtime.runtime import Runtime
from .demo_network import Driver, Network, network
from .demo_roads import best_road
from .visitor import Visit

ADDRESS = "127.0.0.1"
PORT = 8080
INTERRUPTED = 130
"""The exit code, as shells have it."""
SETTLE = 0.25
"""Seconds for the last reports to reach the control plane."""
INTERFACE = ("xdp_mode", "zero_copy", "queues", "frames_rx", "frames_tx")
"""What the object says of the interface; null where there is none."""


def demo(*, serve: bool, as_json: bool, port: int, requests: int, driver: Driver | None) -> int:
    """Runs it; the exit code: 0, 1 when a request failed, 130 when it was interrupted. Raises MachineError.

    Without a driver, the best that can be had here: see demo_roads.py.
    """
    try:
        with network(driver or best_road(_complain)) as around:
            return asyncio.run(
                _demo(around, serve=serve, as_json=as_json, port=port, requests=requests)
            )
    except (KeyboardInterrupt, asyncio.CancelledError):
        _complain("interrupted: nothing is left")
        return INTERRUPTED


def _complain(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def demo_layout(port: int, around: Network) -> Layout:
    """The packaged example on one CPU of this machine, the last that no runtime has, and on a free port of the network."""
    every = read_machine().cpus
    cpus = [cpu for cpu in every if holder_of(f"cpu/{cpu}") is None] or every
    free = port or next(candidate for candidate in (PORT, 0) if _is_free(candidate))
    return load_layout(
        Path(__file__).parent.parent / "examples" / "hello" / "layout.toml",
        [
            *around.overrides,
            f"group.web.cpus=[{cpus[-1]}]",
            f'group.web.listen[0].port="tcp:{free or _free_port()}"',
        ],
    )


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


async def _demo(around: Network, *, serve: bool, as_json: bool, port: int, requests: int) -> int:
    running: Any = asyncio.current_task()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    layout = demo_layout(port, around)
    out = sys.stdout

    def say(*words: object) -> None:
        if not as_json:
            print(*words, file=out, flush=True)

    say(f"splitplane demo: compiling {layout.group['web'].listen[0].actor} …")
    # What the example's reporter prints is shown, but with --json stdout has the one object alone.
    with redirect_stdout(sys.stderr if as_json else out):
        shown = out if as_json else None
        failed = await _serve(layout, around, requests, say, serve=serve, out=shown)
    say("stopped: worker and launcher ended, memory returned")
    return 1 if failed else 0


async def _serve(
    layout: Layout,
    around: Network,
    requests: int,
    say: Callable[..., None],
    *,
    serve: bool,
    out: TextIO | None,
) -> bool:
    """Starts it, visits it, shows the result; whether a request failed."""
    port = layout.group["web"].listen[0].port_number
    async with Runtime(layout) as runtime:
        worker = runtime.workers[0]
        url = f"http://{around.address}:{port}/"
        say(f"serving {url} on CPU {worker.cpu}, worker {worker.pid}: {_how(runtime)}")
        await asyncio.to_thread(around.connect)
        found = await asyncio.to_thread(around.visit, port, requests)
        await asyncio.sleep(SETTLE)
        result = _result(runtime, found)
        if out:
            print(json.dumps(result), file=out, flush=True)
        else:
            _show(found, result)
        if serve:
            say(f"still serving; try:  {around.curl.format(port=port)}     (Ctrl-C ends it)")
            await _interrupted()
    return bool(found.errors) or found.requests != requests


def _how(runtime: Runtime) -> str:
    """The driver, and what it makes of its interface."""
    group = runtime.layout.group["web"]
    facts = runtime.interface("web")
    mode = f", XDP {facts['xdp_mode']}" if "xdp_mode" in facts else ""
    copying = {True: ", zero-copy", False: ", copying"}.get(facts.get("zero_copy", ""), "")
    return f"driver {runtime.layout.nic[group.nic].driver}{mode}{copying}"


def _result(runtime: Runtime, found: Visit) -> dict[str, Any]:
    worker = runtime.workers[0]
    layout = runtime.layout
    counters = {name: count for name, count in runtime.counters(0).items() if count}
    interface = dict.fromkeys(INTERFACE) | runtime.interface("web")
    if interface["queues"]:
        interface["frames_rx"] = counters.get("rx_frames", 0)
        interface["frames_tx"] = counters.get("tx_frames", 0)
    return {
        "driver": layout.nic[layout.group["web"].nic].driver,
        "page_size": runtime.page_size,
        "cpu": worker.cpu,
        "worker_pid": worker.pid,
        "requests": found.requests,
        "errors": found.errors,
        "p50_us": round(found.p50_us, 1),
        "p99_us": round(found.p99_us, 1),
        "control_messages": runtime.control_messages,
        "counters": counters,
        **interface,
    }


def _show(found: Visit, result: dict[str, Any]) -> None:
    rate = found.requests / found.seconds if found.seconds else 0.0
    print(f"it says {found.first_body!r}")
    print(f"{found.requests} requests answered, half of them pipelined, {found.errors} errors")
    print(f"{rate:,.0f} requests/s by one Python client")
    print(f"one at a time: p50 {result['p50_us']} µs, p99 {result['p99_us']} µs, client included")
    print(f"{result['control_messages']} messages reached the control plane")
    print("counters of the core:")
    for name, count in result["counters"].items():
        print(f"  {name:<24} {count:>10}")


async def _interrupted() -> None:
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, done.set)
    await done.wait()
