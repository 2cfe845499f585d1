"""What a handler call costs: compiled Python against C behind the same frame, interpreted Python, faults, compiling.

`python handlers.py --json` prints one object. Candidates are interleaved over several rounds in one process on one CPU;
figures are medians in nanoseconds a call, over hot data (one connection, 64 B and a small HTTP request). The floor is a
C handler that does nothing.
"""

import argparse
import ctypes
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from splitplane import Connection, DataActor, State, View
from splitplane.dataplane.native import ffi
from splitplane.dataplane.symbols import HANDLERS, address_of
from splitplane.testing import Bench, Mode
from splitplane.types import u32

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ROUNDS = 31
MANY, FEW = 200_000, 1_000
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"
PAYLOAD = bytes(range(64))


class Session(State):
    requests: u32


class Echo(DataActor):
    """The same as c_echo."""

    def on_data(self, connection: Connection[Session], data: View) -> int:
        connection.state.requests += 1
        connection.send(data)
        return len(data)


class Picky(DataActor):
    """Fails on an empty first byte."""

    def on_data(self, connection: Connection[Session], data: View) -> int:
        connection.state.requests += 1
        if data[0] == 0:
            raise ValueError("zero")
        return len(data)


class Outside(DataActor):
    """Fails on an index outside the view."""

    def on_data(self, connection: Connection[Session], data: View) -> int:
        return data[len(data) + data[0]]


def library(folder: Path) -> Any:
    """handlers.c, compiled."""
    target = folder / "handlers.so"
    command = [
        "cc",
        "-O2",
        "-shared",
        "-fPIC",
        "-fno-strict-aliasing",
        f"-I{ROOT}/dataplane",
        f"-I{ROOT}",
    ]
    subprocess.run([*command, "-o", str(target), str(HERE / "handlers.c")], check=True)
    loaded = ctypes.CDLL(str(target))
    loaded.run.restype = ctypes.c_double
    ctypes.c_void_p.in_dll(loaded, "outside_send").value = address_of("call_send")
    return loaded


class Candidate:
    """One handler entry over one input, on a connection of a core of its own."""

    def __init__(
        self,
        loaded: Any,
        actor: type[DataActor],
        data: bytes,
        calls: int,
        *,
        mode: Mode = "compiled",
        kind: str = "reporting",
        entry: int = 0,
        ok: int = 1,
        beside: "Candidate | None" = None,
    ) -> None:
        """`entry` instead of the actor's own, if given; `ok` as it must be after each call; `beside`: on the same
        connection of the same core, because where buffers lie decides how fast a copy is."""
        self.own = beside is None
        self.bench: Bench = beside.bench if beside else Bench(actor, mode=mode).__enter__()
        self.handle: int = beside.handle if beside else self.bench.connect().handle
        core = self.bench.core_of_tests
        own = getattr(core.actor, kind)[HANDLERS.index("on_data")]
        self.entry = entry or int(ffi.cast("uintptr_t", own))
        self.core = int(ffi.cast("uintptr_t", core.pointer))
        self.loaded, self.data, self.calls, self.ok = loaded, data, calls, ok

    def measure(self) -> float:
        """Nanoseconds a call."""
        found: float = self.loaded.run(
            ctypes.c_void_p(self.entry),
            ctypes.c_void_p(self.core),
            ctypes.c_uint32(self.handle & 0xFFFFFF),
            self.data,
            ctypes.c_int64(len(self.data)),
            ctypes.c_int64(self.ok),
            ctypes.c_uint64(self.calls),
        )
        if found < 0:
            sys.exit("a handler did not end as expected")
        return found

    def close(self) -> None:
        """Gives the core back."""
        if self.own:
            self.bench.__exit__()


