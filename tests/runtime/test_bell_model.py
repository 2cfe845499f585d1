"""How the control plane wakes a core that sleeps (runtime/bell.c), in every interleaving on a machine with store
buffers: no message ever waits with the core asleep and nobody about to ring. The search finds the lost wake-up when
either fence is missing, and when the core does not look at the ring once more.
"""

from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import pytest
from store_buffers import Await, Deliver, Exchange, Explorer, Fence, Found, Load, Store

Thread = Generator[Any, Any, None]
MEMORY = {"messages": 0, "asleep": 0, "bell": 0}


class Protocol:
    """bell.c in steps. Mutants override one of its methods."""

    def __init__(self, messages: int) -> None:
        self.messages = messages

    def put_fence(self) -> Thread:
        """In bell_put."""
        yield Fence()

    def sleep_fence(self) -> Thread:
        """In bell_may_sleep."""
        yield Fence()

    def control(self) -> Thread:
        """bell_put, once a message. How many lie in the ring stands for the ring."""
        sent = 0
        while sent < self.messages:
            sent += 1
            yield Store("messages", sent, True)
            yield from self.put_fence()
            asleep = yield Load("asleep")
            if asleep:
                asleep = yield Exchange("asleep", 0)
                if asleep:
                    yield Exchange("bell", 1)

    def may_sleep(self, taken: int) -> Generator[Any, Any, bool]:
        """bell_may_sleep."""
        yield Store("asleep", 1)
        yield from self.sleep_fence()
        messages = yield Load("messages")
        if messages == taken:
            return True
        yield Store("asleep", 0)
        return False

    def core(self) -> Thread:
        """Takes all messages and sleeps whenever there are none, for ever if nobody rings."""
        taken = 0
        while taken < self.messages:
            messages = yield Load("messages")
            if messages > taken:
                taken += 1
                yield Deliver(taken)
                continue
            sleeps = yield from self.may_sleep(taken)
            if sleeps:
                yield Await("bell")
                yield Store("asleep", 0)


class NoPutFence(Protocol):
    """The control plane may look at asleep before the core sees the message."""

    def put_fence(self) -> Thread:
        yield from ()


class NoSleepFence(Protocol):
    """The core may look at the ring before others see it asleep."""

    def sleep_fence(self) -> Thread:
        yield from ()


class NoSecondLook(Protocol):
    """The core says that it sleeps, and does."""

    def may_sleep(self, taken: int) -> Generator[Any, Any, bool]:
        yield Store("asleep", 1)
        yield Fence()
        return True


def explore(protocol: Protocol, order: str = "tso") -> int:
    """How many states there are; Found if the messages don't all arrive in one of them."""
    wanted = tuple(range(1, protocol.messages + 1))
    check: Callable[[tuple[Any, ...]], str] = partial(_all_of, wanted)
    return Explorer([protocol.control, protocol.core], MEMORY, order=order, check=check).run()


def _all_of(wanted: tuple[int, ...], got: tuple[Any, ...]) -> str:
    return "" if got == wanted else f"not {wanted}"


@pytest.mark.parametrize("order", ["tso", "pso"])
@pytest.mark.parametrize("messages", [1, 2, 3])
def test_no_message_waits_for_a_sleeper(messages: int, order: str) -> None:
    """Whenever a message lies in the ring, the core is awake or will be woken."""
    assert explore(Protocol(messages), order) > 10


@pytest.mark.parametrize("mutant", [NoPutFence, NoSleepFence, NoSecondLook])
def test_mutants_are_caught(mutant: type[Protocol]) -> None:
    """Without either fence or the second look, the core sleeps beside a message."""
    with pytest.raises(Found, match="stuck"):
        explore(mutant(2))
