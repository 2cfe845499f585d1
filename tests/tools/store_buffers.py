"""Explores every interleaving of small concurrent programs on a machine with store buffers.

A thread is a generator function that yields Load, Store, Fence… and is sent what a Load found. Every store waits in its
thread's buffer and reaches memory some time later: in order on a "tso" machine (x86), and on a "pso" one in any order
between addresses, but a release never before the stores ahead of it. A mortal thread may be killed between any two of
its steps; what it had stored reaches memory (that is what kill -9 does), and its successor starts.

The search is exhaustive and merges equal states: a thread's state is where its generator stands and its local
variables, which must be hashable, with at most one `yield` in a statement. Found are: an assertion that fails in a
thread, a final state that `check` objects to, and a state from which the end can't be reached any more (deadlock, a
lost wake-up, a message that never comes).
"""

from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Address = Hashable
Program = Callable[[], Generator["Step", Any, None]]


class Load(NamedTuple):
    """Sends back the thread's own latest store to the address, or what memory has."""

    address: Address


class Store(NamedTuple):
    """Into the buffer."""

    address: Address
    value: Hashable
    release: bool = False


class Fence(NamedTuple):
    """Waits until the thread's buffer is empty. (A sequentially consistent fence.)"""


class Exchange(NamedTuple):
    """Atomic: sends back the old value. The buffer is empty before, as for every locked instruction on x86."""

    address: Address
    value: Hashable


class FutexWait(NamedTuple):
    """Sleeps until a Wake, unless memory has another value by then. A system call: the buffer is empty before."""

    address: Address
    value: Hashable


class Wake(NamedTuple):
    """Ends the sleep of whoever waits for the address. A system call, too."""

    address: Address


class Await(NamedTuple):
    """Blocks until memory has something else than 0 there, takes it and leaves 0: reading an eventfd."""

    address: Address


class Deliver(NamedTuple):
    """Appends to the world's record of what happened."""

    value: Hashable


Step = Load | Store | Fence | Exchange | FutexWait | Wake | Await | Deliver


class Found(Exception):  # noqa: N818 - what the search looks for
    """A bad state, and how it came about."""


class State(NamedTuple):
    """The world: each thread's place (0 = ended), buffer and sleep; memory; what was delivered."""

    places: tuple[int, ...]
    buffers: tuple[tuple[Store, ...], ...]
    sleeping: tuple[Address | None, ...]
    memory: tuple[Hashable, ...]
    delivered: tuple[Hashable, ...]
    killed: frozenset[int]


@dataclass
class Place:
    """A thread's state: its next step, and where each answer leads."""

    program: Program
    history: tuple[Any, ...]
    step: Step | None
    next: dict[Any, int] = field(default_factory=dict)


def _state_of(generator: Generator[Any, Any, Any]) -> Hashable:
    parts: list[Hashable] = []
    inner: Any = generator
    while inner is not None and inner.gi_frame is not None:
        frame = inner.gi_frame
        parts.append((frame.f_code, frame.f_lasti, tuple(sorted(frame.f_locals.items()))))
        inner = inner.gi_yieldfrom
    return tuple(parts)


