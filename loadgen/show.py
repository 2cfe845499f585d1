"""What a person sees of a measurement: progress bars while it runs (with `rich`, on a terminal), a table after it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Phases:
    """Progress on standard error; silent without a terminal there, or when told to be."""

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent
        self._progress = None if silent or not sys.stderr.isatty() else _rich()

    def say(self, text: str) -> None:
        """A line for people."""
        if not self._silent:
            print(text, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """A line that is never left out."""
        print(text, file=sys.stderr, flush=True)

    @contextmanager
    def phase(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar while inside; what it gives is called with how much of `total` is done. total 0: not known."""
        if self._progress is None:
            self.say(f"{title} …")
            yield lambda _: None
            return
        with self._progress() as bars:
            bar = bars.add_task(title, total=total or None)
            yield lambda done: bars.update(bar, completed=done)


def _rich() -> Any:
    try:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )
    except ImportError:
        return None

    def make() -> Any:
        columns = (TextColumn("{task.description:>24}"), BarColumn(), MofNCompleteColumn())
        return Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True))

    return make


def table(result: dict[str, Any]) -> str:
    """Names and figures, one a line."""
    width = max(len(name) for name in result)
    return "\n".join(
        f"{name.replace('_', ' '):<{width}}  {shown(value)}" for name, value in result.items()
    )


def shown(value: Any) -> str:
    """A figure with its thousands apart."""
    if value is None:
        return f"{'not known':>16}"
    if isinstance(value, int):
        return f"{value:>16,}"
    return f"{value:>16,.1f}" if isinstance(value, float) else f"{value:>16}"
