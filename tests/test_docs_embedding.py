"""Everything that docs/embedding.md shows runs."""

import asyncio
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import uvloop
from processes import free_cpus
from splitplane.runtime.layout import Group, Layout, Listen, Nic

PAGE = Path(__file__).parent.parent / "docs" / "embedding.md"
CODE = "\n\n".join(re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The page's Python as a module that the launcher finds too."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "embedding_page.py").write_text(CODE)
    sys.path.insert(0, str(folder))
    yield import_module("embedding_page")
    sys.path.remove(str(folder))
    del sys.modules["embedding_page"]


def layout(page: ModuleType, port: int) -> Layout:
    return Layout(
        name="page",
        nic={"front": Nic(driver="kernel", bind="127.0.0.1")},
        group={
            "web": Group(
                cpus=tuple(free_cpus()),
                nic="front",
                listen=(Listen(port=f"tcp:{port}", actor=page.Door),),
            )
        },
        messages=(page.Visit,),
    )


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("name", ["ask", "hear", "spawn"])
def test_page(
    page: ModuleType,
    free_port: Callable[[], int],
    name: str,
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Each function of the page does what it asserts, in asyncio's own event loop and in uvloop."""
    port = free_port()
    more = {"hear": (port,)}.get(name, ())
    with asyncio.Runner(loop_factory=loop) as runner:
        made = getattr(page, name)(layout(page, port), *more)
        runner.run(asyncio.wait_for(made, 60))
