"""A running runtime seen from outside, or by its own program: counters, pools and connections, read-only.

The memory is the cores' own, opened read-only through a process that holds it and mapped here. Looking makes no system
call and takes no lock in any process of the runtime; a core notices nothing but that a cache line it has written is read.
"""

import errno
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ..dataplane.peek import CorePeek, Histogram, row_dtype, split_handle
from .errors import RegistryError
from .facts import CoreFacts, Facts, Memory, Words
from .mesh import CONTROL, Mesh
from .registry import Found, find

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows = npt.NDArray[np.void]

Made = TypeVar("Made")
BLOCK = 1 << 16
"""Records looked at in one go by `blocks`."""


def attach(name: str | None = None) -> "Attached":
    """A running runtime of this user by its layout's name; without one, the only one that runs.

    A second runtime of one name is called NAME.2. Raises RegistryError: none, several, dead, or another user's. Close
    it, or use it in `with`: its memory stays as long as somebody has it mapped, even if the runtime ends.
    """
    found = find(name)
    try:
        return Attached(found.name, found.facts, found.words, _opener(found), found)
    except BaseException:
        found.close()
        raise


class Attached:
    """What can be seen of a runtime.

    Attributes: `name`, under which it is registered; `facts`, what doesn't change (pid, cores, listeners); `words`, what
    its controller keeps up to date.
    """

    def __init__(
        self,
        name: str,
        facts: Facts,
        words: Words,
        opener: Callable[[Memory], int],
        found: Found | None = None,
    ) -> None:
        """`opener` opens one of the runtime's memories read-only; `found` is closed with this."""
        self.name, self.facts, self.words = name, facts, words
        self._found = found
        self._peeks: list[CorePeek] = []
        self._mesh: Mesh | None = None
        try:
            for core in facts.cores:
                self._peeks.append(_with(opener(core.arena), CorePeek))
            self._mesh = _with(opener(facts.mesh), _mesh)
        except OSError as error:
            self._unmap()
            raise RegistryError(f"runtime '{name}' can't be looked into: {error}") from error
        except BaseException:
            self._unmap()
            raise

    @property
    def alive(self) -> bool:
        """Whether it still runs, if only its launcher. What it last counted can be read even when not."""
        return self._found.alive if self._found else bool(self._peeks)

    @property
    def orphaned(self) -> bool:
        """Whether its controller is dead and its launcher serves on alone (`on_controller_loss = "serve"`)."""
        try:
            os.stat(f"/proc/{self.facts.pid}/fd")
        except FileNotFoundError:
            return self.alive
        except OSError:
            return False
        return False

    def worker(self, core: int) -> int:
        """The pid of a core's worker, 0 while there is none."""
        if self.orphaned:
            return self.core(core).worker_pid
        return self.words.core(core)["pid"]

    @property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Numbers of the cores of each group."""
        return self.facts.groups

    def core(self, number: int) -> CorePeek:
        """One core's memory. LookupError if there is no such core, or this is closed."""
        if not 0 <= number < len(self._peeks):
            raise LookupError(f"core {number}: there are {len(self._peeks)}")
        return self._peeks[number]

    def cores(self, group: str | None = None) -> tuple[CoreFacts, ...]:
        """The cores of a group, or all. KeyError, naming those there are, if there is none of that name."""
        if group is not None and group not in self.groups:
            raise KeyError(f"no group {group}: this runtime has {', '.join(self.groups)}")
        return tuple(core for core in self.facts.cores if group in {None, core.group})

    def counters(self, core: int) -> dict[str, int]:
        """A core's counters by name, those at 0 too."""
        return self.core(core).counters()

    def live(self, core: int) -> int:
        """How many connections a core has."""
        return self.core(core).live

    def histogram(self, core: int, name: str) -> Histogram:
        """`handler`: how long handlers ran, one call in about 128 standing for the rest; `turn`: turns with work."""
        return self.core(core).histogram(name)

    def rings(self, core: int) -> dict[str, tuple[int, int, int]]:
        """(cells used, cells, puts refused) of the rings `to_control`, `from_control`, and the fullest `to_core`."""
        assert self._mesh is not None
        between = [self._mesh.level(core, other) for other in range(len(self._peeks))]
        return {
            "to_control": self._mesh.level(core, CONTROL),
            "from_control": self._mesh.level(CONTROL, core),
            "to_core": max(between),
        }

    def connections(self, group: str | None = None) -> "Rows":
        """The live connections of a group, or all, as a read-only structured array (docs/operating.md has its fields).

        A copy, taken while the cores go on. Each row is one connection's: one that came or went while its row was read
        is left out. The rows, and a row's fields, are not all of one instant. A row whose handle `connection` finds
        no more is of a connection that has gone since.
        """
        import numpy as np

        peeks = [self.core(core.number) for core in self.cores(group)]
        rows = np.empty(sum(peek.end for peek in peeks), row_dtype())
        count = 0
        for peek in peeks:
            count += peek.rows(1, rows[count : count + peek.end])
        rows = rows[:count]
        rows.flags.writeable = False
        return rows

    def blocks(self, group: str | None = None, size: int = BLOCK) -> "Iterator[Rows]":
        """The same in pieces, of the connections among `size` records at a time: for millions in little memory.

        Each piece is overwritten by the next.
        """
        import numpy as np

        rows = np.empty(size, row_dtype())
        for core in self.cores(group):
            peek = self.core(core.number)
            first = 1
            while first < peek.end:
                yield rows[: peek.rows(first, rows)]
                first += size

    def connection(self, handle: int) -> Any:
        """The row of a handle, or None when it names no connection (any more)."""
        core = split_handle(handle)[0]
        return self.core(core).row(handle) if 0 <= core < len(self._peeks) else None

    def why(self, handle: int) -> str:
        """One sentence: what a connection waits for. LookupError when the handle names none."""
        from .why import why

        return why(self, handle)

    def close(self) -> None:
        """Lets the memory go. Arrays taken from it stay. Safe to repeat."""
        self._unmap()
        if self._found:
            self._found.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _unmap(self) -> None:
        for peek in self._peeks:
            peek.close()
        self._peeks.clear()
        if self._mesh:
            self._mesh.close()
            self._mesh = None


