"""docs/tutorial.md: its files, put where it says, do in its commands what it shows."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from processes import command, free_cpus

TEXT = (Path(__file__).parent.parent / "docs" / "tutorial.md").read_text()
FILE = re.compile(r"^```(?:python|toml) (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
RUN = "python -m splitplane run layout.toml"
CHANGE = ("step = 1 ", "step = 10 ")


def test_tutorial(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """In order, with a CPU and a port that are free here: each command's output ends as shown."""
    fitted = TEXT.replace("8080", str(free_port())).replace("cpus = [1]", f"cpus = {free_cpus()}")
    for name, text in FILE.findall(fitted):
        (tmp_path / name).write_text(text)
    shown = [pair for block in CONSOLE.findall(fitted) for pair in COMMAND.findall(block)]
    at = [words for words, _ in shown].index(RUN)
    for words, output in shown[:at]:
        assert output.strip() in said(words, tmp_path)
    layout = tmp_path / "layout.toml"
    with command(layout) as run:
        run.seen("running")
        for words, output in shown[at + 1 :]:
            if "reload" in words:
                layout.write_text(layout.read_text().replace(*CHANGE))
            assert said(words, tmp_path) == output
        assert run.end() == 0


def said(words: str, folder: Path) -> str:
    """What a command prints there; it must succeed."""
    first, *rest = shlex.split(words)
    first = sys.executable if first == "python" else first
    done = subprocess.run(
        [first, *rest], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
