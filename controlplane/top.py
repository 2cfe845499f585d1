"""`splitplane top`: a running layout's cores, live. Draws with rich; looks once an interval, and only looks.

Keys: q leaves, p pauses, + and - change the interval, d shows drops by reason or hides them, g adds the cores of each
group up.
"""

import os
import select
import sys
import termios
import time
import tty
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..runtime.errors import Problem, SplitplaneError
from .figures import Figures, Rates, drops, rates
from .stats import CORE_HEADS, core_cells, head_lines
from .text import amount, part, spark

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from ..runtime.attached import Attached

HISTORY = 30
"""Looks that a sparkline shows."""
SHORTEST, LONGEST = 0.1, 60.0
HINT = "q quit · p pause · + - interval · d drops · g groups"


def top(attached: "Attached", interval: float) -> int:
    """Until q, Ctrl-C or the runtime's end; the exit code: 3 when the runtime has ended."""
    try:
        from rich.console import Console
    except ImportError:
        raise SplitplaneError(
            Problem(
                "",
                "top draws with rich, which is not installed",
                remedy="pip install rich, or --once",
            )
        ) from None
    screen = Screen(attached, interval)
    with _keys() as keyboard:
        try:
            return _loop(screen, Console(), keyboard)
        except KeyboardInterrupt:
            return 0


def _loop(screen: "Screen", console: "Console", keyboard: int) -> int:
    from rich.live import Live

    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            screen.look()
            live.update(screen.draw(), refresh=True)
            due = time.monotonic() + screen.interval
            while (left := due - time.monotonic()) > 0:
                if not select.select([keyboard], [], [], left)[0]:
                    break
                pressed = os.read(keyboard, 32).decode(errors="replace")
                if not pressed or not all(map(screen.press, pressed)):
                    return 0
                live.update(screen.draw(), refresh=True)
            if not screen.latest.alive:
                break
    console.print("\n".join(head_lines(screen.latest)))
    return 3


@contextmanager
def _keys() -> Iterator[int]:
    """Keys without Enter, as they are pressed; the terminal as it was afterwards."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        yield keyboard
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


class Screen:
    """What is shown: the last looks at a runtime, and how to show them."""

    def __init__(self, attached: "Attached", interval: float) -> None:
        self.interval = interval
        self.paused = self.grouped = False
        self.with_drops = True
        self._attached = attached
        self.latest = Figures.of(attached)
        self.rates: tuple[Rates, ...] = ()
        self._history: defaultdict[tuple[int, str], deque[float]] = defaultdict(
            lambda: deque(maxlen=HISTORY)
        )

    def look(self) -> None:
        """One more look, unless paused."""
        if self.paused:
            return
        before, self.latest = self.latest, Figures.of(self._attached)
        self.rates = rates(before, self.latest)
        for one in self.rates:
            number = one.after.facts.number
            self._history[number, "busy"].append(one.utilisation)
            self._history[number, "calls"].append(one.by_second("handler_calls"))

    def press(self, key: str) -> bool:
        """What a key does; False: leave."""
        match key:
            case "q" | "Q" | "\x1b":
                return False
            case "p" | " ":
                self.paused = not self.paused
            case "g":
                self.grouped = not self.grouped
            case "d":
                self.with_drops = not self.with_drops
            case "+" | "-":
                factor = 0.5 if key == "+" else 2.0
                self.interval = min(max(self.interval * factor, SHORTEST), LONGEST)
        return True

    def draw(self) -> "RenderableType":
        """All of it."""
        from rich.console import Group
        from rich.text import Text

        paused = "  PAUSED" if self.paused else ""
        head, *notes = head_lines(self.latest)
        parts: list[Any] = [
            Text(f"{head}   every {self.interval:g} s{paused}", style="bold"),
            *(Text(note, style="bold red" if note[:9].isupper() else "") for note in notes),
            Text(),
            self._groups() if self.grouped else self._cores(),
            Text(),
            self._curves(),
        ]
        if self.with_drops and (dropped := self._drops()) is not None:
            parts += [Text(), dropped]
        return Group(*parts, Text(), Text(HINT, style="dim"))

    def _table(self, *heads: str, left: int = 1) -> Any:
        from rich.table import Table

        table = Table(box=None, padding=(0, 1), header_style="bold")
        for at, head in enumerate(heads):
            table.add_column(head, justify="left" if at < left else "right", no_wrap=True)
        return table

    def _cores(self) -> Any:
        table = self._table(*CORE_HEADS, left=2)
        for one in self.rates:
            table.add_row(*core_cells(one), style=_style(one))
        return table

    def _groups(self) -> Any:
        heads = ("group", "cores", "busy", "calls/s", "in/s", "out/s", "in B/s", "out B/s")
        table = self._table(*heads, "conns", "new/s", "drops/s", "died", "stalls")
        for group in dict.fromkeys(one.after.facts.group for one in self.rates):
            cores = [one for one in self.rates if one.after.facts.group == group]
            counters = ("handler_calls", "rx_frames", "tx_frames", "rx_bytes", "tx_bytes")
            table.add_row(
                group,
                str(len(cores)),
                part(sum(one.utilisation for one in cores) / len(cores)),
                *(amount(sum(one.by_second(name) for one in cores)) for name in counters),
                amount(sum(one.after.fill["connections"] for one in cores)),
                amount(sum(one.by_second("opened") for one in cores)),
                amount(sum(sum(one.drops().values()) for one in cores)),
                str(sum(one.after.words["deaths"] for one in cores)),
                str(sum(one.after.words["stalls"] for one in cores)),
            )
        return table

    def _curves(self) -> Any:
        table = self._table("core", "busy", "calls/s", left=3)
        for one in self.rates:
            number = one.after.facts.number
            table.add_row(
                str(number),
                spark(tuple(self._history[number, "busy"]), 1.0),
                spark(tuple(self._history[number, "calls"])),
            )
        return table

    def _drops(self) -> Any:
        table = self._table("dropped or lost", "core", "/s", "in all")
        found = False
        for one in self.rates:
            now = one.drops()
            for reason, total in drops(one.after.counters).items():
                if total:
                    found = True
                    style = "red" if reason in now else "dim"
                    speed = amount(now.get(reason, 0.0))
                    number = str(one.after.facts.number)
                    table.add_row(reason, number, speed, str(total), style=style)
        return table if found else None


def _style(rates: Rates) -> str:
    if rates.after.run != "running" or not rates.after.words["pid"]:
        return "bold red"
    return "yellow" if rates.utilisation > 0.9 else ""
