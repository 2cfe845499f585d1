"""The documentation says what the code does."""

import re
from pathlib import Path

import pytest
from splitplane.runtime.layout import (
    Control,
    Group,
    Layout,
    Listen,
    Machine,
    Metrics,
    Nic,
    Part,
    Rings,
    Supervision,
)

PARTS = [Machine, Nic, Group, Listen, Control, Rings, Supervision, Metrics, Layout]


def root(request: pytest.FixtureRequest) -> Path:
    """The tree."""
    return request.config.rootpath


@pytest.mark.parametrize("part", PARTS)
def test_every_key_is_documented(request: pytest.FixtureRequest, part: type[Part]) -> None:
    """docs/layout.md has a line for each key of each table."""
    text = (root(request) / "docs" / "layout.md").read_text()
    tables = {"machine", "nic", "group", "control", "rings", "supervision", "listen", "metrics"}
    for name in part.model_fields:
        if name not in tables or (part, name) in {(Group, "nic"), (Metrics, "listen")}:
            assert re.search(rf"^\| `{name}` ", text, re.MULTILINE), f"{part.__name__}.{name}"


def test_links_lead_somewhere(request: pytest.FixtureRequest) -> None:
    """Every relative link of every page is a file of the tree."""
    pages = [*root(request).glob("*.md"), *(root(request) / "docs").rglob("*.md")]
    assert pages
    for page in pages:
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page}: {link}"


def test_every_page_is_in_the_index(request: pytest.FixtureRequest) -> None:
    """Whoever reads docs/index.md meets each page."""
    docs = root(request) / "docs"
    index = (docs / "index.md").read_text()
    missing = [page.name for page in docs.glob("*.md") if f"({page.name})" not in index]
    assert missing == ["index.md"]


def test_every_example_is_in_the_readme(request: pytest.FixtureRequest) -> None:
    """The README names all of examples/."""
    readme = (root(request) / "README.md").read_text()
    for folder in (root(request) / "examples").iterdir():
        assert not folder.is_dir() or f"`{folder.name}`" in readme, folder.name
