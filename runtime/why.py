"""What a connection waits for, in one sentence that is true.

Goes from what holds up everything (its core) to what holds up this connection (its end, its bytes out, its bytes in),
and says the first that applies.
"""

import time
from typing import TYPE_CHECKING, Any

from ..dataplane.peek import FLAGS, NEVER, STATES, CorePeek, split_handle

if TYPE_CHECKING:
    from .attached import Attached
    from .facts import CoreFacts, ListenerFacts

STANDS = 0.05
"""Seconds without a turn from which on a core is said to stand still; asleep, it turns every millisecond."""


def why(attached: "Attached", handle: int) -> str:
    """The sentence. LookupError, saying what became of it, when the handle names no connection."""
    number = split_handle(handle)[0]
    if not 0 <= number < len(attached.facts.cores):
        raise LookupError(f"{handle} is no handle of this runtime: it has no core {number}")
    facts, peek = attached.facts.cores[number], attached.core(number)
    row = peek.row(handle)
    if row is None:
        raise LookupError(
            f"connection {handle} is gone: its place on core {number} is free or another's"
        )
    held_up = _core(attached, peek, row)
    return held_up or _Connection(facts, row).sentence()


def _core(attached: "Attached", peek: CorePeek, row: Any) -> str:
    """What holds up its whole core, if anything does."""
    number = int(row["core"])
    words, worker = attached.words.core(number), attached.worker(number)
    if not attached.alive:
        return "the runtime has ended; this is how it stood"
    if words["quarantined"]:
        return "nothing that will come: its group was given up, because its workers died too often"
    if words["deaths"] and not worker:
        return (
            f"its core has no worker just now: the last one died, {_times(words['deaths'])} so far"
        )
    stands = (time.monotonic_ns() - peek.now) / 1e9
    if stands < STANDS:
        return ""
    index, handler = peek.current
    if not index:
        return f"its core has not turned for {_span(stands)}: it gets no CPU, or it was stopped"
    if index == split_handle(int(row["handle"]))[2]:
        return f"its {handler} has been running for {_span(stands)}, and all of its core waits for that"
    return f"its core waits for {handler} of connection index {index}, running for {_span(stands)}"


