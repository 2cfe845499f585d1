"""Everything that these pages show runs, compiled and interpreted: each is one module, with tests in it."""

import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from splitplane.runtime.actor import DataActor
from splitplane.testing import Bench, Mode

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = {
    name: "\n\n".join(BLOCK.findall((DOCS / name).read_text()))
    for name in ("actors.md", "push.md", "streams.md")
}
TESTS = [
    (name, test)
    for name, code in PAGES.items()
    for test in re.findall(r"^def (test_\w+)", code, re.MULTILINE)
]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ModuleType]]:
    """Each page's Python as one module."""
    made = {}
    for name, code in PAGES.items():
        module_name = name.replace(".md", "_page")
        path = tmp_path_factory.mktemp("page") / f"{module_name}.py"
        path.write_text(code)
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[module_name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        made[name] = module
    yield made
    for module in made.values():
        del sys.modules[module.__name__]


@pytest.mark.parametrize("mode", ["interpreted", "compiled"])
@pytest.mark.parametrize(("page", "name"), TESTS)
def test_page(
    pages: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, page: str, name: str, mode: Mode
) -> None:
    """Each test on a page passes in each mode."""
    monkeypatch.setattr(pages[page], "Bench", partial(Bench, mode=mode))
    getattr(pages[page], name)()


@pytest.mark.parametrize("page", PAGES)
def test_every_actor_is_tested(pages: dict[str, ModuleType], page: str) -> None:
    """No data actor of a page goes without a test."""
    actors = [
        name
        for name, value in vars(pages[page]).items()
        if inspect.isclass(value) and issubclass(value, DataActor) and value is not DataActor
    ]
    assert actors
    for name in actors:
        assert f"Bench({name}" in PAGES[page], name
