"""What others than its worker see of a core: `struct core_state` in a mapped arena.

The controller reads it and writes `wanted`; the launcher reads the heartbeat. Both through aligned words that x86 and
ARM load and store whole.
"""

import os
from mmap import MAP_SHARED, PROT_READ, PROT_WRITE, mmap

from .native import ffi, lib
from .symbols import HANDLERS

RUNNING, DRAINING, STOPPED = 0, 1, 2
HUGE_PAGE = 2 << 20


class CoreWords:
    """A core's state and counters over a mapping of its arena's beginning."""

    def __init__(self, mapped: mmap) -> None:
        self._map = mapped
        self._base = ffi.from_buffer("uint8_t[]", mapped)
        header = ffi.cast("struct arena_header *", self._base)
        self._state = ffi.cast(
            "struct core_state *", self._base + header.sections[lib.SECTION_STATE].offset
        )
        self._counters = ffi.cast(
            "uint64_t *", self._base + header.sections[lib.SECTION_COUNTERS].offset
        )

    @property
    def heartbeat(self) -> int:
        """Turns of the loop, across workers."""
        return int(self._state.heartbeat)

    @property
    def run(self) -> int:
        """RUNNING, DRAINING or STOPPED: what the worker does."""
        return int(self._state.run)

    @property
    def wanted(self) -> int:
        """What the controller wants of it."""
        return int(self._state.wanted)

    @property
    def worker_pid(self) -> int:
        """The worker, or the last one."""
        return int(self._state.worker_pid)

    @property
    def adoptions(self) -> int:
        """How often a worker took over from a dead one."""
        return int(self._state.adoptions)

    @property
    def live(self) -> int:
        """Connections."""
        return int(self._state.live)

    @property
    def sequence_key(self) -> tuple[int, int]:
        """What its TCP's initial sequence numbers are keyed with: for those who load it, and nobody else."""
        return int(self._state.key[2]), int(self._state.key[3])

    @property
    def current(self) -> tuple[int, str]:
        """The connection whose handler runs and that handler's name; (0, "") between handlers."""
        index = int(self._state.current)
        number = int(self._state.current_handler)
        if number >= lib.HANDLER_COUNT:
            return index, "on a message"
        return index, HANDLERS[number] if index else ""

    def counters(self) -> dict[str, int]:
        """Every counter by its name, also those at 0."""
        return {
            ffi.string(lib.counter_name(number)).decode(): int(self._counters[number])
            for number in range(lib.COUNTER_COUNT)
        }

    def close(self) -> None:
        """Unmaps."""
        ffi.release(self._base)
        del self._state, self._counters
        self._map.close()


class CoreState(CoreWords):
    """The same over its arena's descriptor, for who may give orders; maps one huge page of it at most."""

    def __init__(self, descriptor: int) -> None:
        length = min(os.fstat(descriptor).st_size, HUGE_PAGE)
        super().__init__(mmap(descriptor, length, MAP_SHARED, PROT_READ | PROT_WRITE))

    @property
    def wanted(self) -> int:
        """What the controller wants of it."""
        return super().wanted

    @wanted.setter
    def wanted(self, value: int) -> None:
        self._state.wanted = value
