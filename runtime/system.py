"""The Linux calls of the three kinds of process, small and typed.

What Python's `os` has is used from there; `ctypes` supplies prctl, capset, mlock2 and mmap of a given length. Knows
nothing of cores, actors or layouts. Every call raises OSError with what was wanted in its text, unless it says that
refusal is tolerated.
"""

import contextlib
import ctypes
import os
import signal
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_NAME = 15
PR_SET_TIMERSLACK = 29
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAP_IPC_LOCK = 1 << 14
_CAPABILITY_VERSION_3 = 0x20080522
_NAME_BYTES = 15
_CPUCLOCK_SCHED = 2
_DESCRIPTORS = 1 << 20


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _failed(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")


def prctl(option: int, *arguments: int) -> int:
    """The system call, with whole-number arguments (prctl(2)). Raises OSError."""
    words = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    result: int = _libc().prctl(ctypes.c_int(option), *words)
    if result < 0:
        raise _failed(f"prctl({option})")
    return result


def name_process(name: str) -> None:
    """What ps and top show for this thread, cut to 15 bytes (prctl(2), PR_SET_NAME)."""
    buffer = ctypes.create_string_buffer(name.encode()[:_NAME_BYTES])
    _libc().prctl(ctypes.c_int(PR_SET_NAME), buffer, 0, 0, 0)


def die_with(parent: int) -> None:
    """Has the kernel kill this process when the thread that made it ends; exits at once if `parent` is gone already.

    A change of credentials clears this (prctl(2)), so it comes after dropping them.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def wake_exactly() -> None:
    """Timers of this thread fire to the nanosecond instead of 50 µs late (prctl(2), PR_SET_TIMERSLACK)."""
    prctl(PR_SET_TIMERSLACK, 1)


def live_alone() -> None:
    """Undoes `die_with`: this process outlives the one that made it."""
    prctl(PR_SET_PDEATHSIG, 0)


def drop_privileges(keep: int = 0) -> bool:
    """Gives up every capability but `keep`, a bit each, and the way to new ones, for good.

    False where a sandbox refuses part of it. The user and group stay, so that a fault report can still read the sources
    it quotes.
    """
    whole = True
    with contextlib.suppress(OSError):
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(64):
        try:
            if not keep >> capability & 1:
                prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break
    try:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    except OSError:
        whole = False
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    words = ctypes.create_string_buffer(24)
    if _libc().capget(header, words) != 0:
        whole = False
    low, high = keep & 0xFFFFFFFF, keep >> 32
    effective, permitted, _, more_effective, more_permitted, _ = struct.unpack("=6I", words.raw)
    kept = (effective & low, permitted & low, 0, more_effective & high, more_permitted & high, 0)
    if _libc().capset(header, struct.pack("=6I", *kept)) != 0:
        whole = False
    return whole


def pin(cpu: int) -> None:
    """Moves this process to one CPU and proves it by reading the mask back and asking where it runs.

    Raises OSError naming the CPU when the kernel refuses or answers with another mask.
    """
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError as error:
        allowed = show_cpus(os.sched_getaffinity(0))
        raise OSError(
            error.errno,
            f"CPU {cpu} can't be had ({error.strerror}): this process may use {allowed}",
        ) from error
    found = os.sched_getaffinity(0)
    running = int(_libc().sched_getcpu())
    if found != {cpu} or running not in (cpu, -1):
        raise OSError(
            0, f"pinned to CPU {cpu}, but allowed on {show_cpus(found)}, running on {running}"
        )


def show_cpus(cpus: Iterable[int]) -> str:
    """A set of CPUs as Linux writes it: `0-3,8`."""
    parts: list[str] = []
    run: list[int] = []
    for cpu in [*sorted(cpus), -1]:
        if run and cpu == run[-1] + 1:
            run.append(cpu)
            continue
        if run:
            parts.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
        run = [cpu]
    return ",".join(parts)


def lock_memory(address: int, length: int) -> bool:
    """mlock(2): these pages stay in memory and are touched now. False when RLIMIT_MEMLOCK or a sandbox refuses."""
    return bool(_libc().mlock(ctypes.c_void_p(address), ctypes.c_size_t(length)) == 0)


def stack_span() -> tuple[int, int]:
    """Address and length of the main thread's stack as grown so far; (0, 0) without /proc."""
    try:
        for line in Path("/proc/self/maps").read_text().splitlines():
            if line.endswith("[stack]"):
                start, _, end = line.split()[0].partition("-")
                return int(start, 16), int(end, 16) - int(start, 16)
    except OSError:
        pass
    return 0, 0


def cpu_clock(pid: int) -> int:
    """The clock id of a process's CPU time (clock_getcpuclockid(3)), for time.clock_gettime_ns."""
    return (~pid << 3) | _CPUCLOCK_SCHED


def cpu_time(pid: int) -> int:
    """Nanoseconds of CPU that a process has used; 0 once it is gone."""
    try:
        return time.clock_gettime_ns(cpu_clock(pid))
    except OSError:
        return 0


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """What /proc/PID/stat says: `state` is its letter (R S D T t Z), `name` what it calls itself."""

    name: str
    state: str
    parent: int
    threads: int


def process_status(pid: int) -> ProcessStatus | None:
    """The process as /proc sees it; None when it is gone, or /proc can't be read."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    return ProcessStatus(name, fields[0], int(fields[1]), int(fields[17]))


def thread_names(pid: int) -> dict[int, str]:
    """Thread id → name of every thread of a process; empty without /proc."""
    names: dict[int, str] = {}
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                names[int(task)] = Path(f"/proc/{pid}/task/{task}/comm").read_text().strip()
    return names


def allowed_cpus(pid: int) -> set[int]:
    """The CPUs a process may run on, as the scheduler has it."""
    return os.sched_getaffinity(pid)


def open_descriptors() -> Iterator[int]:
    """This process's open descriptors, those of the listing left out."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            os.fstat(int(name))
            yield int(name)


def close_all_but(keep: Iterable[int]) -> None:
    """Closes every descriptor from 3 up that isn't in `keep` (close_range(2), where the kernel has it)."""
    start = 3
    for descriptor in sorted(number for number in set(keep) if number >= 3):
        os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, max(os.sysconf("SC_OPEN_MAX"), _DESCRIPTORS))


def describe_exit(status: int) -> str:
    """A wait status as people say it: `exit code 3`, `killed by SIGSEGV`."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return f"killed by {signal.Signals(number).name}"
        except ValueError:
            return f"killed by signal {number}"
    return f"exit code {os.WEXITSTATUS(status)}"
