"""A Starlette application behind a core that counts and hands over: `python embed.py`, curl localhost:8080."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import splitplane
import uvicorn
from splitplane import Connection, DataActor, Request, State, View, on
from splitplane.types import u64
from starlette.applications import Starlette
from starlette.requests import Request as Visit
from starlette.responses import JSONResponse
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState


class Totals(State):
    connections: u64


class GetTotals(Request[Totals]): ...


class Front(DataActor):
    core: Totals

    def on_data(self, connection: Connection[State], data: View) -> int:
        if connection.hand_over(b""):  # with all that is not consumed here
            self.core.connections += 1
        return 0

    @on(GetTotals)
    def totals(self, message: GetTotals) -> Totals:
        return self.core


async def show(visit: Visit) -> JSONResponse:
    totals = await visit.app.state.runtime["web"].ask_all(GetTotals())
    return JSONResponse([each.connections for each in totals])


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    config, state = uvicorn.Config(app, log_config=None, lifespan="off"), ServerState()
    config.load()
    layout = getattr(app.state, "layout", Path(__file__).parent / "layout.toml")
    async with splitplane.start(layout) as runtime:
        app.state.runtime = runtime
        port = runtime.layout.group["web"].listen[0].port_number
        await runtime.create_server(lambda: H11Protocol(config, state, {}), port)
        yield


app = Starlette(routes=[Route("/", show)], lifespan=lifespan)


async def main() -> None:
    async with app.router.lifespan_context(app):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
