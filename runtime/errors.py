"""What splitplane raises: one base, and a `Problem` that says where, what was found, and what mends it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any


def shown(value: object) -> str:
    """`value` as a layout file would write it."""
    if isinstance(value, dict):
        inside = ", ".join(f"{key} = {shown(part)}" for key, part in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(shown(part) for part in value) + "]"
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (str, bool)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    `file` and `key` (or `line`) say where, `value` what stands there, `problem` what is wrong with it, `remedy` what
    mends it (a command or a value), `excerpt` the source lines with a caret where there are any.
    """

    file: str
    problem: str
    key: str = ""
    value: Any = None
    remedy: str = ""
    line: int = 0
    excerpt: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        parts = [place] if place else []
        if self.key:
            parts.append(self.key if self.value is None else f"{self.key} = {shown(self.value)}")
        parts.append(self.problem)
        if self.remedy:
            parts.append(self.remedy)
        text = ": ".join(parts)
        return f"{text}\n{self.excerpt}" if self.excerpt else text

    def as_dict(self) -> dict[str, Any]:
        """The same, for `--json`."""
        return {name: getattr(self, name) for name in self.__slots__}


class SplitplaneError(Exception):
    """Base of every error that splitplane raises on purpose; `problems` holds its parts, one or many."""

    def __init__(self, problems: str | Problem | Iterable[Problem]) -> None:
        if isinstance(problems, str):
            problems = Problem(file="", problem=problems)
        self.problems: tuple[Problem, ...] = (
            (problems,) if isinstance(problems, Problem) else tuple(problems)
        )
        super().__init__("\n".join(str(problem) for problem in self.problems))


class LayoutError(SplitplaneError):
    """The layout is wrong, or an override of it."""


class MachineError(SplitplaneError):
    """This machine can't give what the layout asks for: CPUs, memory, ports, rights."""


class ActorError(SplitplaneError):
    """An actor can't be imported, typed or compiled."""


class StartError(SplitplaneError):
    """The runtime could not start or replace a process."""


class AskError(SplitplaneError):
    """An ask can't be answered: no actor of that core takes the request, or its handler failed."""


class QuarantineError(SplitplaneError, RuntimeError):
    """The group that was told or asked is quarantined: its workers had died too often."""


class StaleError(SplitplaneError, RuntimeError):
    """A View, Connection, State or Writer was used after the call that it came with."""


class RegistryError(SplitplaneError):
    """A running runtime can't be attached to: none of that name, it has ended, or it is another user's."""
