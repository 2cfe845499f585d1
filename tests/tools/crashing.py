"""The data plane compiled with crash points, and the memory in which a child that dies of one leaves word."""

import ctypes
import mmap
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from splitplane.dataplane.native import ffi, lib

ROOT = Path(__file__).parent.parent.parent
PUSHES = ("dataplane/push.c", "dataplane/share.c", "dataplane/topic.c")
"""Those whose points tests/dataplane/test_push_crash.py dies at, not test_crash.py."""
SOURCES = (
    "runtime/arena.c",
    *(
        f"dataplane/{name}.c"
        for name in (
            [
                "buffer",
                "busy",
                "core",
                "crash",
                "hash",
                "intent",
                "push",
                "record",
                "share",
                "stats",
                "stream",
                "table",
                "time_wait",
                "timer",
                "topic",
                "wheel",
            ]
        )
    ),
    "tests/c/crash_actor.c",
)
LOG = 1 << 16
SANITIZED = bool(os.environ.get("SPLITPLANE_SANITIZED"))


class Crashing:
    """The functions of the module built with crash points, by name, as `lib` has them."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))

    def __getattr__(self, name: str) -> Any:
        kind = ffi.typeof(ffi.addressof(lib, name))
        found = ffi.cast(kind, ctypes.cast(self._library[name], ctypes.c_void_p).value)
        setattr(self, name, found)
        return found

    def point(self, name: str, address: int) -> None:
        """Sets an exported pointer."""
        ctypes.c_void_p.in_dll(self._library, name).value = address

    def attach(self, core: Any) -> None:
        self._library.attach(ctypes.c_void_p(int(ffi.cast("uintptr_t", core))))


def build(folder: Path) -> Crashing:
    """Compiles them into `folder`."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "a C compiler is needed: apt-get install gcc"
    library = folder / "crashing.so"
    command = [compiler, "-std=gnu11", "-O2", "-fno-strict-aliasing", "-DCRASH_POINTS"]
    command += ["-fsanitize=address,undefined"] if SANITIZED else []
    sources = [str(ROOT / source) for source in SOURCES]
    subprocess.run([*command, "-fPIC", "-shared", *sources, "-o", str(library)], check=True)
    return Crashing(library)


def crash_points(source: str) -> set[str]:
    """The names of the points in a source file."""
    return set(re.findall(r"CRASH_POINT\((\w+)\);", (ROOT / source).read_text()))


class Log:
    """What the child tells: operations begun and done, their results, timers fired; and the crash it is to die of."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, LOG)
        self.words = ffi.cast("uint64_t *", ffi.from_buffer(self.memory))
        self.address = int(ffi.cast("uintptr_t", self.words))

    def reset(self, at: int) -> None:
        self.memory[:] = bytes(LOG)
        self.words[1] = at

    reached = property(lambda self: int(self.words[0]))
    name = property(lambda self: ffi.string(ffi.cast("char *", self.words + 2)).decode())
    begun = property(lambda self: int(self.words[16]))
    done = property(lambda self: int(self.words[17]))

    def fired(self) -> list[tuple[int, int]]:
        words = ffi.cast("uint32_t *", self.words + 256)
        return [(words[2 + 2 * i], words[3 + 2 * i]) for i in range(self.words[256])]
