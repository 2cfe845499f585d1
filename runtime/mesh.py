"""The mesh: one memfd that holds a ring from every core and the control plane to every other.

Made by the controller, inherited by number, mapped by launcher and workers alike. It stands apart from the arenas, so
that no core maps another's connections. A core also has a ring to itself, so that telling itself needs no special case.
"""

import fcntl
import mmap
import os
import struct
from typing import NamedTuple

from ..dataplane.ring import Ring, RingLevel, ring_bytes, ring_level

CONTROL = 64
"""The control plane's number as a peer (CORE_CONTROL)."""
CORES_MAX = 64

MAGIC = b"SPLTMESH"
ABI = 1
HEADER = struct.Struct("<8sIIQQQQQ")
HEADER_BYTES = 4096
_ALIGN = 4096  # so that no two rings share a page: one process's page fault is never another's

_SEAL_SHRINK, _SEAL_GROW, _SEAL_SEAL = 0x0002, 0x0004, 0x0001
_ADD_SEALS = 1033  # F_ADD_SEALS


class MeshHeader(NamedTuple):
    """What stands at the mesh's start, little-endian."""

    magic: bytes
    abi: int
    cores: int
    layout_hash: int
    size: int
    control_cells: int
    core_cells: int
    ready: int


def _up(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


def mesh_bytes(cores: int, control_cells: int, core_cells: int) -> int:
    """Bytes of a mesh of so many cores: cores² rings of `core_cells`, twice cores of `control_cells`."""
    control, core = _up(ring_bytes(control_cells)), _up(ring_bytes(core_cells))
    return HEADER_BYTES + 2 * cores * control + cores * cores * core


class Mesh:
    """All rings of a runtime; `ring(a, b)` is the one that a produces into and b consumes from.

    Attributes: `cores`, how many; `fd`, the memfd, owned by whoever made it.
    """

    def __init__(self, fd: int, memory: mmap.mmap, header: MeshHeader) -> None:
        self.fd = fd
        self.cores = header.cores
        self.layout_hash = header.layout_hash
        self.control_cells = header.control_cells
        self.core_cells = header.core_cells
        self.size = header.size
        self._memory: mmap.mmap | None = memory
        self._rings: dict[tuple[int, int], Ring] = {}

    @classmethod
    def create(
        cls, cores: int, *, control_cells: int = 8192, core_cells: int = 1024, layout_hash: int = 0
    ) -> "Mesh":
        """A fresh mesh on a memfd of its own (not inherited until its `fd` is made so).

        `control_cells`, `core_cells`: capacity of each ring to or from the control plane, and between cores, powers of
        two. ValueError for a count out of range, OSError if the memory can't be had.
        """
        if not 1 <= cores <= CORES_MAX:
            raise ValueError(f"{cores} cores: a mesh has 1 to {CORES_MAX}")
        size = mesh_bytes(cores, control_cells, core_cells)
        fd = os.memfd_create("splitplane-mesh", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, size)
            # Whoever holds the descriptor could else shrink it under the loops, which would die of SIGBUS.
            fcntl.fcntl(fd, _ADD_SEALS, _SEAL_SHRINK | _SEAL_GROW | _SEAL_SEAL)
            memory = _mapped(fd, size)
            header = MeshHeader(
                MAGIC, ABI, cores, layout_hash, size, control_cells, core_cells, ready=0
            )
            mesh = cls(fd, memory, header)
            for producer in mesh.peers:
                for consumer in mesh.peers:
                    if producer != CONTROL or consumer != CONTROL:
                        place = mesh._place(producer, consumer)
                        Ring.format(memory, mesh._cells(producer, consumer), place)
            memory[: HEADER.size] = HEADER.pack(*header._replace(ready=1))
        except BaseException:
            os.close(fd)
            raise
        return mesh

    @classmethod
    def attach(cls, fd: int, *, layout_hash: int | None = None, read_only: bool = False) -> "Mesh":
        """The mesh behind an inherited descriptor. `read_only`: for `level` alone.

        ValueError, naming what is wrong, if it is no mesh, of another ABI, unfinished, or of another layout.
        """
        size = os.fstat(fd).st_size
        if size < HEADER_BYTES:
            raise ValueError(f"descriptor {fd} is no mesh: {size} bytes")
        memory = (
            mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ) if read_only else _mapped(fd, size)
        )
        header = MeshHeader(*HEADER.unpack_from(memory))
        wrong = ""
        if header.magic != MAGIC:
            wrong = f"begins with {header.magic!r}"
        elif header.abi != ABI:
            wrong = f"has ABI {header.abi}, this program {ABI}: restart the whole runtime"
        elif not header.ready or header.size != size:
            wrong = f"is unfinished, or {size} bytes of {header.size}"
        elif layout_hash is not None and header.layout_hash != layout_hash:
            wrong = f"was made for another layout ({header.layout_hash:#x}, not {layout_hash:#x})"
        if wrong:
            memory.close()
            raise ValueError(f"descriptor {fd} is no mesh for us: it {wrong}")
        return cls(fd, memory, header)

    @property
    def peers(self) -> list[int]:
        """Every number that has rings: the cores' and CONTROL."""
        return [*range(self.cores), CONTROL]

    def ring(self, producer: int, consumer: int) -> Ring:
        """The ring from `producer` to `consumer`; the same object each time. KeyError if there is none."""
        known = self._rings.get((producer, consumer))
        if known is None:
            if self._memory is None:
                raise ValueError("the mesh is closed")
            known = Ring(self._memory, self._place(producer, consumer))
            self._rings[producer, consumer] = known
        return known

    def level(self, producer: int, consumer: int) -> RingLevel:
        """How full the ring between them is, without a part in it. KeyError if there is none."""
        if self._memory is None:
            raise ValueError("the mesh is closed")
        return ring_level(self._memory, self._place(producer, consumer))

    def adopt(self, core: int) -> None:
        """The worker of `core` was killed and this process takes its place at both ends of all its rings.

        Call it once the other is certainly gone, before the first message.
        """
        for peer in self.peers:
            self.ring(core, peer).adopt_producer()
            self.ring(peer, core).adopt_consumer()

    def quarantine(self, core: int) -> None:
        """Nobody will take this core's place again: the others' tells to it are refused."""
        for peer in self.peers:
            self.ring(peer, core).close()

    def close(self) -> None:
        """Unmaps; the descriptor stays open. Rings handed out before keep their memory until they go."""
        self._rings.clear()
        self._memory = None

    def _cells(self, producer: int, consumer: int) -> int:
        return self.control_cells if CONTROL in (producer, consumer) else self.core_cells

    def _place(self, producer: int, consumer: int) -> int:
        """Offset of a ring: first those to the control plane, then those from it, then core by core."""
        known = self.peers
        if producer not in known or consumer not in known or producer == consumer == CONTROL:
            raise KeyError(f"no ring from {producer} to {consumer}: {self.cores} cores")
        control, core = _up(ring_bytes(self.control_cells)), _up(ring_bytes(self.core_cells))
        if consumer == CONTROL:
            return HEADER_BYTES + producer * control
        if producer == CONTROL:
            return HEADER_BYTES + (self.cores + consumer) * control
        base = HEADER_BYTES + 2 * self.cores * control
        return base + (producer * self.cores + consumer) * core


def _mapped(fd: int, size: int) -> mmap.mmap:
    """The whole of it, every page present: no loop takes a page fault."""
    flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
    return mmap.mmap(fd, size, flags, mmap.PROT_READ | mmap.PROT_WRITE)
