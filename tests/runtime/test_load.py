"""A layout's file and its overrides."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitplane.runtime.errors import LayoutError
from splitplane.runtime.load import load_layout, override, read_layout

GOOD = """
name = "hello"
[nic.front]
driver = "kernel"
[group.web]
cpus = [1]
nic = "front"
[[group.web.listen]]
port = "tcp:8080"
actor = "hello:Hello"
config = { greeting = 3 }
reports_to = "reporter"
[control.reporter]
actor = "hello:Reporter"
"""

BAD = """
nam = "hello"
[machine]
control_cpu = [0]
hugepages = "maybe"
[nic.front]
driver = "memory"
[group.web]
cpus = [1, 1]
nic = "frnt"
connections = "many"
idel = "spin"
[[group.web.listen]]
port = "8080"
actor = "hello"
reports_to = "reporter"
[control.report]
actor = "hello:Reporter"
"""


def wrong(tmp_path: Path, text: str, *overrides: str) -> list[str]:
    """The problems of a layout file with this text, as printed."""
    file = tmp_path / "layout.toml"
    file.write_text(text)
    with pytest.raises(LayoutError) as caught:
        load_layout(file, overrides)
    return [str(problem) for problem in caught.value.problems]


def test_good(tmp_path: Path) -> None:
    """What stands in the file stands in the layout; modules are looked for beside it."""
    file = tmp_path / "layout.toml"
    file.write_text(GOOD)
    layout = load_layout(file)
    assert layout.group["web"].listen[0].config == {"greeting": 3}
    assert (layout.directory, layout.file) == (tmp_path, "layout.toml")


def test_all_problems_at_once(tmp_path: Path) -> None:
    """Every mistake is named in one go, each with file, key, value and what mends it."""
    assert wrong(tmp_path, BAD) == [
        'layout.toml: name: missing: e.g. name = "hello"',
        'layout.toml: machine.hugepages = "maybe": one of auto, require, off is wanted',
        "layout.toml: machine.control_cpu = [0]: there is no such key: "
        'did you mean "control_cpus"?',
        'layout.toml: group.web.connections = "many": a whole number is wanted',
        'layout.toml: group.web.listen[0].port = "8080": a port is written "tcp:8080"',
        'layout.toml: group.web.listen[0].actor = "hello": an actor is written "module:Class", '
        "the module beside the layout or installed",
        'layout.toml: group.web.idel = "spin": there is no such key: did you mean "idle"?',
        'layout.toml: nam = "hello": there is no such key: did you mean "name"?',
        'layout.toml: nic.front.address = "shared": driver memory has no Linux to share an '
        'address with: give it one of its own: address = "10.0.0.1/24"',
        'layout.toml: group.web.nic = "frnt": there is no [nic.frnt]: did you mean "front"?',
        "layout.toml: group.web.cpus = [1, 1]: CPU 1 is already a core of group web: "
        "a CPU is one core",
        'layout.toml: group.web.listen[0].reports_to = "reporter": there is no '
        '[control.reporter]: did you mean "report"?',
    ]


def test_a_broken_layout_comes_back_as_far_as_it_goes(tmp_path: Path) -> None:
    """What is right in a broken layout is still there to be checked, and the rest is marked."""
    file = tmp_path / "layout.toml"
    file.write_text(BAD)
    layout, dead, problems = read_layout(file)
    assert layout is not None
    assert layout.control["report"].actor == "hello:Reporter"
    assert "group.web.connections" in dead
    assert problems


def test_not_toml(tmp_path: Path) -> None:
    """A line that isn't TOML is named by file, line and column."""
    (problem,) = wrong(tmp_path, 'name = "hello"\ncpus = [1\n[nic]')
    assert problem.startswith("layout.toml:3: not TOML: ")


def test_no_file(tmp_path: Path) -> None:
    """A file that isn't there, or isn't text, is named."""
    with pytest.raises(LayoutError, match="No such file"):
        load_layout(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"name = \xff")
    with pytest.raises(LayoutError, match="not UTF-8"):
        load_layout(tmp_path / "binary.toml")


def test_overrides(tmp_path: Path) -> None:
    """`--set` puts TOML values, or bare words, over any key, new ones and elements of lists too."""
    file = tmp_path / "layout.toml"
    file.write_text(GOOD)
    layout = load_layout(
        file,
        [
            "group.web.cpus=[2, 3]",
            "group.web.idle=spin",
            "group.web.listen[0].config.greeting=7",
            'group.web.listen[1]={port="tcp:81", actor="other:Other"}',
            "supervision.drain_seconds=1.5",
        ],
    )
    group = layout.group["web"]
    assert (group.cpus, group.idle) == ((2, 3), "spin")
    assert group.listen[0].config == {"greeting": 7}
    assert group.listen[1].port_number == 81
    assert layout.supervision.drain_seconds == 1.5


def test_wrong_overrides(tmp_path: Path) -> None:
    """A bad override is blamed on the command line, not on the file."""
    assert wrong(tmp_path, GOOD, "group.web.cpus=2", "group.web.listen[7].port=x", "nonsense") == [
        '--set: group.web.listen[7].port = "x": 7 leads nowhere in the layout',
        "--set: nonsense: not key=value: e.g. --set group.web.cpus=[2]",
        "--set: group.web.cpus = 2: a list is wanted",
    ]


TOML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "nic", "group", "web", "listen", "cpus", "control", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["name", "nic", "group", "control", "rings"]), TOML))
def test_any_tables(data: dict[str, Any]) -> None:
    """Whatever stands in the tables, it is a layout or a LayoutError; nothing else is raised."""
    from splitplane.runtime.layout import Layout
    from splitplane.runtime.salvage import salvage

    try:
        Layout.model_validate(data)
    except LayoutError as error:
        assert error.problems
        salvage(data)


@given(st.text(max_size=20), TOML)
def test_any_override(text: str, data: Any) -> None:
    """Whatever stands after --set, it is put or refused; nothing else is raised."""
    override({"group": {"web": data}}, f"group.web.{text}")
    override({"group": {"web": data}}, text)
