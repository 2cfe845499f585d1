"""`self.tell(message, to="web")`: a group's name reaches every core of it, in both modes and between real workers."""

import asyncio
import mmap
import os
from pathlib import Path

import pytest
from processes import eventually, free_cpus, layout
from splitplane.dataplane.native import ffi, lib
from splitplane.dataplane.ring import EVERY_LISTENER, TELL, Ring, ring_bytes
from splitplane.runtime.actor import Connection, DataActor
from splitplane.runtime.check import check
from splitplane.runtime.claim import holder_of
from splitplane.runtime.errors import ActorError
from splitplane.runtime.message import Message
from splitplane.runtime.runtime import Runtime
from splitplane.runtime.state import State
from splitplane.runtime.types import u32
from splitplane.runtime.view import View
from splitplane.testing import Bench, Mode
from talkers import Cry, GetTally, Tally

STORE = "store"
SENTENCE = "this layout has no group 'store'; its groups are stores, web"
CELLS = 8


class Names:
    """Constants of a class."""

    WEB = "web"


class Note(Message):
    number: u32


class Herald(DataActor):
    EDGE = "edge"

    def on_data(self, connection: Connection[State], data: View) -> int:
        if data[0] == 1:
            connection.send_int(self.tell(Note(number=1), to="web"))
        elif data[0] == 2:
            connection.send_int(self.tell(Note(number=2), to=Names.WEB))
        elif data[0] == 3:
            connection.send_int(self.tell(Note(number=3), to=self.EDGE))
        else:
            self.tell(Note(number=4), to=STORE)
        return 1


@pytest.fixture(params=["interpreted", "compiled"])
def mode(request: pytest.FixtureRequest) -> Mode:
    """Both modes."""
    found: Mode = request.param
    return found


def test_the_bench_shows_what_groups_are_told(mode: Mode) -> None:
    """Whatever the group's name, in the call, the module or a class: the message is in `told`, once."""
    with Bench(Herald, mode=mode) as bench:
        peer = bench.connect()
        peer.send(b"\1\2\3\4")
        assert peer.received == b"111"
        assert bench.told == [Note(number=number) for number in (1, 2, 3, 4)]
        assert not bench.faults


def test_unknown_groups_are_refused_compiled() -> None:
    """Before the start, under the name, with the groups there are."""
    with (
        pytest.raises(ActorError) as caught,
        Bench(Herald, mode="compiled", groups=["stores", "web", "edge"]),
    ):
        pass
    (problem,) = caught.value.problems
    lines = Path(__file__).read_text().splitlines()
    assert (problem.problem, problem.remedy) == (f"{SENTENCE}, edge", 'did you mean "stores"?')
    assert Path(problem.file) == Path(__file__)
    assert lines[problem.line - 1].endswith("to=STORE)")
    line, carets = problem.excerpt.split("\n")
    assert line[carets.index("^") : carets.rindex("^") + 1] == "STORE"


def test_unknown_groups_are_faults_interpreted() -> None:
    """At the line that says the name, in the same words."""
    with Bench(Herald, groups=["stores", "web"]) as bench:
        bench.connect().send(b"\4")
        (fault,) = bench.faults
        assert fault.error == f'ActorError: {SENTENCE}: did you mean "stores"?'
        assert fault.file == __file__
        assert bench.told == []


def test_every_core_of_the_group(mode: Mode) -> None:
    """Cores 0 (its own), 5 and 63 have it and no other; one full ring makes it False, and the others have it all the
    same."""
    names = {"web": 1 | 1 << 5 | 1 << 63, "edge": 1 << 7, "store": 0}
    bench = Bench(Herald, mode=mode, groups=names)
    object.__setattr__(bench.schema, "groups", names)
    memory = mmap.mmap(-1, 8 * ring_bytes(CELLS))
    rings = {}
    for place, number in enumerate((0, 5, 7, 63)):
        rings[number] = Ring.format(memory, CELLS, place * ring_bytes(CELLS))
        lib.core_peer(bench.core_of_tests.pointer, number, rings[number].pointer, ffi.NULL)
    with bench:
        peer = bench.connect()
        peer.send(b"\1\3")
        got = {number: ring.get() for number, ring in rings.items()}
        note = bench.schema.number(Note)
        for number, message in got.items():
            assert message is not None
            assert (message.kind, message.type, message.target) == (TELL, note, EVERY_LISTENER)
            assert message.payload == Note(number=3 if number == 7 else 1).to_bytes()
            rings[number].advance()
            assert rings[number].get() is None
        assert (bench.counters["told"], bench.counters["mailbox_full"]) == (4, 0)
        while rings[5].put(note, b"full", kind=TELL, target=0):
            pass
        peer.send(b"\1")
        assert peer.received == b"110"
        assert (bench.counters["told"], bench.counters["mailbox_full"]) == (6, 1)
        for number in (0, 63):
            assert rings[number].get() is not None


def test_between_workers() -> None:
    """A worker tells its own group and another one by name; each core takes what its group was told."""
    cpus = sorted(os.sched_getaffinity(0))[-2:]
    assert eventually(lambda: all(holder_of(f"cpu/{cpu}") is None for cpu in cpus), 100)
    store = (
        f'[group.store]\ncpus = {cpus[:1]}\nnic = "front"\nconnections = 64\n'
        '[[group.store.listen]]\nport = "tcp:8"\nactor = "talkers:Crier"\n'
    )

    async def tallies(runtime: Runtime) -> list[Tally]:
        asks = [runtime[name][0].ask(GetTally(), timeout=20) for name in ("web", "store")]
        return await asyncio.gather(*asks)

    async def scene() -> None:
        async with Runtime(layout(actor="talkers:Crier", more=store)) as runtime:
            for number in range(100):
                await runtime["web"][0].tell(Cry(value=number, own=number % 4 == 0))
            while [tally.got for tally in await tallies(runtime)] != [25, 75]:
                await asyncio.sleep(0.001)
            assert [tally.refused for tally in await tallies(runtime)] == [0, 0]

    asyncio.run(scene())


def test_check_names_the_groups(tmp_path: Path, free_port: object) -> None:
    """`splitplane check` points at the name that is no group of the layout."""
    (tmp_path / "criers.py").write_text(
        "from splitplane import DataActor, Message, on\nfrom splitplane.types import u32\n\n\n"
        "class Cry(Message):\n    value: u32\n\n\nclass Crier(DataActor):\n    @on(Cry)\n"
        "    def cry(self, message: Cry) -> None:\n        self.tell(message, to='wbe')\n"
    )
    (tmp_path / "layout.toml").write_text(
        f'name = "criers"\n[nic.front]\ndriver = "kernel"\nbind = "127.0.0.1"\n[group.web]\ncpus = {free_cpus()}\n'
        f'nic = "front"\n[[group.web.listen]]\nport = "tcp:{free_port()}"\nactor = "criers:Crier"\n'  # type: ignore[operator]
    )
    (problem,) = check(tmp_path / "layout.toml").problems
    assert str(problem) == (
        f"{tmp_path}/criers.py:12: Crier.cry: this layout has no group 'wbe'; its groups are web: did you mean \"web\"?\n"
        "    self.tell(message, to='wbe')\n"
        "                          ^^^^^"
    )
