"""What an idle connection takes: Linux's, and nginx's and asyncio's on top of it, against ours at the same count.

`python connections.py --json` prints one object. Linux: so many connections over the loopback interface, both ends held
by processes that do nothing; the growth of the kernel's slabs (/proc/meminfo, Slab), over both ends. nginx: what its
worker is larger with so many idle keep-alive connections, each of which has had an answer, than with room for none.
asyncio: what a server of asyncio.Protocol grows by. Their kernel sockets are Linux's. Ours: `splitplane bench
connections`, which opens, asks and closes them; everything but the shared payload buffers, by its own sum, by
/proc/PID/smaps and by the pool of huge pages. Wants nginx, and 2 GB for a moment.
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
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

from ring import cpu_name

COUNT = 200_000
FEW = 15_000
"""Connections of one process: each takes a descriptor, and 20 000 may be all that it can have."""
SPARE = 200
PORTS = 20_000
LINGER = struct.pack("ii", 1, 0)
PAGE = os.sysconf("SC_PAGE_SIZE")
NGINX = """
worker_processes 1; daemon off; master_process off; pid {folder}/pid; error_log {folder}/log;
events {{ worker_connections {room}; }}
http {{ access_log off; keepalive_timeout 1h; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen {address}:{port} backlog=1024; location / {{ return 200 "hello\\n"; }} }} }}
"""
ADDRESS, PORT = "127.9.254.1", 8089


def slab() -> int:
    """Bytes of the kernel's slabs."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("Slab:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("/proc/meminfo has no Slab")


def resident(pid: int | str = "self") -> int:
    """Bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


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


def all_files() -> int:
    """How many descriptors a process may have: from now on this one too, and its children."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    return files


def linux(count: int) -> float:
    """Bytes of the kernel an idle end of a connection."""
    files = all_files()
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


def asked(count: int) -> list[socket.socket]:
    """So many connections to nginx, each of which has had its answer."""
    held = []
    for _ in range(count):
        client = socket.create_connection((ADDRESS, PORT), 10)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        client.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
        while not client.recv(4096).endswith(b"hello\n"):
            pass
        held.append(client)
    return held


def nginx_with(count: int, folder: Path) -> int:
    """Bytes of nginx's worker with room for so many connections, and as many there."""
    text = NGINX.format(folder=folder, room=count + 16, address=ADDRESS, port=PORT)
    (folder / "nginx.conf").write_text(text)
    server = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")])
    try:
        for _ in range(100):
            time.sleep(0.1)
            with socket.socket() as one:
                if one.connect_ex((ADDRESS, PORT)) == 0:
                    break
        held = asked(max(count, 1))
        size = resident(server.pid)
        del held
        return size
    finally:
        server.terminate()
        server.wait(20)


def with_nginx(count: int) -> float:
    """Bytes that its worker grows by a connection."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return (nginx_with(count, folder) - nginx_with(0, folder)) / count


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
    few = min(FEW, all_files() - SPARE)
    peers = {
        "linux": kernel,
        "nginx": kernel + with_nginx(few),
        "asyncio": kernel + with_asyncio(few),
    }
    found = ours(options.count)
    each = found["state_bytes_per_connection"]
    result: dict[str, Any] = {
        "machine": {"cpu": cpu_name(), "linux": os.uname().release},
        "setting": f"{options.count} idle connections; nginx, asyncio: {few}; payload buffers not counted",
        "ratios": {f"bytes_vs_{name}": size / each for name, size in peers.items()},
        "bytes_per_connection": {
            "ours": each,
            "ours_by_smaps": found["state_bytes_by_smaps"],
            "ours_by_huge_pages": found["state_bytes_by_huge_pages"],
            **peers,
        },
        "ours": found,
    }
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
