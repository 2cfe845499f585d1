"""What an idle connection takes: Linux's, and asyncio's on top of it, against ours at the same count.

`python connections.py --json` prints one object. Linux: so many connections over the loopback interface, both ends held
by processes that do nothing; the growth of the kernel's slabs (/proc/meminfo, Slab), over both ends. asyncio: what a
server of asyncio.Protocol grows by, its kernel sockets not counted. Ours: `splitplane bench connections`, which opens,
asks and closes them; everything but the shared payload buffers. Wants 2 GB for a moment.
"""

import argparse
import asyncio
import json
import os
import resource
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

from ring import cpu_name

COUNT = 200_000
ASYNCIO = 5_000
SPARE = 200
PORTS = 20_000
LINGER = struct.pack("ii", 1, 0)
PAGE = os.sysconf("SC_PAGE_SIZE")


def slab() -> int:
    """Bytes of the kernel's slabs."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("Slab:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("/proc/meminfo has no Slab")


def resident() -> int:
    """Bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def hold(address: str, count: int) -> list[socket.socket]:
    """Both ends of so many connections to that address. They vanish without TIME-WAIT."""
    held = []
    with socket.create_server((address, 0), backlog=1024) as listener:
        target = listener.getsockname()
        for _ in range(count):
            client = socket.create_connection(target)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
            held += [client, listener.accept()[0]]
    return held


def holder(number: int, count: int) -> tuple[int, int, int]:
    """A process that holds so many: its pid, a pipe that says they are there, and one that ends it."""
    ready, say = os.pipe()
    wait, end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(end)
        held = hold(f"127.9.{number >> 8}.{(number & 255) + 1}", count)
        os.write(say, b"1")
        os.read(wait, 1)
        del held
        os._exit(0)
    os.close(say)
    os.close(wait)
    return pid, ready, end


def linux(count: int) -> float:
    """Bytes of the kernel an idle end of a connection."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    each = min((files - SPARE) // 2, PORTS)
    before = slab()
    holders = []
    for number, at in enumerate(range(0, count, each)):
        holders.append(holder(number, min(each, count - at)))
    whole = all(os.read(ready, 1) == b"1" for _, ready, _ in holders)
    grown = slab() - before
    for pid, ready, end in holders:
        os.write(end, b"1")
        os.waitpid(pid, 0)
        os.close(ready)
        os.close(end)
    if not whole:
        sys.exit("a process could not open its connections: see its message above")
    return grown / (2 * count)


async def _asyncio(count: int, say: int, wait: int) -> None:
    loop = asyncio.get_running_loop()
    accepted = 0

    class Idle(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            nonlocal accepted
            self.transport = transport
            accepted += 1

    server = await loop.create_server(Idle, "127.9.255.1", 0, backlog=1024)
    before = resident()
    os.write(say, struct.pack("i", server.sockets[0].getsockname()[1]))
    while accepted < count:
        await asyncio.sleep(0.01)
    os.write(say, struct.pack("q", resident() - before))
    await loop.run_in_executor(None, os.read, wait, 1)


def with_asyncio(count: int) -> float:
    """Bytes that a process grows by a connection."""
    found, say = os.pipe()
    wait, end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(end)
        asyncio.run(_asyncio(count, say, wait))
        os._exit(0)
    (port,) = struct.unpack("i", os.read(found, 4))
    held = [socket.create_connection(("127.9.255.1", port)) for _ in range(count)]
    (grown,) = struct.unpack("q", os.read(found, 8))
    for one in held:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        one.close()
    os.write(end, b"1")
    os.waitpid(pid, 0)
    for descriptor in (end, wait, say, found):
        os.close(descriptor)
    return float(grown) / count


def ours(count: int) -> dict[str, Any]:
    """What `splitplane bench connections` prints."""
    code = "import sys; from splitplane.controlplane.command import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "bench", "connections", "--count", str(count), "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=300)
    return dict(json.loads(done.stdout))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--count", type=int, default=COUNT, help="connections of each (200 000)")
    options = parser.parse_args()
    kernel = linux(options.count)
    on_top = with_asyncio(ASYNCIO)
    found = ours(options.count)
    result: dict[str, Any] = {
        "machine": {"cpu": cpu_name(), "linux": os.uname().release},
        "setting": f"{options.count} idle connections; asyncio {ASYNCIO}; payload buffers not counted",
        "ratios": {
            "bytes_vs_linux": kernel / found["state_bytes_per_connection"],
            "bytes_vs_asyncio": (kernel + on_top) / found["state_bytes_per_connection"],
        },
        "bytes_per_connection": {
            "ours": found["state_bytes_per_connection"],
            "linux": kernel,
            "asyncio": kernel + on_top,
        },
        "ours": found,
    }
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