def _mesh(descriptor: int) -> Mesh:
    try:
        return Mesh.attach(descriptor, read_only=True)
    except ValueError as error:
        raise OSError(errno.EBADMSG, str(error)) from error


def _with(descriptor: int, make: Callable[[int], Made]) -> Made:
    """What `make` makes of a descriptor that nobody needs afterwards."""
    try:
        return make(descriptor)
    finally:
        os.close(descriptor)


def own_memory(memory: Memory) -> int:
    """Opens a memory of this process's own once more, read-only."""
    return os.open(f"/proc/self/fd/{memory.descriptor}", os.O_RDONLY | os.O_CLOEXEC)


def _opener(found: Found) -> Callable[[Memory], int]:
    """Opens a memory through whoever has it: the controller, the launcher, or a worker.

    A controller with more rights than ours may not be looked into; its workers have none. What is opened is believed
    only if it is the very memory that the entry names, whoever has that pid by now.
    """
    words = found.words
    workers = [words.core(number)["pid"] for number in range(len(found.facts.cores))]
    holders = dict.fromkeys([found.facts.pid, words.runtime()["launcher"], *workers])

    def opened(memory: Memory) -> int:
        refused = ""
        for pid in filter(None, holders):
            try:
                descriptor = os.open(
                    f"/proc/{pid}/fd/{memory.descriptor}",
                    os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK,
                )
            except PermissionError:
                refused = f"process {pid} has more rights than this one: try as root"
                continue
            except OSError:
                continue
            if memory.is_behind(descriptor):
                return descriptor
            os.close(descriptor)
        if refused:
            raise RegistryError(f"runtime '{found.name}' can't be looked into: {refused}")
        raise RegistryError(f"runtime '{found.name}' has just ended")

    return opened
