"""Config: an actor's settings, filled from the layout's `config = { … }` before the core starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, dataclass_transform

from .errors import ActorError, Problem
from .field import put
from .fixed import Fixed
from .shape import shape_of

__all__ = ["Config", "config_of"]


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Config(Fixed):
    """Settings with a fixed layout, the same for all cores; `self.config` in handlers.

        class Settings(Config):
            greeting: u32 = 1
            name: Array[u8, Literal[32]]

    Fields without a default must stand in the layout. Text fills an array of u8 as UTF-8, zero-filled at the end.
    """

    __slots__ = ()
    __limit__: ClassVar[int] = 1 << 20
    __limit_of__: ClassVar[str] = "a config"
    __frozen__: ClassVar[bool] = True
    __defaults_allowed__: ClassVar[bool] = True


def config_of(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """The config that `values` of a layout make. ActorError has one problem for each key that is wrong."""
    shape = shape_of(cls)
    problems: list[Problem] = []
    good: dict[str, Any] = {}
    known = ", ".join(each.name for each in shape.fields) or "it has none"
    for name, value in values.items():
        field = shape.by_name.get(name)
        if field is None:
            problems.append(
                Problem(
                    "", f"no such field in {cls.__qualname__}", name, value, f"known here: {known}"
                )
            )
            continue
        good[name] = value.encode() if isinstance(value, str) else value
        try:
            put(field.kind, bytearray(shape.size), field.offset, good[name], False)
        except (TypeError, ValueError, IndexError) as error:
            problems.append(Problem("", str(error), name, value))
    problems.extend(
        Problem("", f"it is missing, and {cls.__qualname__} has no default for it", each.name)
        for each in shape.fields
        if each.default is None and each.name not in values
    )
    if problems:
        raise ActorError(problems)
    return cls(**good)
