"""Interpreted handlers: the user's methods as Python runs them, with the integers and the rules of compiled ones.

One Interpreter an actor and core; the loop calls it through dataplane/calls.py. For `--interpret`, Bench and replays.
"""

from __future__ import annotations

import bdb
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

from .actor import Connection, DataActor, Endpoint, Writer
from .errors import StaleError
from .fixed import Fixed, set_in_handler
from .message import Message
from .rewrite import rewritten
from .schema import Schema
from .shape import shape_of
from .spec import HANDLERS, ActorSpec, Handler, spec_of
from .types import wrap
from .view import View

if TYPE_CHECKING:
    from ..dataplane.calls import Call

__all__ = ["Interpreter", "fault_place"]

PACKAGE = Path(__file__).parent.parent
OURS = tuple(
    f"{PACKAGE}/{part}"
    for part in ("runtime/", "dataplane/", "controlplane/", "nic/", "protocols/")
)
NOT_FAULTS = (KeyboardInterrupt, SystemExit)


class Live:
    """What dies with a call: every memory that was handed out."""

    __slots__ = ("call", "memories", "running", "schema")

    def __init__(self, call: Call, schema: Schema) -> None:
        self.call = call
        self.schema = schema
        self.memories: list[memoryview] = []
        self.running = True

    def keep(self, memory: memoryview) -> memoryview:
        """`memory`, released at the end of the call."""
        self.memories.append(memory)
        return memory

    def end(self) -> None:
        """The handler returned."""
        self.running = False
        for memory in self.memories:
            memory.release()

    def now(self) -> Call:
        """The call. StaleError if it is over."""
        if not self.running:
            raise StaleError(
                "this Connection or Writer was of an earlier call: keep connection.handle and ask self.connection(handle)"
            )
        return self.call


