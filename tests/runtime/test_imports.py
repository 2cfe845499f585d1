"""From a layout's `module:Class` to the class, where several layouts live in one process."""

from pathlib import Path

import pytest
from splitplane.runtime.errors import ActorError
from splitplane.runtime.imports import import_class
from splitplane.runtime.message import Message

MODULE = """
from splitplane import Message
from splitplane.types import u32

class Told(Message):
    number: u32 = {number}
"""


def folder_of(parent: Path, name: str, module: str, number: int) -> Path:
    """A layout's folder with a message in `module`."""
    folder = parent / name
    path = folder.joinpath(*module.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True)
    path.write_text(MODULE.format(number=number))
    return folder


@pytest.mark.parametrize("module", ["told_here", "telling.told"])
def test_two_folders(tmp_path: Path, module: str) -> None:
    """Two folders with a module of one name: the second is refused, not served with the first's classes."""
    one = folder_of(tmp_path, "one", module, 1)
    two = folder_of(tmp_path, "two", module, 2)
    first = import_class(f"{module}:Told", one, Message)
    assert import_class(f"{module}:Told", one, Message) is first
    with pytest.raises(ActorError, match=r"in this process, not .*/two/.*another name"):
        import_class(f"{module}:Told", two, Message)


def test_a_folder_under_two_paths(tmp_path: Path) -> None:
    """A folder reached through a link is the same folder; one without the module takes what is installed."""
    one = folder_of(tmp_path, "one", "told_once", 1)
    (tmp_path / "link").symlink_to(one)
    first = import_class("told_once:Told", one, Message)
    for folder in (tmp_path / "link", tmp_path):
        assert import_class("told_once:Told", folder, Message) is first
