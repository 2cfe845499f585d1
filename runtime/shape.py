"""How a State, Message or Config lies in memory: fields in order of declaration, base classes first, each aligned to its
own size as in C. Computed once a class, at first use; knows no values.
"""

from __future__ import annotations

import inspect
import re
import struct
import sys
import typing
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args, get_origin

from .errors import ActorError, Problem
from .types import Array, Integer

if TYPE_CHECKING:
    import numpy

__all__ = ["Field", "Row", "Shape", "shape_of"]

FIELD_TYPES = "u8, u16, u32, u64, i8, i16, i32, i64, Array[…, Literal[n]] or a State"


@dataclass(frozen=True, slots=True)
class Row:
    """`count` equal elements, one after the other."""

    element: Integer | Shape
    count: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.element.size * self.count

    def __str__(self) -> str:
        return f"Array[{self.element}, {self.count}]"


@dataclass(frozen=True, slots=True)
class Field:
    """One field: `kind` at `offset` bytes from the start of its owner. `default` is None if it must be given."""

    name: str
    offset: int
    kind: Integer | Shape | Row
    default: Any = None


@dataclass(frozen=True)
class Shape:
    """The fields of one class; `size` is a multiple of `alignment`, both in bytes."""

    owner: type
    size: int
    alignment: int
    fields: tuple[Field, ...]
    by_name: dict[str, Field] = field(repr=False, compare=False)

    @cached_property
    def packer(self) -> struct.Struct | None:
        """All fields at once, if they are integers, none nested."""
        codes, end = "<", 0
        for each in self.fields:
            if not isinstance(each.kind, Integer):
                return None
            codes += f"{each.offset - end}x{each.kind.code}"
            end = each.offset + each.kind.size
        return struct.Struct(f"{codes}{self.size - end}x")

    @cached_property
    def dtype(self) -> numpy.dtype[Any]:
        """The same layout as a NumPy structured type."""
        import numpy

        return numpy.dtype(
            {
                "names": [each.name for each in self.fields],
                "formats": [numpy_format(each.kind) for each in self.fields],
                "offsets": [each.offset for each in self.fields],
                "itemsize": self.size,
            }
        )

    def __str__(self) -> str:
        return self.owner.__qualname__


def numpy_format(kind: Integer | Shape | Row) -> Any:
    """`kind` in NumPy's terms."""
    if isinstance(kind, Integer):
        return f"<{'i' if kind.signed else 'u'}{kind.size}"
    if isinstance(kind, Shape):
        return kind.dtype
    return (numpy_format(kind.element), (kind.count,))


def alignment_of(kind: Integer | Shape | Row) -> int:
    """Bytes that the offset of `kind` is a multiple of."""
    if isinstance(kind, Row):
        return alignment_of(kind.element)
    return kind.alignment if isinstance(kind, Shape) else kind.size


def shape_of(cls: type) -> Shape:
    """The shape of a State, Message or Config class. ActorError names every field that cannot be laid out."""
    found = cls.__dict__.get("__shape__")
    return found if isinstance(found, Shape) else build(cls)


class RefusedError(Exception):
    """Why an annotation can't be a field, and what would."""

    def __init__(self, problem: str, remedy: str = "", value: Any = None) -> None:
        super().__init__(problem)
        self.problem, self.remedy, self.value = problem, remedy, value


def declared(cls: type, name: str, problem: str, remedy: str = "", value: Any = None) -> Problem:
    """A Problem with the declaration of `cls.name`, or of `cls` itself."""
    module = sys.modules.get(cls.__module__)
    file = getattr(module, "__file__", None) or cls.__module__
    line, text = line_of(cls, name)
    key = f"{cls.__qualname__}.{name}" if name else cls.__qualname__
    return Problem(file, problem, key, value, remedy, line, f"    {text}" if text else "")


def line_of(cls: type, name: str) -> tuple[int, str]:
    """Where `cls` declares `name`, and that line; (0, "") if its source is not to be had."""
    try:
        lines, first = inspect.getsourcelines(cls)
    except (OSError, TypeError):
        return 0, ""
    declares = rf"\s*((async\s+)?def\s+)?{re.escape(name)}\b" if name else r"\s*class\b"
    for number, line in enumerate(lines):
        if re.match(declares, line):
            return first + number, line.strip()
    return first, lines[0].strip()


