"""`splitplane check`: layout, machine, imports, types and compilation in one go."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from splitplane.runtime.check import check

LAYOUT = """
name = "checked"
[nic.front]
driver = "kernel"
bind = "127.0.0.1"
[group.web]
cpus = [CPU]
nic = "front"
[[group.web.listen]]
port = "tcp:PORT"
actor = "checked_actors:Echo"
"""

ACTORS = """
from splitplane import Connection, DataActor, State, View

class Echo(DataActor):
    def on_data(self, connection: Connection[State], data: View) -> int:
        connection.send(data)
        return len(data)

class Broken(DataActor):
    def on_data(self, connection: Connection[State], data: View) -> int:
        text = [1, 2]
        return nothing
"""


@pytest.fixture
def layout(tmp_path: Path, free_port: object) -> Path:
    """A good layout and its actors."""
    import os

    cpu = max(os.sched_getaffinity(0))
    text = LAYOUT.replace("CPU", str(cpu)).replace("PORT", str(free_port()))  # type: ignore[operator]
    (tmp_path / "layout.toml").write_text(text)
    (tmp_path / "checked_actors.py").write_text(ACTORS)
    return tmp_path / "layout.toml"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command itself."""
    command = [sys.executable, "-m", "splitplane", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_ok(layout: Path) -> None:
    """A layout in order says so and exits 0; nothing is left running."""
    done = run("check", str(layout))
    assert (done.returncode, done.stdout) == (0, f"{layout}: ok\n"), done.stderr


def test_everything_in_one_go(layout: Path) -> None:
    """A misspelt key, an absent CPU, a missing module and a handler that can't compile are all said at once."""
    layout.write_text(
        layout.read_text()
        + '[[group.web.listen]]\nport = "tcp:1"\nactor = "checked_actors:Broken"\n'
        + '[control.gone]\nactor = "chekced_actors:Echo"\n'
        + "[machine]\ncontrol_cpus = [4000]\nhugepage = true\n"
    )
    done = run("check", str(layout))
    assert done.returncode == 1
    for part in (
        'machine.hugepage = true: there is no such key: did you mean "hugepages"?',
        "machine.control_cpus = [4000]: this machine has CPUs",
        'control.gone.actor = "chekced_actors:Echo": no module chekced_actors',
        "checked_actors.py:11: Broken.on_data",
        "checked_actors.py:12: Broken.on_data",
    ):
        assert part in done.stderr, done.stderr


def test_json(layout: Path) -> None:
    """`--json` prints one object with every problem's parts, and the exit code stays."""
    done = run("check", str(layout), "--json", "--set", "group.web.cpus=[4000]")
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert not found["ok"]
    assert found["problems"][0]["key"] == "group.web.cpus"
    assert found["problems"][0]["value"] == [4000]


@pytest.mark.parametrize(
    ("source", "line", "text"),
    [
        ("import nowhere_at_all\n", 1, "No module named 'nowhere_at_all'"),
        ("x = 1\n1 / 0\n", 2, "ZeroDivisionError"),
        ("def x(:\n", 1, "not Python"),
    ],
)
def test_modules_that_fail(layout: Path, source: str, line: int, text: str) -> None:
    """A module that can't be imported is named with its own line, whatever it raises."""
    module = layout.parent / f"failing_{line}_{len(source)}.py"
    module.write_text(source)
    found = check(layout, [f"group.web.listen[0].actor={module.stem}:Echo"])
    (problem,) = found.problems
    assert (problem.file, problem.line) == (str(module), line)
    assert text in problem.problem


def test_names_that_are_no_actors(layout: Path) -> None:
    """A class that isn't there or isn't an actor is refused with the nearest that is."""
    (missing,) = check(layout, ["group.web.listen[0].actor=checked_actors:Ecko"]).problems
    assert str(missing).endswith('checked_actors has no Ecko: did you mean "Echo"?')
    (other,) = check(layout, ["group.web.listen[0].actor=checked_actors:State"]).problems
    assert str(other).endswith("State is no DataActor: class State(DataActor)")


def test_plan(layout: Path) -> None:
    """`splitplane plan` prints each section, the cost of a connection, the whole and the machine."""
    done = run("plan", str(layout))
    assert done.returncode == 0, done.stderr
    for part in ("records", "buffers", "each idle connection", "everything", "this machine"):
        assert part in done.stdout
    planned = json.loads(run("plan", str(layout), "--json").stdout)
    assert planned["total"] == sum(core["total"] for core in planned["cores"]) + planned["mesh"]


def test_usage() -> None:
    """The command line's own mistakes exit 2; no command is one."""
    assert run().returncode == 2
    assert run("fly").returncode == 2
    assert run("check", "/nowhere/layout.toml").returncode == 1
