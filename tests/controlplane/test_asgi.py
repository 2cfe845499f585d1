"""An ASGI server's own protocol classes, unchanged, serve an application over the cores: over Linux's sockets with curl
as the client, and over our own TCP with a client of ours. tests/net/test_asgi.py does so over an interface."""

import asyncio
import hashlib
import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import uvicorn
import uvloop
from asgi_app import BIG, PROTOCOLS, AnyProtocol, curl, served, visit
from fastapi import FastAPI
from processes import OURS, free_cpus, layout, until
from splitplane.dataplane.peer import Peer
from splitplane.nic.memory import Wire
from splitplane.runtime.layout import Nic
from splitplane.runtime.load import load_layout
from uvicorn.lifespan.on import LifespanOn


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_uvicorn_serves_starlette(free_port: Callable[[], int], protocol: AnyProtocol) -> None:
    """A posted megabyte arrives, a streamed one comes back, two requests share a connection; many at once do too."""

    async def scenario() -> None:
        port = free_port()
        made = layout(port, driver="kernel", actor="controlplane")
        made = made.model_copy(update={"nic": {"front": Nic(driver="kernel", bind="127.0.0.1")}})
        async with served(made, port, protocol) as runtime:
            await visit(runtime, f"http://127.0.0.1:{port}", "127.0.0.1")

    asyncio.run(scenario())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_uvicorn_over_our_own_tcp(protocol: AnyProtocol) -> None:
    """The same over frames: what is posted arrives, two requests share a connection, and a streamed megabyte that ends
    with the connection comes whole."""
    post = b"POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BIG)
    get = b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = json.dumps(
        {"sum": hashlib.sha256(BIG).hexdigest(), "client": "10.0.0.2"}, separators=(",", ":")
    ).encode()

    async def scenario() -> None:
        async with served(layout(80, actor="controlplane"), 80, protocol) as runtime:
            with Wire(runtime.wire(0), 1) as wire, Peer(wire) as peer:
                made = [peer.connect(OURS, 80) for _ in range(3)]
                for one in made:
                    one.send(post + BIG + get)
                # What has come is taken: the peer's window would close before the end.
                ended = lambda: all(one.take() == 0 and one.ended for one in made)
                await until(ended, peer.poll)
                for one in made:
                    first, _, rest = one.received.partition(answer)
                    assert first.startswith(b"HTTP/1.1 200")
                    assert rest.startswith(b"HTTP/1.1 200")
                    assert unchunked(rest.partition(b"\r\n\r\n")[2]) == BIG
                await until(lambda: not runtime.live(0), peer.poll)

    asyncio.run(scenario())


def unchunked(body: bytes) -> bytes:
    """A body out of its chunks (RFC 9112, 7.1)."""
    whole = bytearray()
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        whole += body[:length]
        body = body[length + 2 :]
    return bytes(whole)


@pytest.mark.parametrize("framework", [None, FastAPI], ids=["as_it_is", "fastapi"])
def test_the_example_runs_in_a_lifespan(
    framework: type[FastAPI] | None, free_port: Callable[[], int]
) -> None:
    """examples/embed: a connection begins on the core and ends in Starlette, which asks the core; under uvloop too, and
    in a FastAPI application. A server's own words of ASGI start and end it."""
    folder = Path(__file__).parent.parent.parent / "examples" / "embed"
    sys.path.insert(0, str(folder))
    example = import_module("embed")

    async def scenario() -> None:
        port = free_port()
        sets = [f"group.web.cpus={free_cpus()}", f'group.web.listen[0].port="tcp:{port}"']
        app = framework(lifespan=example.lifespan) if framework else example.app
        if framework:
            app.add_route("/", example.show)
        app.state.layout = load_layout(folder / "layout.toml", sets)
        server = LifespanOn(uvicorn.Config(app, lifespan="on", log_config=None))
        await server.startup()
        for expected in (b"[1]", b"[2]"):
            assert await curl(f"http://127.0.0.1:{port}/") == expected
        await server.shutdown()
        assert not server.should_exit

    try:
        asyncio.run(scenario())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(scenario())
    finally:
        sys.path.remove(str(folder))
        del sys.modules["embed"]
