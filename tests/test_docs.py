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
    Nic,
    Part,
    Rings,
    Supervision,
)


def root(request: pytest.FixtureRequest) -> Path:
    """The tree."""
    return request.config.rootpath


@pytest.mark.parametrize("part", [Machine, Nic, Group, Listen, Control, Rings, Supervision, Layout])
def test_every_key_is_documented(request: pytest.FixtureRequest, part: type[Part]) -> None:
    """docs/layout.md has a line for each key of each table."""
    text = (root(request) / "docs" / "layout.md").read_text()
    tables = {"machine", "nic", "group", "control", "rings", "supervision", "listen"}
    for name in part.model_fields:
        if name not in tables or (part, name) == (Group, "nic"):
            assert re.search(rf"^\| `{name}` ", text, re.MULTILINE), f"{part.__name__}.{name}"


def test_links_lead_somewhere(request: pytest.FixtureRequest) -> None:
    """Every relative link of every page is a file of the tree."""
    pages = [*root(request).glob("*.md"), *(root(request) / "docs").rglob("*.md")]
    assert pages
    for page in pages:
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page}: {link}"
