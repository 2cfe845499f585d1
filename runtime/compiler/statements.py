"""Statements of a handler: each is translated by itself, so that one refusal does not hide the next."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from numba.core import types as numba_types

from . import integers, records
from .calls import Calls
from .expressions import Value, is_number
from .names import Static, frozen
from .source import Refusal
from .types import ConnectionKind, RecordKind, RowKind, ViewKind, boolean, describe, int64, none

__all__ = ["Statements", "leaves"]

REFUSED = {
    ast.Try: (
        "try/except cannot compile: an exception ends the handler and resets the connection",
        "test beforehand",
    ),
    ast.With: ("with cannot compile", "handlers hold nothing that must be closed"),
    ast.FunctionDef: (
        "a function inside a handler cannot compile",
        "write it in the module or as a method",
    ),
    ast.AsyncFunctionDef: (
        "a function inside a handler cannot compile",
        "write it in the module or as a method",
    ),
    ast.ClassDef: ("a class inside a handler cannot compile", "write it in the module"),
    ast.Global: (
        "a handler cannot change module variables: each core has its own memory",
        "keep it in self.core",
    ),
    ast.Nonlocal: ("a handler cannot change outer variables", "keep it in self.core"),
    ast.Import: ("import inside a handler cannot compile", "import at the top of the module"),
    ast.ImportFrom: ("import inside a handler cannot compile", "import at the top of the module"),
    ast.Delete: ("del cannot compile", "nothing needs it"),
    ast.Match: ("match cannot compile", "write if/elif"),
}


def leaves(body: list[ast.stmt]) -> bool:
    """Whether nothing runs after `body`: it returns, raises, or goes on elsewhere in a loop."""
    if not body:
        return False
    last = body[-1]
    if isinstance(last, (ast.Return, ast.Raise, ast.Break, ast.Continue)):
        return True
    if isinstance(last, ast.If):
        return leaves(last.body) and leaves(last.orelse)
    if isinstance(last, ast.While):
        forever = isinstance(last.test, ast.Constant) and bool(last.test.value)
        return forever and not breaks(last.body)
    return False


def breaks(body: list[ast.stmt]) -> bool:
    """Whether a `break` in `body` leaves the loop around it."""
    for node in body:
        if isinstance(node, ast.Break):
            return True
        if isinstance(node, ast.If) and (breaks(node.body) or breaks(node.orelse)):
            return True
        if isinstance(node, (ast.For, ast.While)) and breaks(node.orelse):
            return True
    return False


def is_local(kind: Any) -> bool:
    """Whether a value lies, or has a part that lies, on the function's own stack."""
    if isinstance(kind, numba_types.BaseTuple):
        return any(is_local(each) for each in kind.types)
    return isinstance(kind, (RecordKind, RowKind)) and kind.local


