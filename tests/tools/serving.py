"""AF_XDP served to a client behind a veth: layouts, the command, an echo that compares every byte, a refusal's words."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from processes import Command, command, free_cpus
from wires import OURS, Client

PORT = 8080
FRONT, PEER = "splitfront", "splitfrontpeer"


def toml(*, actor: str = "echo:Echo", more: str = "", cpus: str = "") -> str:
    """One group over the interface."""
    return f"""
name = "tested"
[supervision]
restarts = 100000
drain_seconds = 1.0
stall_milliseconds = 200
[nic.front]
driver = "afxdp"
interface = "{FRONT}"
{more}
[group.web]
cpus = [{cpus or free_cpus()[0]}]
nic = "front"
connections = 20000
[[group.web.listen]]
port = "tcp:{PORT}"
actor = "{actor}"
"""


def examples(folder: Path) -> None:
    """Puts the examples' modules there."""
    for name in ("echo", "hello", "resp"):
        text = (files("splitplane") / "examples" / name / f"{name}.py").read_text()
        (folder / f"{name}.py").write_text(text)


@contextmanager
def serving(tmp_path: Path, text: str, *, prefix: tuple[str, ...] = ()) -> Iterator[Command]:
    """The layout, running."""
    examples(tmp_path)
    path = tmp_path / "layout.toml"
    path.write_text(text)
    with command(path, prefix=prefix) as running:
        running.seen("running")
        yield running


ECHO = """
import hashlib, socket, sys, threading
size, seed, address = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
import random
data = random.Random(seed).randbytes(1 << 20)
stream = socket.create_connection((address, 8080), timeout=30)
sent = hashlib.sha256()
def feed():
    left = size
    while left:
        piece = data[:left]
        stream.sendall(piece); sent.update(piece); left -= len(piece)
    stream.shutdown(socket.SHUT_WR)
thread = threading.Thread(target=feed); thread.start()
got, length = hashlib.sha256(), 0
while piece := stream.recv(1 << 16):
    got.update(piece); length += len(piece)
thread.join()
assert length == size and got.digest() == sent.digest(), (length, size)
print("same")
"""


def echo(client: Client, size: int, seed: int = 1, address: str = OURS) -> str:
    """Sends `size` bytes to the echo actor from a kernel socket and compares what comes back."""
    return client.run("python3", "-c", ECHO, str(size), str(seed), address, seconds=120)


def refused(tmp_path: Path, text: str, *prefix: str) -> str:
    """What `run` says when it refuses the layout."""
    path = tmp_path / "layout.toml"
    path.write_text(text)
    examples(tmp_path)
    words = [*prefix, sys.executable, "-m", "splitplane", "run", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    return done.stderr
