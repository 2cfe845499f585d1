"""One function of the user's, translated for given kinds of arguments, then compiled by Numba. A handler's unit also
takes its arguments out of the call and puts its result back."""

from __future__ import annotations

import ast
from collections.abc import Callable
from types import FunctionType
from typing import Any

from numba import njit
from numba.core import types as numba_types

from ..errors import Problem
from ..shape import shape_of
from . import actor
from .expressions import Value, is_number
from .source import Place, Refusal, Source, source_of
from .statements import Statements, leaves
from .types import ActorKind, OwnKind, RecordKind, boolean, describe, int64, none, pointer

__all__ = ["Session", "Unit"]

OPTIONS = {
    "nogil": True,
    "error_model": "python",
    "boundscheck": True,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "_nrt": False,
}


class Session:
    """The compilation of one actor: its units, and everything wrong with them."""

    def __init__(self, spec: Any, schema: Any) -> None:
        self.spec = spec
        self.schema = schema
        self.units: dict[Any, Unit] = {}
        self.order: list[Unit] = []
        self.problems: list[Problem] = []
        self.place = Place(spec.actor.__name__, "")
        self.running: list[Callable[..., Any]] = []

    def handler(
        self, name: str, function: Callable[..., Any], reply: type | None = None
    ) -> Unit | None:
        """The unit of a handler; None if its source cannot be had."""
        self.place = Place(self.spec.actor.__name__, name)
        return self.translate(function, None, lambda sentence: self.lost(function, sentence), reply)

    def lost(self, function: Callable[..., Any], sentence: str) -> None:
        """Notes that a handler has no source."""
        code = function.__code__
        self.problems.append(
            Problem(
                file=code.co_filename,
                line=code.co_firstlineno,
                key=str(self.place),
                problem=sentence,
            )
        )

    def unit(self, node: ast.AST, function: Callable[..., Any], kinds: tuple[Any, ...]) -> Unit:
        """The unit of a function that a handler calls."""
        if function in self.running:
            names = " → ".join(
                each.__name__ for each in [*self.running[self.running.index(function) :], function]
            )
            raise Refusal(node, f"this calls itself: {names}", "write a loop")
        key = (function, kinds)
        if key not in self.units:

            def refuse(sentence: str) -> None:
                raise Refusal(node, f"{function.__name__}: {sentence}")

            made = self.translate(function, kinds, refuse, None)
            assert made is not None
            self.units[key] = made
        return self.units[key]

    def translate(
        self,
        function: Callable[..., Any],
        kinds: tuple[Any, ...] | None,
        refuse: Callable[[str], None],
        reply: Any,
    ) -> Unit | None:
        """A new unit, put after those that it calls."""
        source = source_of(function)
        if isinstance(source, str):
            refuse(source)
            return None
        made = Unit(self, source, kinds, reply)
        self.running.append(function)
        try:
            made.translate()
        finally:
            self.running.pop()
        self.order.append(made)
        return made


