"""Calls in a handler: methods of what it holds, the user's own functions and classes, and the few builtins there are."""

from __future__ import annotations

import ast
import inspect
import typing
from collections.abc import Callable
from types import FunctionType
from typing import Any

from numba.core import types as numba_types

from ..actor import DataActor
from ..errors import SplitplaneError
from ..fixed import Fixed
from ..message import Message
from ..shape import Field, Row, Shape, shape_of
from ..types import Array, Integer, below
from . import actor, connection, integers, records, view, writer
from .attributes import ROW_METHODS, Attributes, member_of_actor
from .expressions import Value, is_number
from .names import Static, frozen, member, near
from .source import Refusal
from .types import (
    ActorKind,
    ConnectionKind,
    RecordKind,
    RowKind,
    ViewKind,
    WriterKind,
    boolean,
    describe,
    int64,
)
from .types import view as view_kind

__all__ = ["Calls"]

REFUSED_CALLS = {
    "print": ("print works in interpreted handlers only", "run with --interpret"),
    "breakpoint": ("breakpoint works in interpreted handlers only", "run with --interpret"),
    "range": ("range works in a for loop only", ""),
    "bytes": ("bytes(…) makes a new object", "send the View itself, or copy it into an Array"),
    "bytearray": ("bytearray(…) makes a new object", "use an Array field of a State"),
    "str": ("str(…) makes a new object", "handlers work on bytes"),
    "float": ("handlers compute with whole numbers", "scale the value to an int"),
    "list": ("a list needs memory of its own", "use an Array field of a State"),
    "dict": ("a dict needs memory of its own", "keep a fixed table in self.core"),
    "set": ("a set needs memory of its own", "compare with a tuple of constants"),
    "enumerate": ("enumerate cannot compile", "write for i in range(len(view))"),
    "zip": ("zip cannot compile", "write for i in range(…)"),
    "super": ("super() cannot compile", "call the base's method by name: Base.method(self, …)"),
    "sum": ("sum cannot compile", "write a for loop"),
    "sorted": ("sorted makes a list", "keep what must be sorted in an Array"),
    "any": ("any cannot compile", "write a for loop"),
    "all": ("all cannot compile", "write a for loop"),
    "pow": ("pow cannot compile", "multiply in a loop"),
    "isinstance": ("types are known before a handler runs", "leave the test out"),
    "open": ("a handler cannot read files", "pass what it needs in its config"),
}


