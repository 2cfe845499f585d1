"""One core's ring to the control plane, and what becomes of messages to somebody who takes no more.

Everything else that the core has to say comes in the same ring, so it is read on: a full taker goes beyond its limit.
From as many messages beyond as the ring has cells the core is told to refuse tells to that mailbox, and what may still
come is what the rings hold. A ring that brings more than that, which no core does, is left alone.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ..dataplane.ring import RUN_MOST, Ring, Run

if TYPE_CHECKING:
    from .peer import CorePeer
    from .streams import CoreStreams


class Full(Protocol):
    """Somebody who may have no room: a mailbox, an iteration."""

    def room(self, run: Run) -> int:
        """How many messages of the run fit now; below 0 when more than its limit wait."""

    def when_room(self, call: Callable[[], None]) -> None:
        """`call` runs once when there is room again."""

    def refuse(self, by: int) -> None:
        """So many more, or fewer, refuse what goes to it."""


class Inbox:
    """Attributes: `held`, what nobody had room for (the ring is left alone meanwhile); `beyond`, how many messages over
    its limit a taker may have.
    """

    __slots__ = (
        "_full",
        "_refuse_from",
        "beyond",
        "held",
        "number",
        "peer",
        "ring",
        "soon",
        "streams",
    )

    def __init__(
        self,
        number: int,
        ring: Ring,
        peer: "CorePeer",
        streams: "CoreStreams",
        cores: int,
        soon: Callable[[], None],
    ) -> None:
        """`cores`: how many may fill one mailbox; `soon()` has the ring looked at again."""
        self.number, self.ring, self.peer, self.streams = number, ring, peer, streams
        self.soon = soon
        self.held: Run | None = None
        self._full: dict[int, set[Full]] = {}
        self._refuse_from = ring.cells
        # Each core is told with the first run after that; then its ring may be full, and one tell on its way.
        self.beyond = ring.cells + cores * (RUN_MOST + ring.cells + 1)

    def look(self, taker: Full, run: Run) -> None:
        """After `taker` was offered the run: has the core refuse tells to that target until there is room."""
        if taker.room(run) > -self._refuse_from:
            return
        target = run.target
        full = self._full.setdefault(target, set())
        if taker not in full:
            full.add(taker)
            self.ring.refuse(target, True)
            taker.refuse(1)
            taker.when_room(lambda: self._freed(target, taker))

    def _freed(self, target: int, taker: Full) -> None:
        full = self._full[target]
        full.discard(taker)
        taker.refuse(-1)
        if not full:
            del self._full[target]
            self.ring.refuse(target, False)
