"""Finding where a handler failed, by running the bytes again through the plain Python method, off the core.

A compiled handler does not always know its line. The state before the call and the bytes are in the fault's event; what
the replay can't know (self.core, unless given; other connections) is zeros or absent, so it may come through after all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .actor import DataActor
from .fixed import Fixed
from .interpret import Interpreter, fault_place
from .schema import TYPES_MAX, Schema, schema_of
from .shape import shape_of
from .spec import spec_of

__all__ = ["Place", "replay"]


class Place(NamedTuple):
    """Where a handler failed, and with what."""

    file: str
    line: int
    error: BaseException


class Known(Schema):
    """A schema that takes every message type: a replay tells nobody."""

    def number(self, cls: type[Fixed]) -> int:
        return self.numbers.get(cls, TYPES_MAX)


class Rehearsal:
    """A call without a core: what the handler sends and asks for goes nowhere. Same shape as dataplane/calls.py's Call."""

    staging = 1 << 18
    now = 1
    core_id = 0

    def __init__(
        self, actor: type[DataActor], handler: int, state: bytes, data: bytes, argument: int
    ) -> None:
        spec = spec_of(actor)
        self.handler, self.argument = handler, argument
        self.record: Any = self
        self._data = data
        self._state = bytearray(state[: spec.state_size].ljust(spec.state_size, b"\0"))
        self._core = bytearray(spec.core_size)
        self._config = bytes(shape_of(spec.config).size if spec.config else 0)
        self.failure: tuple[str, int] | None = None

    def given(self, core: bytes, config: bytes) -> None:
        """Takes over what is known of self.core and self.config."""
        self._core[: len(core)] = core[: len(self._core)]
        self._config = config.ljust(len(self._config), b"\0")

    def data(self) -> memoryview:
        return memoryview(self._data)

    def core_state(self, length: int) -> memoryview:
        return memoryview(self._core)[:length]

    def config(self, length: int) -> memoryview:
        return memoryview(self._config)[:length]

    def state(self, _record: Any, length: int) -> memoryview:
        return memoryview(self._state)[:length]

    def fail(self, where: str, line: int) -> None:
        self.failure = (where, line)

    def connection(self, _handle: int) -> Any:
        return None

    def handle(self, _record: Any) -> int:
        return 1

    def addresses(self, _record: Any) -> tuple[int, int, int, int]:
        return 0, 0, 0, 0

    def room(self, _record: Any) -> int:
        return self.staging

    def send(self, _record: Any, _data: bytes) -> bool:
        return True

    def tell(self, _number: int, _target: int, _data: bytes) -> bool:
        return True

    tell_cores = tell

    def nothing(self, *_: Any) -> None:
        """What the loop would do later."""

    succeed = reply = want_writable = need = close = abort = set_timer = cancel_timer = nothing


def replay(
    actor: type[DataActor],
    handler: int,
    state: bytes,
    data: bytes,
    *,
    argument: int = 0,
    core: bytes = b"",
    config: bytes = b"",
    schema: Schema | None = None,
) -> Place | None:
    """Runs `handler` (the number of a fault_event) of `actor` on `data`; where it failed, or None if it came through.

    Files and lines are those of the user's own code, not of helpers of this package.
    """
    interpreter = Interpreter(actor, schema or Known(*vars(schema_of([actor])).values()))
    errors: list[BaseException] = []
    interpreter.on_fault = errors.append
    rehearsal = Rehearsal(actor, handler, state, data, argument)
    rehearsal.given(core, config)
    interpreter(rehearsal)  # type: ignore[arg-type]
    if not errors:
        return None
    file, line = fault_place(errors[0])
    return Place(file, line, errors[0])