class Statements(Calls):
    """Translates the body of one function."""

    lines: dict[str, int]
    sure: set[str]
    """Variables that have a value here on every path."""
    broken: list[list[set[str]]]
    """For each loop around: what was sure at each `break` out of it."""
    returned: list[tuple[ast.AST, Any]]
    problem: Callable[[Refusal], None]

    def body(self, nodes: list[ast.stmt]) -> list[ast.stmt]:
        """The statements, translated; refusals are noted and the rest goes on."""
        made: list[ast.stmt] = []
        for node in nodes:
            try:
                made.extend(self.statement(node))
            except Refusal as refusal:
                self.problem(refusal)
                self.forget(node)
        return made or [ast.Pass(lineno=nodes[0].lineno, col_offset=0)]

    def forget(self, node: ast.stmt) -> None:
        """Variables that a refused statement would have set: later uses are not complained about."""
        for part in ast.walk(node):
            name = getattr(part, "asname", None) or getattr(part, "name", None)
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                name = part.id
            if isinstance(name, str):
                self.names.setdefault(name, None)
                self.sure.add(name)

    def statement(self, node: ast.stmt) -> list[ast.stmt]:
        """One statement."""
        found = getattr(self, f"do_{type(node).__name__.lower()}", None)
        if found is None:
            name = type(node).__name__.lower()
            sentence, remedy = REFUSED.get(type(node), (f"{name} cannot be used in a handler", ""))
            raise Refusal(node, sentence, remedy)
        result: list[ast.stmt] = found(node)
        return [
            ast.copy_location(each, node) if not hasattr(each, "lineno") else each
            for each in result
        ]

    def define(self, target: ast.Name, kind: Any) -> None:
        known = self.names.get(target.id)
        self.sure.add(target.id)
        if isinstance(kind, numba_types.NoneType):
            raise Refusal(
                target, f"{target.id} would be None", "use 0, -1 or an empty bytes constant"
            )
        if target.id not in self.names or known == kind:
            self.names[target.id] = kind
            self.lines.setdefault(target.id, target.lineno)
        elif known is None:
            return
        elif is_number(known) and is_number(kind):
            self.names[target.id] = int64
        else:
            before = f"{describe(known)} in line {self.lines.get(target.id, self.function.__code__.co_firstlineno)}"
            self.names[target.id] = None
            raise Refusal(
                target, f"{target.id} is {describe(kind)} here and {before}", "use two names"
            )

    def do_pass(self, node: ast.Pass) -> list[ast.stmt]:
        return [node]

    do_continue = do_pass

    def do_break(self, node: ast.Break) -> list[ast.stmt]:
        self.broken[-1].append(set(self.sure))
        return [node]

    def do_expr(self, node: ast.Expr) -> list[ast.stmt]:
        if isinstance(node.value, ast.Constant):
            return [ast.Pass()]
        return [ast.Expr(self.value(node.value).node)]

    def do_assign(self, node: ast.Assign) -> list[ast.stmt]:
        if len(node.targets) == 1:
            return self.assign(node.targets[0], node.value)
        held = ast.copy_location(
            ast.Name(f"held·{len(self.scope)}·{node.lineno}", ast.Store()), node
        )
        made = self.assign(held, node.value)
        again = ast.copy_location(ast.Name(held.id, ast.Load()), node.value)
        for target in node.targets:
            made.extend(self.assign(target, again))
        return made

    def do_annassign(self, node: ast.AnnAssign) -> list[ast.stmt]:
        return self.assign(node.target, node.value) if node.value else [ast.Pass()]

    def assign(self, target: ast.expr, source: ast.expr) -> list[ast.stmt]:
        """target = source"""
        if isinstance(target, ast.Name):
            return [self.give(target, source, self.value(source))]
        if isinstance(target, (ast.Tuple, ast.List)):
            return self.unpack(target, source)
        return [self.store(target, source)]

    def give(self, target: ast.Name, source: ast.expr, got: Value) -> ast.stmt:
        """name = value"""
        if isinstance(got.kind, RecordKind) and got.kind.local and isinstance(source, ast.Name):
            raise Refusal(
                source,
                "a message has one name: building the next one overwrites it",
                "build it again",
            )
        self.define(target, got.kind)
        if got.kind == boolean and self.names[target.id] == int64:
            got = self.whole(source, got, target.id)
        return ast.copy_location(ast.Assign([target], got.node), target)

    def unpack(self, target: ast.Tuple | ast.List, source: ast.expr) -> list[ast.stmt]:
        """a, b = value"""
        got = self.value(source)
        names = target.elts
        if not isinstance(got.kind, numba_types.BaseTuple):
            raise Refusal(source, f"{describe(got.kind)} cannot be unpacked")
        if len(names) != len(got.kind):
            raise Refusal(target, f"{len(names)} names for {len(got.kind)} values")
        if not all(isinstance(name, ast.Name) for name in names):
            raise Refusal(
                target, "values are unpacked into plain names", "assign to the fields one by one"
            )
        for name, kind in zip(names, got.kind.types, strict=True):
            self.define(name, kind)  # type: ignore[arg-type]
        made = ast.copy_location(ast.Tuple(names, ast.Store()), target)
        widened: list[ast.stmt] = []
        for name, kind in zip(names, got.kind.types, strict=True):
            if kind == boolean and self.names[name.id] == int64:  # type: ignore[attr-defined]
                again = ast.copy_location(ast.Name(name.id, ast.Load()), name)  # type: ignore[attr-defined]
                whole = self.run(name, integers.to_int, again)
                widened.append(ast.copy_location(ast.Assign([name], whole.node), target))
        return [ast.Assign([made], got.node), *widened]

    def store(self, target: ast.expr, source: ast.expr) -> ast.stmt:
        """owner.field = value, array[index] = value"""
        if isinstance(target, ast.Attribute):
            owner = self.value(target.value)
            field = self.field_of(target, owner)
            got = self.stored(source, field.kind, f"{owner.kind.shape}.{field.name}")
            made = self.run(
                target, records.field_put(owner.kind, field, got.kind), owner.node, got.node
            )
        elif isinstance(target, ast.Subscript):
            owner = self.value(target.value)
            if not isinstance(owner.kind, RowKind):
                raise Refusal(target, f"elements of {describe(owner.kind)} cannot be changed")
            self.writable(target, owner.kind)
            if isinstance(target.slice, ast.Slice):
                raise Refusal(target, "an array has no slices", "write array.copy_from(view, at)")
            index = self.number(target.slice, "an index")
            got = self.stored(source, owner.kind.row.element, f"an element of {owner.kind.row}")
            operation = records.row_put(owner.kind, got.kind)
            made = self.run(target, operation, owner.node, index.node, got.node)
        else:
            raise Refusal(target, "this cannot be assigned to")
        return ast.Expr(made.node)

    def field_of(self, target: ast.Attribute, owner: Value) -> Any:
        """The field that an assignment goes to."""
        if isinstance(owner.kind, RecordKind):
            self.writable(target, owner.kind)
            field = owner.kind.shape.by_name.get(target.attr)
            if field is None:
                self.on_attribute(target)
            return field
        if isinstance(owner.kind, ConnectionKind):
            raise Refusal(
                target, "a Connection keeps nothing of its own", "put the field into its State"
            )
        what = describe(owner.kind)
        raise Refusal(
            target, f"{what} keeps nothing of its own", "put the field into the State of self.core"
        )

    def do_augassign(self, node: ast.AugAssign) -> list[ast.stmt]:
        made: list[ast.stmt] = []
        target = node.target
        if isinstance(target, ast.Name):
            reading: ast.expr = ast.copy_location(ast.Name(target.id, ast.Load()), target)
        elif isinstance(target, ast.Attribute):
            owner = self.hold(target.value, made)
            reading = ast.copy_location(ast.Attribute(owner, target.attr, ast.Load()), target)
            target = ast.copy_location(ast.Attribute(owner, target.attr, ast.Store()), target)
        else:
            owner, index = self.hold(target.value, made), self.hold(target.slice, made)
            reading = ast.copy_location(ast.Subscript(owner, index, ast.Load()), target)
            target = ast.copy_location(ast.Subscript(owner, index, ast.Store()), target)
        combined = ast.copy_location(ast.BinOp(reading, node.op, node.value), node)
        return [*made, *self.assign(target, combined)]

    def hold(self, node: ast.expr, made: list[ast.stmt]) -> ast.expr:
        """An expression that may be read twice: `node` itself if it is simple, or a variable with its value."""
        got = self.expression(node)
        if isinstance(node, ast.Name) or isinstance(got.kind, Static):
            return node
        name = f"held·{len(self.scope)}·{node.lineno}"
        self.names[name] = got.kind
        self.sure.add(name)
        made.append(ast.copy_location(ast.Assign([ast.Name(name, ast.Store())], got.node), node))
        ast.fix_missing_locations(made[-1])
        return ast.copy_location(ast.Name(name, ast.Load()), node)

    def decided(self, node: ast.expr) -> bool | None:
        """What a test of a module or class constant gives; None for any other."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self.decided(node.operand)
            return None if inner is None else not inner
        if not isinstance(node, (ast.Name, ast.Attribute, ast.Constant)):
            return None
        kind = self.expression(node).kind
        return bool(kind.value) if isinstance(kind, Static) else None

    def do_if(self, node: ast.If) -> list[ast.stmt]:
        decided = self.decided(node.test)
        if decided is not None:
            taken = node.body if decided else node.orelse
            return self.body(taken) if taken else [ast.Pass()]
        test = self.test(node.test)
        before = set(self.sure)
        body = self.body(node.body)
        after, self.sure = self.sure, before
        rest = self.body(node.orelse) if node.orelse else []
        if leaves(node.body):
            after = self.sure
        elif not leaves(node.orelse):
            after &= self.sure
        self.sure = set(after)
        return [ast.If(test, body, rest)]

    def loop(
        self, node: ast.For | ast.While, *, forever: bool = False
    ) -> tuple[list[ast.stmt], list[ast.stmt]]:
        """The body of a loop, and what follows when it was not left by break."""
        before = set(self.sure)
        if isinstance(node, ast.For):
            self.sure.add(node.target.id)  # type: ignore[attr-defined]
        self.broken.append([])
        body = self.body(node.body)
        breaks = self.broken.pop()
        self.sure = set(before)
        rest = self.body(node.orelse) if node.orelse else []
        for each in breaks:
            self.sure &= each
        if forever and breaks:
            self.sure = set.intersection(*breaks)
        return body, rest

    def do_while(self, node: ast.While) -> list[ast.stmt]:
        test = self.test(node.test)
        forever = isinstance(node.test, ast.Constant) and bool(node.test.value)
        body, rest = self.loop(node, forever=forever)
        return [ast.While(test, body, rest)]

    def do_for(self, node: ast.For) -> list[ast.stmt]:
        if not isinstance(node.target, ast.Name):
            raise Refusal(node.target, "a loop has one variable")
        steps = node.iter
        if (
            isinstance(steps, ast.Call)
            and isinstance(steps.func, ast.Name)
            and self.is_range(steps.func)
        ):
            if steps.keywords or not 1 <= len(steps.args) <= 3:
                raise Refusal(steps, "range() takes one to three numbers")
            bounds = [self.number(each, "range()").node for each in steps.args]
            name = ast.copy_location(ast.Name(self.bind(range, "range"), ast.Load()), steps)
            source: ast.expr = ast.copy_location(ast.Call(name, bounds, []), steps)
            self.define(node.target, int64)
        else:
            source = self.tuple_steps(node.target, steps)
        self.sure.discard(node.target.id)
        body, rest = self.loop(node)
        return [ast.For(node.target, source, body, rest)]

    def is_range(self, name: ast.Name) -> bool:
        """Whether a name is the builtin range."""
        found = self.expression(name).kind
        return isinstance(found, Static) and found.value is range

    def tuple_steps(self, target: ast.Name, steps: ast.expr) -> ast.expr:
        """for x in a tuple"""
        got = self.value(steps)
        if isinstance(got.kind, (ViewKind, RowKind)):
            raise Refusal(
                steps, f"{describe(got.kind)} cannot be looped over", "write for i in range(len(…))"
            )
        if not isinstance(got.kind, numba_types.BaseTuple) or not len(got.kind):
            raise Refusal(steps, "a loop runs over range(…) or a tuple")
        if len(set(got.kind.types)) > 1:
            raise Refusal(steps, "the values of this tuple differ in kind")
        self.define(target, got.kind.types[0])
        return got.node

    def do_assert(self, node: ast.Assert) -> list[ast.stmt]:
        text = node.msg
        if text is not None and not isinstance(text, ast.Constant):
            raise Refusal(text, "the text of an assertion must be constant")
        failed = self.failure(node, AssertionError, [text.value] if text else [])
        return [ast.If(self.negated(node.test), [failed], [])]

    def negated(self, node: ast.expr) -> ast.expr:
        """not node"""
        return ast.copy_location(ast.UnaryOp(ast.Not(), self.test(node)), node)

    def failure(self, node: ast.stmt, error: type[BaseException], arguments: list[Any]) -> ast.stmt:
        """raise error(*arguments)"""
        name = ast.Name(self.bind(error, error.__name__), ast.Load())
        raised = ast.Call(name, [ast.Constant(each) for each in arguments], [])
        made = ast.Raise(raised, None)
        for part in ast.walk(made):
            ast.copy_location(part, node)
        return made

    def do_raise(self, node: ast.Raise) -> list[ast.stmt]:
        if node.exc is None or node.cause is not None:
            raise Refusal(
                node, "a handler raises a new exception, and no cause", 'raise ValueError("…")'
            )
        call = node.exc if isinstance(node.exc, ast.Call) else None
        target = self.expression(call.func if call else node.exc)
        error = target.kind.value if isinstance(target.kind, Static) else None
        if not (isinstance(error, type) and issubclass(error, Exception)):
            raise Refusal(node.exc, "only an exception can be raised")
        arguments = []
        for each in call.args if call else []:
            got = self.expression(each)
            if not isinstance(got.kind, Static):
                raise Refusal(each, "the text of an exception must be constant")
            text = got.kind.value
            arguments.append(text if isinstance(text, str) else frozen(each, "this", text))
        return [self.failure(node, error, arguments)]

    def do_return(self, node: ast.Return) -> list[ast.stmt]:
        if node.value is None:
            return self.leave(node, Value(ast.copy_location(ast.Constant(None), node), none))
        return self.leave(node, self.value(node.value))

    def leave(self, node: ast.stmt, got: Value) -> list[ast.stmt]:
        """return value"""
        if is_local(got.kind):
            raise Refusal(
                node, "a message built in a function ends with it", "build it where it is told"
            )
        self.returned.append((node, got.kind))
        if got.kind == boolean:
            return [ast.Return(got.node)]
        if is_number(got.kind):
            return [ast.Return(self.run(node, integers.to_int, got.node).node)]
        return [ast.Return(got.node)]
