"""State: what an actor remembers, in the connection's own record or once a core."""

from __future__ import annotations

from typing import ClassVar, dataclass_transform

from .fixed import Fixed

__all__ = ["State"]


@dataclass_transform(kw_only_default=True)
class State(Fixed):
    """An actor's memory with a fixed layout: annotate fields with the integers of `splitplane.types`, `Array[…]` or other
    States.

        class Session(State):
            requests: u32
            name: Array[u8, Literal[16]]

    As the `S` of `Connection[S]` it lies inside each connection's record (up to 32 bytes; more goes to a side array, at
    most 4096); as the annotation `core` of a DataActor once a core. It starts as zeros and survives the worker.
    In a handler stores keep the low bits; elsewhere a number out of range is a ValueError.
    """

    __slots__ = ()
    __limit__: ClassVar[int] = 1 << 31
    __limit_of__: ClassVar[str] = "a state"