class RunningWriter(Writer):
    """A Writer over bytes of its own that `commit` sends."""

    __slots__ = ("_connection", "_data", "_length")

    def __init__(self, connection: RunningConnection, length: int) -> None:
        self._connection, self._length = connection, length
        self._data = bytearray()

    def put(self, data: bytes | View) -> None:
        self._append(bytes(data))

    def u8(self, value: int) -> None:
        self._append((value & 0xFF).to_bytes(1, "big"))

    def u16be(self, value: int) -> None:
        self._append((value & 0xFFFF).to_bytes(2, "big"))

    def u32be(self, value: int) -> None:
        self._append((value & 0xFFFFFFFF).to_bytes(4, "big"))

    def u64be(self, value: int) -> None:
        self._append((value & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big"))

    def commit(self) -> None:
        data = bytes(self._data)
        self._data.clear()
        self._length = 0
        self._connection._send(data)

    def _append(self, data: bytes) -> None:
        self._connection._there()
        if len(self._data) + len(data) > self._length:
            raise IndexError(f"{len(self._data) + len(data)} bytes into a Writer of {self._length}")
        self._data += data


class RunningConnection(Connection[Any]):
    """A Connection while a handler runs."""

    __slots__ = ("_live", "_record", "_state")

    def __init__(self, live: Live, record: Any, state: type[Fixed] | None) -> None:
        self._live, self._record, self._state = live, record, state

    def _there(self) -> Call:
        call = self._live.now()
        if self._record is None:
            raise LookupError("this connection is gone: look at bool(connection) first")
        return call

    def __bool__(self) -> bool:
        return self._record is not None

    @property
    def state(self) -> Any:
        call = self._there()
        if self._state is None:
            raise AttributeError("this connection has no state: annotate it as Connection[Session]")
        memory = call.state(self._record, shape_of(self._state).size)
        return self._state.attach(self._live.keep(memory), handler=True)

    @property
    def handle(self) -> int:
        return self._there().handle(self._record)

    @property
    def remote(self) -> Endpoint:
        return Endpoint(*self._there().addresses(self._record)[:2])

    @property
    def local(self) -> Endpoint:
        return Endpoint(*self._there().addresses(self._record)[2:])

    @property
    def room(self) -> int:
        return self._there().room(self._record)

    def send(self, *parts: bytes | View) -> None:
        data = b"".join(map(bytes, parts))
        if data or not self._is_own():
            self._send(data)

    def _is_own(self) -> bool:
        return bool(self._there().record == self._record)

    def _send(self, data: bytes) -> None:
        if not self._there().send(self._record, data):
            raise BufferError(
                "no room to send: send less than reply_reserve a call, or use try_send"
            )

    def try_send(self, *parts: bytes | View) -> bool:
        call = self._there()
        data = b"".join(map(bytes, parts))
        if (not data and self._is_own()) or call.send(self._record, data):
            return True
        call.want_writable(self._record)
        return False

    def send_int(self, number: int) -> None:
        self.send(b"%d" % wrap(number))

    def reserve(self, length: int) -> Writer:
        call = self._there()
        if not 0 <= length <= call.staging or call.room(self._record) < length:
            raise BufferError(f"no room to send {length} bytes")
        return RunningWriter(self, length)

    def need(self, length: int) -> None:
        self._there().need(length)

    def close(self) -> None:
        self._there().close(self._record)

    def abort(self) -> None:
        self._there().abort(self._record)

    def hand_over(self, first_bytes: bytes | View) -> bool:
        return self._there().hand_over(self._record, bytes(first_bytes))

    def set_timer(self, *, milliseconds: int) -> None:
        self._there().set_timer(self._record, milliseconds)

    def cancel_timer(self) -> None:
        self._there().cancel_timer(self._record)


class Running:
    """What `self` is in an interpreted handler, besides the user's own methods and constants."""

    __slots__ = ("_live", "_spec")
    _live: Live
    _spec: ActorSpec

    @property
    def core(self) -> Any:
        """The core's state of this actor."""
        if self._spec.core is None:
            raise AttributeError(
                f"{self._spec.actor.__name__} has no core: annotate it, core: Totals"
            )
        return self._spec.core.attach(
            self._live.keep(self._live.now().core_state(self._spec.core_size)), handler=True
        )

    @property
    def config(self) -> Any:
        """The settings from the layout."""
        if self._spec.config is None:
            raise AttributeError(
                f"{self._spec.actor.__name__} has no config: annotate it, config: Settings"
            )
        size = shape_of(self._spec.config).size
        return self._spec.config.attach(
            self._live.keep(self._live.now().config(size)), handler=True
        )

    @property
    def now(self) -> int:
        """Nanoseconds."""
        return self._live.now().now

    @property
    def core_id(self) -> int:
        """The core's number."""
        return self._live.now().core_id

    def tell(self, message: Message, *, to: int | str = -1) -> bool:
        """Sends a message."""
        schema = self._live.schema
        number = schema.number(type(message))
        if isinstance(to, str):
            return self._live.now().tell_cores(number, schema.cores(to), message.to_bytes())
        return self._live.now().tell(number, to, message.to_bytes())

    def subscribe(self, connection: RunningConnection, topic: int) -> bool:
        """Has a connection get what is published to a topic."""
        return connection._there().subscribe(connection._record, wrap(topic))

    def unsubscribe(self, connection: RunningConnection, topic: int) -> bool:
        """Undoes it."""
        return connection._there().unsubscribe(connection._record, wrap(topic))

    def connection(self, handle: int) -> RunningConnection:
        """A connection of this core by its handle."""
        call = self._live.now()
        record = call.connection(handle)
        return RunningConnection(self._live, record, self._spec.state)

    def __setattr__(self, name: str, value: Any) -> None:
        text = f"self.{name} can't be set: what an actor remembers stands in self.core or connection.state"
        raise AttributeError(text)


def running_class(spec: ActorSpec) -> type[Any]:
    """The user's class with rewritten methods, on Running."""
    namespace: dict[str, Any] = {"__slots__": ()}
    for base in reversed(spec.actor.__mro__):
        if base in (object, DataActor) or issubclass(DataActor, base):
            continue
        for name, value in base.__dict__.items():
            if isinstance(value, FunctionType):
                namespace[name] = rewritten(value)
            elif isinstance(value, staticmethod) and isinstance(value.__func__, FunctionType):
                namespace[name] = staticmethod(rewritten(value.__func__))
            elif not name.startswith("__"):
                namespace[name] = wrap(value) if type(value) is int else value
    return type(spec.actor.__name__, (Running,), namespace)


class Interpreter:
    """Runs the handlers of one actor on one core."""

    def __init__(self, actor: type[DataActor], schema: Schema) -> None:
        self.spec = spec_of(actor)
        self.schema = schema
        self.running = running_class(self.spec)
        self.messages = {schema.number(each.message): each for each in self.spec.messages}
        self.faults: list[tuple[BaseException, str, int]] = []
        self.on_fault: Callable[[BaseException], None] | None = None

    def __call__(self, call: Call) -> None:
        """One handler, chosen by `call.handler`."""
        from ..dataplane.calls import HANDLER_COUNT

        live = Live(call, self.schema)
        before = set_in_handler(True)
        try:
            which = call.handler
            if which >= HANDLER_COUNT:
                self.message(live, self.messages[which - HANDLER_COUNT])
                call.succeed(0)
            else:
                call.succeed(self.handler(live, HANDLERS[which]))
        except NOT_FAULTS:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the user's code raises is a fault
            self.failed(call, error)
        finally:
            set_in_handler(before)
            live.end()

    def actor(self, live: Live) -> Any:
        """`self` for one call."""
        actor = object.__new__(self.running)
        object.__setattr__(actor, "_live", live)
        object.__setattr__(actor, "_spec", self.spec)
        return actor

    def handler(self, live: Live, name: str) -> int:
        """Runs on_…; returns what on_data consumed."""
        call = live.call
        method = getattr(self.actor(live), name)
        if name == "on_start":
            method(bool(call.argument))
        elif name == "on_tick":
            method()
        else:
            connection = RunningConnection(live, call.record, self.spec.state)
            if name == "on_data":
                return consumed(method(connection, View(live.keep(call.data()))))
            method(connection, call.argument) if name == "on_close" else method(connection)
        return 0

    def message(self, live: Live, handler: Handler) -> None:
        """Runs an @on method, and takes its reply."""
        message = handler.message.attach(live.keep(live.call.data()), handler=True)
        reply = getattr(self.actor(live), handler.name)(message)
        if handler.reply is not None:
            if type(reply) is not handler.reply:
                raise TypeError(
                    f"{handler.name} must return a {handler.reply.__name__}, not {type(reply).__name__}"
                )
            live.call.reply(reply.to_bytes())

    def failed(self, call: Call, error: Exception) -> None:
        """Notes where a handler failed."""
        if isinstance(error, bdb.BdbQuit):  # `q` in the debugger ends the program, as Ctrl-C does
            raise KeyboardInterrupt from None
        file, line = fault_place(error)
        call.fail(f"{file}: {type(error).__name__}: {error}", line)
        if self.on_fault is not None:
            self.on_fault(error)


def consumed(result: Any) -> int:
    """What on_data returned, if it is a number."""
    if not isinstance(result, int):
        raise TypeError(f"on_data must return how many bytes it consumed, not {result!r}")
    return int(result)


def fault_place(error: BaseException) -> tuple[str, int]:
    """File and line of the innermost of the user's own lines that `error` went through."""
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if not frame.filename.startswith(OURS)]
    chosen = (users or list(frames))[-1]
    return chosen.filename, chosen.lineno or 0
