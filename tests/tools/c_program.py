"""Programs of tests/c, compiled once a run together with the sources they test, plain or under sanitizers."""

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
WARNINGS = ("-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-Wno-error=tsan")
# Built-in copies of constant length are invisible to TSan: with -fno-builtin they are calls that it watches.
THREAD = ("-O1", "-fsanitize=thread", "-fno-builtin")
FLAGS = {
    "plain": ("-O2",),
    "thread": THREAD,
    "address": ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
}


@cache
def _folder() -> Path:
    folder = tempfile.mkdtemp(prefix="splitplane-c-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@cache
def compiled(source: str, *tested: str, sanitizer: str = "plain") -> Path:
    """tests/c/`source` with the files `tested`, relative to the root; the executable."""
    out = _folder() / f"{Path(source).stem}-{sanitizer}"
    sources = [str(ROOT / "tests" / "c" / source), *(str(ROOT / name) for name in tested)]
    subprocess.run(
        ["cc", *WARNINGS, "-g", "-pthread", *FLAGS[sanitizer], *sources, "-o", str(out)],
        check=True,
        timeout=120,
    )
    return out


def plain_environment() -> dict[str, str]:
    """Without a preloaded sanitizer: these programs have their own."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def run(program: Path, *arguments: object, seconds: float = 100) -> str:
    """Its standard output. AssertionError with what it said if its exit code isn't 0.

    Address space randomisation is off: TSan of older compilers can't cope with that of newer kernels.
    """
    command = ["setarch", "-R", str(program), *map(str, arguments)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env=plain_environment(),
    )
    assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stderr}"
    return done.stdout
