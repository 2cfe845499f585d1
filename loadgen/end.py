"""One end of a road, as a process is told of it, and the NIC that it makes of it."""

import ipaddress
import mmap
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from ..dataplane.native import ffi
from ..nic.afxdp import Afxdp, QueueOrder, Steering, open_queue, section_bytes
from ..nic.interface import read_interface
from ..nic.memory import Wire
from ..nic.tap import Tap

FRAMES = 4096
"""Of an AF_XDP socket."""
SILENCE = 1e9
"""Seconds: an end without an order doesn't look, and its frames are nobody else's."""


@dataclass(frozen=True, slots=True)
class End:
    """Words for JSON."""

    driver: Literal["memory", "afxdp", "tap"]
    descriptor: int = -1
    """memory: the wire's memfd; tap: the interface's queue. To be inherited."""
    side: int = 0
    """memory."""
    mac: str = ""
    """tap: ours, in hexadecimal."""
    interface: str = ""
    first: int = 0
    addresses: int = 1
    """afxdp: frames for so many IPv4 addresses, from `first` on, are taken off the interface."""

    @contextmanager
    def open(self) -> Iterator[Any]:
        """An object with `nic`. Raises OSError, LookupError (there is no such interface)."""
        if self.driver == "memory":
            made: Any = closing(Wire(self.descriptor, self.side))
        elif self.driver == "tap":
            made = closing(Tap(self.descriptor, bytes.fromhex(self.mac)))
        else:
            made = self._steered()
        with made as opened:
            yield opened

    @contextmanager
    def _steered(self) -> Iterator[Afxdp]:
        """The socket first, so that no frame finds the program without it."""
        interface = read_interface(self.interface)
        memory = mmap.mmap(-1, section_bytes(FRAMES, 1))
        base = ffi.from_buffer(memory)
        address = int(ffi.cast("uintptr_t", base))
        with ExitStack() as stack:
            descriptor, _ = open_queue(interface.index, 0, FRAMES, address)
            stack.callback(os.close, descriptor)
            queue = QueueOrder(0, descriptor, 0)
            made = stack.enter_context(closing(Afxdp(base, interface.mac, [queue], -1, 1)))
            steering = stack.enter_context(Steering(interface.queues, silence=SILENCE))
            for number in range(self.first, self.first + self.addresses):
                steering.take(str(ipaddress.IPv4Address(number)))
            steering.socket(0, descriptor)
            steering.attach(interface.index)
            yield made
