"""Whether the event loop looks at the rings itself for a moment before it sleeps, while somebody asks.

A core that is awake answers within microseconds, and one that the bell wakes within tens; to fall asleep and be woken
takes the event loop longer than that. But while it looks nothing else runs, so it does only as long as that pays.
"""

SPIN = 60_000
"""Nanoseconds of one look: a sleeping core's way to its CPU, and a turn."""
LONGEST_REST = 15
"""Asks that go by without a look after so many in vain."""


class Spin:
    """Looks that were in vain make the next ones rarer; one that was not makes up for all."""

    __slots__ = ("_due", "_rest", "_resting")

    def __init__(self) -> None:
        self._due = False
        self._rest = self._resting = 0

    def ask(self) -> None:
        """A reply is awaited from now on."""
        self._due = True

    def due(self) -> bool:
        """Whether to look now: once for each `ask`, unless that hasn't paid lately."""
        if not self._due:
            return False
        self._due = False
        if self._resting:
            self._resting -= 1
            return False
        return True

    def ended(self, *, found: bool) -> None:
        """What came of the look."""
        self._rest = 0 if found else min(LONGEST_REST, 2 * self._rest + 1)
        self._resting = self._rest
