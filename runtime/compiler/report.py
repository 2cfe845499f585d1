"""What a reporting entry leaves behind: the exception, on its way to Python's unraisable hook. The hook here finds the
user's file and line in it and notes them at the core whose handler ran."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from ...dataplane.symbols import note_fault

__all__ = ["MARK", "install"]

MARK = "splitplane"
"""The first of the two values that an entry gives the hook as `object`; the second is the address of its call."""

previous: Any = None


def install() -> None:
    """Puts the hook in front of the one that is there; once a process."""
    global previous
    if sys.unraisablehook is not noted:
        previous = sys.unraisablehook
        sys.unraisablehook = noted


def noted(event: Any) -> None:
    """sys.unraisablehook"""
    mark = event.object
    if not (isinstance(mark, tuple) and len(mark) == 2 and mark[0] == MARK):
        previous(event)
        return
    file, line = place(event.exc_traceback)
    error = event.exc_value if event.exc_value is not None else event.exc_type()
    note_fault(mark[1], f"{file}: {type(error).__name__}: {error}", line)


def place(trace: TracebackType | None) -> tuple[str, int]:
    """File and line of the innermost frame."""
    file, line = "", 0
    while trace is not None:
        file, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next
    return file, line
