"""What the kernel says that a core takes: its worker's mappings in /proc/PID/smaps, and the pool of 2 MiB pages."""

import re
from collections.abc import Iterator
from pathlib import Path

from ..runtime.machine import HUGE

ARENA = "memfd:splitplane-core-"
HUGETLB = ("Shared_Hugetlb", "Private_Hugetlb")
"""A hugetlb mapping's pages are in neither Rss nor Pss."""


def mappings(smaps: str) -> Iterator[tuple[str, dict[str, int]]]:
    """(what is mapped, bytes by name) of each mapping."""
    for part in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", smaps)[1:]:
        head, *lines = part.splitlines()
        words = (line.split() for line in lines if line.endswith(" kB"))
        yield " ".join(head.split()[4:]), {word[0][:-1]: int(word[1]) * 1024 for word in words}


def arena_and_own(smaps: str) -> tuple[int, int]:
    """Bytes of the arena that a worker has mapped, and of its private memory: lists, and Python's."""
    arenas: dict[str, int] = {}
    own = 0
    for name, found in mappings(smaps):
        if ARENA in name:
            # The header and the whole are mapped apart.
            size = sum(found.get(kind, 0) for kind in HUGETLB) or found["Rss"]
            arenas[name] = max(arenas.get(name, 0), size)
        else:
            own += found["Private_Dirty"]
    return sum(arenas.values()), own


def resident(pid: int) -> tuple[int, int]:
    """`arena_and_own` of a worker."""
    return arena_and_own(Path(f"/proc/{pid}/smaps").read_text())


def huge_pages_taken() -> int:
    """Bytes of the machine's hugetlb pages in use, surplus ones among them."""
    found = dict(
        line.split(":", 1)
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("HugePages_")
    )
    return (int(found["HugePages_Total"]) - int(found["HugePages_Free"])) * HUGE
