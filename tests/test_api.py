"""docs/api.md: every public name is there, documented, and as the docstrings say it now."""

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def api() -> ModuleType:
    """docs/api.py"""
    spec = importlib.util.spec_from_file_location("api", DOCS / "api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_up_to_date(api: ModuleType) -> None:
    """What `python docs/api.py` would write is there."""
    assert (DOCS / "api.md").read_text() == api.page(), "run python docs/api.py"


def test_everything_is_documented(api: ModuleType) -> None:
    """Each public class, function, method and property has a docstring."""
    missing = []
    for name in api.MODULES:
        module = importlib.import_module(name)
        for public in api.public(module):
            thing = getattr(module, public)
            if inspect.ismodule(thing) or not (inspect.isclass(thing) or inspect.isfunction(thing)):
                continue
            parts = [(public, thing)]
            parts += api.members(thing) if inspect.isclass(thing) else []
            missing += [f"{name}.{public}.{part}" for part, value in parts if not api.text(value)]
    assert not missing


def test_every_public_name_is_there(api: ModuleType) -> None:
    """Nothing that the package offers is left out."""
    page = (DOCS / "api.md").read_text()
    package = sys.modules["splitplane"]
    for name in package.WHERE:
        assert f"### `{name}" in page, name
