"""What this computer gives, as read from /proc, /sys and a few system calls.

Reads only, and takes what it finds: a file that isn't there leaves its fact at "not known". Knows no layout.
"""

import contextlib
import os
import re
import resource
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HUGE = 2 * 2**20
_UNLIMITED = 1 << 60


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts. Bytes where it says memory, None where nothing is known or nothing limits."""

    cpus: tuple[int, ...]
    """That this process may use (sched_getaffinity)."""
    online: tuple[int, ...]
    """That Linux runs on."""
    cpu_quota: float | None
    """CPUs' worth of time that the container gets."""
    memory_total: int | None
    memory_available: int | None
    """Of the machine or of the container's limit, whichever is less."""
    memory_limit: int | None
    """The container's."""
    huge_free: int
    """2 MiB pages reserved and free."""
    huge_overcommit: int
    """2 MiB pages that may still be had beyond the reserved ones."""
    huge_overcommit_writable: bool
    """Whether this user may raise that."""
    files_soft: int
    """Descriptors a process may have, and the most it may raise that to."""
    files_hard: int
    root: bool
    capabilities: int
    """The effective set, a bit each (capabilities(7))."""
    numa: dict[int, int]
    """CPU → memory node."""

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def read_machine(root: Path = Path("/")) -> Machine:
    """The facts of this machine. `root` holds `proc` and `sys`; another one serves tests."""
    limit = memory_limit(root)
    total, available = _memory(root)
    if limit is not None:
        room = max(limit[0] - limit[1], 0)
        available = room if available is None else min(available, room)
    cpus = tuple(sorted(os.sched_getaffinity(0)))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    overcommit = root / "proc/sys/vm/nr_overcommit_hugepages"
    pages = root / "sys/kernel/mm/hugepages/hugepages-2048kB"
    surplus = _number(pages / "surplus_hugepages") or 0
    return Machine(
        cpus=cpus,
        online=cpu_list(_text(root / "sys/devices/system/cpu/online")) or cpus,
        cpu_quota=cpu_quota(root),
        memory_total=total,
        memory_available=available,
        memory_limit=limit[0] if limit else None,
        huge_free=max(
            (_number(pages / "free_hugepages") or 0) - (_number(pages / "resv_hugepages") or 0), 0
        ),
        huge_overcommit=max((_number(overcommit) or 0) - surplus, 0),
        huge_overcommit_writable=os.access(overcommit, os.W_OK),
        files_soft=_count(soft),
        files_hard=_count(hard),
        root=os.geteuid() == 0,
        capabilities=_capabilities(root),
        numa=_numa(root),
    )


def _count(limit: int) -> int:
    return _UNLIMITED if limit == resource.RLIM_INFINITY else limit


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace")
    return ""


def _number(path: Path) -> int | None:
    with contextlib.suppress(ValueError):
        return int(_text(path))
    return None


def cpu_list(text: str) -> tuple[int, ...]:
    """`0-2,5` as (0, 1, 2, 5): the form of /sys and of Cpus_allowed_list."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if match:
            cpus.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(cpus))


def _memory(root: Path) -> tuple[int | None, int | None]:
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE))
    total, available = found.get("MemTotal"), found.get("MemAvailable")
    return (int(total) * 1024 if total else None, int(available) * 1024 if available else None)


def _cgroup_folders(root: Path, controller: str) -> list[Path]:
    """Where this process's control group and those above it lie; cgroup v2 first, else v1."""
    folders: list[Path] = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        base = root / "sys/fs/cgroup"
        if number != "0" and controller not in controllers.split(","):
            continue
        base = base if number == "0" else base / controller
        inside = path.strip("/")
        while True:
            folders.append(base / inside if inside else base)
            if not inside:
                break
            inside = inside.rpartition("/")[0]
    return folders


def memory_limit(root: Path = Path("/")) -> tuple[int, int] | None:
    """The tightest control group's (limit, used) in bytes, or None when nothing limits."""
    found: list[tuple[int, int]] = []
    for folder in _cgroup_folders(root, "memory"):
        for limit_file, used_file in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit = _number(folder / limit_file)
            if limit is not None and limit < _UNLIMITED:
                found.append((limit, _number(folder / used_file) or 0))
    return min(found, key=lambda pair: pair[0] - pair[1], default=None)


def cpu_quota(root: Path = Path("/")) -> float | None:
    """How many CPUs' worth of time the tightest control group gives, or None when nothing limits."""
    found: list[float] = []
    for folder in _cgroup_folders(root, "cpu"):
        words = _text(folder / "cpu.max").split()
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
            found.append(int(words[0]) / int(words[1]))
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if quota is not None and quota > 0 and period:
            found.append(quota / period)
    return min(found, default=None)


def _capabilities(root: Path) -> int:
    match = re.search(r"^CapEff:\s*([0-9a-fA-F]+)", _text(root / "proc/self/status"), re.MULTILINE)
    return int(match[1], 16) if match else 0


def _numa(root: Path) -> dict[int, int]:
    nodes: dict[int, int] = {}
    for folder in sorted((root / "sys/devices/system/node").glob("node[0-9]*")):
        node = int(folder.name[4:])
        nodes |= dict.fromkeys(cpu_list(_text(folder / "cpulist")), node)
    return nodes
