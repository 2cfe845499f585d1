"""The polling thread that wakes asyncio when a ring to the control plane has a message (controlplane/poller.c)."""

import contextlib
import os
import weakref
from collections.abc import Sequence
from typing import Any

from .native import check, ffi, lib
from .ring import Ring

SPIN = 10_000
"""Nanoseconds of polling without a pause after the event loop has parked."""
SLEEP = 50_000
"""Nanoseconds between two looks at the rings from then on."""


class Poller:
    """Watches rings from a C thread that never takes the interpreter's lock.

    Its owner adds a reader for `fileno()`, calls `unpark` when that becomes readable, empties the rings, and calls
    `park`; when that says False, a message came meanwhile: empty them again.
    """

    def __init__(self, rings: Sequence[Ring], *, spin: int = SPIN, sleep: int = SLEEP) -> None:
        """Starts the thread over at most 64 rings that this process consumes. Times in nanoseconds."""
        self._rings = list(rings)
        self._wanted: dict[int, Ring] = {}
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        made = ffi.new("struct poller **")
        pointers = ffi.new("struct ring *[]", [ring.pointer for ring in self._rings])
        try:
            check(
                lib.poller_start(pointers, len(self._rings), self._descriptor, spin, sleep, made),
                "the polling thread",
            )
        except OSError:
            os.close(self._descriptor)
            raise
        self._poller: Any = made[0]
        # The thread must not outlive the rings' memory, also where nobody calls stop.
        self._end = weakref.finalize(
            self, _end, self._poller, self._descriptor, self._rings, self._wanted, pid=os.getpid()
        )

    def fileno(self) -> int:
        """The eventfd."""
        return self._descriptor

    @property
    def signals(self) -> int:
        """How often the thread has woken the event loop."""
        return int(lib.poller_signals(self._poller))

    def park(self, *, hurry: bool = False) -> bool:
        """The event loop has nothing left to do. True: `fileno()` becomes readable when it has; False: it has now.

        `hurry`: something is due at once, so the thread looks without a pause for a while.
        """
        return bool(lib.poller_park(self._poller, hurry))

    def spin(self, nanoseconds: int) -> bool:
        """Looks at the rings here for so long at most, without the interpreter's lock; whether a message is there."""
        return bool(lib.poller_spin(self._poller, nanoseconds))

    def unpark(self) -> None:
        """The event loop is at work again."""
        lib.poller_unpark(self._poller)

    def clear(self) -> None:
        """`fileno()` was readable: makes it unreadable again."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._descriptor)

    def mute(self, number: int, mute: bool) -> None:
        """Whether messages in the ring of that number, in the order given, are no reason to wake anybody."""
        lib.poller_mute(self._poller, number, mute)

    def want(self, slot: int, ring: Ring, cells: int) -> None:
        """While unparked: be woken also when `ring`, always the same for `slot`, has room for `cells`; 0 = no more."""
        self._wanted[slot] = ring
        lib.poller_want(self._poller, slot, ring.pointer, cells)

    def stop(self) -> None:
        """Ends the thread and closes the descriptor; a second call does nothing."""
        self._end()
        self._poller = None  # refused by every function above


def _end(poller: Any, descriptor: int, *_alive: object, pid: int = 0) -> None:
    if pid == os.getpid():  # a forked child has no such thread
        lib.poller_stop(poller)
    os.close(descriptor)
