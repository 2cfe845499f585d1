"""From `module:Class` in a layout to the class, with the user's own file and line when that fails."""

import importlib
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from .actor import ControlActor, DataActor
from .config import config_of
from .errors import ActorError, Problem
from .layout import Layout, Listen
from .message import Message
from .references import nearest
from .relayed import CONTROL_PLANE, Relayed
from .spec import spec_of


@dataclass(frozen=True, slots=True)
class Actors:
    """A layout's actor classes."""

    data: dict[tuple[str, int], type[DataActor]] = field(default_factory=dict)
    """By group and number of the listener in it."""
    control: dict[str, type[ControlActor]] = field(default_factory=dict)
    """By name of the `[control.NAME]`."""
    messages: list[type[Message]] = field(default_factory=list)
    """What the layout's `messages` names."""

    @property
    def all(self) -> tuple[type, ...]:
        """Every class once, in the order of the layout."""
        return tuple(dict.fromkeys([*self.data.values(), *self.control.values()]))


def import_actors(layout: Layout) -> Actors:
    """Imports every actor of `layout`, its own folder first. Raises ActorError with all that went wrong."""
    actors, problems = found_actors(layout)
    if problems:
        raise ActorError(problems)
    return actors


def found_actors(layout: Layout) -> tuple[Actors, list[Problem]]:
    """The actors that could be imported, and what is wrong with the others or with what they declare."""
    actors = Actors()
    problems: dict[str, Problem] = {}  # by text: two listeners of one actor share its problems

    def note(found: Iterable[Problem]) -> None:
        problems.update({str(problem): problem for problem in found})

    for group, number, listen in data_listeners(layout):
        key = f"group.{group}.listen[{number}]"
        try:
            actor = data_actor(listen.actor, layout.directory)
            actors.data[group, number] = actor
            note(_config_problems(actor, listen.config, layout.file, f"{key}.config"))
        except ActorError as error:
            note(
                _placed(problem, layout.file, f"{key}.actor", listen.actor)
                for problem in error.problems
            )
    for name, control in layout.control.items():
        key = f"control.{name}.actor"
        try:
            found = import_class(control.actor, layout.directory, ControlActor)
            actors.control[name] = found
            note(_config_problems(found, control.config, layout.file, f"control.{name}.config"))
        except ActorError as error:
            note(_placed(problem, layout.file, key, control.actor) for problem in error.problems)
    for name in layout.messages:
        try:
            actors.messages.append(import_class(name, layout.directory, Message))
        except ActorError as error:
            note(_placed(problem, layout.file, "messages", name) for problem in error.problems)
    return actors, list(problems.values())


def data_listeners(layout: Layout) -> Iterator[tuple[str, int, Listen]]:
    """(group, number in it, listener) of the whole layout, in its order."""
    for group_name, group in layout.group.items():
        for number, listen in enumerate(group.listen):
            yield group_name, number, listen


def _config_problems(
    actor: type[DataActor] | type[ControlActor], values: dict[str, Any], file: str, key: str
) -> Iterator[Problem]:
    config = spec_of(actor).config
    if config is None:
        if values:
            remedy = "add `config: Settings` with `class Settings(Config)`, or leave it out"
            yield Problem(file, f"{actor.__qualname__} declares no config", key, values, remedy)
        return
    try:
        config_of(config, values)
    except ActorError as error:
        for problem in error.problems:
            inside = f"{key}.{problem.key}" if problem.key else key
            yield Problem(file, problem.problem, inside, problem.value, problem.remedy)


def _placed(problem: Problem, file: str, key: str, value: str) -> Problem:
    if problem.file:
        return problem  # the user's own source: better than the layout's line
    return Problem(file, problem.problem, key, value, problem.remedy)


def data_actor(name: str, directory: Path) -> type[DataActor]:
    """The actor of a listener. Raises ActorError as import_actor does."""
    return Relayed if name == CONTROL_PLANE else import_class(name, directory, DataActor)


A = TypeVar("A")


def import_class(name: str, directory: Path, base: type[A]) -> type[A]:
    """The class `module:Class`, which derives from `base`. Raises ActorError without the layout's file and key."""
    module_name, _, class_name = name.partition(":")
    module = _module(module_name, directory)
    actor = getattr(module, class_name, None)
    if actor is None:
        known = [key for key, value in vars(module).items() if _is(value, base)]
        raise ActorError(
            Problem("", f"{module_name} has no {class_name}", remedy=nearest(class_name, known))
        )
    if not _is(actor, base):
        raise ActorError(
            Problem(
                "",
                f"{class_name} is no {base.__name__}",
                remedy=f"class {class_name}({base.__name__})",
            )
        )
    return actor  # type: ignore[no-any-return]


def _is(value: object, base: type) -> bool:
    return isinstance(value, type) and issubclass(value, base) and value is not base


def _module(name: str, directory: Path) -> ModuleType:
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
        importlib.invalidate_caches()
    try:
        return _beside(directory, importlib.import_module(name))
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            known = [path.stem for path in directory.glob("*.py")]
            text = f"no module {error.name} in {directory} and none installed"
            raise ActorError(Problem("", text, remedy=nearest(name, known))) from None
        raise ActorError(_import_problem(error)) from None
    except SyntaxError as error:
        excerpt = "".join(traceback.format_exception_only(error)).partition("\n")[2]
        excerpt = excerpt.rpartition("SyntaxError")[0].rstrip("\n")
        raise ActorError(
            Problem(
                error.filename or name,
                f"not Python: {error.msg}",
                line=error.lineno or 0,
                excerpt=excerpt,
            )
        ) from None
    except ActorError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's module may raise anything
        raise ActorError(_import_problem(error)) from None


def _beside(directory: Path, module: ModuleType) -> ModuleType:
    """`module`, unless the layout's folder has another one of that name: two layouts may lie in two folders."""
    path = directory.joinpath(*module.__name__.split("."))
    for meant in (path.with_suffix(".py"), path / "__init__.py"):
        if meant.exists() and not (module.__file__ and meant.samefile(module.__file__)):
            text = f"{module.__name__} is {module.__file__} in this process, not {meant}"
            raise ActorError(Problem("", text, remedy="give one of the two another name"))
    return module


def _import_problem(error: BaseException) -> Problem:
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and frame.filename != __file__
    ]
    text = f"importing it failed: {type(error).__name__}: {error}"
    if not frames:
        return Problem("", text)
    last = frames[-1]
    return Problem(
        last.filename, text, line=last.lineno or 0, excerpt=f"    {last.line}" if last.line else ""
    )