class Explorer:
    """One search. `states` is how many it has seen."""

    def __init__(
        self,
        threads: list[Program],
        memory: Mapping[Address, Hashable],
        *,
        order: str = "tso",
        private: frozenset[Address] = frozenset(),
        successors: Mapping[int, Program] | None = None,
        check: Callable[[tuple[Hashable, ...]], str] = lambda delivered: "",
    ) -> None:
        """`memory`: every address and its first value. `private`: addresses that one thread and its successor use.

        `successors`: mortal threads by number, and who comes after each; every one may be killed once in a run.
        `check` returns what is wrong with what was delivered in the end.
        """
        self.order, self.private, self.check = order, private, check
        self.successors = dict(successors or {})
        self.states = 0
        self._slots = {address: slot for slot, address in enumerate(memory)}
        self._places: list[Place | None] = [None]
        self._numbers: dict[Hashable, int] = {}
        places = tuple(self._place(program, ()) for program in threads)
        empty: tuple[tuple[Store, ...], ...] = ((),) * len(threads)
        nobody: tuple[Address | None, ...] = (None,) * len(threads)
        self._first = State(places, empty, nobody, tuple(memory.values()), (), frozenset())

    def run(self) -> int:
        """Looks at every reachable state; returns how many. Raises Found with a history for the first bad one."""
        came: dict[State, tuple[State, str] | None] = {self._first: None}
        before: dict[State, list[State]] = {}
        ends: list[State] = []
        todo = deque([self._first])
        while todo:
            state = todo.popleft()
            if not any(state.places):
                ends.append(state)
                if wrong := self.check(state.delivered):
                    raise Found(f"{wrong}: delivered {state.delivered}\n{_story(came, state)}")
            try:
                for label, after in self._successors(state):
                    before.setdefault(after, []).append(state)
                    if after not in came:
                        came[after] = state, label
                        todo.append(after)
            except AssertionError as error:
                raise Found(f"{error}\n{_story(came, state)}") from error
        self.states = len(came)
        self._all_can_end(came, before, ends)
        return self.states

    def _all_can_end(self, came: Any, before: Any, ends: list[State]) -> None:
        good, todo = set(ends), list(ends)
        while todo:
            for state in before.get(todo.pop(), ()):
                if state not in good:
                    good.add(state)
                    todo.append(state)
        for state in came:
            if state not in good:
                raise Found(f"stuck: delivered {state.delivered}\n{_story(came, state)}")

    def _place(self, program: Program, history: tuple[Any, ...]) -> int:
        """The number of the place that `program` reaches when its steps are answered so."""
        generator = program()
        try:
            step = next(generator)
            for answer in history:
                step = generator.send(answer)
        except StopIteration:
            return 0
        key = (program, _state_of(generator))
        generator.close()
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._places)
            self._places.append(Place(program, history, step))
        return number

    def _after(self, number: int, answer: Any) -> int:
        place = self._places[number]
        assert place is not None
        if answer not in place.next:
            place.next[answer] = self._place(place.program, (*place.history, answer))
        return place.next[answer]

    def _successors(self, state: State) -> Iterator[tuple[str, State]]:
        for thread, number in enumerate(state.places):
            buffer = state.buffers[thread]
            for drained in self._drains(buffer):
                entry = buffer[drained]
                rest = buffer[:drained] + buffer[drained + 1 :]
                yield (
                    f"        {entry.address} = {entry.value} reaches memory",
                    state._replace(
                        memory=self._stored(state.memory, entry),
                        buffers=_with(state.buffers, thread, rest),
                    ),
                )
            place = self._places[number]
            if place is None:
                continue
            if thread in self.successors and thread not in state.killed:
                yield f"{thread}: killed", self._kill(state, thread)
            if state.sleeping[thread] is None:
                yield from self._step(state, thread, number, place.step)

    def _drains(self, buffer: tuple[Store, ...]) -> Iterator[int]:
        """Places in a buffer whose store may reach memory next."""
        for place, entry in enumerate(buffer):
            ahead = buffer[:place]
            if place == 0 or (
                self.order == "pso"
                and not entry.release
                and all(entry.address != other.address for other in ahead)
            ):
                yield place

    def _kill(self, state: State, thread: int) -> State:
        memory = state.memory
        for entry in state.buffers[thread]:
            memory = self._stored(memory, entry)
        return state._replace(
            places=_with(state.places, thread, self._place(self.successors[thread], ())),
            buffers=_with(state.buffers, thread, ()),
            sleeping=_with(state.sleeping, thread, None),
            memory=memory,
            killed=state.killed | {thread},
        )

    def _stored(self, memory: tuple[Hashable, ...], entry: Store) -> tuple[Hashable, ...]:
        return _with(memory, self._slots[entry.address], entry.value)

    def _step(
        self, state: State, thread: int, number: int, step: Step | None
    ) -> Iterator[tuple[str, State]]:
        buffer = state.buffers[thread]
        answer: Any = None
        match step:
            case Load(address):
                answer = state.memory[self._slots[address]]
                for entry in buffer:
                    if entry.address == address:
                        answer = entry.value
            case Store(address) if address in self.private:
                state = state._replace(memory=self._stored(state.memory, step))
            case Store():
                state = state._replace(buffers=_with(state.buffers, thread, (*buffer, step)))
            case Deliver(value):
                state = state._replace(delivered=(*state.delivered, value))
            case _ if buffer:
                return  # the others wait for their buffer
            case Exchange(address, value):
                answer = state.memory[self._slots[address]]
                state = state._replace(memory=self._stored(state.memory, Store(address, value)))
            case Await(address):
                if not state.memory[self._slots[address]]:
                    return
                state = state._replace(memory=self._stored(state.memory, Store(address, 0)))
            case FutexWait(address, value):
                if state.memory[self._slots[address]] == value:
                    state = state._replace(sleeping=_with(state.sleeping, thread, address))
            case Wake(address):
                awake = tuple(None if place == address else place for place in state.sleeping)
                state = state._replace(sleeping=awake)
            case _:
                pass
        places = _with(state.places, thread, self._after(number, answer))
        found = "" if answer is None else f" -> {answer}"
        yield f"{thread}: {step}{found}", state._replace(places=places)


def _with(values: tuple[Any, ...], place: int, value: Any) -> tuple[Any, ...]:
    return (*values[:place], value, *values[place + 1 :])


def _story(came: Mapping[State, tuple[State, str] | None], state: State) -> str:
    lines: list[str] = []
    while (step := came[state]) is not None:
        state, label = step
        lines.append(label)
    return "\n".join(reversed(lines))