class Calls(Attributes):
    """Translates calls."""

    schema: Any
    spec: Any

    def unit(self, node: ast.AST, function: Callable[..., Any], kinds: tuple[Any, ...]) -> Any:
        """The translation of another of the user's functions for arguments of these kinds."""
        raise NotImplementedError

    def on_call(self, node: ast.Call) -> Value:
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                raise Refusal(argument, "* cannot compile", "write the arguments one by one")
        for keyword in node.keywords:
            if keyword.arg is None:
                raise Refusal(keyword.value, "** cannot compile", "write the arguments one by one")
        if isinstance(node.func, ast.Attribute):
            owner = self.expression(node.func.value)
            if not isinstance(owner.kind, Static):
                return self.method(node, node.func, owner)
            if isinstance(owner.kind.value, (bytes, str)):
                return self.method(node, node.func, self.settled(node.func.value, owner))
            return self.known(node, member(node.func, owner.kind.value).value)
        target = self.expression(node.func)
        if isinstance(target.kind, Static):
            return self.known(node, target.kind.value)
        raise Refusal(node.func, f"{describe(target.kind)} cannot be called")

    def method(self, node: ast.Call, func: ast.Attribute, owner: Value) -> Value:
        """owner.name(…)"""
        kind, name = owner.kind, func.attr
        if isinstance(kind, ActorKind):
            return self.of_self(node, func, owner)
        if isinstance(kind, ConnectionKind):
            return self.connection_method(node, func, owner)
        if isinstance(kind, (RecordKind, numba_types.BaseTuple)):
            cls = (
                kind.shape.owner
                if isinstance(kind, RecordKind)
                else getattr(kind, "instance_class", tuple)
            )
            found = inspect.getattr_static(cls, name, None)
            own = isinstance(found, FunctionType) and found.__module__ != Fixed.__module__
            if own:
                return self.user_function(node, found, [owner])
            if isinstance(kind, RecordKind) and name in kind.shape.by_name:
                raise Refusal(func, f"{name} is a field, not a method")
            raise Refusal(func, f"{describe(kind)} has no method {name} that compiles")
        if isinstance(kind, ViewKind) and name in view.METHODS:
            found, defaults = view.METHODS[name]
            return self.api(node, found, owner, defaults)
        if isinstance(kind, WriterKind) and name in writer.METHODS:
            return self.api(node, writer.METHODS[name], owner)
        if isinstance(kind, RowKind) and name in ROW_METHODS:
            return self.row_method(node, func, owner)
        raise self.no_attribute(func, kind)

    def row_method(self, node: ast.Call, func: ast.Attribute, owner: Value) -> Value:
        """head, copy_from and fill of an array."""
        row = owner.kind.row
        if func.attr == "fill":
            if not isinstance(row.element, Integer):
                raise Refusal(func, f"an {row} has no numbers to fill")
        elif row.element != Integer(8, signed=False):
            raise Refusal(func, f"only an array of u8 has bytes to view or copy, this is an {row}")
        if func.attr != "head":
            self.writable(func, owner.kind)
        elif owner.kind.local:
            sentence = "a View of a message that is built here would outlive it"
            raise Refusal(func, sentence, "use the View that it was made of")
        defaults = {"at": 0} if func.attr == "copy_from" else {}
        return self.api(node, ROW_METHODS[func.attr](owner.kind), owner, defaults)

    def writable(self, node: ast.AST, kind: Any) -> None:
        """Refuses a store into a message or a config."""
        if not kind.writable:
            raise Refusal(
                node,
                "a message or config cannot be changed",
                "make a new one, or keep it in a State",
            )

    def connection_method(self, node: ast.Call, func: ast.Attribute, owner: Value) -> Value:
        """connection.name(…)"""
        if func.attr in {"send", "try_send"}:
            if node.keywords:
                raise Refusal(node.keywords[0].value, f"{func.attr} takes no keywords")
            parts = [self.view_of(each, f"{func.attr}()") for each in node.args]
            operation = connection.send(owner.kind, len(parts), trying=func.attr == "try_send")
            return self.run(node, operation, owner.node, *parts)
        if func.attr not in connection.METHODS:
            known = ["send", "try_send", *connection.METHODS]
            raise Refusal(func, f"a Connection has no method {func.attr}", near(func.attr, known))
        if func.attr == "set_timer" and node.args:
            raise Refusal(node, "the time is given by name", "set_timer(milliseconds=…)")
        return self.api(node, connection.METHODS[func.attr](owner.kind), owner)

    def view_of(self, node: ast.expr, what: str) -> ast.expr:
        """An expression that must be bytes or a View."""
        got = self.value(node)
        if isinstance(got.kind, ViewKind):
            return got.node
        remedy = ""
        if isinstance(got.kind, RowKind):
            remedy = "pass array.head(length)"
        elif is_number(got.kind):
            remedy = "use send_int(number)"
        raise Refusal(node, f"{what} takes bytes or a View, not {describe(got.kind)}", remedy)

    def api(
        self, node: ast.Call, operation: Any, owner: Value, defaults: dict[str, int] | None = None
    ) -> Value:
        """A method that is one operation."""
        name = node.func.attr if isinstance(node.func, ast.Attribute) else operation.name
        arguments: list[ast.expr] = []
        bound = self.bound(node, name, operation.names[1:], defaults or {})
        for argument, wanted in zip(bound, operation.takes[1:], strict=True):
            if wanted == int64:
                arguments.append(self.number(argument, f"{name}()").node)
            else:
                arguments.append(self.view_of(argument, f"{name}()"))
        return self.run(node, operation, owner.node, *arguments)

    def bound(
        self, node: ast.Call, name: str, names: list[str], defaults: dict[str, Any]
    ) -> list[ast.expr]:
        """The arguments of a call in the order of `names`."""
        given = dict(zip(names, node.args, strict=False))
        if len(node.args) > len(names):
            raise Refusal(
                node, f"{name}() takes {len(names)} arguments, {len(node.args)} are given"
            )
        for keyword in node.keywords:
            if keyword.arg not in names or keyword.arg in given:
                raise Refusal(
                    keyword.value,
                    f"{name}() takes no {keyword.arg} here",
                    near(str(keyword.arg), names),
                )
            given[str(keyword.arg)] = keyword.value
        for each in names:
            if each not in given:
                if each not in defaults:
                    raise Refusal(node, f"{name}() wants {each}")
                given[each] = ast.copy_location(ast.Constant(defaults[each]), node)
        return [given[each] for each in names]

    def of_self(self, node: ast.Call, func: ast.Attribute, owner: Value) -> Value:
        """self.tell(…), self.connection(…), and the actor's own methods."""
        if func.attr == "connection":
            (handle,) = self.bound(node, "connection", ["handle"], {})
            shape = shape_of(self.spec.state) if self.spec.state else None
            number = self.number(handle, "connection()")
            return self.run(node, actor.connection(owner.kind, shape), owner.node, number.node)
        if func.attr == "tell":
            return self.tell(node, owner)
        if func.attr in {"subscribe", "unsubscribe"}:
            return self.subscription(node, func.attr)
        found = member_of_actor(func, owner.kind.actor).value
        if not isinstance(found, FunctionType):
            raise Refusal(func, f"{func.attr} is no method that compiles")
        if found is vars(DataActor).get(func.attr):
            raise Refusal(func, f"{func.attr} is not defined by {owner.kind.actor.__name__}")
        if isinstance(inspect.getattr_static(owner.kind.actor, func.attr), staticmethod):
            return self.user_function(node, found, [])
        return self.user_function(node, found, [owner])

    def tell(self, node: ast.Call, owner: Value) -> Value:
        """self.tell(message, to=…)"""
        message, to = self.bound(node, "tell", ["message", "to"], {"to": -1})
        got = self.value(message)
        if not (isinstance(got.kind, RecordKind) and issubclass(got.kind.shape.owner, Message)):
            raise Refusal(message, f"tell() takes a Message, not {describe(got.kind)}")
        try:
            number = self.schema.number(got.kind.shape.owner)
        except SplitplaneError as error:
            problem = error.problems[0]
            raise Refusal(message, f"{got.kind.shape}: {problem.problem}", problem.remedy) from None
        target = self.expression(to)
        if isinstance(target.kind, Static) and isinstance(target.kind.value, str):
            cores = self.cores(to, target.kind.value)
            found = actor.tell_cores(owner.kind, got.kind, number, cores)
            return self.run(node, found, owner.node, got.node)
        core = self.whole(to, self.settled(to, target), "to")
        return self.run(
            node, actor.tell(owner.kind, got.kind, number), owner.node, got.node, core.node
        )

    def subscription(self, node: ast.Call, name: str) -> Value:
        """self.subscribe(connection, topic), self.unsubscribe(connection, topic)"""
        which, topic = self.bound(node, name, ["connection", "topic"], {})
        got = self.value(which)
        if not isinstance(got.kind, ConnectionKind):
            raise Refusal(which, f"{name}() takes a Connection, not {describe(got.kind)}")
        if isinstance(self.value(topic).kind, ViewKind):
            raise Refusal(topic, "a topic is a number", "use view.hash()")
        number = self.number(topic, f"{name}()")
        return self.run(node, connection.subscription(got.kind, name), got.node, number.node)

    def cores(self, node: ast.expr, group: str) -> int:
        """The cores of a group of the layout, as bits."""
        try:
            found: int = self.schema.cores(group)
        except SplitplaneError as error:
            problem = error.problems[0]
            raise Refusal(node, problem.problem, problem.remedy) from None
        return found

    def known(self, node: ast.Call, target: Any) -> Value:
        """A call of something that is known before the handler runs."""
        builtin = (
            BUILTINS.get(target) if isinstance(target, (type, type(len), FunctionType)) else None
        )
        if builtin is not None:
            return builtin(self, node)
        if isinstance(target, type):
            return self.made(node, target)
        if isinstance(target, FunctionType):
            return self.user_function(node, target, [])
        name = getattr(target, "__name__", type(target).__name__)
        sentence, remedy = REFUSED_CALLS.get(name, (f"{name} cannot be called in a handler", ""))
        raise Refusal(node.func, sentence, remedy)

    def made(self, node: ast.Call, cls: type) -> Value:
        """Class(…)"""
        if issubclass(cls, Fixed):
            return self.record(node, cls)
        if issubclass(cls, tuple) and hasattr(cls, "_fields"):
            bound = self.bound(
                node, cls.__name__, list(cls._fields), getattr(cls, "_field_defaults", {})
            )
            hints = typing.get_type_hints(cls)
            parts = [
                self.number(each, name) if hints.get(name) is int else self.value(each)
                for name, each in zip(cls._fields, bound, strict=True)
            ]
            name = self.bind(cls, cls.__name__)
            call = self.called(node, name, [part.node for part in parts])
            return Value(call, numba_types.BaseTuple.from_types([part.kind for part in parts], cls))
        name = cls.__name__
        sentence, remedy = REFUSED_CALLS.get(name, (f"a {name} cannot be made in a handler", ""))
        raise Refusal(node, sentence, remedy)

    def record(self, node: ast.Call, cls: type[Fixed]) -> Value:
        """Message(field=…)"""
        shape = shape_of(cls)
        if node.args:
            raise Refusal(
                node.args[0],
                f"the fields of {shape} are given by name",
                f"{shape}({shape.fields[0].name}=…)",
            )
        given: list[tuple[Field, Any]] = []
        values: list[ast.expr] = []
        keywords = {str(keyword.arg): keyword.value for keyword in node.keywords}
        for name, value in keywords.items():
            if name not in shape.by_name:
                raise Refusal(value, f"{shape} has no field {name}", near(name, shape.by_name))
            got = self.stored(value, shape.by_name[name].kind, f"{shape}.{name}")
            given.append((shape.by_name[name], got.kind))
            values.append(got.node)
        missing = []
        for field in shape.fields:
            if field.name not in keywords and field.default is not None:
                constant = self.stored(
                    ast.copy_location(ast.Constant(field.default), node), field.kind, field.name
                )
                given.append((field, constant.kind))
                values.append(constant.node)
            elif field.name not in keywords and cls.__defaults_allowed__:
                missing.append(field.name)
        if missing:
            raise Refusal(
                node, f"{shape} needs {', '.join(missing)} too", f"{shape}({missing[0]}=…)"
            )
        kind = RecordKind(shape, writable=False, local=True)
        return self.run(node, records.built(kind, tuple(given)), *values)

    def stored(self, node: ast.expr, kind: Integer | Shape | Row, where: str) -> Value:
        """A value that goes into a field of `kind`."""
        got = self.value(node)
        if isinstance(kind, Integer):
            if is_number(got.kind):
                return self.whole(node, got, where)
            if isinstance(got.kind, ViewKind):
                remedy = "copy it into an Array field: field.copy_from(view)"
                raise Refusal(
                    node,
                    f"{where} is a number; a View cannot be kept, it ends with the call",
                    remedy,
                )
        elif isinstance(kind, Row):
            bytewise = kind.element == Integer(8, signed=False) and isinstance(got.kind, ViewKind)
            if bytewise or (isinstance(got.kind, RowKind) and got.kind.row == kind):
                return got
        elif isinstance(got.kind, RecordKind) and got.kind.shape is kind:
            return got
        raise Refusal(node, f"{where} holds {wording(kind)}, not {describe(got.kind)}")

    def user_function(self, node: ast.Call, function: FunctionType, first: list[Value]) -> Value:
        """A function or method of the user's, translated for these arguments."""
        parameters = list(inspect.signature(function).parameters.values())
        for parameter in parameters:
            if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
                raise Refusal(node, f"{function.__name__} takes * arguments, which cannot compile")
        names = [parameter.name for parameter in parameters][len(first) :]
        marks = {each.name: object() for each in parameters if each.default is not each.empty}
        given = self.bound(node, function.__name__, names, marks)
        values = list(first)
        for name, argument in zip(names, given, strict=True):
            if isinstance(argument, ast.Constant) and argument.value is marks.get(name, self):
                default = inspect.signature(function).parameters[name].default
                values.append(self.literal(node, frozen(node, name, default)))
            else:
                values.append(self.value(argument))
        unit = self.unit(node, function, tuple(value.kind for value in values))
        return self.run(node, unit, *[value.node for value in values], returns=unit.returns)

    def builtin_len(self, node: ast.Call) -> Value:
        (what,) = self.bound(node, "len", ["of"], {})
        got = self.expression(what)
        if isinstance(got.kind, Static) and isinstance(got.kind.value, (bytes, tuple)):
            return Value(node, Static(len(got.kind.value)))
        if isinstance(got.kind, ViewKind):
            return self.run(node, view.view_length, got.node)
        if isinstance(got.kind, RowKind):
            return Value(node, Static(got.kind.row.count))
        got = self.settled(what, got)
        raise Refusal(node, f"{describe(got.kind)} has no length")

    def builtin_int(self, node: ast.Call) -> Value:
        (what,) = self.bound(node, "int", ["of"], {})
        got = self.value(what)
        if isinstance(got.kind, ViewKind):
            raise Refusal(node, "int() of bytes cannot compile", "use view.to_int()")
        return self.whole(what, got, "int()")

    def builtin_bool(self, node: ast.Call) -> Value:
        (what,) = self.bound(node, "bool", ["of"], {})
        twice = ast.UnaryOp(
            ast.Not(), ast.copy_location(ast.UnaryOp(ast.Not(), self.test(what)), node)
        )
        return Value(ast.copy_location(twice, node), boolean)

    def builtin_abs(self, node: ast.Call) -> Value:
        (what,) = self.bound(node, "abs", ["of"], {})
        return self.run(node, integers.magnitude, self.number(what, "abs()").node)

    def builtin_below(self, node: ast.Call) -> Value:
        left, right = self.bound(node, "below", ["left", "right"], {})
        return self.run(
            node,
            integers.below,
            self.number(left, "below()").node,
            self.number(right, "below()").node,
        )

    def builtin_divmod(self, node: ast.Call) -> Value:
        left, right = (
            self.number(each, "divmod()").node
            for each in self.bound(node, "divmod", ["left", "right"], {})
        )
        return self.run(node, integers.divide_both, left, right)

    def builtin_extreme(self, node: ast.Call) -> Value:
        """min(…) and max(…) of two numbers or more."""
        name = ast.unparse(node.func)
        if node.keywords or len(node.args) < 2:
            raise Refusal(node, f"{name}() takes two numbers or more")
        values = [self.number(each, f"{name}()").node for each in node.args]
        operation = integers.smaller if name.endswith("min") else integers.larger
        made = Value(values[0], int64)
        for value in values[1:]:
            made = self.run(node, operation, made.node, value)
        return made

    def builtin_array(self, node: ast.Call) -> Value:
        """Array(view): the value for a message's array field."""
        (source,) = self.bound(node, "Array", ["source"], {"source": b""})
        return Value(self.view_of(source, "Array()"), view_kind)


def wording(kind: Integer | Shape | Row) -> str:
    """A field's kind in a sentence."""
    if isinstance(kind, Integer):
        return "a number"
    return f"an {kind}" if isinstance(kind, Row) else f"a {kind}"


BUILTINS: dict[Any, Callable[[Calls, ast.Call], Value]] = {
    len: Calls.builtin_len,
    int: Calls.builtin_int,
    bool: Calls.builtin_bool,
    abs: Calls.builtin_abs,
    min: Calls.builtin_extreme,
    max: Calls.builtin_extreme,
    divmod: Calls.builtin_divmod,
    below: Calls.builtin_below,
    Array: Calls.builtin_array,
}
"""What may be called beside the user's own functions."""
