r"""Unit tests of data actors: no network, no privileges, a virtual clock, either mode.

    with Bench(Hello) as bench:
        peer = bench.connect()
        peer.send(b"GET / HTTP/1.1\r\n\r\n")
        assert peer.received.startswith(b"HTTP/1.1 200")

Everything a peer or the clock does is carried through before the call returns.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Self, TypeVar, cast

from .controlplane.handed_over import HandedOver, HandOvers
from .dataplane import calls, pushes
from .dataplane.bench import BenchCore
from .dataplane.bind import MessageEntry, Pace, bind
from .dataplane.fault_event import EVENT_FAULT, FaultEvent
from .dataplane.relay import EVENT_STREAM
from .dataplane.ring import ASK, EVENT, REPLY, TELL, Received
from .runtime.actor import CloseReason, DataActor
from .runtime.config import Config, config_of
from .runtime.fixed import Fixed
from .runtime.message import Message, Request, reply_of
from .runtime.program import Compiled, Interpreted, Program
from .runtime.replay import replay
from .runtime.schema import SOMEWHERE, Schema, schema_of
from .runtime.shape import shape_of
from .runtime.spec import HANDLERS, spec_of

__all__ = ["Bench", "Fault", "HandedOver", "Mode", "Peer"]

Mode = Literal["interpreted", "compiled"]
R = TypeVar("R", bound=Fixed)
T = TypeVar("T")

compiled: dict[type, Compiled] = {}
"""The programs of this process's benches: an actor compiles once."""


class Fault(NamedTuple):
    """A handler failed: `error` as Python would print it, at `line` of `file`; `faults` such since the last report."""

    handler: str
    file: str
    line: int
    error: str
    faults: int
    handle: int


@dataclass(frozen=True)
class Run:
    """What happened to one peer: what `split_everywhere` compares."""

    received: bytes
    status: str
    reason: CloseReason | None


class Peer:
    """The other end of one connection to the actor."""

    def __init__(self, bench: Bench, number: int) -> None:
        self._bench, self._number = bench, number
        self._opened_as = self.handle
        self._received = b""

    def send(self, data: bytes, split: int | Iterable[int] | None = None) -> None:
        """Sends `data`; cut into pieces of `split` bytes, or at the positions in `split`, each arriving by itself.

        OSError (ENOTCONN) if the connection is over or this end was ended.
        """
        positions = (
            range(split, len(data), split) if isinstance(split, int) else sorted(set(split or ()))
        )
        cuts = [0, *(at for at in positions if 0 < at < len(data)), len(data)]
        for start, stop in pairwise(cuts):
            self._bench.core_of_tests.send(self._number, data[start:stop])
            self._bench.settle()

    def end(self) -> None:
        """Sends no more (FIN)."""
        self._bench.core_of_tests.end(self._number)
        self._bench.settle()

    def reset(self) -> None:
        """Resets the connection (RST)."""
        self._bench.core_of_tests.reset(self._number)
        self._bench.settle()

    def read(self, limit: int | None) -> None:
        """Reads only `limit` bytes more, until told otherwise; None: any number."""
        self._bench.core_of_tests.window(self._number, -1 if limit is None else limit)
        self._bench.settle()

    @property
    def received(self) -> bytes:
        """Everything the actor sent so far."""
        self._received += self._bench.core_of_tests.receive(self._number)
        return self._received

    def take(self) -> bytes:
        """What the actor sent since the last take."""
        data = self.received
        self._received = b""
        return data

    @property
    def unsent(self) -> int:
        """Bytes sent that the actor has no room for yet."""
        return self._bench.core_of_tests.unsent(self._number)

    @property
    def status(self) -> str:
        """`open`; `ended`: the actor closed, or who has it since; `reset`: likewise, or it failed; `gone`: this end
        reset it.
        """
        return self._bench.core_of_tests.state_of(self._number)

    @property
    def reason(self) -> CloseReason | None:
        """What on_close was told; None while the connection lives."""
        number = self._bench.core_of_tests.reason(self._number)
        return None if number is None else CloseReason(number)

    @property
    def handle(self) -> int:
        """connection.handle; 0 once it is gone."""
        return self._bench.core_of_tests.handle(self._number)

    @property
    def handed_over(self) -> HandedOver | None:
        """The control plane's end once a handler has handed the connection over, for you to play; before, None."""
        return self._bench.hand_overs.of(self._opened_as)

    @property
    def state(self) -> Any:
        """connection.state, to look at and to change. LookupError once the connection is gone, or handed over."""
        spec = self._bench.spec
        if self.handed_over:
            raise LookupError(
                "the connection was handed over, and its state is the actor's no more"
            )
        if spec.state is None:
            raise AttributeError(f"{spec.actor.__name__} has no connection state")
        return spec.state.attach(self._bench.core_of_tests.state(self._number, spec.state_size))


