"""The numbers that message types have on the wire of one layout: the same in every process that imports the same actors.

A type is declared by some actor's `@on`; its number comes from the sorted names. Undeclared and oversized ones are
refused where they are sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .errors import ActorError, Problem
from .fixed import Fixed
from .message import MESSAGE_MAX, Message, reply_of
from .references import nearest
from .shape import declared, shape_of
from .spec import spec_of

__all__ = ["TYPES_MAX", "Schema", "schema_of"]

TYPES_MAX = 4095  # message type numbers have 12 bits; 0 is none
SOMEWHERE = 1 << 1  # the cores of every group where no layout says which there are


def name_of(cls: type) -> str:
    """`module:Class`."""
    return f"{cls.__module__}:{cls.__qualname__}"


@dataclass(frozen=True)
class Schema:
    """Message types and replies by number; `numbers` the other way round.

    `groups` has the cores of each group, as a bit for each core's number; None: any name will do, and means core 1.
    """

    types: dict[int, type[Fixed]]
    numbers: dict[type[Fixed], int] = field(repr=False)
    groups: Mapping[str, int] | None = None

    def number(self, cls: type[Fixed]) -> int:
        """The number of a message type or reply. ActorError if no actor of the layout declares it."""
        found = self.numbers.get(cls)
        if found is None:
            known = ", ".join(each.__qualname__ for each in self.types.values()) or "none"
            text = f"no actor of this layout takes it: @on({cls.__qualname__}) is nowhere; taken are {known}"
            raise ActorError(declared(cls, "", text, f"add an @on({cls.__qualname__}) method"))
        return found

    def cores(self, group: str) -> int:
        """The cores of a group, as bits. ActorError if the layout has no such group."""
        if self.groups is None:
            return SOMEWHERE
        if group not in self.groups:
            text = f"this layout has no group {group!r}; its groups are {', '.join(self.groups) or 'none'}"
            remedy = nearest(group, self.groups)
            raise ActorError(Problem("", text, remedy=remedy if remedy.startswith("did") else ""))
        return self.groups[group]

    def type_of(self, number: int) -> type[Fixed]:
        """The type with that number. KeyError if there is none."""
        return self.types[number]

    def reply_number(self, cls: type[Message]) -> int:
        """The number of the reply to a Request type; 0 for a plain Message."""
        reply = reply_of(cls)
        return self.number(reply) if reply else 0


def schema_of(
    actors: Iterable[type],
    groups: Mapping[str, int] | None = None,
    more: Iterable[type[Message]] = (),
) -> Schema:
    """The schema of a layout with these data and control actors, `groups` as Schema has them, and `more` message types.

    ActorError has all problems of all of them.
    """
    found: set[type[Fixed]] = set(more)
    problems: list[Problem] = []
    for actor in dict.fromkeys(actors):
        try:
            messages = spec_of(actor).messages
        except ActorError as error:
            problems.extend(error.problems)
            continue
        for handler in messages:
            found.add(handler.message)
            if handler.reply is not None:
                found.add(handler.reply)
                size = shape_of(handler.reply).size
                if size > MESSAGE_MAX:
                    text = f"{size} bytes: the reply to {handler.message.__qualname__} is at most {MESSAGE_MAX}"
                    problems.append(
                        declared(handler.reply, "", text, "answer with a smaller State or Message")
                    )
    if len(found) > TYPES_MAX:
        problems.append(
            Problem("", f"{len(found)} message types: a layout has at most {TYPES_MAX}")
        )
    names: dict[str, type[Fixed]] = {}
    for cls in found:
        other = names.setdefault(name_of(cls), cls)
        if other is not cls:
            problems.append(declared(cls, "", "two message types have this name", "rename one"))
    if problems:
        raise ActorError(problems)
    types = {number: names[name] for number, name in enumerate(sorted(names), 1)}
    return Schema(types, {cls: number for number, cls in types.items()}, groups)
