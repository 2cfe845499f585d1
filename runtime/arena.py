"""A core's arena: its memfd on the best pages to be had, made by the controller, inherited and mapped by the worker.

What lies where inside is runtime/arena.c's and dataplane/'s; where the pages come from is runtime/pages.py's.
"""

import ctypes
import errno
import os
from typing import Any, Self

from ..dataplane.sections import ArenaConfig, arena_format, arena_header, arena_read, arena_section
from .errors import StartError
from .pages import Hugepages, Pages, Rung, allocate, map_shared, page_size_at, unmap

_WRONG = {
    errno.EBADMSG: "holds no finished arena",
    errno.EPROTO: "holds an arena of another version of splitplane: restart the whole runtime",
    errno.EINVAL: "holds an arena of another size than its own",
}


class Arena:
    """One core's memory, mapped here. `memory` is its bytes as a writable buffer, for `Core`.

    Attributes: `fd`, the memfd; `size`, in bytes; `page_size`, of the pages this process really has it on; `rung`, how
    they were had ("" when attached); `warning`, what small pages cost and why they are, "" when nothing is to be said.
    """

    def __init__(self, pages: Pages, *, warning: str = "") -> None:
        self.fd = pages.fd
        self.size = pages.size
        self.rung: Rung | str = pages.rung
        self.reason = pages.reason
        self.warning = warning
        self._address = map_shared(pages.fd, pages.size)
        self.page_size = page_size_at(pages.fd, self._address, pages.size, pages.page_size)
        self.memory: Any = (ctypes.c_char * pages.size).from_address(self._address)

    @classmethod
    def create(
        cls,
        config: ArenaConfig,
        *,
        hugepages: Hugepages = "auto",
        node: int | None = None,
        file: str = "",
    ) -> Self:
        """A fresh arena under `config`, every page of it there and the header written.

        `node`: the CPU's memory node. `file`: the layout, for messages. Raises MachineError (memory is missing, or
        `hugepages` is "require" and can't be had) or OSError (`config` is out of range).
        """
        header = arena_header(config)
        pages = allocate(
            f"splitplane-core-{config.core_id}", header.bytes, hugepages, node=node, file=file
        )
        try:
            header.bytes = pages.size
            arena = cls(pages, warning=pages.warning)
            arena_format(arena.memory, header)
        except BaseException:
            os.close(pages.fd)
            raise
        return arena

    @classmethod
    def attach(cls, fd: int, *, layout_hash: int | None = None) -> Self:
        """The arena behind an inherited descriptor. StartError, naming what is wrong, if there is none for us."""
        size = os.fstat(fd).st_size
        if size == 0:
            raise StartError(f"descriptor {fd} holds no arena: it is empty")
        arena = cls(Pages(fd, size, os.fstatvfs(fd).f_bsize, "small", ""))
        arena.rung = ""
        error, _, found = arena_read(arena.memory)
        wrong = _WRONG.get(-error, os.strerror(-error)) if error else ""
        if not wrong and layout_hash is not None and found != layout_hash:
            wrong = f"was made for another layout ({found:#x}, not {layout_hash:#x})"
        if wrong:
            arena.unmap()
            raise StartError(f"descriptor {fd} is no arena for us: it {wrong}")
        return arena

    @property
    def address(self) -> int:
        """Where it is mapped in this process; 2 MiB-aligned. 0 once unmapped."""
        return self._address

    def section(self, name: str) -> tuple[int, int]:
        """Offset and bytes of a section, by its name in lower case."""
        return arena_section(self.memory, name)

    def unmap(self) -> None:
        """Takes the mapping away, not the descriptor. Every Core over it must be closed before. Safe to repeat."""
        if self._address:
            self.memory = None
            unmap(self._address, self.size)
            self._address = 0

    def close(self) -> None:
        """Unmaps and closes the descriptor: the last to do so gives the pages back to Linux. Safe to repeat."""
        self.unmap()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
