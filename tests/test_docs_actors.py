"""Everything that docs/actors.md shows runs, compiled and interpreted."""

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

PAGE = Path(__file__).parent.parent / "docs" / "actors.md"
CODE = "\n\n".join(re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL))
TESTS = re.findall(r"^def (test_\w+)", CODE, re.MULTILINE)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The page's Python as one module."""
    path = tmp_path_factory.mktemp("page") / "actors_page.py"
    path.write_text(CODE)
    spec = importlib.util.spec_from_file_location("actors_page", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["actors_page"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["actors_page"]


@pytest.mark.parametrize("mode", ["interpreted", "compiled"])
@pytest.mark.parametrize("name", TESTS)
def test_page(page: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, mode: Mode) -> None:
    """Each test on the page passes in each mode."""
    monkeypatch.setattr(page, "Bench", partial(Bench, mode=mode))
    getattr(page, name)()


def test_every_actor_is_tested(page: ModuleType) -> None:
    """No data actor of the page goes without a test."""
    actors = [
        name
        for name, value in vars(page).items()
        if inspect.isclass(value) and issubclass(value, DataActor) and value is not DataActor
    ]
    assert len(actors) > 8
    for name in actors:
        assert f"Bench({name}" in CODE, name
