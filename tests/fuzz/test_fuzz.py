"""Inputs by the thousand into the fuzz targets, under ASan and UBSan: nothing is read out of bounds, nothing leaks.

Each `tests/fuzz/*_input.c` states its own invariants and traps when one breaks.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FOLDERS = tuple(f"-I{ROOT / folder}" for folder in ("dataplane", "runtime", "nic"))
SANITIZE = ("-std=gnu11", "-g", "-O1", "-fno-sanitize-recover=all", "-pthread", *FOLDERS)
TARGETS = sorted(path.name for path in HERE.glob("*_input.c"))


def native_sources() -> list[str]:
    """What a core over a memory wire is made of."""
    files = (path for folder in ("dataplane", "runtime") for path in (ROOT / folder).glob("*.c"))
    return [*sorted(map(str, files)), *sorted(map(str, (ROOT / "nic").glob("memory*.c")))]


def build(
    compiler: str, target: str, out: Path, *options: str, extra: tuple[str, ...] = ()
) -> Path:
    sources = [*native_sources(), str(HERE / target), *extra]
    command = [compiler, *SANITIZE, *options, *sources, "-o", str(out)]
    subprocess.run(command, check=True, timeout=300)
    return out


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stderr[-4000:]}"


@pytest.mark.parametrize("target", TARGETS)
def test_random_inputs_break_no_invariant(target: str, tmp_path: Path) -> None:
    """4000 inputs: steered by libFuzzer where clang is, random ones of a fixed seed otherwise."""
    program = tmp_path / "fuzz"
    clang = shutil.which("clang")
    if clang:
        build(clang, target, program, "-fsanitize=fuzzer,address,undefined")
        run(str(program), "-runs=4000", "-seed=1", "-max_len=2000")
        return
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "a C compiler is needed: apt-get install gcc"
    standalone = (str(HERE / "standalone.c"),)
    build(compiler, target, program, "-fsanitize=address,undefined", extra=standalone)
    run(str(program), "1", "4000")
