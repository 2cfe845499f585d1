"""What an actor class declares: its states, config, handlers and messages, with everything wrong with it at once.
Used by the compiler, the interpreter, Bench, the plan and `check`.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from .actor import Connection, ControlActor, DataActor, On
from .config import Config
from .errors import ActorError, Problem
from .fixed import Fixed
from .message import Message, reply_of
from .shape import declared, shape_of
from .state import State

__all__ = ["HANDLERS", "STATE_MAX", "ActorSpec", "Handler", "spec_of"]

HANDLERS = (
    "on_start",
    "on_tick",
    "on_open",
    "on_data",
    "on_writable",
    "on_end",
    "on_close",
    "on_timer",
)
ARGUMENTS = {
    "on_start": 1,
    "on_tick": 0,
    "on_data": 2,
    "on_close": 2,
}  # besides self; the others take a connection
STATE_MAX = 4096  # bytes of a connection's state


@dataclass(frozen=True, slots=True)
class Handler:
    """One method with `@on`: `message` and, for a Request, what it returns as `reply`."""

    name: str
    function: Callable[..., Any]
    message: type[Message]
    reply: type[Fixed] | None
    batch: bool = False


@dataclass(frozen=True, slots=True)
class ActorSpec:
    """An actor class, taken apart. `handlers` maps HANDLERS that it defines to its functions."""

    actor: type
    state: type[State] | None
    core: type[State] | None
    config: type[Config] | None
    handlers: dict[str, Callable[..., Any]]
    messages: tuple[Handler, ...]

    @property
    def state_size(self) -> int:
        """Bytes of application state a connection."""
        return shape_of(self.state).size if self.state else 0

    @property
    def core_size(self) -> int:
        """Bytes of `self.core`."""
        return shape_of(self.core).size if self.core else 0


def spec_of(actor: type) -> ActorSpec:
    """The spec of a DataActor or ControlActor class. ActorError has all its problems."""
    found = actor.__dict__.get("__spec__")
    if isinstance(found, ActorSpec):
        return found
    if not (isinstance(actor, type) and issubclass(actor, (DataActor, ControlActor))):
        raise ActorError(f"{actor!r} is no class derived from DataActor or ControlActor")
    problems: list[Problem] = []
    if issubclass(actor, ControlActor):
        config = attribute_of(actor, "config", Config, problems)
        spec = ActorSpec(actor, None, None, config, {}, tuple(messages_of(actor, problems)))
    else:
        handlers = {
            name: getattr(actor, name)
            for name in HANDLERS
            if getattr(actor, name) is not getattr(DataActor, name)
        }
        spec = ActorSpec(
            actor,
            state_of(actor, handlers, problems),
            attribute_of(actor, "core", State, problems),
            attribute_of(actor, "config", Config, problems),
            handlers,
            tuple(messages_of(actor, problems)),
        )
    if problems:
        raise ActorError(problems)
    type.__setattr__(actor, "__spec__", spec)
    return spec


def attribute_of(actor: type, name: str, base: type[Any], problems: list[Problem]) -> Any:
    """The class that `actor` annotates `name` with, or None if it does not."""
    try:
        hint = typing.get_type_hints(actor).get(name, base)
        if hint is base:
            return None
        if isinstance(hint, type) and issubclass(hint, base):
            shape_of(hint)
            return hint
        remedy = f"class {name.capitalize()}({base.__name__}): …"
        problems.append(
            declared(actor, name, f"a class derived from {base.__name__} is wanted", remedy, hint)
        )
    except ActorError as error:
        problems.extend(error.problems)
    except NameError as error:
        problems.append(
            declared(
                actor, name, f"its annotation does not resolve: {error}", "import what it names"
            )
        )
    return None


def state_of(actor: type, handlers: dict[str, Any], problems: list[Problem]) -> type[State] | None:
    """The S of the handlers' `Connection[S]`; all must agree."""
    states: dict[type[State], str] = {}
    for name, function in handlers.items():
        wanted = ARGUMENTS.get(name, 1)
        parameters = list(inspect.signature(function).parameters.values())[1:]
        if inspect.iscoroutinefunction(function):
            problems.append(
                declared(actor, name, "a data actor's handler can't be async", "write def")
            )
        if len(parameters) != wanted:
            problems.append(
                declared(actor, name, f"it takes {len(parameters)} arguments, {wanted} wanted")
            )
        elif name not in ("on_start", "on_tick"):
            state = connection_state(actor, name, function, parameters[0].name, problems)
            if state is not None:
                states.setdefault(state, name)
    states.pop(State, None)
    if len(states) > 1:
        listed = ", ".join(f"{state.__qualname__} in {name}" for state, name in states.items())
        problems.append(
            declared(
                actor, "", f"its handlers disagree on the connection's state: {listed}", "use one"
            )
        )
    for state, name in states.items():
        try:
            size = shape_of(state).size
        except ActorError as error:
            problems.extend(error.problems)
            return None
        if size > STATE_MAX:
            text = f"{state.__qualname__} is {size} bytes, a connection's state at most {STATE_MAX}"
            problems.append(declared(actor, name, text, "keep large tables in self.core"))
    return next(iter(states), None)


def connection_state(
    actor: type, name: str, function: Any, parameter: str, problems: list[Problem]
) -> type[State] | None:
    """The state that one handler's first parameter is annotated with; State itself for none."""
    try:
        hint = typing.get_type_hints(function).get(parameter)
    except NameError as error:
        problems.append(
            declared(
                actor, name, f"its annotations do not resolve: {error}", "import what they name"
            )
        )
        return None
    if hint is Connection or hint is None:
        return State
    (state,) = get_args(hint) if get_origin(hint) is Connection else (None,)
    if isinstance(state, type) and issubclass(state, State):
        return state
    if state is not Any:
        problems.append(
            declared(actor, name, f"{parameter} must be a Connection[…] of a State", "", hint)
        )
    return State


def messages_of(actor: type, problems: list[Problem]) -> Iterator[Handler]:
    """Its `@on` methods, in the order of their names."""
    taken: dict[type[Message], str] = {}
    control = issubclass(actor, ControlActor)
    for name in sorted(dir(actor)):
        function = inspect.getattr_static(actor, name)
        on = getattr(function, "__splitplane_on__", None)
        if not isinstance(on, On):
            continue
        if on.message in taken:
            text = f"{on.message.__qualname__} is taken by {taken[on.message]} already"
            problems.append(declared(actor, name, text, "one @on method a message type"))
        taken[on.message] = name
        wanted = (1 if on.batch else 2) if control else 1
        count = len(inspect.signature(function).parameters) - 1
        if count != wanted:
            problems.append(declared(actor, name, f"it takes {count} arguments, {wanted} wanted"))
        if inspect.iscoroutinefunction(function) != control:
            remedy = "write async def" if control else "write def"
            problems.append(
                declared(
                    actor,
                    name,
                    "a control actor's @on methods are async, a data actor's not",
                    remedy,
                )
            )
        if on.batch and not control:
            problems.append(
                declared(actor, name, "batches are for control actors", "drop batch=True")
            )
        try:
            shape_of(on.message)
            reply = reply_of(on.message)
            if reply is not None:
                shape_of(reply)
        except ActorError as error:
            problems.extend(error.problems)
            continue
        yield Handler(name, function, on.message, reply, on.batch)