def compile_times() -> dict[str, float]:
    """Seconds to compile each example's data actor in a process that has compiled one before."""
    script = f"""
import importlib, json, sys, time
from splitplane.runtime.actor import ControlActor, DataActor
from splitplane.runtime.program import Compiled
from splitplane.runtime.schema import schema_of
found = {{}}
for name in ("echo", "echo", "counters", "hello", "resp"):
    sys.path.insert(0, {str(ROOT / "examples")!r} + "/" + name)
    module = importlib.import_module(name)
    actors = [each for each in vars(module).values() if isinstance(each, type)
              and issubclass(each, (DataActor, ControlActor)) and each.__module__ == name]
    started = time.perf_counter()
    Compiled(actors, schema_of(actors))
    found[name] = time.perf_counter() - started
print(json.dumps(found))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    made: dict[str, float] = json.loads(done.stdout)
    return made


def import_time() -> float:
    """Seconds that `import splitplane` takes in a fresh interpreter, less an empty one's start; median."""

    def once(code: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - started

    return statistics.median(once("import splitplane") - once("pass") for _ in range(5))


def candidates(loaded: Any) -> dict[str, Candidate]:
    """Everything that is compared."""
    sys.path.insert(0, str(ROOT / "examples" / "hello"))
    import hello

    def address(name: str) -> int:
        return int(ctypes.cast(getattr(loaded, name), ctypes.c_void_p).value or 0)

    echo = Candidate(loaded, Echo, PAYLOAD, MANY)

    def by_hand(name: str) -> Candidate:
        return Candidate(loaded, Echo, PAYLOAD, MANY, entry=address(name), beside=echo)

    good, bad = b"\1" * 64, b"\0" * 64
    picky = Candidate(loaded, Picky, good, MANY)
    return {
        "nothing_c": by_hand("c_nothing"),
        "echo_c": by_hand("c_echo"),
        "echo_c_outside": by_hand("c_echo_outside"),
        "echo_compiled": echo,
        "echo_compiled_quiet": Candidate(loaded, Echo, PAYLOAD, MANY, kind="quiet", beside=echo),
        "echo_interpreted": Candidate(loaded, Echo, PAYLOAD, FEW, mode="interpreted"),
        "http_compiled": Candidate(loaded, hello.Hello, REQUEST, MANY // 10),
        "http_interpreted": Candidate(loaded, hello.Hello, REQUEST, FEW // 10, mode="interpreted"),
        "picky_ok": picky,
        "fault_reported": Candidate(loaded, Picky, bad, FEW, ok=0, beside=picky),
        "fault_quiet": Candidate(loaded, Picky, bad, MANY, kind="quiet", ok=0, beside=picky),
        "index_fault_reported": Candidate(loaded, Outside, good, FEW, ok=0),
        "index_fault_quiet": Candidate(loaded, Outside, good, MANY, kind="quiet", ok=0),
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="seven rounds, no compile times")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        made = candidates(library(Path(folder)))
        found: dict[str, list[float]] = {name: [] for name in made}
        for _ in range(7 if options.quick else ROUNDS):
            for name, candidate in made.items():
                found[name].append(candidate.measure())
        for candidate in made.values():
            candidate.close()
    middle = {name: statistics.median(values) for name, values in found.items()}

    def against(
        one: str, other: str, pick: Callable[[float, float], float] = lambda a, b: a / b
    ) -> float:
        return statistics.median(pick(a, b) for a, b in zip(found[one], found[other], strict=True))

    result: dict[str, Any] = {
        "machine": {"cpu": cpu_name(), "python": platform.python_version(), "cpus": os.cpu_count()},
        "setting": "one process on one CPU, hot data, one connection, 64 B payload, medians of interleaved rounds",
        "floor": {"call_of_a_c_handler_ns": middle["nothing_c"]},
        "ratios": {
            "compiled_vs_c": against("echo_compiled", "echo_c"),
            "compiled_vs_c_through_call_send": against("echo_compiled", "echo_c_outside"),
            "http_vs_interpreted": against("http_interpreted", "http_compiled"),
            "echo_vs_interpreted": against("echo_interpreted", "echo_compiled"),
            "fault_vs_ok": against("fault_reported", "picky_ok"),
            "quiet_fault_vs_ok": against("fault_quiet", "picky_ok"),
        },
        "nanoseconds": middle,
        "raw": found,
    }
    if not options.quick:
        result["compile_seconds"] = compile_times()
        result["import_splitplane_seconds"] = import_time()
    print(json.dumps(result) if options.json else json.dumps({**result, "raw": None}, indent=2))


def cpu_name() -> str:
    """The CPU's model."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
