"""A handler's Python function made anew from its source, with the integer model of handlers in its arithmetic.

File, line numbers and local names stay, so that breakpoints, pdb, print and tracebacks work. Functions it calls by name
are made anew when they are first looked up; module constants freeze then.
"""

from __future__ import annotations

import ast
import copy
import linecache
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

from .arithmetic import BUILTINS, OPERATORS
from .errors import ActorError, Problem
from .types import wrap

__all__ = ["rewritten"]

made: dict[FunctionType, FunctionType] = {}
spaces: dict[int, Space] = {}


class Space(dict[str, Any]):
    """Globals of rewritten functions: those of their module, each rewritten or frozen when it is first used."""

    def __init__(self, module: dict[str, Any]) -> None:
        super().__init__((name, function) for name, function in OPERATORS.values())
        self.module = module
        self["__name__"] = module.get("__name__")
        self["__builtins__"] = module.get("__builtins__", __builtins__)

    def __missing__(self, name: str) -> Any:
        if name in self.module:
            value = self[name] = inside(self.module[name])
        elif name in BUILTINS:
            value = self[name] = BUILTINS[name]
        else:
            raise KeyError(name)
        return value


class Inside:
    """A module as rewritten functions see it: its functions are rewritten too."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return inside(getattr(self._module, name))


def inside(value: Any) -> Any:
    """What a global's value is in a handler."""
    if type(value) is int:
        return wrap(value)
    if isinstance(value, FunctionType) and not value.__module__.startswith("splitplane.runtime."):
        return rewritten(value) if source_of(value.__code__) else value
    if isinstance(value, ModuleType):
        return Inside(value)
    return value


def rewritten(function: FunctionType) -> FunctionType:
    """`function` with the arithmetic of handlers. ActorError if its source can't be found."""
    if function in made:
        return made[function]
    node = source_of(function.__code__)
    if node is None:
        code = function.__code__
        place = Problem(
            code.co_filename,
            f"the source of {function.__qualname__} can't be read",
            line=code.co_firstlineno,
        )
        raise ActorError(place)
    space = spaces.get(id(function.__globals__))
    if space is None or space.module is not function.__globals__:
        space = spaces[id(function.__globals__)] = Space(function.__globals__)
    code = compiled(function, node)
    new = FunctionType(code, space, function.__name__, function.__defaults__, function.__closure__)
    new.__kwdefaults__ = function.__kwdefaults__
    new.__qualname__ = function.__qualname__
    made[function] = new
    return new


def compiled(function: FunctionType, node: ast.FunctionDef) -> CodeType:
    """Code of `function` made of its rewritten syntax tree, with the same free variables."""
    fresh = Rewriter().function(node)
    free = function.__code__.co_freevars
    body: list[ast.stmt] = [fresh]
    if free:
        outer = ast.parse(f"def _splitplane_outer({', '.join(free)}): pass").body[0]
        assert isinstance(outer, ast.FunctionDef)
        outer.body = [fresh]
        body = [outer]
    module = ast.fix_missing_locations(ast.Module(body=body, type_ignores=[]))
    code = compile(module, function.__code__.co_filename, "exec", dont_inherit=True)
    return find_code(code, function.__name__, function.__code__.co_firstlineno)


def find_code(code: CodeType, name: str, line: int) -> CodeType:
    """The code object of the function `name` inside `code`."""
    pending = [code]
    while pending:
        for constant in pending.pop().co_consts:
            if isinstance(constant, CodeType):
                if constant.co_name == name:
                    return constant
                pending.append(constant)
    raise LookupError(f"{name}, line {line}")


@lru_cache(maxsize=256)
def parsed(file: str, text: str) -> dict[tuple[int, str], ast.FunctionDef]:
    """The functions of a source file by first line (decorators included) and name."""
    found = {}
    for node in ast.walk(ast.parse(text, file)):
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            found[first, node.name] = node
    return found


def source_of(code: CodeType) -> ast.FunctionDef | None:
    """The syntax tree of a function, or None if there is no source."""
    linecache.checkcache(code.co_filename)
    text = "".join(linecache.getlines(code.co_filename))
    try:
        return parsed(code.co_filename, text).get((code.co_firstlineno, code.co_name))
    except SyntaxError:
        return None


class Rewriter(ast.NodeTransformer):
    """Puts the functions of arithmetic.py in place of operators; leaves positions as they are."""

    def __init__(self) -> None:
        self.count = 0

    def function(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """A rewritten copy of `node` without decorators, annotations and defaults (they are evaluated already)."""
        arguments = ast.arguments(
            posonlyargs=[bare(each) for each in node.args.posonlyargs],
            args=[bare(each) for each in node.args.args],
            vararg=node.args.vararg and bare(node.args.vararg),
            kwonlyargs=[bare(each) for each in node.args.kwonlyargs],
            kw_defaults=[None] * len(node.args.kwonlyargs),
            kwarg=node.args.kwarg and bare(node.args.kwarg),
            defaults=[],
        )
        body = [self.visit(copy.deepcopy(each)) for each in node.body]
        fresh = ast.FunctionDef(
            name=node.name, args=arguments, body=body, decorator_list=[], returns=None
        )
        return ast.copy_location(fresh, node)

    def call(self, operator: ast.AST, at: ast.AST, *values: ast.expr) -> ast.expr:
        """A call of the function for `operator`."""
        name = ast.copy_location(ast.Name(OPERATORS[type(operator)][0], ast.Load()), at)
        return ast.copy_location(ast.Call(func=name, args=list(values), keywords=[]), at)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        return (
            self.call(node.op, node, node.left, node.right) if type(node.op) in OPERATORS else node
        )

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        return self.call(node.op, node, node.operand) if type(node.op) in OPERATORS else node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if type(node.value) is int:
            return ast.copy_location(ast.Constant(wrap(node.value)), node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        plain = ast.Assign(targets=[node.target], value=node.value)
        self.generic_visit(plain)
        return ast.copy_location(plain, node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """`a.b += c` as `a.b = add((t := a).b, c)` with t in place of the first a: every part is evaluated once."""
        self.generic_visit(node)
        if type(node.op) not in OPERATORS:
            return node
        target = node.target
        read: ast.expr
        write: ast.expr
        if isinstance(target, ast.Name):
            read, write = ast.Name(target.id, ast.Load()), target
        elif isinstance(target, ast.Attribute):
            keep, again = self.once(target.value)
            read = ast.Attribute(keep, target.attr, ast.Load())
            write = ast.Attribute(again, target.attr, ast.Store())
        else:
            keep, again = self.once(target.value)
            keep_index, index_again = self.once(target.slice)
            read = ast.Subscript(keep, keep_index, ast.Load())
            write = ast.Subscript(again, index_again, ast.Store())
        value = self.call(node.op, node, ast.copy_location(read, node), node.value)
        return ast.copy_location(
            ast.Assign(targets=[ast.copy_location(write, node)], value=value), node
        )

    def once(self, value: ast.expr) -> tuple[ast.expr, ast.expr]:
        """An expression that evaluates `value` and remembers it, and one that has it again."""
        self.count += 1
        name = f"_splitplane_{self.count}"
        return ast.NamedExpr(ast.Name(name, ast.Store()), value), ast.Name(name, ast.Load())


def bare(argument: ast.arg) -> ast.arg:
    """A parameter without its annotation."""
    return ast.copy_location(ast.arg(argument.arg), argument)
