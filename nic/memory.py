"""Driver `memory`: a virtual wire in a memfd, mapped by the two cores at its ends."""

import mmap
import os
from typing import Any, Self

from ..dataplane.native import check, ffi, lib

SLOTS = 1024
"""Frames a direction, unless told otherwise: 4.1 MiB a wire."""


def create(slots: int = SLOTS) -> int:
    """A new wire with `slots` frames in each direction (a power of two); returns its memfd.

    Inherit or dup the descriptor to whoever opens an end; it lives as long as somebody holds it.
    Raises OSError (EINVAL) if `slots` is no power of two.
    """
    size = lib.memory_bytes(slots)
    descriptor = os.memfd_create(f"splitplane-wire-{slots}", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, size)
        with mmap.mmap(descriptor, size) as memory:
            check(lib.memory_format(ffi.from_buffer(memory), slots), f"a wire of {slots} slots")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class Wire:
    """One end of a wire: `side` 0 or 1. `nic` goes to `tcp_attach`; send and receive carry bare frames.

    Only one process may use a side at a time; it goes on where the last one stopped.
    Raises OSError: EBADMSG (the memfd is no wire), EINVAL (the side).
    """

    def __init__(self, descriptor: int, side: int) -> None:
        size = os.fstat(descriptor).st_size
        # Populated: the loop takes no page fault.
        self._memory = mmap.mmap(descriptor, size, mmap.MAP_SHARED | mmap.MAP_POPULATE)
        self._base = ffi.from_buffer(self._memory)
        end = ffi.new("struct nic **")
        check(lib.memory_open(self._base, size, side, end), f"side {side} of a memory wire")
        self.nic: Any = end[0]
        self._frames: Any = ffi.new("struct frame[]", 32)

    @property
    def address(self) -> bytes:
        """The MAC address of this end."""
        return bytes(self.nic.address)

    def adopt(self) -> None:
        """Takes over from a holder of this side that died: what it had claimed arrives again."""
        check(self.nic.driver.adopt(self.nic), "a memory wire")

    def send(self, frame: bytes) -> bool:
        """Puts one frame on the wire; False if the wire is full. Raises ValueError over 2110 bytes."""
        if len(frame) > lib.MEMORY_FRAME:
            raise ValueError(
                f"frame of {len(frame)} bytes: a wire carries at most {lib.MEMORY_FRAME}"
            )
        if not self.nic.driver.tx_alloc(self.nic, self._frames, 1):
            return False
        ffi.memmove(self._frames[0].data, frame, len(frame))
        self._frames[0].length = len(frame)
        self.nic.driver.tx_burst(self.nic, self._frames, 1)
        return True

    def receive(self) -> list[bytes]:
        """All frames that have arrived, oldest first."""
        frames: list[bytes] = []
        while count := self.nic.driver.rx_burst(self.nic, self._frames, 32):
            for index in range(count):
                frame = self._frames[index]
                frames.append(bytes(ffi.buffer(frame.data, frame.length)))
            self.nic.driver.release(self.nic, self._frames, count)
        return frames

    def close(self) -> None:
        """Unmaps this end; the wire lives on while its descriptor is held."""
        if self.nic is not None:
            lib.memory_close(self.nic)
            self.nic = None
            self._base = None
            self._memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
