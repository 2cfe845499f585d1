"""A layout's handlers: compiled once, in the launcher, before it forks; or interpreted, in the foreground.

Workers, Bench and `check` ask a Program for the entries of each actor and put them into its struct actor
(dataplane/bind.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..dataplane import calls
from ..dataplane.bind import Entry
from .actor import DataActor
from .errors import ActorError, Problem
from .interpret import Interpreter
from .schema import Schema
from .spec import spec_of

if TYPE_CHECKING:
    from .compiler import CompiledActor

__all__ = ["Compiled", "Entries", "Interpreted", "Program"]


@dataclass(frozen=True, slots=True)
class Entries:
    """The entries of one actor's handlers: by name, and by message type number."""

    handlers: Mapping[str, Entry]
    messages: Mapping[int, Entry]


class Program(Protocol):
    """A layout's handlers, compiled or interpreted."""

    def entries(self, actor: type, pointer: Any) -> Entries:
        """Those of one actor class, for the `struct actor *` at `pointer`."""


class Interpreted:
    """Handlers that Python runs: slow, and open to breakpoint() and print."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def entries(self, actor: type[DataActor], pointer: Any) -> Entries:
        """One entry for everything; it finds the actor by its pointer."""
        spec = spec_of(actor)
        calls.interpret(pointer, Interpreter(actor, self.schema))
        both = Entry(calls.entry(), calls.entry())
        numbers = [self.schema.number(each.message) for each in spec.messages]
        return Entries(dict.fromkeys(spec.handlers, both), dict.fromkeys(numbers, both))


class Compiled:
    """Handlers as machine code. Keep the program as long as any core uses its entries.

    `seconds` is how long each actor took to compile, by its class.
    """

    def __init__(self, actors: Iterable[type], schema: Schema, *, verbose: bool = False) -> None:
        """Compiles every DataActor among `actors`. ActorError has all that is wrong with all of them; `verbose` adds
        the compiler's own words."""
        from .compiler import compile_actor
        from .compiler.report import install

        self.schema = schema
        self.actors: dict[type, CompiledActor] = {}
        problems: list[Problem] = []
        for actor in dict.fromkeys(actors):
            if not issubclass(actor, DataActor):
                continue
            try:
                self.actors[actor] = compile_actor(actor, schema, verbose=verbose)
            except ActorError as error:
                problems.extend(error.problems)
        if problems:
            raise ActorError(problems)
        install()

    @property
    def seconds(self) -> dict[type, float]:
        """Compile time of each actor."""
        return {actor: made.seconds for actor, made in self.actors.items()}

    def entries(self, actor: type, pointer: Any = None) -> Entries:  # noqa: ARG002
        """Those of one actor class."""
        made = self.actors[actor]
        return Entries(
            {name: Entry(*pair) for name, pair in made.handlers.items()},
            {self.schema.number(message): Entry(*pair) for message, pair in made.messages.items()},
        )
