"""The kernel transport under clients that do everything at once: random scripts, cuts, resets, half-closes, slowness."""

import random
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from clients import Server, read_all
from rig import script_model

CLIENTS, EACH = 8, 250


def script(dice: random.Random) -> bytes:
    """A random input for the script actor."""
    parts = []
    for _ in range(dice.randrange(1, 40)):
        body = dice.randbytes(dice.randrange(40))
        frame = bytes([len(body)]) + body
        parts.append(
            dice.choice([b"=" + frame, b"#" + frame, b"*" + bytes([dice.randrange(60)]), b" "])
        )
    return b"".join(parts) + dice.choice([b"", b"", b"", b".", b"x", b"!", b"~"])


def talk(client: socket.socket, data: bytes, leave: str, dice: random.Random) -> bytes:
    """Sends it in random pieces, leaves, and returns what came."""
    at = 0
    while at < len(data):
        size = dice.choice([1, 7, 100, 5000])
        client.sendall(data[at : at + size])
        at += size
        if dice.random() < 0.2:
            time.sleep(0.001)
    if leave == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if leave != "half":
        return b""
    client.shutdown(socket.SHUT_WR)
    return read_all(client)


def visit(server: Server, seed: int) -> int:
    """One connection: a script in random pieces, and one of the ways to leave. 1 if it was reset without asking for it."""
    dice = random.Random(seed)
    data = script(dice)
    expected, end = script_model(data)
    leave = dice.choice(["half", "half", "half", "reset", "vanish"])
    with server.connect() as client:
        try:
            got = talk(client, data, leave, dice)
        except OSError:
            return int(end not in ("abort", "fault"))
    if leave == "half" and end in ("open", "close"):
        assert got == expected + (b"E" if end == "open" else b"")
    return 0


@pytest.mark.parametrize("calls", [2, 64])
@pytest.mark.parametrize("memory", [1 << 20, 64 << 20], ids=["scarce", "ample"])
def test_chaos(serve: Callable[..., Server], calls: int, memory: int) -> None:
    """Whatever clients do: every answer is the model's, each connection opens and closes once, all memory comes back."""
    limits = {"calls_per_turn": calls, "max_unconsumed": 8192}
    server = serve(None, limits, connections=64, busy_blocks=64, buffer_bytes=memory)
    free = server.lib.buffer_free_bytes(server.core)

    def many(number: int) -> int:
        return sum(visit(server, number * 1000 + turn) for turn in range(EACH))

    with ThreadPoolExecutor(CLIENTS) as pool:
        resets = sum(pool.map(many, range(CLIENTS)))
    # Clients that stand still while memory is scarce may pay for it, and nobody else.
    assert resets <= server.rig.counter("buffer_evicted")
    server.wait(lambda: server.live() == 0)
    server.stop()
    log: list[Any] = server.rig.handlers.log
    lib = server.lib
    opened = [entry.handle for entry in log if entry.handler == lib.ON_OPEN]
    closed = [entry.handle for entry in log if entry.handler == lib.ON_CLOSE]
    assert len(opened) == CLIENTS * EACH
    assert sorted(opened) == sorted(closed)
    assert len(set(closed)) == len(closed)
    assert all(entry.nesting == 0 for entry in log)
    assert lib.buffer_free_bytes(server.core) == free
    assert server.core.pending.count == server.core.again.count == 0