def build(cls: type) -> Shape:
    """Lays `cls` out, remembers it there, and puts the descriptors of its fields into the class."""
    from .field import install

    problems: list[Problem] = []
    fields: list[Field] = []
    offset, alignment = 0, 1
    for name, hint in hints_of(cls).items():
        if get_origin(hint) is ClassVar or hint is ClassVar or name.startswith("__"):
            continue
        try:
            kind, default = field_of(cls, name, hint)
        except RefusedError as error:
            problems.append(declared(cls, name, error.problem, error.remedy, error.value))
            continue
        step = alignment_of(kind)
        offset = -(-offset // step) * step
        fields.append(Field(name, offset, kind, default))
        offset += kind.size
        alignment = max(alignment, step)
    size = -(-offset // alignment) * alignment
    limit: int = getattr(cls, "__limit__", 0)
    if not problems and size > limit > 0:
        what = getattr(cls, "__limit_of__", "it")
        problems.append(
            declared(cls, "", f"{size} bytes: {what} is at most {limit}", "shorten its arrays")
        )
    if problems:
        raise ActorError(problems)
    shape = Shape(cls, size, alignment, tuple(fields), {each.name: each for each in fields})
    cls.__shape__ = shape  # type: ignore[attr-defined]
    install(cls, shape)
    return shape


def field_of(cls: type, name: str, hint: Any) -> tuple[Integer | Shape | Row, Any]:
    """The kind and default of one field. RefusedError if it can't be one."""
    from .fixed import Fixed

    if name.startswith("_") or hasattr(Fixed, name):
        raise RefusedError("this name is taken", "choose another")
    kind = kind_of(hint)
    return kind, default_of(cls, name, kind)


def hints_of(cls: type) -> dict[str, Any]:
    """The resolved annotations of `cls`, base classes first."""
    try:
        resolved = typing.get_type_hints(cls, include_extras=True)
    except Exception as error:  # noqa: BLE001 - an annotation may be any code
        problem = declared(
            cls, "", f"its annotations do not resolve: {error}", "import what they name"
        )
        raise ActorError(problem) from None
    names = [name for base in reversed(cls.__mro__) for name in inspect.get_annotations(base)]
    return {name: resolved[name] for name in dict.fromkeys(names) if name in resolved}


def kind_of(hint: Any) -> Integer | Shape | Row:
    """The field type that an annotation stands for."""
    from .fixed import Fixed

    if get_origin(hint) is Annotated:
        for extra in get_args(hint)[1:]:
            if isinstance(extra, Integer):
                return extra
    if isinstance(hint, type) and issubclass(hint, Fixed):
        return shape_of(hint)
    if get_origin(hint) is Array:
        return row_of(*get_args(hint))
    if hint is int:
        raise RefusedError(
            "int has no size in memory", "choose u8, u16, u32, u64, i8, i16, i32 or i64"
        )
    name = getattr(hint, "__name__", str(hint))
    raise RefusedError(f"{name} can't be a field", f"use {FIELD_TYPES}")


def row_of(element: Any, length: Any) -> Row:
    """The array that `Array[element, length]` stands for."""
    counts = get_args(length) if get_origin(length) is Literal else (length,)
    if (
        len(counts) != 1
        or not isinstance(counts[0], int)
        or isinstance(counts[0], bool)
        or counts[0] < 1
    ):
        raise RefusedError(f"{length} is no length of an array", "write Array[u8, Literal[32]]")
    kind = kind_of(element)
    if isinstance(kind, Row):
        raise RefusedError("an array of arrays can't be a field", "put the inner one into a State")
    return Row(kind, counts[0])


def default_of(cls: type, name: str, kind: Integer | Shape | Row) -> Any:
    """The value assigned to the field in the class body, or None."""
    from .field import Reader, put

    for base in cls.__mro__:
        if name not in base.__dict__:
            continue
        value = base.__dict__[name]
        if isinstance(value, Reader):
            return value.field.default
        break
    else:
        return None
    if not cls.__defaults_allowed__:  # type: ignore[attr-defined]
        raise RefusedError("a state starts as zeros", "set it in on_open or on_start", value)
    if isinstance(kind, Row):
        raw = value._source if isinstance(value, Array) else value
        value = raw if isinstance(raw, bytes) else tuple(raw)
    try:
        put(kind, bytearray(kind.size), 0, value, False)
    except (TypeError, ValueError, IndexError) as error:
        raise RefusedError(str(error), "", value) from None
    return value
