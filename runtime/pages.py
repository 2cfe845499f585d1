"""Shared memory on the largest pages that can be had: a memfd, allocated and touched before anybody uses it.

The ladder, from the top:

1. 2 MiB pages of hugetlb, those reserved (`nr_hugepages`) first, then surplus ones: the kernel makes them on demand
   and takes them back by itself when the last process that has them is gone, however it died. Surplus pages need room
   under `nr_overcommit_hugepages`; who may write that raises it by what is missing, while allocating only.
2. Ordinary shared memory, collapsed into 2 MiB pages (MADV_COLLAPSE, Linux 6.1).
3. 4 KiB pages.

Knows no arena and no core. Every refusal on the way down is kept in words.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from .errors import MachineError, Problem
from .machine import HUGE, read_machine

Hugepages = Literal["auto", "require", "off"]
Rung = Literal["hugetlb", "collapsed", "small"]

SMALL = 4096
COST = (
    "with millions of connections, looking one up takes up to 1.6 times as long as on 2 MiB pages"
)
POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
OVERCOMMIT = Path("/proc/sys/vm/nr_overcommit_hugepages")

_MFD_CLOEXEC, _MFD_ALLOW_SEALING, _MFD_HUGETLB = 0x1, 0x2, 0x4
_MFD_HUGE_2MB = 21 << 26
_F_ADD_SEALS, _SEAL_SEAL, _SEAL_SHRINK, _SEAL_GROW = 1033, 0x1, 0x2, 0x4
_PROT_NONE, _PROT_READ, _PROT_WRITE = 0, 1, 2
_MAP_SHARED, _MAP_PRIVATE, _MAP_FIXED, _MAP_ANONYMOUS = 0x1, 0x2, 0x10, 0x20
_MAP_NORESERVE, _MAP_POPULATE = 0x4000, 0x8000
_MADV_COLLAPSE = 25
_MPOL_DEFAULT, _MPOL_PREFERRED = 0, 1
_SET_MEMPOLICY = {"x86_64": 238, "aarch64": 237}


@dataclass(frozen=True, slots=True)
class Pages:
    """A memfd of `size` bytes, on pages of `page_size` bytes."""

    fd: int
    size: int
    page_size: int
    rung: Rung
    reason: str
    """Why no better rung was had; empty on the one asked for."""

    @property
    def warning(self) -> str:
        """What small pages cost and why they are; empty when there is nothing to warn of."""
        if self.rung != "small" or not self.reason:
            return ""
        return f"{mib(self.size)} on 4 KiB pages: {COST}. {self.reason}"


def mib(size: int) -> str:
    """Bytes in whole MiB, rounded up."""
    return f"{-(-size // 2**20)} MiB"


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    size, pointer, number = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int
    libc.mmap.argtypes = [pointer, size, number, number, number, ctypes.c_int64]
    libc.munmap.argtypes = [pointer, size]
    libc.madvise.argtypes = [pointer, size, number]
    return libc


def _failed(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")


def allocate(
    name: str,
    size: int,
    hugepages: Hugepages = "auto",
    *,
    node: int | None = None,
    file: str = "",
) -> Pages:
    """A memfd `name` of at least `size` bytes, every page of it there. The caller closes it.

    `node`: the memory node to take it from, if it has room. `file`: the layout, for messages. Raises MachineError, with
    the arithmetic, when memory is missing or `hugepages` is "require" and 2 MiB pages can't be had.
    """
    size = -(-size // HUGE) * HUGE if hugepages != "off" else -(-size // SMALL) * SMALL
    refusals: list[str] = []
    with _near(node):
        if hugepages != "off":
            fd = _hugetlb(name, size, refusals)
            if fd is not None:
                return Pages(fd, size, HUGE, "hugetlb", "")
        _refuse_too_much(size, file)
        fd = _shared(name, size, file)
        if hugepages != "off" and _collapse(fd, size, refusals):
            return Pages(fd, size, HUGE, "collapsed", "; ".join(refusals))
        if hugepages == "require":
            os.close(fd)
            raise MachineError(_required(size, refusals, file))
        return Pages(fd, size, SMALL, "small", "; ".join(refusals))


def _shared(name: str, size: int, file: str) -> int:
    try:
        return _memfd(name, size, 0)
    except OSError as error:
        text = f"{mib(size)} of shared memory refused: {error.strerror}"
        remedy = "a sandbox or a control group refuses memfd_create or its memory: raise the limit"
        raise MachineError(Problem(file, text, remedy=remedy)) from error


def _required(size: int, refusals: list[str], file: str) -> Problem:
    reserved = _number(POOL / "nr_hugepages") or 0
    free = max((_number(POOL / "free_hugepages") or 0) - (_number(POOL / "resv_hugepages") or 0), 0)
    wanted = reserved + max(size // HUGE - free, 0)
    return Problem(
        file,
        f"{mib(size)} of hugepages wanted, {mib(free * HUGE)} free ({'; '.join(refusals)})",
        key="machine.hugepages",
        value="require",
        remedy=f'sysctl vm.nr_hugepages={wanted}, or hugepages = "auto"',
    )


def _refuse_too_much(size: int, file: str) -> None:
    """Shared memory beyond what there is would not be refused by the kernel: it would kill somebody for it."""
    available = read_machine().memory_available
    if available is not None and size > available:
        raise MachineError(
            Problem(
                file,
                f"{mib(size)} of memory wanted for one core, {mib(available)} available",
                remedy="fewer connections or buffers (splitplane plan shows the sum), or more memory",
            )
        )


def _memfd(name: str, size: int, flags: int) -> int:
    """Raises OSError when it can't be had whole."""
    fd = os.memfd_create(name, flags | _MFD_CLOEXEC | _MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        os.posix_fallocate(fd, 0, size)
        # Whoever holds the descriptor could else shrink it under the loop, which would die of SIGBUS.
        fcntl.fcntl(fd, _F_ADD_SEALS, _SEAL_SHRINK | _SEAL_GROW | _SEAL_SEAL)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _hugetlb(name: str, size: int, refusals: list[str]) -> int | None:
    wanted = size // HUGE
    if not POOL.is_dir():
        refusals.append("this kernel has no 2 MiB pages, or hides /sys")
        return None
    try:
        with _overcommit(wanted, refusals) as enough:
            if enough:
                return _memfd(name, size, _MFD_HUGETLB | _MFD_HUGE_2MB)
    except OSError as error:
        scarce = error.errno in (errno.ENOMEM, errno.ENOSPC)
        why = ": memory is fragmented, or a control group limits them" if scarce else ""
        refusals.append(f"2 MiB pages: {wanted} refused ({error.strerror}){why}")
    return None


@contextlib.contextmanager
def _overcommit(wanted: int, refusals: list[str]) -> Iterator[bool]:
    """Room for `wanted` pages while inside; True if there is. Pages taken stay when the limit goes back.

    Killed in between, it leaves the limit raised: memory that may be taken, not memory taken.
    """
    with contextlib.ExitStack() as stack:
        lock = _locked(stack)
        free = max(
            (_number(POOL / "free_hugepages") or 0) - (_number(POOL / "resv_hugepages") or 0), 0
        )
        limit = _number(OVERCOMMIT) or 0
        surplus = (
            _number(POOL / "surplus_hugepages") or 0
        )  # may exceed the limit: it went back after they were made
        room = max(limit - surplus, 0)
        raised = surplus + wanted - free
        if raised <= limit or wanted <= free:
            yield True
            return
        if lock is None:
            refusals.append(
                f"2 MiB pages: {wanted} wanted, {free} free, {room} more on demand, and this user may not "
                f"raise that: sysctl vm.nr_overcommit_hugepages={raised}"
            )
            yield False
            return
        available = read_machine().memory_available
        if available is not None and (wanted - free) * HUGE > available:
            refusals.append(f"2 MiB pages: {wanted - free} to make, {mib(available)} available")
            yield False
            return
        OVERCOMMIT.write_text(str(raised))
        try:
            yield True
        finally:
            OVERCOMMIT.write_text(str(limit))


def _locked(stack: contextlib.ExitStack) -> Any:
    """The limit's file, open for writing and locked against other runtimes; None where it can't be written."""
    try:
        lock = stack.enter_context(OVERCOMMIT.open("r+"))
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        return None
    return lock


def _number(path: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return None


@contextlib.contextmanager
def _near(node: int | None) -> Iterator[None]:
    """Pages allocated inside come from that memory node while it has any (set_mempolicy(2)), then from anywhere."""
    number = _SET_MEMPOLICY.get(platform.machine())
    if node is None or number is None:
        yield
        return
    mask = ctypes.c_ulong(1 << node)
    _libc().syscall(number, _MPOL_PREFERRED, ctypes.byref(mask), ctypes.c_ulong(64))
    try:
        yield
    finally:
        _libc().syscall(number, _MPOL_DEFAULT, None, ctypes.c_ulong(0))


def _collapse(fd: int, size: int, refusals: list[str]) -> bool:
    address = map_shared(fd, size)
    if _libc().madvise(address, size, _MADV_COLLAPSE) != 0:
        number = ctypes.get_errno()
        unmap(address, size)
        why = os.strerror(number)
        if number == errno.EINVAL:
            why = "Linux before 6.1, or without transparent hugepages"
        refusals.append(f"collapsing into 2 MiB pages was refused ({why})")
        return False
    huge = huge_mapped(address)
    unmap(address, size)
    if huge is not None and huge < size:
        refusals.append(
            f"only {mib(huge)} of {mib(size)} collapsed into 2 MiB pages: memory is fragmented"
        )
        return False
    return True


def map_shared(fd: int, size: int) -> int:
    """The address of the whole memfd, 2 MiB-aligned, readable, writable, present. Raises OSError."""
    libc = _libc()
    flags = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_NORESERVE
    reserved = libc.mmap(None, size + HUGE, _PROT_NONE, flags, -1, 0)
    if reserved == ctypes.c_void_p(-1).value:
        raise _failed(f"{size} bytes of address space")
    start = -(-reserved // HUGE) * HUGE
    flags = _MAP_SHARED | _MAP_FIXED | _MAP_POPULATE
    if libc.mmap(start, size, _PROT_READ | _PROT_WRITE, flags, fd, 0) != start:
        error = _failed(f"mapping {size} bytes")
        libc.munmap(reserved, size + HUGE)
        raise error
    end = -(-(start + size) // SMALL) * SMALL
    if start > reserved:
        libc.munmap(reserved, start - reserved)
    if reserved + size + HUGE > end:
        libc.munmap(end, reserved + size + HUGE - end)
    return int(start)


def page_size_at(fd: int, address: int, size: int, unknown: int = SMALL) -> int:
    """The size of the pages behind a mapping of map_shared, as this process has them; `unknown` without /proc."""
    if os.fstatvfs(fd).f_bsize >= HUGE:
        return HUGE
    huge = huge_mapped(address)
    if huge is None:
        return unknown
    return HUGE if huge == size else SMALL


def unmap(address: int, size: int) -> None:
    """Gives a mapping of map_shared back; who still reads there dies."""
    _libc().munmap(address, size)


def huge_mapped(address: int) -> int | None:
    """Bytes of the mapping at `address` on 2 MiB pages, as /proc/self/smaps says; None if that can't be read."""
    wanted = f"{address:x}-"
    inside = False
    found = 0
    try:
        with open("/proc/self/smaps") as smaps:
            for line in smaps:
                name, _, rest = line.partition(":")
                if name in ("ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb", "Private_Hugetlb"):
                    found += int(rest.split()[0]) * 1024 if inside else 0
                elif "-" in line.split(" ", 1)[0]:
                    if inside:
                        return found
                    inside = line.startswith(wanted)
    except OSError:
        return None
    return found if inside else None
