"""Writes docs/api.md: every public name with its signature and docstring. `python docs/api.py`; --check compares only."""

import dataclasses
import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "api.md"
MODULES = {
    "splitplane": "Actors, messages, a runtime in your program",
    "splitplane.types": "Integers and arrays of states and messages",
    "splitplane.protocols": "Parsers and writers for handlers",
    "splitplane.events": "What happens to cores and control actors, as messages",
    "splitplane.errors": "What is raised",
    "splitplane.testing": "Unit tests of actors",
    "splitplane.controlplane.push": "What `self.push` of a control actor is",
    "splitplane.controlplane.peer": 'What `runtime["web"]` is',
    "splitplane.controlplane.post": "What `runtime.spawn` gives",
    "splitplane.controlplane.subscription": "What `runtime.messages` gives",
    "splitplane.controlplane.server": "What `runtime.start_server` and `runtime.create_server` give",
    "splitplane.controlplane.timers": "What `self.after` and `self.every` give",
    "splitplane.runtime.runtime": "What `runtime.workers` has",
    "splitplane.runtime.controller": "What `runtime.listen` hears",
    "splitplane.dataplane.peek": "What a row of `connections` is made of",
}
SHOWN = {
    "splitplane.controlplane.peer": ("CorePeer", "GroupPeer"),
    "splitplane.controlplane.post": ("Spawned",),
    "splitplane.controlplane.subscription": ("Messages",),
    "splitplane.controlplane.server": ("Server",),
    "splitplane.controlplane.timers": ("Timer",),
    "splitplane.runtime.runtime": ("Worker",),
    "splitplane.runtime.controller": ("Event",),
    "splitplane.dataplane.peek": ("FLAGS", "STATES"),
}
"""Of modules that are not for users: the names that public calls give them."""
INSIDE = {
    "CorePeer": {"flush", "hang_up", "replied", "close", "push"},
    "Messages": {"offer", "room", "when_room", "takes"},
}
"""Of such classes: what only splitplane itself calls."""
INTRODUCTION = """# API reference

Made from the docstrings by `python docs/api.py`; a test holds that it is complete and up to date. The guides say what \
belongs together: [actors](actors.md), [push](push.md), [embedding](embedding.md), [the layout](layout.md).
"""


def public(module: Any) -> list[str]:
    """The names that a module offers."""
    if module.__name__ in SHOWN:
        return list(SHOWN[module.__name__])
    if hasattr(module, "__all__"):
        return sorted(name for name in module.__all__ if name[0] != "_")
    names = [name for name in dir(module) if name[0] != "_"]
    return [
        name
        for name in names
        if getattr(getattr(module, name), "__module__", "") == module.__name__
    ]


def text(thing: Any) -> str:
    """Its docstring, of its own or of the class it overrides."""
    return inspect.getdoc(thing) or ""


def signature(name: str, thing: Any) -> str:
    """As in its source, without defaults that are objects of their own."""
    try:
        made = str(inspect.signature(thing))
    except (TypeError, ValueError):
        return name
    made = re.sub(r"\b(splitplane|typing|collections\.abc|numpy|asyncio)\.(\w+\.)*", "", made)
    return f"{name}{made}".replace("'", "").replace("NoneType", "None")


def members(cls: type) -> list[tuple[str, Any]]:
    """What a class and its bases in this package define that is public."""
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        if not base.__module__.startswith("splitplane"):
            continue
        for name, value in vars(base).items():
            plain = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
            if name in INSIDE.get(cls.__name__, ()):
                continue
            if name[0] != "_" and (inspect.isfunction(plain) or isinstance(plain, property)):
                found.setdefault(name, plain)
    return list(found.items())


def plain(kind: Any) -> str:
    """An annotation as in its source."""
    if isinstance(kind, str):
        return kind
    return str(getattr(kind, "__forward_arg__", getattr(kind, "__name__", kind)))


def fields(cls: type) -> list[str]:
    """`name: type` of each value that one of a message, state, tuple or dataclass has."""
    has_fields = dataclasses.is_dataclass(cls) or hasattr(cls, "_fields") or hasattr(cls, "dtype")
    if not has_fields:
        return []
    found = vars(cls).get("__annotations__", {})
    return [f"{name}: {plain(kind)}" for name, kind in found.items() if name[0] != "_"]


def entry(name: str, thing: Any) -> list[str]:
    """One name's part of the page."""
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        shown = repr(thing).replace("typing.", "")
        known = len(shown) < 60 or isinstance(thing, (tuple, dict))
        return [f"### `{name}`", f"`{shown}`" if known else "A constant."]
    lines = [f"### `{signature(name, thing) if not inspect.isclass(thing) else name}`", text(thing)]
    if inspect.isclass(thing):
        lines += [f"- `{field}`" for field in fields(thing)]
        for member, value in members(thing):
            shown = member if isinstance(value, property) else signature(member, value)
            shown = shown.replace("(self, ", "(").replace("(self)", "()").replace("(cls, ", "(")
            lines.append(f"- **`{shown}`** {' '.join(text(value).split())}")
    return lines


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for module_name, title in MODULES.items():
        module = importlib.import_module(module_name)
        parts.append(f"## {module_name}\n\n{title}.")
        for name in public(module):
            thing = getattr(module, name)
            if inspect.ismodule(thing):
                continue
            head, *rest = entry(name, thing)
            members_ = [line for line in rest if line.startswith("- ")]
            body = [line for line in rest if line and not line.startswith("- ")]
            parts += [head, *body, *(["\n".join(members_)] if members_ else [])]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    made = page()
    if "--check" in sys.argv and PAGE.read_text() != made:
        sys.exit("docs/api.md is out of date: python docs/api.py")
    PAGE.write_text(made)
