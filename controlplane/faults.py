"""Handlers' failures, as the cores tell of them, into the log: which actor, handler, file and line, and how often."""

from collections.abc import Callable, Sequence
from typing import Any

from ..dataplane.fault_event import HANDLER_COUNT, FaultEvent
from ..runtime.schema import Schema
from ..runtime.spec import HANDLERS, spec_of

Locate = Callable[[type, str, FaultEvent], tuple[str, int] | None]
"""(actor, handler, event) to (`file: Exception: text`, line), by running the plain Python function; None: not known."""


class FaultLog:
    """Logs faults; `faults` counts them."""

    def __init__(
        self, log: Any, schema: Schema, listeners: Sequence[type], locate: Locate | None
    ) -> None:
        self.faults = 0
        self._log, self._schema, self._listeners, self._locate = log, schema, listeners, locate

    def told(self, core: int, event: FaultEvent) -> None:
        """A core told of `event.faults` faults."""
        self.faults += event.faults
        known = event.actor < len(self._listeners)
        actor = self._listeners[event.actor] if known else None
        handler = self._handler(actor, event.handler)
        where, line = event.where, event.line
        if not line and actor is not None and self._locate is not None:
            found = self._locate(actor, handler, event)
            where, line = found or (where, line)
        file, _, error = where.partition(": ")
        self._log.error(
            "handler_fault",
            actor=f"{actor.__module__}:{actor.__qualname__}" if actor else event.actor,
            handler=handler,
            core=core,
            file=file,
            line=line,
            error=error,
            count=event.faults,
            handle=event.handle,
        )

    def _handler(self, actor: type | None, number: int) -> str:
        if number < HANDLER_COUNT:
            return HANDLERS[number]
        cls = self._schema.types.get(number - HANDLER_COUNT)
        if actor is not None and cls is not None:
            for handler in spec_of(actor).messages:
                if handler.message is cls:
                    return handler.name
        return f"message {number - HANDLER_COUNT}"
