"""A network for a test: a client in a namespace of its own, at the other end of a veth pair. It vanishes with its holder."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

OURS, THEIRS = "10.77.0.1", "10.77.0.2"


def ip(*words: str) -> str:
    """What ip(8) prints."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


class Client:
    """The other end: an empty namespace held by a process that ends when this one does, however that is."""

    def __init__(self) -> None:
        self.holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE)
        here = os.stat("/proc/self/ns/net").st_ino
        while os.stat(f"/proc/{self.holder.pid}/ns/net").st_ino == here:
            time.sleep(0.005)

    @property
    def prefix(self) -> tuple[str, ...]:
        """Words that run a command there."""
        return ("nsenter", f"--net=/proc/{self.holder.pid}/ns/net")

    def run(self, *command: str, seconds: float = 60) -> str:
        """The output of a command there; it must succeed."""
        done = subprocess.run(
            [*self.prefix, *command], capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def close(self) -> None:
        """The namespace and its end of the wire vanish."""
        self.holder.send_signal(signal.SIGKILL)
        self.holder.communicate()


@contextmanager
def veth(name: str = "splitfront", queues: int = 1) -> Iterator[Client]:
    """Interface `name` here, with address OURS, and a client behind it with address THEIRS."""
    client = Client()
    counts = ("numrxqueues", str(queues), "numtxqueues", str(queues))
    peer = f"{name[:11]}peer"
    try:
        ip("link", "add", name, *counts, "type", "veth", "peer", "name", peer, *counts)
        try:
            ip("link", "set", peer, "netns", str(client.holder.pid))
            ip("address", "add", f"{OURS}/24", "dev", name)
            ip("link", "set", name, "up")
            client.run("ip", "address", "add", f"{THEIRS}/24", "dev", peer)
            for device in (peer, "lo"):
                client.run("ip", "link", "set", device, "up")
            yield client
        finally:
            subprocess.run(["ip", "link", "del", name], capture_output=True, check=False)
    finally:
        client.close()
