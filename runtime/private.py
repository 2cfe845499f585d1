"""Keeps a runtime's descriptors out of the processes that its program forks.

A child by fork (multiprocessing, os.fork) has a copy of every descriptor. It would keep the port, the memory and the
claims of a runtime whose controller is long dead. So each child puts /dev/null in their places.
"""

import os
from collections.abc import Iterable
from typing import Protocol
from weakref import WeakSet


class Holder(Protocol):
    """Who has descriptors that are no child's business."""

    @property
    def private(self) -> Iterable[int]:
        """Their numbers, now."""

    def forked(self) -> None:
        """This is the child: nothing is held here any more."""


_holders: WeakSet[Holder] = WeakSet()


def keep_private(holder: Holder) -> None:
    """From now on, as long as it lives."""
    _holders.add(holder)


def _in_child() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for holder in list(_holders):
        for number in holder.private:
            os.dup2(
                null, number, inheritable=False
            )  # the number stays taken: whoever closes it later closes this
        holder.forked()
    _holders.clear()
    os.close(null)


os.register_at_fork(after_in_child=_in_child)
