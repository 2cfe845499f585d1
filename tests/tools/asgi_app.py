"""A Starlette application, served over the cores by uvicorn's own protocol classes, and curl as its client."""

import asyncio
import hashlib
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from splitplane.runtime.layout import Layout
from splitplane.runtime.runtime import Runtime
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

BIG = b"0123456789abcdef" * 65536
PROTOCOLS = (H11Protocol, HttpToolsProtocol)
AnyProtocol = type[H11Protocol | HttpToolsProtocol]


async def sum_of(request: Request) -> JSONResponse:
    body = await request.body()
    client = request.client.host if request.client else ""
    return JSONResponse({"sum": hashlib.sha256(body).hexdigest(), "client": client})


async def big(request: Request) -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(BIG), 100_000):
            yield BIG[start : start + 100_000]

    return StreamingResponse(pieces())


APP = Starlette(routes=[Route("/sum", sum_of, methods=["POST"]), Route("/big", big)])


@asynccontextmanager
async def served(layout: Layout, port: int, protocol: AnyProtocol) -> AsyncIterator[Runtime]:
    """The layout's runtime, whose connections at the port are the application's."""
    config = uvicorn.Config(APP, log_config=None, lifespan="off")
    config.load()
    state = ServerState()
    async with Runtime(layout) as runtime:
        await runtime.create_server(lambda: protocol(config, state, {}), port)
        yield runtime


async def curl(*arguments: str, data: bytes = b"", prefix: tuple[str, ...] = ()) -> bytes:
    """What it prints; it must succeed. `prefix`: words that run it elsewhere."""
    process = await asyncio.create_subprocess_exec(
        *(*prefix, "curl", "-sS", "--fail", "--max-time", "60"),
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, errors = await process.communicate(data)
    assert process.returncode == 0, errors
    return out


async def visit(runtime: Runtime, url: str, client: str, prefix: tuple[str, ...] = ()) -> None:
    """A posted megabyte arrives, a streamed one comes back, two requests share a connection; many at once do too."""
    answer = json.loads(await curl("--data-binary", "@-", f"{url}/sum", data=BIG, prefix=prefix))
    assert answer == {"sum": hashlib.sha256(BIG).hexdigest(), "client": client}
    assert await curl(f"{url}/big", f"{url}/big", prefix=prefix) == BIG * 2
    many = [curl(f"{url}/big", prefix=prefix) for _ in range(5)]
    assert await asyncio.gather(*many) == [BIG] * 5
    assert runtime.counters(0)["opened"] == 7
