"""Configs that change all the time under load: every core has each of them whole, and in order."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import splitplane
from processes import free_cpus, until
from splitplane.runtime import configure as module
from splitplane.runtime.errors import QuarantineError
from splitplane.runtime.runtime import Runtime
from splitplane.runtime.system import process_status

MODULE = """
from splitplane import Config, Connection, DataActor, State, View
from splitplane.types import u32

class Settings(Config):
    greeting: u32 = 1
    twice: u32 = 2

class Greet(DataActor):
    config: Settings

    def on_data(self, connection: Connection[State], data: View) -> int:
        for _ in range(len(data)):
            connection.send_int(self.config.greeting)
            connection.send(b" ")
            connection.send_int(self.config.twice)
            connection.send(b"\\n")
        return len(data)
"""
LAYOUT = """
name = "atomic"
[supervision]
restarts = {restarts}
[nic.front]
driver = "kernel"
bind = "127.0.0.1"
"""
GROUP = """
[group.{name}]
cpus = [{cpu}]
nic = "front"
[[group.{name}.listen]]
port = "tcp:{port}"
actor = "atomic:Greet"
"""
CHANGES = 300
Ports = dict[str, int]


@asynccontextmanager
async def running(
    folder: Path, free_port: Callable[[], int], restarts: int = 100_000
) -> AsyncIterator[tuple[Runtime, Ports]]:
    """Two groups of a core each."""
    (folder / "atomic.py").write_text(MODULE)
    ports, text = {}, LAYOUT.format(restarts=restarts)
    for name, cpu in zip(("web", "shop"), free_cpus(2), strict=True):
        ports[name] = free_port()
        text += GROUP.format(name=name, cpu=cpu, port=ports[name])
    file = folder / "layout.toml"
    file.write_text(text)
    async with splitplane.start(file) as runtime, asyncio.timeout(90):
        yield runtime, ports


class Clients:
    """Connections that ask all the time, opened again when their worker dies."""

    def __init__(self, port: int, count: int = 4) -> None:
        self.said: list[tuple[int, int]] = []
        self._port, self._over = port, False
        self._tasks = [asyncio.ensure_future(self._ask_on()) for _ in range(count)]

    async def _ask_on(self) -> None:
        while not self._over:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._ask()

    async def _ask(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        last = -1
        try:
            while not self._over:
                writer.write(b"?" * 8)
                for _ in range(8):
                    greeting, twice = map(int, (await reader.readuntil(b"\n")).split())
                    assert greeting >= last, "an earlier config came back"
                    last = greeting
                    self.said.append((greeting, twice))
        finally:
            writer.close()

    async def end(self) -> list[tuple[int, int]]:
        """What they were told."""
        self._over = True
        await asyncio.gather(*self._tasks)
        return self.said


async def change_on(runtime: Runtime, group: str) -> None:
    for number in range(2, CHANGES):
        await runtime.configure(group, greeting=number, twice=2 * number)


@pytest.mark.parametrize("kills", [0, 8])
def test_no_pair_is_ever_torn(tmp_path: Path, free_port: Callable[[], int], kills: int) -> None:
    """While two groups' configs change side by side, each answer has both values of one change, later ones later; also
    when workers are killed in the middle of it, whose successors have the latest."""

    async def scene() -> None:
        async with running(tmp_path, free_port) as (runtime, ports):
            clients = {name: Clients(port) for name, port in ports.items()}
            changing = [asyncio.ensure_future(change_on(runtime, name)) for name in ports]
            for kill in range(kills):
                worker = runtime.workers[kill % 2]
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL) if worker.pid else None
                await until(lambda kill=kill, was=worker: gone(runtime, kill % 2, was.deaths))
            await asyncio.gather(*changing)
            for name, one in clients.items():
                await until(lambda one=one: one.said and one.said[-1][0] == CHANGES - 1)
                said = await one.end()
                assert {twice - 2 * greeting for greeting, twice in said} == {0}
                assert runtime.layout.group[name].listen[0].config == {}
                held = runtime._configs.layout.group[name].listen[0].config
                assert held == {"greeting": CHANGES - 1, "twice": 2 * CHANGES - 2}

    asyncio.run(scene())


def gone(runtime: Runtime, core: int, deaths: int) -> bool:
    """Whether core has lost one more, and has another."""
    worker = runtime.workers[core]
    return worker.deaths > deaths and worker.pid > 0


def test_two_changes_at_once(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """Each changes its own field and leaves the other's as it is: neither is lost, in whatever order."""

    async def scene() -> None:
        async with running(tmp_path, free_port) as (runtime, ports):
            clients = Clients(ports["web"], 1)
            for number in range(2, 50):
                await asyncio.gather(
                    runtime.configure("web", greeting=number),
                    runtime.configure("web", twice=2 * number),
                )
            await until(lambda: clients.said and clients.said[-1] == (49, 98))
            halves = {twice - 2 * greeting for greeting, twice in await clients.end()}
            assert halves <= {0, -2}  # greeting is always changed first

    asyncio.run(scene())


def test_a_core_that_does_not_run(
    tmp_path: Path, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TimeoutError names it; it has the change as soon as it runs again; another group changes meanwhile."""
    monkeypatch.setattr(module, "PATIENCE", 0.2)

    async def scene() -> None:
        async with running(tmp_path, free_port) as (runtime, ports):
            pid = runtime.workers[0].pid
            os.kill(pid, signal.SIGSTOP)
            await until(lambda: (seen := process_status(pid)) and seen.state == "T")
            said = "core 0 has not taken a change of its config within 0.2 s: it will when it runs"
            with pytest.raises(TimeoutError, match=said):
                await runtime.configure("web", greeting=7, twice=14)
            with pytest.raises(TimeoutError, match=r"an earlier change .* this one was not made"):
                await runtime.configure("web", greeting=8, twice=16)
            await runtime.configure("shop", greeting=5, twice=10)
            os.kill(pid, signal.SIGCONT)
            for name, pair in (("web", (7, 14)), ("shop", (5, 10))):
                clients = Clients(ports[name], 1)
                await until(lambda clients=clients, pair=pair: pair in clients.said)
                await clients.end()
            await runtime.configure("web", twice=16)
            clients = Clients(ports["web"], 1)
            await until(lambda: clients.said)
            assert set(await clients.end()) == {(7, 16)}

    asyncio.run(scene())


def test_a_group_that_was_given_up(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """Says so at once instead of waiting for cores that nobody will run; a reload leaves it out and changes the others."""

    async def scene() -> None:
        async with running(tmp_path, free_port, restarts=0) as (runtime, ports):
            os.kill(runtime.workers[0].pid, signal.SIGKILL)
            await until(lambda: runtime.quarantined)
            with pytest.raises(QuarantineError, match="group web is quarantined"):
                await runtime.configure("web", greeting=3)
            file = tmp_path / "layout.toml"
            text = file.read_text().replace('Greet"', 'Greet"\nconfig = { greeting = 9 }')
            file.write_text(text)
            assert len(await runtime.reload()) == 2
            clients = Clients(ports["shop"], 1)
            await until(lambda: clients.said)
            assert set(await clients.end()) == {(9, 2)}

    asyncio.run(scene())