class _Connection:
    """One connection whose core is well."""

    def __init__(self, facts: "CoreFacts", row: Any) -> None:
        self.row = row
        self.frames = facts.driver != "kernel"
        listeners = facts.listeners
        at = int(row["listener"])
        self.listener: ListenerFacts | None = listeners[at] if at < len(listeners) else None
        # Handed over and outgoing connections have a listener beyond those of the layout.
        self.in_control = self.listener is None or self.listener.actor == "controlplane"

    def number(self, name: str) -> int:
        return int(self.row[name])

    def flag(self, name: str) -> bool:
        return bool(self.number("flags") & FLAGS[name])

    def sentence(self) -> str:
        """The first that applies."""
        found = self._opening() or self._ending_at_once() or self._sending()
        return found or self._closing() or self._receiving() or self._idle()

    def _opening(self) -> str:
        state = STATES[self.number("state")]
        if state == "syn-received":
            return f"the handshake: the peer's ACK of our SYN-ACK is missing{self._again('sent again')}"
        if state == "syn-sent":
            return (
                f"the handshake: the peer's answer to our SYN is missing{self._again('sent again')}"
            )
        return ""

    def _again(self, what: str) -> str:
        due = self.number("transport_due")
        return "" if due == NEVER else f", {what} in {_span(due / 1000)}"

    def _ending_at_once(self) -> str:
        return "nothing: it is reset at the end of this turn" if self.flag("aborting") else ""

    def _sending(self) -> str:
        """What keeps bytes from going out, and what waits behind them."""
        queued, flight = self.number("queued"), self.number("in_flight")
        if not queued:
            return ""
        behind = self._behind()
        if not self.frames:
            return f"{_bytes(queued)} wait for room in Linux's socket buffer: the peer reads slowly{behind}"
        if self.number("probe_due") != NEVER and not self.number("window"):
            return (
                f"the peer's window is closed and {_bytes(queued)} wait, the next probe goes in "
                f"{_span(self.number('probe_due') / 1000)}, {self.number('probes')} went unanswered "
                f"or found it closed{behind}"
            )
        if flight:
            times = self.number("retransmits")
            tried = f", {_times(times)} so far" if times else ""
            due = self.number("retransmit_due")
            timer = (
                ""
                if due == NEVER
                else (f" and the retransmission timer fires in {_span(due / 1000)}{tried}")
            )
            return f"{_bytes(flight)} wait for the peer's ACK{timer}{self._held_back(queued, flight)}{behind}"
        return f"{_bytes(queued)} go out with the core's next turn{behind}"

    def _held_back(self, queued: int, flight: int) -> str:
        """Which window keeps the rest."""
        if queued <= flight:
            return ""
        narrower = (
            "peer's" if self.number("window") <= self.number("congestion_window") else "congestion"
        )
        return f"; {_bytes(queued - flight)} more wait for the {narrower} window"

    def _behind(self) -> str:
        if self.flag("paused") and not self.in_control:
            kept = self.number("kept")
            return f"; on_data waits for that with {_bytes(kept)} kept, because it wants {self._reserve()} free"
        if self.flag("writable_wanted"):
            return "; on_writable follows when there is room"
        return "; then it closes" if self.flag("closing") else ""

    def _reserve(self) -> str:
        return _bytes(self.listener.reply_reserve) if self.listener else "its reply_reserve"

    def _closing(self) -> str:
        state = STATES[self.number("state")]
        left = self._again("given up" if state == "fin-wait-2" else "sent again")
        waits = {
            "fin-wait-1": f"we closed: the peer's ACK of our FIN is missing{left}",
            "fin-wait-2": f"we closed and the peer has not: its FIN is missing{left}",
            "closing": f"both closed: the peer's ACK of our FIN is missing{left}",
            "last-ack": f"both closed: the peer's ACK of our FIN is missing{left}",
            "time-wait": "nothing: it is over",
        }
        if state in waits:
            return waits[state]
        if self.flag("closing"):
            return "the actor closed: our FIN goes with the core's next turn"
        if self.flag("end_told"):
            whose = "the control plane" if self.in_control else "the actor"
            return f"the peer has ended, and {whose} was told: it has not closed{self._timer()}"
        return ""

    def _receiving(self) -> str:
        kept, need = self.number("kept"), self.number("need")
        if self.in_control and kept:
            return f"the control plane, which has yet to read {_bytes(kept)}{self._heard()}"
        if self.flag("paused"):
            return f"on_data waits for {self._reserve()} of send space: the core's buffers have run out"
        if self.flag("again"):
            return f"nothing: {_bytes(kept)} are offered to on_data with the core's next turn"
        if kept and need > kept:
            return f"on_data asked for {_bytes(need)} (connection.need) and {_bytes(kept)} are here{self._heard()}"
        if kept:
            return f"on_data has seen {_bytes(kept)}, consumed none of them and waits for more{self._heard()}"
        return ""

    def _idle(self) -> str:
        due = self.number("ack_due")
        ack = "" if due == NEVER else f"; our ACK goes in {_span(due / 1000)} at the latest"
        where = " or the control plane's" if self.in_control else ""
        return f"the peer's next bytes{where}{self._heard()}{self._timer()}{ack}"

    def _heard(self) -> str:
        return f": it was last heard {_span(self.number('idle') / 1000)} ago"

    def _timer(self) -> str:
        due = self.number("timer_due")
        return "" if due == NEVER else f"; on_timer runs in {_span(due / 1000)}"


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _span(seconds: float) -> str:
    """`210 ms`, `3.2 s`, `4 min`, `2 h`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
