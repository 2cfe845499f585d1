"""Servers for streams_echo.py: `python echo_servers.py asyncio|uvloop|streams|streams_uvloop PORT [CORE CONTROL]`.

One callback serves in all of them: over a kernel socket of asyncio or uvloop, or as a stream, whose connection the core
on CPU `CORE` has while the callback runs on CPU `CONTROL`.
"""

import asyncio
import sys
from typing import Any

HERE = "127.0.0.1"


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what it gets, until the peer ends."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def layout(port: int, core: int, control: int) -> dict[str, Any]:
    """One core over Linux's sockets, whose connections are the control plane's."""
    listen = {"port": f"tcp:{port}", "actor": "controlplane"}
    group = {"cpus": [core], "nic": "front", "connections": 4096, "listen": [listen]}
    return {
        "name": f"echo-{port}",
        "machine": {"control_cpus": [control]},
        "nic": {"front": {"driver": "kernel", "bind": HERE}},
        "group": {"web": group},
    }


async def streams(port: int, core: int, control: int) -> None:
    """Serves until it is killed."""
    from splitplane.runtime.layout import Layout
    from splitplane.runtime.runtime import Runtime

    async with Runtime(Layout.model_validate(layout(port, core, control))) as runtime:
        server = await runtime.start_server(echo, port)
        await server.serve_forever()


async def sockets(port: int) -> None:
    """Serves until it is killed."""
    server = await asyncio.start_server(echo, HERE, port, backlog=1024)
    await server.serve_forever()


def main(kind: str, port: int, *cpus: int) -> None:
    """Serves."""
    serving = streams(port, *cpus) if kind.startswith("streams") else sockets(port)
    if kind.endswith("uvloop"):
        import uvloop

        uvloop.run(serving)
    else:
        asyncio.run(serving)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
