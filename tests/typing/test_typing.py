"""mypy --strict takes correct actors and points at the wrong line of wrong ones."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs" / "actors.md"
EXPECTED = re.compile(r"# E: ([\w-]+)")
FOUND = re.compile(r"^(\S+?):(\d+): error: .*\[([\w-]+)\]$")


def mypy(folder: Path, paths: list[str]) -> subprocess.CompletedProcess[str]:
    """mypy --strict over these files, in `folder`."""
    options = [
        "--strict",
        "--show-absolute-path",
        "--follow-imports=silent",
        "--config-file=",
        "--no-error-summary",
        "--hide-error-context",
    ]
    command = [sys.executable, "-m", "mypy", *options, "--cache-dir", str(folder / "cache"), *paths]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=folder,
        env={"MYPYPATH": str(folder)},
        check=False,
    )


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[tuple[int, str]]]:
    """What mypy says of this folder's programs and the examples, by file: lines and error codes.

    The package is linked together as it is installed, with the stub of `splitplane.types`.
    """
    folder = tmp_path_factory.mktemp("mypy")
    package = folder / "splitplane"
    package.mkdir()
    for name in ("runtime", "dataplane", "controlplane", "nic", "py.typed", *ROOT.glob("*.py")):
        (package / Path(name).name).symlink_to(ROOT / name)
    (package / "types.pyi").symlink_to(ROOT / "runtime" / "types.pyi.in")
    # Copied: beside the tree's own __init__.py mypy would take them for modules of a package named after its folder.
    rejected = folder / "rejected"
    rejected.mkdir()
    good = (HERE / "accepted.py", *ROOT.glob("examples/*/*.py"))
    programs = [
        *(Path(shutil.copy(path, folder)) for path in good),
        *(Path(shutil.copy(path, rejected)) for path in sorted(HERE.glob("rejected/*.py"))),
    ]
    page = folder / "page.py"
    code = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    page.write_text("\n\n".join(code))
    found: dict[str, set[tuple[int, str]]] = {str(path): set() for path in (*programs, page)}
    run = mypy(folder, list(found))
    assert run.stderr == ""
    for line in run.stdout.splitlines():
        match = FOUND.match(line)
        if match:
            found[match[1]].add((int(match[2]), match[3]))
    return found


def test_correct_actors_are_accepted(findings: dict[str, set[tuple[int, str]]]) -> None:
    """Everything an actor may do, every example and the documentation's page pass mypy --strict."""
    good = {path: said for path, said in findings.items() if "/rejected/" not in path}
    assert len(good) >= 6
    assert not any(good.values()), good


def test_wrong_actors_are_rejected(findings: dict[str, set[tuple[int, str]]]) -> None:
    """Each line marked `# E: code` gets that error, and no other line gets one."""
    bad = {path: said for path, said in findings.items() if "/rejected/" in path}
    assert len(bad) >= 3
    for path, said in bad.items():
        expected = {
            (number, match[1])
            for number, line in enumerate(Path(path).read_text().splitlines(), 1)
            for match in EXPECTED.finditer(line)
        }
        assert said == expected, path
