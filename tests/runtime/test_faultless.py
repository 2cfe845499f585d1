"""A worker at work takes no page fault: its memory and its code were there before the first connection."""

import asyncio
import random
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Echoes, layout
from splitplane.dataplane.peer import Peer
from splitplane.nic.memory import Wire
from splitplane.runtime.runtime import Runtime

COMPACTED = 4
"""Linux may move a page or two of any process while it makes room for large ones."""


def faults(pid: int) -> int:
    """Page faults of a process so far, minor and major (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[7]) + int(fields[9])


@pytest.mark.parametrize("hugepages", ["auto", "off"])
def test_more_of_the_same_faults_never(hugepages: str) -> None:
    """Once a few connections have lived, hundreds more on memory never used before cost no page fault."""

    async def scenario() -> None:
        machine = f'[machine]\nhugepages = "{hugepages}"\n'
        runtime = Runtime(layout(more=machine))
        async with runtime:
            with Wire(runtime.wire(0), 1) as wire, Peer(wire, connections=400) as peer:
                peer.start()
                pid = runtime.workers[0].pid

                def lives(count: int) -> None:
                    echoes = Echoes(peer, count, random.Random(count))
                    for _ in range(30):
                        echoes.feed()
                    assert echoes.settle()
                    for one in echoes.connections:
                        one.close()
                    peer.until(lambda: all(one.closed for one in echoes.connections), 10)

                for _ in range(3):
                    lives(4)
                before = faults(pid)
                lives(300)
                assert faults(pid) - before <= COMPACTED

    asyncio.run(scenario())


def sockets(port: int, count: int) -> None:
    """The lives of so many connections, all open at once, with messages of many sizes."""
    streams = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    for turn in range(20):
        data = bytes(1 + turn * 137)
        for stream in streams:
            stream.sendall(data)
        for stream in streams:
            left = len(data)
            while left:
                left -= len(stream.recv(left))
    for stream in streams:
        stream.close()


def test_nor_over_linux_sockets(free_port: Callable[[], int]) -> None:
    """The same over the kernel driver."""
    port = free_port()

    async def scenario() -> None:
        async with Runtime(layout(port, driver="kernel")) as runtime:
            pid = runtime.workers[0].pid
            for _ in range(2):
                await asyncio.to_thread(sockets, port, 4)
            before = faults(pid)
            await asyncio.to_thread(sockets, port, 300)
            assert faults(pid) - before <= COMPACTED

    asyncio.run(scenario())
