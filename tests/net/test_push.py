"""One publication to ten thousand kernel connections across a veth, over AF_XDP, and over a kill of the worker."""

import os
import signal
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from processes import command, eventually, free_cpus
from wires import Client, veth

FRONT = "splitpush"
LAYOUT = """
name = "pushed"
[supervision]
restarts = 100000
drain_seconds = 1.0
[nic.front]
driver = "afxdp"
interface = "{front}"
[group.web]
cpus = [{cpu}]
nic = "front"
connections = 20000
[[group.web.listen]]
port = "tcp:7000"
actor = "push:Lines"
reports_to = "publisher"
[control.publisher]
actor = "push:Publisher"
"""
HOLD = """
import resource, select, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
new = lambda: socket.create_connection(("10.77.0.1", 7000), timeout=60)
streams = [new() for _ in range(10_000)]
for stream in streams:
    stream.sendall(b"sub all\\nwhat\\n")
for stream in streams:
    assert stream.makefile("rb").readline().startswith(b"? sub NAME")
said = b""
for number in range(5):
    said += b"all number %d\\n" % number
    streams[number].sendall(b"pub all number %d\\n" % number)
    print("published", flush=True)
    sys.stdin.readline()
lost = 0
for stream in streams:
    got = b""
    try:
        while len(got) < len(said) and (piece := stream.recv(len(said) - len(got))):
            got += piece
    except ConnectionResetError:
        lost += 1
        continue
    assert got == said, got
for stream in streams:
    stream.setblocking(False)
ready = select.poll()
for stream in streams:
    ready.register(stream, select.POLLIN)
for descriptor, _ in ready.poll(300):
    again = next(stream for stream in streams if stream.fileno() == descriptor)
    try:
        assert not again.recv(100), "twice"
    except ConnectionResetError:
        pass
print("lost", lost, flush=True)
"""


@pytest.fixture
def client() -> Iterator[Client]:
    with veth(FRONT) as made:
        yield made


def test_each_of_ten_thousand_once(client: Client, tmp_path: Path) -> None:
    """Each has each publication once and in order, also those during which the worker is killed; that costs at most the
    connection in hand."""
    source = files("splitplane") / "examples" / "push" / "push.py"
    (tmp_path / "push.py").write_text(source.read_text())
    path = tmp_path / "layout.toml"
    path.write_text(LAYOUT.format(front=FRONT, cpu=free_cpus()[0]))
    with command(path) as running:
        running.seen("running")
        held = subprocess.Popen(
            [*client.prefix, "python3", "-c", HOLD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert held.stdin
        assert held.stdout
        killed = 0
        try:
            for number in range(5):
                assert held.stdout.readline() == "published\n"
                if number in (1, 3):
                    assert eventually(lambda dead=killed: running.worker() != dead)
                    killed = running.worker()
                    os.kill(killed, signal.SIGKILL)
                held.stdin.write("\n")
                held.stdin.flush()
            word, lost = held.stdout.readline().split()
            assert (word, int(lost) <= 2) == ("lost", True), lost
        finally:
            held.kill()
            held.wait()
        assert running.end() == 0
