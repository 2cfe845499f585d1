"""What is left of connections that came and went in every way: nothing, on either side."""

import asyncio
import gc
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable

from processes import layout, until
from splitplane.controlplane.stream import StreamTransport
from splitplane.runtime.layout import Nic
from splitplane.runtime.runtime import Runtime

HERE = "127.0.0.1"
WAYS = ["talk", "first", "cancel", "pour", "short", "abort"]
KEPT = (
    StreamTransport,
    asyncio.StreamReader,
    asyncio.StreamWriter,
    asyncio.StreamReaderProtocol,
)
AT_ONCE = 50


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Does what the first byte says."""
    try:
        way = WAYS[(await reader.readexactly(1))[0]]
        if way == "talk":
            while data := await reader.read(1000):
                writer.write(data)
                await writer.drain()
        elif way == "first":
            writer.write(b"we end first")
        elif way == "cancel":
            await asyncio.wait_for(reader.read(), 0.001)
        elif way == "pour":
            while True:
                writer.write(bytes(100_000))
                await writer.drain()
        elif way == "short":
            await reader.readexactly(10_000)
        elif way == "abort":
            writer.transport.abort()
    except (OSError, EOFError, TimeoutError):
        pass
    finally:
        writer.close()


async def come_and_go(port: int, way: str, dice: random.Random) -> None:
    """One connection's life, as a client sees it."""
    loop = asyncio.get_running_loop()
    with socket.socket() as stream:
        stream.setblocking(False)
        await loop.sock_connect(stream, (HERE, port))
        try:
            await loop.sock_sendall(stream, bytes([WAYS.index(way)]) + b"hello")
            if way == "talk":
                assert await loop.sock_recv(stream, 100) == b"hello"
                stream.shutdown(socket.SHUT_WR)
            if way in {"pour", "short"}:
                await asyncio.sleep(dice.random() * 0.002)
            else:
                while await loop.sock_recv(stream, 1000):
                    pass
            if dice.random() < 0.5:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except ConnectionResetError:
            pass


async def dial(runtime: Runtime, target: int, dice: random.Random) -> None:
    """One connection outward, given up at some moment."""
    dialing = asyncio.ensure_future(runtime.connect(HERE, target))
    if dice.random() < 0.5:
        await asyncio.sleep(dice.random() * 0.001)
        dialing.cancel()
    for end in await asyncio.gather(dialing, return_exceptions=True):
        if isinstance(end, tuple):
            end[1].close()


async def churn(runtime: Runtime, port: int, cycles: int, dice: random.Random) -> None:
    """So many lives, and until both sides have forgotten them."""
    tasks = len(asyncio.all_tasks())
    others = await asyncio.start_server(lambda _, writer: writer.close(), HERE, 0)
    target = others.sockets[0].getsockname()[1]
    for _ in range(cycles // AT_ONCE):
        lives = [come_and_go(port, dice.choice(WAYS), dice) for _ in range(AT_ONCE - 5)]
        await asyncio.gather(*lives, *(dial(runtime, target, dice) for _ in range(5)))
    others.close()
    await others.wait_closed()
    await until(lambda: not runtime._running.streams.live and not runtime.live(0))
    await until(lambda: len(asyncio.all_tasks()) == tasks)


def kept() -> Counter[str]:
    """Objects that are there, by type: those of streams, and all together in hundreds."""
    gc.collect()
    everything = gc.get_objects()
    found = Counter(type(one).__name__ for one in everything if isinstance(one, KEPT))
    found["hundreds"] = len(everything) // 100
    return found


async def leaves_nothing(port: int, cycles: int) -> tuple[Counter[str], Counter[str]]:
    """What was there before and after so many lives; the first few hundred only warm."""
    made = layout(port, driver="kernel", actor="controlplane")
    made = made.model_copy(update={"nic": {"front": Nic(driver="kernel", bind=HERE)}})
    async with Runtime(made) as runtime:
        await runtime.start_server(serve, port)
        dice = random.Random(7)
        await churn(runtime, port, 200, dice)
        before = kept()
        await churn(runtime, port, cycles, dice)
        after = kept()
        counters, core = runtime.counters(0), runtime._running.streams.cores[0]
        assert counters["opened"] == counters["closed"]
        for book in (core._waiting, core._letters, core._asked, core._opening, core.streams):
            assert not book
        return before, after


def test_lives_leave_nothing(free_port: Callable[[], int]) -> None:
    """Thousands of connections, ended by either side at any moment, in the middle of a write, of a read, of a read that
    is cancelled, or of a connect: no stream, reader, writer, protocol or task is left, no record, and no objects."""
    before, after = asyncio.run(leaves_nothing(free_port(), 2000))
    before["hundreds"] += (
        10  # what the test itself still holds of the last lives; one object a life would be 20
    )
    assert after <= before
