"""Refuses source files over 500 lines and functions over 40: `python sizes.py ROOT`."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LINES, FUNCTION_LINES = 500, 40
SKIPPED = {".venv", ".git", ".src", "build"}
C_HEAD = re.compile(r"^[A-Za-z_][^;={}]*\([^;]*\)\s*\{\s*$|^\)\s*\{\s*$|^[^#/\s].*\)\s*\{\s*$")


def sources(root: Path) -> Iterator[Path]:
    """Every .py, .c and .h below `root` that is ours."""
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root).parts
        if path.suffix in (".py", ".c", ".h") and not SKIPPED & set(inside) and path.is_file():
            yield path


def python_functions(text: str) -> Iterator[tuple[str, int, int]]:
    """(name, line, lines of code) of each function; its docstring isn't counted."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node, clean=False) or ""
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield node.name, node.lineno, lines - (docstring.count("\n") + 1 if docstring else 0)


def c_functions(text: str) -> Iterator[tuple[str, int, int]]:
    """(name, line, lines) of each function: from a head at column 0 to the `}` at column 0."""
    lines = text.splitlines()
    start, name = 0, ""
    for number, line in enumerate(lines, 1):
        if not start and C_HEAD.match(line):
            start, name = number, line.split("(")[0].split()[-1] if "(" in line else line
        elif start and line.startswith("}"):
            yield name, start, number - start + 1
            start = 0


def main(root: Path) -> int:
    """Prints each offender; 1 if there is one."""
    offenders = []
    for path in sources(root):
        text = path.read_text()
        count = len(text.splitlines())
        if count > FILE_LINES:
            offenders.append(f"{path}: {count} lines, {FILE_LINES} at most")
        functions = python_functions(text) if path.suffix == ".py" else c_functions(text)
        offenders += [
            f"{path}:{line}: {name} has {size} lines, {FUNCTION_LINES} at most"
            for name, line, size in functions
            if size > FUNCTION_LINES
        ]
    print("\n".join(offenders) or "sizes: in order")
    return bool(offenders)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
