"""What the build installs."""

from pathlib import Path

import pytest
import splitplane

FOLDERS = ("controlplane", "dataplane", "examples", "nic", "runtime")


def modules(root: Path) -> set[str]:
    """The package's modules below `root`, by path."""
    found = {path.name for path in root.glob("*.py")}
    for folder in FOLDERS:
        found |= {str(path.relative_to(root)) for path in (root / folder).rglob("*.py")}
    return {name for name in found if not name.startswith("dataplane/native_source")}


def test_every_module_is_installed(request: pytest.FixtureRequest) -> None:
    """A module that its folder's meson.build forgets would be missing from every wheel."""
    installed = Path(splitplane.__file__).parent
    assert modules(request.config.rootpath) - modules(installed) == set()


def test_typed_and_with_examples() -> None:
    """Type checkers see the package's types, and the demo finds its example."""
    installed = Path(splitplane.__file__).parent
    assert (installed / "py.typed").exists()
    for example in ("hello", "echo", "counters", "resp"):
        assert (installed / "examples" / example / "layout.toml").exists()
