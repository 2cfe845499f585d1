"""A real worker killed at every crash point that a connection's life passes, and adopted by its standby.

The extension is compiled once more, with crash points, and put into a copy of the package that only the launcher uses.
"""

import asyncio
import mmap
import random
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import splitplane
from processes import OURS, Echoes, layout, until
from splitplane.dataplane.peer import Peer, PeerConnection
from splitplane.nic.memory import Wire
from splitplane.runtime import controller
from splitplane.runtime.controller import Event
from splitplane.runtime.runtime import Runtime

C_FOLDERS = ("runtime", "dataplane", "nic", "loadgen", "controlplane")
ROOT = Path(__file__).parent.parent.parent
CRASH = struct.Struct("<QQ64s48s")  # struct crash of dataplane/crash.c
WITNESSES = 6
MOST = 400


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import splitplane from, with crash points in its compiled module."""
    folder = tmp_path_factory.mktemp("crash")
    (folder / "splitplane").mkdir()
    for entry in Path(splitplane.__path__[0]).iterdir():
        if not entry.name.startswith(("_native", ".", "build")):
            (folder / "splitplane" / entry.name).symlink_to(entry)
    wanted = re.search(r"native_headers = \[(.*?)\]", (ROOT / "meson.build").read_text(), re.DOTALL)
    assert wanted
    headers = re.findall(r"'(\S+?)'", wanted[1])
    glue = folder / "_native.c"
    script = ROOT / "dataplane" / "native_source.py"
    subprocess.run([sys.executable, str(script), str(glue), str(ROOT), *headers], check=True)
    sources = [path for part in C_FOLDERS for path in ROOT.glob(f"{part}/*.c")]
    include = [ROOT, *(ROOT / part for part in C_FOLDERS)]
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "a C compiler is needed: apt-get install gcc"
    subprocess.run(
        [
            *(compiler, "-std=gnu11", "-O1", "-fno-strict-aliasing", "-fvisibility=hidden"),
            *("-DCRASH_POINTS", "-DPy_LIMITED_API=0x030b0000", "-shared", "-fPIC", "-pthread"),
            f"-I{sysconfig.get_path('include')}",
            *(f"-I{path}" for path in include),
            *map(str, (glue, *sources)),
            *("-o", str(folder / "splitplane" / "_native.abi3.so")),
        ],
        check=True,
        timeout=110,
    )
    return folder


class CrashFile:
    """What the worker's crash points count in, and which of them kills."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(CRASH.size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), CRASH.size)

    @property
    def reached(self) -> int:
        return int(CRASH.unpack(self._memory)[0])

    @property
    def killed(self) -> str:
        return bytes(CRASH.unpack(self._memory)[3]).rstrip(b"\0").decode()

    def kill_at(self, steps: int) -> None:
        """The point that is so many further kills; 0: none does."""
        self._memory[8:16] = (self.reached + steps if steps else 0).to_bytes(8, "little")


async def life(peer: Peer, dice: random.Random, *, abort: bool) -> tuple[PeerConnection, bytes]:
    """One connection from SYN to FIN, or to a reset: both ends of its buffers are used."""
    one = peer.connect(OURS, 7)
    await until(lambda: one.opened or one.closed, peer.poll)
    sent = bytearray()
    for size in (1, 3000, 70):
        data = dice.randbytes(size)
        sent += data
        one.send(data)
        await until(lambda goal=len(sent): one.closed or one.length == goal, peer.poll)
    if abort:
        one.abort()
    else:
        one.close()
    await until(lambda: one.closed, peer.poll)
    return one, bytes(sent)


def test_worker_killed_at_every_crash_point_loses_nothing(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at the first, the second, … crash point of a connection's life, the worker is adopted: that connection goes
    on, or is reset if its handler ran just then; the others keep every byte; no record is left over."""
    crash = CrashFile(tmp_path / "crash")
    usual = controller.launcher_environment()
    usual["PYTHONPATH"] = f"{package}:{usual['PYTHONPATH']}"
    usual["CRASH_POINTS"] = str(tmp_path / "crash")
    monkeypatch.setattr(controller, "launcher_environment", lambda: usual)
    steps: list[str] = []

    async def scenario() -> None:
        events: list[Event] = []
        runtime = Runtime(layout())
        runtime.listen(events.append)
        dice = random.Random(13)
        async with runtime:
            with Wire(runtime.wire(0), 1) as wire, Peer(wire, connections=32) as peer:
                peer.start()
                witnesses = Echoes(peer, WITNESSES, dice)
                for step in range(1, MOST):
                    before = runtime.workers[0].deaths
                    crash.kill_at(step)
                    one, sent = await life(peer, dice, abort=step % 4 == 0)
                    crash.kill_at(0)
                    witnesses.feed(500)
                    assert witnesses.settle(), f"step {step}, {crash.killed}"
                    await until(lambda: runtime.workers[0].pid, peer.poll)
                    died = [event.fields for event in events if event.kind == "died"][before:]
                    caught = any(fields["record"] for fields in died)
                    assert sent.startswith(one.received), f"step {step}, {died}"
                    assert one.length == len(sent) or caught, f"step {step}, {died}"
                    one.forget()
                    if not died:
                        break
                    steps.append(crash.killed)
                assert (witnesses.wrong(), witnesses.closed()) == ([], [])
                await until(lambda: runtime.live(0) == WITNESSES, peer.poll)

    asyncio.run(scenario())
    assert len(set(steps)) >= 10, steps
