"""The package's front door."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import splitplane

HEAVY = ("numba", "numpy", "pydantic", "structlog", "asyncio", "pyroute2", "psutil")


def test_import_is_light() -> None:
    """`import splitplane` loads none of the heavy packages: who only writes actors doesn't wait for them."""
    code = f"import splitplane, sys; print([name for name in {HEAVY} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_version_is_that_of_the_command() -> None:
    """`splitplane --version` names the version that the package has."""
    command = [sys.executable, "-m", "splitplane", "--version"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == f"splitplane {splitplane.__version__}"


@pytest.mark.parametrize("place", ["parent", "link"])
def test_the_tree_is_the_package(
    request: pytest.FixtureRequest, tmp_path: Path, place: str
) -> None:
    """Unbuilt, whatever its folder is called, the tree can be read as `splitplane`: for editors and type checkers."""
    tree = request.config.rootpath
    (tmp_path / "splitplane").symlink_to(tree)
    folder = tmp_path if place == "parent" else tree / ".src"
    code = "import splitplane; from splitplane import DataActor, State; print(splitplane.__path__)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(folder)},
        cwd=tmp_path,
    )
    assert str(folder) in found.stdout


def test_import_from_the_tree_itself(request: pytest.FixtureRequest) -> None:
    """Standing in the tree, as scripts of beginners do, neither this package nor the standard library is shadowed."""
    code = "import types, json, numpy; import splitplane; splitplane.DataActor"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=request.config.rootpath,
        env=environment,
        timeout=30,
    )
