"""The package's front door."""

import subprocess
import sys

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
