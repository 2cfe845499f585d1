"""Whatever Python is called from a handler, the compiler takes it or refuses it in words; it never stumbles itself."""

import ast
import base64
import bisect
import colorsys
import inspect
import ipaddress
import posixpath
import queue
import shlex
import struct
import textwrap
import urllib.parse
from collections.abc import Iterator
from contextlib import suppress
from types import FunctionType, ModuleType
from typing import Any

import pytest
from splitplane.runtime.actor import Connection, DataActor
from splitplane.runtime.compiler.source import Refusal
from splitplane.runtime.compiler.types import (
    ActorKind,
    OwnKind,
    RecordKind,
    boolean,
    int64,
    view,
)
from splitplane.runtime.compiler.unit import Session as Compilation
from splitplane.runtime.schema import schema_of
from splitplane.runtime.shape import shape_of
from splitplane.runtime.spec import spec_of
from splitplane.runtime.state import State
from splitplane.runtime.types import u32
from splitplane.runtime.view import View

MODULES = [
    base64,
    bisect,
    colorsys,
    ipaddress,
    posixpath,
    queue,
    shlex,
    struct,
    textwrap,
    urllib.parse,
]


class Session(State):
    requests: u32


class Caller(DataActor):
    def on_data(self, connection: Connection[Session], data: View) -> int:
        return len(data)


def functions(module: ModuleType) -> Iterator[FunctionType]:
    """Every function and method of a module that has no star arguments."""
    owners = [module, *(each for each in vars(module).values() if isinstance(each, type))]
    for owner in owners:
        for found in vars(owner).values():
            if isinstance(found, FunctionType) and not found.__code__.co_flags & (
                inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
            ):
                yield found


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_any_function(module: ModuleType) -> None:
    """Functions of the standard library, called with what handlers hold, translate or are refused with a sentence."""
    shape = shape_of(Session)
    kinds: list[Any] = [
        view,
        int64,
        OwnKind(shape),
        ActorKind(Caller),
        RecordKind(shape, writable=True),
        boolean,
    ]
    at = ast.Name("call", lineno=1, col_offset=0)
    for function in functions(module):
        count = function.__code__.co_argcount + function.__code__.co_kwonlyargcount
        for shift in range(3):
            compilation = Compilation(spec_of(Caller), schema_of([Caller]))
            given = tuple(kinds[(index + shift) % len(kinds)] for index in range(count))
            with suppress(Refusal):
                compilation.unit(at, function, given)
            assert all(problem.problem and problem.line for problem in compilation.problems)
