"""An ASGI server's own protocol classes, unchanged, serve an application over the cores; curl is the client."""

import asyncio
import hashlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path

import pytest
import uvicorn
import uvloop
from processes import free_cpus, layout
from splitplane.runtime.layout import Nic
from splitplane.runtime.load import load_layout
from splitplane.runtime.runtime import Runtime
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

BIG = b"0123456789abcdef" * 65536


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
async def served(
    port: int, protocol: type[H11Protocol | HttpToolsProtocol]
) -> AsyncIterator[Runtime]:
    config = uvicorn.Config(APP, log_config=None, lifespan="off")
    config.load()
    state = ServerState()
    made = layout(port, driver="kernel", actor="controlplane")
    made = made.model_copy(update={"nic": {"front": Nic(driver="kernel", bind="127.0.0.1")}})
    async with Runtime(made) as runtime:
        await runtime.create_server(lambda: protocol(config, state, {}), port)
        yield runtime


async def curl(*arguments: str, data: bytes = b"") -> bytes:
    process = await asyncio.create_subprocess_exec(
        "curl",
        "-sS",
        "--fail",
        "--max-time",
        "30",
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, errors = await process.communicate(data)
    assert process.returncode == 0, errors
    return out


@pytest.mark.parametrize("protocol", [H11Protocol, HttpToolsProtocol])
def test_uvicorn_serves_starlette(
    free_port: Callable[[], int], protocol: type[H11Protocol | HttpToolsProtocol]
) -> None:
    """A posted megabyte arrives, a streamed one comes back, two requests share a connection; many at once do too."""

    async def scenario() -> None:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        async with served(port, protocol) as runtime:
            answer = json.loads(await curl("--data-binary", "@-", f"{url}/sum", data=BIG))
            assert answer == {"sum": hashlib.sha256(BIG).hexdigest(), "client": "127.0.0.1"}
            assert await curl(f"{url}/big", f"{url}/big") == BIG * 2
            assert await asyncio.gather(*(curl(f"{url}/big") for _ in range(5))) == [BIG] * 5
            assert runtime.counters(0)["opened"] == 7

    asyncio.run(scenario())


def test_the_example_runs_in_a_lifespan(free_port: Callable[[], int]) -> None:
    """examples/embed: a connection begins on the core and ends in Starlette, which asks the core; under uvloop too."""
    folder = Path(__file__).parent.parent.parent / "examples" / "embed"
    sys.path.insert(0, str(folder))
    example = import_module("embed")

    async def scenario() -> None:
        port = free_port()
        sets = [f"group.web.cpus={free_cpus()}", f'group.web.listen[0].port="tcp:{port}"']
        example.app.state.layout = load_layout(folder / "layout.toml", sets)
        async with example.lifespan(example.app):
            for expected in (b"[1]", b"[2]"):
                assert await curl(f"http://127.0.0.1:{port}/") == expected

    try:
        asyncio.run(scenario())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(scenario())
    finally:
        sys.path.remove(str(folder))
        del sys.modules["embed"]
