"""The loop's promise: once a core is open, nothing allocates and nothing faults."""

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from splitplane.dataplane.core import Core
from splitplane.dataplane.native import ffi, lib
from splitplane.dataplane.sections import ArenaConfig
from splitplane.runtime.arena import Arena

ROOT = Path(__file__).parent.parent.parent
FUNCTIONS = (
    "core_clock",
    "table_find",
    "table_insert",
    "table_delete",
    "stream_send",
    "stream_acknowledge",
    "stream_keep",
    "timer_set",
    "timer_poll",
)
IN_THE_LOOP = [
    "bucket.h",
    "buffer.c",
    "busy.c",
    "hash.c",
    "intent.c",
    "record.c",
    "stream.c",
    "table.c",
    "timer.c",
    "wheel.c",
]


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Any:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "a C compiler is needed: apt-get install gcc"
    library = tmp_path_factory.mktemp("churn") / "churn.so"
    source = ROOT / "tests" / "c" / "churn.c"
    command = [compiler, "-std=gnu11", "-O2", "-fPIC", "-shared", str(source), "-o", str(library)]
    subprocess.run(command, check=True)
    function = ctypes.CDLL(str(library)).churn
    function.restype = ctypes.c_long
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32]
    return function


@pytest.mark.parametrize("hugepages", ["auto", "off"])
def test_no_page_faults(churn: Any, hugepages: Any) -> None:
    """Thousands of connections come, send, time out and go, on memory never used before, without one page fault."""
    config = ArenaConfig(
        connections=3000,
        busy_blocks=3000,
        buffer_bytes=16 << 20,
        time_wait=0,
        side_state_bytes=0,
        actor_bytes=0,
        frame_bytes=0,
        core_id=1,
        layout_hash=1,
        page_size=2 << 20,
    )
    addresses = [int(ffi.cast("uintptr_t", ffi.addressof(lib, name))) for name in FUNCTIONS]
    table = (ctypes.c_void_p * len(addresses))(*addresses)
    none = ffi.new("struct transport *")
    with Arena.create(config, hugepages=hugepages) as arena, Core(arena.memory, number=1) as core:
        core.pointer.transport = none
        pointer = int(ffi.cast("uintptr_t", core.pointer))
        # Binds the functions and has the stack grow; under ASan, also makes its shadow of what is used.
        churn(table, pointer, 2000 if os.environ.get("SPLITPLANE_SANITIZED") else 1)
        assert churn(table, pointer, 2000) == 0
        assert core.pointer.state.record_fresh > 2000


def test_only_openers_allocate() -> None:
    """No source of the hot structures mentions the allocator or a system call."""
    forbidden = re.compile(
        r"\b(malloc|calloc|realloc|free|mmap|brk|getpid|clock_gettime|syscall)\("
    )
    for name in IN_THE_LOOP:
        text = re.sub(r"/\*.*?\*/", "", (ROOT / "dataplane" / name).read_text(), flags=re.DOTALL)
        assert not forbidden.search(text), name
