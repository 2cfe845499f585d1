"""uvicorn's protocol classes serve Starlette over AF_XDP: curl is the client, behind a veth, over Linux's TCP."""

import asyncio
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_app import PROTOCOLS, AnyProtocol, served, visit
from serving import FRONT, PORT, toml
from splitplane.runtime.layout import Layout
from wires import OURS, THEIRS, Client, veth


@pytest.fixture
def client() -> Iterator[Client]:
    with veth(FRONT) as made:
        yield made


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_uvicorn_over_an_interface(client: Client, protocol: AnyProtocol) -> None:
    """A posted megabyte arrives, a streamed one comes back, two requests share a connection; many at once do too."""

    async def scenario() -> None:
        made = Layout.model_validate(tomllib.loads(toml(actor="controlplane")))
        async with served(made.located(Path(), "layout.toml"), PORT, protocol) as runtime:
            await visit(runtime, f"http://{OURS}:{PORT}", THEIRS, client.prefix)

    asyncio.run(scenario())
