"""Handlers' failures, as the cores tell of them, into the log: which actor, handler, file and line, and how often.

A compiled handler doesn't always know its line; then the bytes run once more through the plain Python function, here.
"""

import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from ..dataplane.fault_event import HANDLER_COUNT, FaultEvent
from ..runtime.actor import DataActor
from ..runtime.schema import Schema
from ..runtime.spec import HANDLERS, spec_of

Locate = Callable[[type, FaultEvent], tuple[str, int] | None]
"""(actor, event) to (`file: Exception: text`, line); None: not found."""

REPLAYS = 10
"""Replays in a second; a flood of faults must not own the event loop."""
REPLAY_LINES = 100_000
"""Lines a replay may run: without what the core knew, a loop might not end."""


class Replayer:
    """Finds where a handler failed by running it again; see runtime/replay.py for what such a run can't know."""

    def __init__(self, schema: Schema, configs: Sequence[bytes]) -> None:
        """`configs`: `self.config` of each listener, by its number in the layout."""
        self._schema, self._configs = schema, configs
        self._second = self._done = 0

    def __call__(self, actor: type, event: FaultEvent) -> tuple[str, int] | None:
        """Locate."""
        from ..runtime.replay import replay

        second = int(time.monotonic())
        if second != self._second:
            self._second, self._done = second, 0
        if self._done >= REPLAYS or not handler_name(actor, event.handler, self._schema):
            return None
        assert issubclass(actor, DataActor)
        self._done += 1
        tracing = sys.gettrace()
        sys.settrace(_limit())
        try:
            place = replay(
                actor,
                event.handler,
                event.state,
                event.data,
                config=self._configs[event.actor],
                schema=self._schema,
            )
        except Exception:  # the replay is a guess, and the fault is reported with or without it
            return None
        finally:
            sys.settrace(tracing)
        if place is None or isinstance(place.error, _Endless):
            return None
        return f"{place.file}: {type(place.error).__name__}: {place.error}", place.line


class _Endless(Exception):  # noqa: N818 - it never gets out of here
    """The replay ran too long."""


def _limit() -> Callable[[FrameType, str, Any], Any]:
    left = REPLAY_LINES

    def trace(_frame: FrameType, _event: str, _argument: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise _Endless
        return trace

    return trace


class FaultLog:
    """Logs faults; `faults` counts them."""

    def __init__(
        self, log: Any, schema: Schema, listeners: Sequence[type], locate: Locate | None
    ) -> None:
        self.faults = 0
        self._log, self._schema, self._listeners, self._locate = log, schema, listeners, locate

    def told(self, core: int, event: FaultEvent) -> dict[str, Any]:
        """A core told of `event.faults` faults; what was logged, by name."""
        self.faults += event.faults
        known = event.actor < len(self._listeners)
        actor = self._listeners[event.actor] if known else None
        handler = handler_name(actor, event.handler, self._schema) if actor else ""
        where, line = event.where, event.line
        if not line and actor is not None and self._locate is not None:
            found = self._locate(actor, event)
            where, line = found or (where, line)
        file, _, error = where.partition(": ")
        said = {
            "actor": f"{actor.__module__}:{actor.__qualname__}" if actor else event.actor,
            "handler": handler or event.handler,
            "core": core,
            "file": file,
            "line": line,
            "error": error,
            "count": event.faults,
            "handle": event.handle,
        }
        self._log.error("handler_fault", **said)
        return said


def handler_name(actor: type, number: int, schema: Schema) -> str:
    """The method behind the number of a fault's handler; empty if the actor has none."""
    spec = spec_of(actor)
    if number < HANDLER_COUNT:
        name = HANDLERS[number]
        return name if name in spec.handlers else ""
    cls = schema.types.get(number - HANDLER_COUNT)
    return next((handler.name for handler in spec.messages if handler.message is cls), "")
