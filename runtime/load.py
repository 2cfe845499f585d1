"""A layout from its TOML file and `--set` overrides, with every problem at once in the layout's own words."""

import re
import tomllib
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from .errors import LayoutError, Problem
from .layout import Layout
from .references import nearest
from .salvage import salvage

_STEP = re.compile(r"([A-Za-z0-9_-]+)((?:\[\d+\])*)")


def load_layout(path: str | Path, overrides: Iterable[str] = ()) -> Layout:
    """The layout in `path` with each `key=value` of `overrides` put over it (values as in TOML).

    Raises LayoutError with everything that is wrong in it: a file that can't be read, a line that isn't TOML, keys
    that don't exist, values of the wrong kind, names that lead nowhere.
    """
    layout, _, problems = read_layout(path, overrides)
    if problems or layout is None:
        raise LayoutError(problems)
    return layout


def read_layout(
    path: str | Path, overrides: Iterable[str] = ()
) -> tuple[Layout | None, set[str], list[Problem]]:
    """As load_layout, but a broken layout comes back too, as far as it goes.

    With it come the keys that are not the user's values any more (salvage.py) and all problems.
    """
    file = Path(path)
    name = file.name
    data, problems = _parsed(file)
    if data is None:
        return None, set(), problems
    set_keys: list[str] = []
    overrides = tuple(overrides)
    for text in overrides:
        problem, key = override(data, text)
        problems += [problem] if problem else []
        set_keys.append(key)
    dead: set[str] = set()
    layout: Layout | None = None
    try:
        layout = Layout.model_validate(data)
    except LayoutError as error:
        problems += [_placed(problem, name, set_keys) for problem in error.problems]
        layout, dead = salvage(data)
    if layout is not None:
        layout = layout.located(file.resolve().parent, name, (file.resolve(), tuple(overrides)))
    return layout, dead, problems


def _parsed(file: Path) -> tuple[dict[str, Any] | None, list[Problem]]:
    try:
        return tomllib.loads(file.read_text("utf-8")), []
    except OSError as error:
        return None, [Problem(str(file), f"can't be read: {error.strerror}")]
    except UnicodeDecodeError as error:
        return None, [Problem(str(file), f"not UTF-8: byte {error.start}")]
    except tomllib.TOMLDecodeError as error:
        return None, [_syntax(file.name, str(error))]


def override(data: dict[str, Any], text: str) -> tuple[Problem | None, str]:
    """Puts one `group.web.listen[0].port="tcp:81"` into `data`; what is wrong with it, and the key it set."""
    key, equals, written = text.partition("=")
    key = key.strip()
    if not equals:
        return Problem("--set", "not key=value", text, remedy="e.g. --set group.web.cpus=[2]"), key
    steps: list[str | int] = []
    for part in key.split("."):
        match = _STEP.fullmatch(part)
        if match is None:
            return Problem(
                "--set", f'"{key}" is no key', remedy="e.g. group.web.listen[0].port"
            ), key
        steps += [match[1], *(int(index) for index in re.findall(r"\d+", match[2]))]
    return _put(data, steps, _value(written), key), key


def _value(written: str) -> Any:
    try:
        return tomllib.loads(f"value = {written}")["value"]
    except tomllib.TOMLDecodeError:
        return written.strip()


def _put(data: dict[str, Any], steps: list[str | int], value: Any, key: str) -> Problem | None:
    place: Any = data
    for step, following in pairwise(steps):
        if isinstance(step, str) and isinstance(place, dict):
            place = place.setdefault(step, [] if isinstance(following, int) else {})
        elif isinstance(step, int) and isinstance(place, list) and step < len(place):
            place = place[step]
        else:
            return Problem("--set", f"{step} leads nowhere in the layout", key, value)
    last = steps[-1]
    if isinstance(last, str) and isinstance(place, dict):
        place[last] = value
        return None
    if isinstance(last, int) and isinstance(place, list) and last <= len(place):
        place[last : last + 1] = [value]
        return None
    return Problem("--set", f"{last} leads nowhere in the layout", key, value)