class Unit(Statements):
    """`kinds` are those of the arguments; None for a handler, whose only argument is the call."""

    def __init__(
        self, session: Session, source: Source, kinds: tuple[Any, ...] | None, reply: Any
    ) -> None:
        self.session = session
        self.spec = session.spec
        self.schema = session.schema
        self.source = source
        self.function = source.function
        self.kinds = kinds
        self.reply = reply
        self.names: dict[str, Any] = {}
        self.lines: dict[str, int] = {}
        self.sure: set[str] = set()
        self.broken: list[list[set[str]]] = []
        self.failed = False
        self.scope: dict[str, Any] = {"__builtins__": {}}
        self.returned: list[tuple[ast.AST, Any]] = []
        self.returns: Any = none
        self.compiled: Any = None
        self.tree: ast.FunctionDef | None = None

    @property
    def name(self) -> str:
        """That of the function."""
        return self.function.__name__

    def problem(self, refusal: Refusal) -> None:
        """Notes a refusal, unless it only follows from an earlier one."""
        self.failed = True
        if str(refusal):
            made = self.source.problem(
                self.session.place, refusal.node, refusal.sentence, refusal.remedy
            )
            if made not in self.session.problems:
                self.session.problems.append(made)

    def unit(self, node: ast.AST, function: Callable[..., Any], kinds: tuple[Any, ...]) -> Any:
        made = self.session.unit(node, function, kinds)
        if made.failed:
            raise Refusal(node, "")
        return made

    def actor_memory(self, node: ast.Attribute) -> Any:
        cls = getattr(self.spec, node.attr)
        if cls is None:
            base = "State" if node.attr == "core" else "Config"
            sentence = f"{self.spec.actor.__name__} declares no {node.attr}"
            raise Refusal(node, sentence, f"write {node.attr}: YourClass (a {base}) in its body")
        return shape_of(cls)

    def translate(self) -> None:
        """Fills `tree` and `returns`."""
        definition = self.source.tree
        names = [
            each.arg
            for each in (
                *definition.args.posonlyargs,
                *definition.args.args,
                *definition.args.kwonlyargs,
            )
        ]
        stars = definition.args.vararg or definition.args.kwarg
        if stars:
            self.problem(Refusal(stars, "* arguments cannot compile", "name them one by one"))
            return
        opening: list[ast.stmt] = []
        if self.kinds is None:
            opening = self.opening(names)
            names = ["call·"]
        else:
            self.names.update(zip(names, self.kinds, strict=True))
        self.sure.update(self.names)
        body = self.body(definition.body)
        if self.failed:
            return
        self.settle_returns(definition)
        if self.kinds is None and not leaves(definition.body):
            try:
                body.extend(self.leave(definition, Value(ast.Constant(None), none)))
            except Refusal as refusal:
                self.problem(refusal)
        arguments = ast.arguments([], [ast.arg(name) for name in names], None, [], [], None, [])
        self.tree = ast.FunctionDef(definition.name, arguments, [*opening, *body], [], None)
        ast.copy_location(self.tree, definition)
        ast.fix_missing_locations(self.tree)

    def settle_returns(self, definition: ast.FunctionDef) -> None:
        """One kind of result for the whole function."""
        if self.kinds is None:
            return
        kinds = {kind for _, kind in self.returned}
        if kinds and not leaves(definition.body):
            kinds.add(none)
        if all(is_number(kind) for kind in kinds) and kinds:
            self.returns = boolean if kinds == {boolean} else int64
        elif len(kinds) == 1:
            self.returns = kinds.pop()
        elif kinds:
            said = " and ".join(sorted(describe(kind) for kind in kinds))
            self.problem(
                Refusal(
                    definition, f"{definition.name} returns {said}", "return one kind on every path"
                )
            )

    def opening(self, names: list[str]) -> list[ast.stmt]:
        """The assignments that take a handler's arguments out of the call."""
        kinds: list[tuple[str, Any, Any]] = []
        own = ActorKind(self.spec.actor)
        state = shape_of(self.spec.state) if self.spec.state else None
        handler = self.session.place.handler
        on = getattr(self.function, "__splitplane_on__", None)
        given: list[tuple[Any, Any]] = [(own, actor.as_kind(own))]
        if on is not None:
            record = RecordKind(shape_of(on.message), writable=False)
            given.append((record, actor.message(record)))
        elif handler == "on_start":
            given.append((boolean, actor.restarted))
        elif handler != "on_tick":
            given.append((OwnKind(state), actor.as_kind(OwnKind(state))))
        if handler == "on_data" and on is None:
            given.append((actor.data.returns, actor.data))
        if handler == "on_close" and on is None:
            given.append((int64, actor.argument))
        kinds = [
            (name, kind, operation) for name, (kind, operation) in zip(names, given, strict=True)
        ]
        made: list[ast.stmt] = []
        for name, kind, operation in kinds:
            self.names[name] = kind
            value = self.run(self.source.tree, operation, ast.Name("call·", ast.Load())).node
            made.append(
                ast.Assign([ast.Name(name, ast.Store())], value, lineno=self.source.tree.lineno)
            )
        return made

    def leave(self, node: ast.stmt, got: Value) -> list[ast.stmt]:
        if self.kinds is not None:
            return super().leave(node, got)
        call = ast.Name("call·", ast.Load())
        place = getattr(node, "value", None) or node
        if self.reply is not None:
            if not (isinstance(got.kind, RecordKind) and got.kind.shape.owner is self.reply):
                what = self.reply.__qualname__
                raise Refusal(
                    place,
                    f"this answers with a {what}, not {describe(got.kind)}",
                    f"return {what}(…)",
                )
            finish = self.run(node, actor.reply(got.kind), call, got.node)
        elif self.session.place.handler == "on_data":
            if not is_number(got.kind):
                sentence = f"on_data returns how many bytes it consumed, not {describe(got.kind)}"
                raise Refusal(place, sentence, "return a number on every path")
            finish = self.run(node, actor.finish_data, call, got.node)
        else:
            if got.kind != none:
                raise Refusal(
                    place, f"{self.session.place.handler} returns nothing, not {describe(got.kind)}"
                )
            finish = self.run(node, actor.finish, call)
        return [ast.Expr(finish.node), ast.Return(None)]

    def compile(self) -> Any:
        """The function as Numba compiled it; raises whatever Numba raises."""
        assert self.tree is not None
        module = ast.Module([self.tree], [])
        scope = {
            name: value.compiled if isinstance(value, Unit) else value
            for name, value in self.scope.items()
        }
        exec(compile(module, self.source.file, "exec"), scope)  # noqa: S102
        function = scope[self.source.tree.name]
        assert isinstance(function, FunctionType)
        function.__module__ = self.function.__module__
        function.__qualname__ = self.function.__qualname__
        takes = (pointer,) if self.kinds is None else tuple(map(plain, self.kinds))
        self.compiled = njit([takes], forceinline=self.kinds is None, **OPTIONS)(function)
        return self.compiled


def plain(kind: Any) -> Any:
    """A kind as Numba's signature wants it."""
    return numba_types.unliteral(kind)
