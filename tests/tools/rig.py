"""The C test actors, compiled once, and a core of one's own to run them on: fixtures of tests/dataplane and tests/nic."""

import ctypes
import mmap
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent.parent
API = (
    "call_send",
    "call_room",
    "call_want_writable",
    "call_need",
    "call_close",
    "call_abort",
    "call_set_timer",
    "call_cancel_timer",
    "call_tell",
    "call_connection",
    "view_find",
)
SCRIPT = {
    "ON_START": "script_start",
    "ON_TICK": "script_tick",
    "ON_OPEN": "script_open",
    "ON_DATA": "script_data",
    "ON_WRITABLE": "script_writable",
    "ON_END": "script_end",
    "ON_CLOSE": "script_close",
    "ON_TIMER": "script_timer",
}


def script_model(script: bytes) -> tuple[bytes, str]:
    """What the script actor sends for this input, and how it ends: open, close, abort or fault."""
    out = bytearray()
    at = 0
    while at < len(script):
        op, rest = script[at : at + 1], script[at + 1 :]
        if op in b"=#":
            if not rest or len(rest) < 1 + rest[0]:
                break
            out += rest[1 : 1 + rest[0]]
            at += 2 + rest[0]
        elif op == b"*":
            if not rest:
                break
            out += b"x" * (rest[0] * 256)
            at += 2
        elif op in b".":
            return bytes(out), "close"
        elif op == b"x":
            return bytes(out), "abort"
        elif op in b"!~-":
            return bytes(out), "fault"
        else:
            at += 1
    return bytes(out), "open"


class Logged(ctypes.Structure):
    """struct logged of tests/c/handlers.h."""

    _fields_ = (
        ("handler", ctypes.c_uint32),
        ("nesting", ctypes.c_uint32),
        ("handle", ctypes.c_int64),
        ("argument", ctypes.c_int64),
        ("length", ctypes.c_int64),
    )


class Handlers:
    """The compiled tests/c/handlers.c: addresses of its handlers, and the log of what ran."""

    def __init__(self, library: Path) -> None:
        from splitplane.dataplane.native import ffi, lib

        self.library = ctypes.CDLL(str(library))
        addresses = [int(ffi.cast("uintptr_t", ffi.addressof(lib, name))) for name in API]
        self._api = (ctypes.c_void_p * len(API))(*addresses)
        self.library.handlers_bind(self._api)
        self._log = (Logged * 65536).in_dll(self.library, "handler_log")
        self._logged = ctypes.c_uint64.in_dll(self.library, "handler_logged")

    def address(self, name: str) -> int:
        return ctypes.cast(getattr(self.library, name), ctypes.c_void_p).value or 0

    def reset(self) -> None:
        self.library.handlers_reset()

    @property
    def log(self) -> list[Logged]:
        assert self._logged.value <= 65536
        return self._log[: self._logged.value]


@pytest.fixture(scope="session")
def handlers(tmp_path_factory: pytest.TempPathFactory) -> Handlers:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "a C compiler is needed: apt-get install gcc"
    library = tmp_path_factory.mktemp("c") / "handlers.so"
    source = TESTS / "c" / "handlers.c"
    command = [compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
    subprocess.run([*command, str(source), "-o", str(library)], check=True)
    return Handlers(library)


class Rig:
    """A core over an arena of its own, with actors written in C; `transport` is attached last, by the test."""

    def __init__(
        self, handlers: Handlers, memory: Any = None, adopt: bool = False, **sizes: int
    ) -> None:
        from splitplane.dataplane.native import check, ffi, lib

        self.ffi, self.lib, self.check = ffi, lib, check
        self.handlers = handlers
        sizes = {
            "connections": 64,
            "busy_blocks": 64,
            "buffer_bytes": 8 << 20,
            "page_size": 4096,
            "actor_bytes": 4096,
        } | sizes
        header = ffi.new("struct arena_header *")
        check(lib.arena_plan(ffi.new("struct arena_config *", sizes), header), "the plan")
        self.memory = memory if memory is not None else mmap.mmap(-1, header.bytes)
        base = ffi.from_buffer(self.memory)
        if not adopt:
            check(lib.arena_format(base, header), "the arena")
        config = ffi.new("struct core_config *", {"core_id": 1, "drain_milliseconds": 1000})
        core = ffi.new("struct core **")
        check(lib.core_open(base, config, int(adopt), core), "the core")
        self._base = base
        self.core = core[0]
        self.detach: Callable[[], None] | None = None

    def actor(
        self,
        descriptor: int = -1,
        port: int = 0,
        names: dict[str, str] | None = None,
        **limits: int,
    ) -> Any:
        """Another listener; `names`: handler -> C function. Returns the struct actor."""
        actor = self.lib.core_listen(self.core, port, descriptor)
        assert actor
        limits = {"max_unconsumed": 65536, "reply_reserve": 16384, "calls_per_turn": 64} | limits
        for name, value in limits.items():
            setattr(actor, name, value)
        for handler, function in (SCRIPT if names is None else names).items():
            entry = self.ffi.cast("handler_entry", self.handlers.address(function))
            actor.reporting[getattr(self.lib, handler)] = entry
            actor.quiet[getattr(self.lib, handler)] = entry
        return actor

    def attach(self, name: str) -> None:
        self.check(getattr(self.lib, f"{name}_attach")(self.core), f"transport {name}")
        self.detach = lambda: getattr(self.lib, f"{name}_detach")(self.core)

    def counter(self, name: str) -> int:
        return int(self.core.counters[getattr(self.lib, f"COUNTER_{name.upper()}")])

    def close(self) -> None:
        if self.detach:
            self.detach()
        self.lib.core_close(self.core)


@pytest.fixture
def rig(handlers: Handlers) -> Iterator[Callable[..., Rig]]:
    """Makes rigs; closes them afterwards."""
    handlers.reset()
    made: list[Rig] = []

    def make(**options: Any) -> Rig:
        made.append(Rig(handlers, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
