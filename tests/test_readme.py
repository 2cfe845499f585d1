"""What README.md shows works as shown."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def blocks(request: pytest.FixtureRequest) -> list[tuple[str, str]]:
    """(language, text) of each code block."""
    text = (request.config.rootpath / "README.md").read_text()
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def written(folder: Path, blocks: list[tuple[str, str]]) -> Path:
    """README's actor and layout as files."""
    for language, text in blocks:
        if text.startswith("# hello."):
            (folder / f"hello.{'py' if language == 'python' else 'toml'}").write_text(text)
    return folder


def test_actor_and_layout(tmp_path: Path, blocks: list[tuple[str, str]]) -> None:
    """`splitplane check` has nothing to say against README's example, and mypy neither."""
    folder = written(tmp_path, blocks)
    done = run(folder, "-m", "splitplane", "check", "hello.toml", "--set", "group.web.cpus=[0]")
    assert done.returncode == 0, done.stderr
    done = run(folder, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "hello.py")
    assert done.returncode == 0, done.stdout


def test_refusal(tmp_path: Path, blocks: list[tuple[str, str]]) -> None:
    """A misspelt field is refused with the very lines README shows."""
    folder = written(tmp_path, blocks)
    source = folder / "hello.py"
    source.write_text(source.read_text().replace("state.requests += 1", "state.reqests += 1"))
    done = run(folder, "-m", "splitplane", "check", "hello.toml", "--set", "group.web.cpus=[0]")
    (shown,) = [text for _, text in blocks if text.startswith("hello.py:")]
    assert done.returncode == 1
    assert shown in done.stderr.replace(f"{folder}/", "")


def test_bench(tmp_path: Path, blocks: list[tuple[str, str]]) -> None:
    """README's unit test passes."""
    folder = written(tmp_path, blocks)
    (snippet,) = [text for _, text in blocks if text.startswith("with Bench")]
    program = f"from hello import Hello\nfrom splitplane.testing import Bench\n{snippet}"
    path = f"import sys; sys.path.insert(0, {str(folder)!r})\n"
    done = run(folder, "-c", path + program)
    assert done.returncode == 0, done.stderr
