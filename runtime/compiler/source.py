"""The text of a function and its syntax tree, with the user's own line and column numbers; refusals point into it."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..errors import Problem

__all__ = ["Place", "Refusal", "Source", "source_of"]


class Refusal(Exception):  # noqa: N818
    """Something that can't compile, at a node of the tree."""

    def __init__(self, node: ast.AST, sentence: str, remedy: str = "") -> None:
        super().__init__(sentence)
        self.node = node
        self.sentence = sentence
        self.remedy = remedy


@dataclass(frozen=True)
class Place:
    """What is being compiled, in the words of the user."""

    actor: str
    handler: str

    def __str__(self) -> str:
        return f"{self.actor}.{self.handler}" if self.actor else self.handler


@dataclass(frozen=True)
class Source:
    """One function: `tree` is its definition, with the line numbers of `file`."""

    function: Callable[..., Any]
    file: str
    tree: ast.FunctionDef

    def problem(self, place: Place, node: ast.AST, sentence: str, remedy: str = "") -> Problem:
        """A problem at `node`, with the line and a caret under it."""
        line = getattr(node, "lineno", self.tree.lineno)
        return Problem(
            file=self.file,
            line=line,
            key=str(place),
            problem=sentence,
            remedy=remedy,
            excerpt=excerpt(self.file, line, node),
        )


def excerpt(file: str, line: int, node: ast.AST | None = None) -> str:
    """The source line, and below it carets under `node`, or under the whole line."""
    text = linecache.getline(file, line).rstrip("\n")
    if not text.strip():
        return ""
    start = len(text) - len(text.lstrip())
    stop = len(text)
    if node is not None and hasattr(node, "col_offset"):
        raw = text.encode()
        start = len(raw[: node.col_offset].decode(errors="replace"))
        if getattr(node, "end_lineno", None) == line:
            stop = len(raw[: node.end_col_offset].decode(errors="replace"))  # type: ignore[attr-defined]
    return f"    {text.strip()}\n    {' ' * (start - len(text) + len(text.lstrip()))}{'^' * max(stop - start, 1)}"


@cache
def definitions(
    file: str, _stamp: int
) -> dict[tuple[str, int], ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a file, by name and the line it starts on (that of its first decorator)."""
    found = {}
    for node in ast.walk(ast.parse("".join(linecache.getlines(file)))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            found[node.name, first] = node
    return found


def source_of(function: Callable[..., Any]) -> Source | str:
    """The source of a Python function, or a sentence on why there is none."""
    code = function.__code__
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename)
    if not lines:
        return f"its source {code.co_filename} cannot be read: actors live in files"
    try:
        tree = definitions(code.co_filename, hash(tuple(lines))).get(
            (code.co_name, code.co_firstlineno)
        )
    except SyntaxError as error:
        return f"its source {code.co_filename} changed and no longer parses: {error}"
    if not isinstance(tree, ast.FunctionDef):
        return (
            f"its source is not in {code.co_filename} any more: start again"
            if tree is None
            else "it is async: write def"
        )
    return Source(function, code.co_filename, tree)
