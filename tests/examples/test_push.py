"""examples/push for clients that others wrote: the websockets library, and plain sockets, hear one another."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import websockets
from processes import command, free_cpus
from websockets.asyncio.client import connect

LAYOUT = Path(__file__).parent.parent.parent / "examples" / "push" / "layout.toml"


def test_lines_and_websockets(free_port: Callable[[], int]) -> None:
    """Who subscribes by either protocol gets what anybody publishes, once and in order; fragments, pings, closes work."""
    lines, sockets = free_port(), free_port()
    more = (
        *("--set", f'group.web.listen[0].port="tcp:{lines}"'),
        *("--set", f'group.web.listen[1].port="tcp:{sockets}"'),
        *("--set", f"group.web.cpus=[{free_cpus()[0]}]"),
    )
    with command(LAYOUT, *more) as run:
        run.seen("running")
        asyncio.run(conversation(lines, f"ws://127.0.0.1:{sockets}/"))
        assert run.end() == 0


async def conversation(lines: int, url: str) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_connection(("127.0.0.1", lines), 10) as line:
        line.settimeout(20)
        reader = line.makefile("rb")
        line.sendall(b"sub tea\nwhat\n")
        assert reader.readline().startswith(b"? sub NAME")
        readers = [await connect(url) for _ in range(100)]
        async with connect(url) as writer:
            for one in readers:
                await one.send("sub tea")
                await asyncio.wait_for(await one.ping(), 20)  # answered behind the subscription
            await writer.send(["pub t", "ea gr", "een"])  # one message in three frames
            await writer.send("pub milk none")
            line.sendall("pub tea grün\n".encode())
            for one in readers:
                assert [await asyncio.wait_for(one.recv(), 20) for _ in range(2)] == [
                    "tea green",
                    "tea grün",
                ]
            assert await loop.run_in_executor(None, reader.readline) == b"tea green\n"
            assert await loop.run_in_executor(None, reader.readline) == "tea grün\n".encode()
            await asyncio.wait_for(refused(writer), 20)
        await asyncio.gather(*(one.close() for one in readers))
        assert {one.close_code for one in readers} == {1000}


async def refused(writer: websockets.asyncio.client.ClientConnection) -> None:
    """A message that is too long ends the connection with its code."""
    await writer.send("pub tea " + "x" * 300)
    try:
        await writer.recv()
    except websockets.ConnectionClosed as closed:
        assert closed.rcvd is not None
        assert closed.rcvd.code == 1009
    else:
        raise AssertionError("no close came")