def _syntax(name: str, text: str) -> Problem:
    match = re.fullmatch(
        r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", text, re.DOTALL
    )
    if match is None or match[2] is None:
        return Problem(name, f"not TOML: {text}")
    return Problem(name, f"not TOML: {match[1]} (column {match[3]})", line=int(match[2]))


def _placed(problem: Problem, file: str, set_keys: list[str]) -> Problem:
    mine = any(
        problem.key == key or problem.key.startswith((f"{key}.", f"{key}[")) for key in set_keys
    )
    fields = problem.as_dict() | {"file": "--set" if mine and problem.key else file}
    return Problem(**fields)


def field_problems(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """pydantic's findings in the layout's words; `file` is left empty."""
    return [
        _field_problem(dict(finding), model)
        for finding in error.errors(include_url=False, include_context=True)
    ]


def _field_problem(finding: dict[str, Any], model: type[BaseModel]) -> Problem:
    where = tuple(step for step in finding["loc"] if step != "[key]")
    key, value = _key(where), finding["input"]
    kind, context = finding["type"], finding.get("ctx", {})
    if kind == "extra_forbidden":
        return Problem(
            "",
            "there is no such key",
            key,
            value,
            nearest(str(where[-1]), _fields(model, where[:-1])),
        )
    if kind == "missing":
        return Problem("", "missing", key, None, _sample(str(where[-1])))
    if kind == "literal_error":
        wanted = re.findall(r"'([^']*)'", context["expected"])
        remedy = nearest(str(value), wanted)
        near = remedy if remedy.startswith("did you mean") else ""
        return Problem("", f"one of {', '.join(wanted)} is wanted", key, value, near)
    if kind == "string_pattern_mismatch":
        return Problem(
            "", "a name: a letter, then letters, digits, - and _, 32 at most", key, value
        )
    if kind == "value_error":
        return Problem("", str(context["error"]), key, value)
    message = _SAID.get(kind)
    return Problem("", message.format(**context) if message else finding["msg"], key, value)


_SAID = {
    "int_type": "a whole number is wanted",
    "float_type": "a number is wanted",
    "string_type": "a text is wanted",
    "bool_type": "true or false is wanted",
    "dict_type": "a table is wanted",
    "model_type": "a table is wanted",
    "model_attributes_type": "a table is wanted",
    "tuple_type": "a list is wanted",
    "list_type": "a list is wanted",
    "greater_than_equal": "at least {ge} is wanted",
    "greater_than": "more than {gt} is wanted",
    "less_than_equal": "at most {le} is wanted",
    "less_than": "less than {lt} is wanted",
    "too_short": "at least {min_length} wanted",
    "too_long": "at most {max_length} wanted",
    "finite_number": "a finite number is wanted",
}

_SAMPLES = {
    "name": 'name = "hello"',
    "driver": 'driver = "kernel"',
    "cpus": "cpus = [1]",
    "nic": '[nic.front] driver = "kernel"',
    "group": "[group.web]",
    "listen": "[[group.web.listen]]",
    "port": 'port = "tcp:8080"',
    "actor": 'actor = "hello:Hello"',
}


def _sample(field: str) -> str:
    return f"e.g. {_SAMPLES[field]}" if field in _SAMPLES else ""


def _key(where: tuple[Any, ...]) -> str:
    text = ""
    for step in where:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _fields(model: type[BaseModel], where: tuple[Any, ...]) -> list[str]:
    """The keys that the table at `where` may have."""
    current: type[BaseModel] | None = model
    for step in where:
        if current is None or not isinstance(step, str) or step not in current.model_fields:
            continue  # a name the user chose, or a number
        current = _model_in(current.model_fields[step].annotation)
    return list(current.model_fields) if current else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        found = _model_in(part)
        if found is not None:
            return found
    return None