class Bench:
    """One core with one listener and its actor, in this process. Use it in a `with` statement."""

    def __init__(
        self,
        actor: type[DataActor],
        *,
        mode: Mode = "interpreted",
        config: Mapping[str, Any] | Config | None = None,
        messages: Iterable[type[Message]] = (),
        groups: Iterable[str] | None = None,
        connections: int = 64,
        tick_milliseconds: int = 0,
        max_unconsumed: int = 64 * 1024,
        reply_reserve: int = 16 * 1024,
        calls_per_turn: int = 16,
        buffer_bytes: int = 4 << 20,
        push_queue: int = 256 * 1024,
        push_slow: Literal["drop", "reset"] = "drop",
    ) -> None:
        """`config` as in the layout; `messages` that the actor tells and that stand nowhere in its module; `groups`: names
        that `self.tell(…, to=…)` may say, None: any. To a group or a core, what is told comes to `told`, once.

        Raises ActorError with everything wrong with the actor or config.
        """
        self.spec = spec_of(actor)
        self.mode = mode
        self.schema = schema_for(actor, messages, groups)
        self.told: list[Message] = []
        """What the actor told, to the control plane or other cores, in order."""
        self.faults: list[Fault] = []
        """Its faults, as far as they are reported (ten a second, of the virtual clock)."""
        self._replies: dict[int, tuple[int, bytes]] = {}
        self._tag = self._pushed = 0
        self._errors: list[tuple[str, BaseException]] = []
        self._config = config_bytes(self.spec.config, config)
        side = self.spec.state_size if self.spec.state_size > 32 else 0
        self.core_of_tests = BenchCore(
            connections=connections,
            side_state_bytes=-(-side // 8) * 8,
            actor_bytes=self.spec.core_size,
            buffer_bytes=buffer_bytes,
            subscriptions=4 * connections,
        )
        limits = (max_unconsumed, reply_reserve, calls_per_turn, tick_milliseconds)
        self._pace = Pace(*limits, push_queue, push_slow == "reset")
        self._kept: Any = None
        self.hand_overs = HandOvers(self.core_of_tests, self.settle)

    def __enter__(self) -> Self:
        from .runtime.assemble import put_relay

        bench = self.core_of_tests
        program = self._program()
        entries = program.entries(self.spec.actor, bench.actor)
        self._kept = (
            program,
            bind(
                bench.pointer,
                bench.actor,
                handlers=entries.handlers,
                messages=[
                    MessageEntry(number, reply_length(each.reply), entries.messages[number])
                    for each in self.spec.messages
                    for number in [self.schema.number(each.message)]
                ],
                state_size=self.spec.state_size,
                side_state_bytes=-(-self.spec.state_size // 8) * 8,
                core_offset=0,
                config=self._config,
                pace=self._pace,
            ),
        )
        put_relay(bench.core)
        bench.core.start()
        self.settle()
        return self

    def __exit__(self, *_: object) -> None:
        self.hand_overs.stop()
        calls.forget(self.core_of_tests.actor)
        self.core_of_tests.close()

    def _program(self) -> Program:
        if self.mode == "interpreted":
            return Interpreted(self.schema)
        made = compiled.get(self.spec.actor)
        if made is None or made.schema != self.schema:
            made = compiled[self.spec.actor] = Compiled([self.spec.actor], self.schema)
        return made

    def settle(self) -> None:
        """Turns until there is nothing left to do, then collects what was told. Called by everything else here."""
        working = True
        while working:
            self.core_of_tests.settle()
            calls.raise_escaped()
            while (message := self.core_of_tests.to_control.get()) is not None:
                self.core_of_tests.to_control.advance()
                self._take(message)
            working = self.hand_overs.turn()

    def _take(self, message: Received) -> None:
        """What the core says to the control plane."""
        if message.kind == TELL:
            self.told.append(
                cast("Message", self.schema.type_of(message.type).from_bytes(message.payload))
            )
        elif message.kind == REPLY:
            self._replies[message.tag] = (message.type, message.payload)
        elif message.kind == EVENT and message.type == EVENT_FAULT:
            self.faults.append(self._fault(FaultEvent.from_bytes(message.payload)))
        elif message.kind == EVENT and message.type == EVENT_STREAM:
            self.hand_overs.take(message)

    def _fault(self, event: FaultEvent) -> Fault:
        names = {self.schema.number(each.message): each.name for each in self.spec.messages}
        known = event.handler < len(HANDLERS)
        name = HANDLERS[event.handler] if known else names[event.handler - len(HANDLERS)]
        file, _, error = event.where.partition(": ")
        line = event.line
        if not line:
            found = replay(
                cast("type[DataActor]", self.spec.actor),
                event.handler,
                event.state,
                event.data,
                config=self._config,
                schema=self.schema,
            )
            if found is not None:
                file, line, error = (
                    found.file,
                    found.line,
                    f"{type(found.error).__name__}: {found.error}",
                )
        return Fault(name, file, line, error, event.faults, event.handle)

    def connect(self, address: str = "192.0.2.9", port: int = 40000) -> Peer:
        """A new connection. OSError (ENOBUFS) if the core has no room for one more."""
        peer = Peer(self, self.core_of_tests.connect(address, port))
        self.settle()
        return peer

    def advance(self, *, milliseconds: int) -> None:
        """Moves the clock on; timers and ticks on the way run at their time."""
        self.core_of_tests.advance(milliseconds)
        self.settle()

    @property
    def now(self) -> int:
        """The clock, in nanoseconds: self.now of the actor."""
        return self.core_of_tests.now

    @property
    def core(self) -> Any:
        """self.core of the actor, to look at and to change."""
        if self.spec.core is None:
            raise AttributeError(f"{self.spec.actor.__name__} has no core state")
        return self.spec.core.attach(self.core_of_tests.core_state(self.spec.core_size))

    @property
    def counters(self) -> dict[str, int]:
        """The core's counters by name."""
        return self.core_of_tests.core.counters()

    def tell(self, message: Message) -> None:
        """Tells the actor, as the control plane would. ActorError if it does not take such messages."""
        self._put(message, TELL, 0)

    def ask(self, request: Request[R]) -> R:
        """Asks the actor. RuntimeError if its method failed: see `faults`."""
        self._tag += 1
        self._put(request, ASK, self._tag)
        number, payload = self._replies.pop(self._tag)
        reply = reply_of(type(request))
        if number == 0 or reply is None:
            raise RuntimeError(f"the actor failed to answer {request!r}: {self.faults[-1:]}")
        return cast("R", reply.from_bytes(payload))

    def push(self, handle: int, data: bytes) -> None:
        """Sends `data` to the connection of that handle, as `runtime.send` would."""
        self._push(pushes.SEND, handle, data)

    def broadcast(self, data: bytes) -> None:
        """Sends `data` to every connection, as `runtime.broadcast` would."""
        self._push(pushes.BROADCAST, pushes.EVERY_LISTENER, data)

    def publish(self, topic: int | str | bytes, data: bytes) -> None:
        """Sends `data` to the subscribers of `topic`, as `runtime.publish` would."""
        from .controlplane.push import topic_number

        self._push(pushes.PUBLISH, topic_number(topic), data)

    def _push(self, kind: int, to: int, data: bytes) -> None:
        self._pushed += 1
        for part in pushes.parts(kind, to, self._pushed, data):
            ring = self.core_of_tests.from_control
            while not ring.put(pushes.EVENT_PUSH, part, kind=EVENT):
                self.settle()
        self.settle()

    def _put(self, message: Message, kind: int, tag: int) -> None:
        number = self.schema.number(type(message))
        if not self.core_of_tests.from_control.put(number, message.to_bytes(), kind=kind, tag=tag):
            raise BufferError("the actor's mailbox is full")
        self.settle()

    def split_everywhere(self, data: bytes, pieces: int = 2) -> Run:
        """Sends `data` to fresh connections, whole and cut at every place (and every pair of places with pieces=3).

        Returns what the whole gave. AssertionError names the first cut that gives something else.
        """
        whole = self._run(data, ())
        cuts: Iterable[tuple[int, ...]] = ((at,) for at in range(1, len(data)))
        if pieces > 2:
            cuts = ((one, two) for one in range(1, len(data)) for two in range(one + 1, len(data)))
        for cut in cuts:
            got = self._run(data, cut)
            if got != whole:
                parts = [
                    data[start:stop]
                    for start, stop in zip((0, *cut), (*cut, len(data)), strict=True)
                ]
                raise AssertionError(f"cut at {cut}, {parts}: {got}, but whole: {whole}")
        return whole

    def _run(self, data: bytes, cut: tuple[int, ...]) -> Run:
        peer = self.connect()
        with suppress(OSError):
            peer.send(data, split=cut)
        result = Run(peer.received, peer.status, peer.reason)
        with suppress(OSError):
            peer.reset()
        return result


def reply_length(reply: type[Fixed] | None) -> int:
    """Bytes of a reply; 0 without one."""
    return shape_of(reply).size if reply else 0


def config_bytes(wanted: type[Config] | None, given: Mapping[str, Any] | Config | None) -> bytes:
    """The bytes of self.config."""
    if wanted is None:
        if given:
            raise TypeError("this actor takes no config: annotate it, config: Settings")
        return b""
    made = given if isinstance(given, Config) else config_of(wanted, given or {})
    return made.to_bytes()


def schema_for(
    actor: type[DataActor], more: Iterable[type[Message]], groups: Iterable[str] | None
) -> Schema:
    """Numbers for what the actor takes and for every message that its modules know."""
    declared = schema_of([actor])
    types: dict[type[Fixed], None] = dict.fromkeys(declared.numbers)
    types.update(dict.fromkeys(more))
    for base in actor.__mro__:
        for value in list(vars(sys.modules.get(base.__module__, object)).values()):
            if (
                isinstance(value, type)
                and issubclass(value, Message)
                and value not in (Message, Request)
            ):
                types.setdefault(value)
    numbers = {cls: number for number, cls in enumerate(types, 1)}
    known = None if groups is None else dict.fromkeys(groups, SOMEWHERE)
    return Schema({number: cls for cls, number in numbers.items()}, numbers, known)


def in_both_modes(test: Callable[[Mode], T]) -> tuple[T, T]:
    """Runs `test` interpreted and compiled; both results, for comparison."""
    return test("interpreted"), test("compiled")
