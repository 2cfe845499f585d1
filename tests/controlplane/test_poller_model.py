"""How the event loop and the polling thread put each other to sleep (controlplane/poller.c), in every interleaving on a
machine with store buffers: no message ever waits with both asleep. The search finds the lost wake-up when either fence
is missing, when a sleep isn't tried against the flag, and when the event loop doesn't say that it parks.
"""

from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import pytest
from store_buffers import (
    Await,
    Deliver,
    Exchange,
    Explorer,
    Fence,
    Found,
    FutexWait,
    Load,
    Store,
    Wake,
)

Thread = Generator[Any, Any, None]
MEMORY = {"messages": 0, "parked": 0, "asleep": 0, "stop": 0, "event": 0}


class Protocol:
    """poller.c in steps. Mutants override one of its methods."""

    def __init__(self, messages: int) -> None:
        self.messages = messages

    def core(self) -> Thread:
        """Puts messages and signals nobody. How many lie in the ring stands for the ring."""
        sent = 0
        while sent < self.messages:
            sent += 1
            yield Store("messages", sent, True)

    def thread_fence(self) -> Thread:
        """In wait_for_work."""
        yield Fence()

    def park_fence(self) -> Thread:
        """In poller_park."""
        yield Fence()

    def sleep(self) -> Thread:
        """In wait_for_work."""
        yield FutexWait("asleep", 1)

    def wake_thread(self) -> Thread:
        """wake_thread."""
        yield Store("asleep", 0)
        yield Wake("asleep")

    def wait_for_work(self) -> Thread:
        """wait_for_work."""
        yield Store("asleep", 1)
        yield from self.thread_fence()
        parked = yield Load("parked")
        stop = yield Load("stop")
        if not parked and not stop:
            yield from self.sleep()
        yield Store("asleep", 0)

    def watch(self) -> Thread:
        """watch, always too tired to doze: it sleeps as soon as the event loop is at work."""
        stop = yield Load("stop")
        taken = 0
        while not stop:
            parked = yield Load("parked")
            if not parked:
                yield from self.wait_for_work()
                taken = yield Load("taken")
            else:
                messages = yield Load("messages")
                taken = yield Load("taken")
                if messages > taken:
                    parked = yield Exchange("parked", 0)
                    if parked:
                        yield Exchange("event", 1)
            stop = yield Load("stop")

    def park(self, taken: int) -> Generator[Any, Any, bool]:
        """poller_park."""
        yield Store("parked", 1, True)
        yield from self.park_fence()
        messages = yield Load("messages")
        if messages > taken:
            parked = yield Exchange("parked", 0)
            if parked:
                return False
        asleep = yield Load("asleep")
        if asleep:
            yield from self.wake_thread()
        return True

    def event_loop(self) -> Thread:
        """Takes all messages, parks whenever there are none, and stops the thread at the end."""
        taken = 0
        while taken < self.messages:
            messages = yield Load("messages")
            if messages > taken:
                taken += 1
                yield Store("taken", taken)
                yield Deliver(taken)
                continue
            parked = yield from self.park(taken)
            if parked:
                yield Await("event")
                yield Exchange("parked", 0)
        yield Store("stop", 1)
        yield Fence()
        yield from self.wake_thread()


class NoThreadFence(Protocol):
    """The thread may look at parked before others see it asleep."""

    def thread_fence(self) -> Thread:
        yield from ()


class NoParkFence(Protocol):
    """The event loop may look at asleep before others see it parked."""

    def park_fence(self) -> Thread:
        yield from ()


class SilentWake(Protocol):
    """The flag is cleared, but nobody woken."""

    def wake_thread(self) -> Thread:
        yield Store("asleep", 0)


class WakeBeforeFlag(Protocol):
    """The wake-up comes while the flag still says asleep: a sleep begun in between lasts for ever."""

    def wake_thread(self) -> Thread:
        yield Wake("asleep")
        yield Store("asleep", 0)


def explore(protocol: Protocol, order: str = "tso") -> int:
    """How many states there are; Found if the messages don't all arrive in one of them."""
    wanted = tuple(range(1, protocol.messages + 1))
    check: Callable[[tuple[Any, ...]], str] = partial(_all_of, wanted)
    threads = [protocol.core, protocol.watch, protocol.event_loop]
    return Explorer(threads, {**MEMORY, "taken": 0}, order=order, check=check).run()


def _all_of(wanted: tuple[int, ...], got: tuple[Any, ...]) -> str:
    return "" if got == wanted else f"not {wanted}"


@pytest.mark.parametrize("order", ["tso", "pso"])
@pytest.mark.parametrize("messages", [1, 2, 3])
def test_no_wake_up_is_lost(messages: int, order: str) -> None:
    """Whenever a message lies in the ring, somebody who will see it is awake or will be woken."""
    assert explore(Protocol(messages), order) > 100


@pytest.mark.parametrize("mutant", [NoThreadFence, NoParkFence, SilentWake, WakeBeforeFlag])
def test_mutants_are_caught(mutant: type[Protocol]) -> None:
    """Without either fence, or with a careless wake-up, both sleep with a message in the ring."""
    with pytest.raises(Found, match="stuck"):
        explore(mutant(2))
