"""Configs change while a runtime runs: whole, once, also for the next worker; anything else is refused in words."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import splitplane
from processes import free_cpus, kill_worker, until
from splitplane.runtime.errors import ActorError
from splitplane.runtime.runtime import Runtime

MODULE = """
from splitplane import Config, Connection, ControlActor, DataActor, State, View
from splitplane.types import u32

class Settings(Config):
    greeting: u32 = 1
    twice: u32 = 2

class Greet(DataActor):
    config: Settings

    def on_data(self, connection: Connection[State], data: View) -> int:
        connection.send_int(self.config.greeting)
        connection.send(b" ")
        connection.send_int(self.config.twice)
        connection.send(b"\\n")
        return len(data)

class Plain(DataActor):
    def on_data(self, connection: Connection[State], data: View) -> int:
        connection.send(data)
        return len(data)

class Boss(ControlActor):
    config: Settings
"""
LAYOUT = """
name = "{name}"
[nic.front]
driver = "kernel"
bind = "127.0.0.1"
[group.web]
cpus = {cpus}
nic = "front"
[[group.web.listen]]
port = "tcp:{plain}"
actor = "greet:Plain"
[[group.web.listen]]
port = "tcp:{port}"
actor = "greet:Greet"
config = {{ greeting = {greeting}, twice = {twice} }}
[control.boss]
actor = "greet:Boss"
config = {{ greeting = {greeting} }}
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Here:
    """A folder with the actors and their layout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "greet.py").write_text(MODULE)
        self.values = {"name": f"configured{os.getpid()}", "cpus": free_cpus(1)}
        self.values["plain"], self.values["port"] = free_ports(2)
        self.write(greeting=4, twice=8)

    @property
    def file(self) -> Path:
        return self.folder / "layout.toml"

    def write(self, **values: object) -> None:
        self.values |= values
        self.file.write_text(LAYOUT.format(**self.values))

    def said(self) -> bytes:
        """What a new connection is told."""
        with socket.create_connection(("127.0.0.1", self.values["port"]), 10) as client:
            client.settimeout(10)
            client.sendall(b"?")
            return client.makefile("rb").readline()


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


def reload(name: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "splitplane", "reload", name]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_configs_change_live(here: Here) -> None:
    """By call and by the command; the successor of a killed worker has what was changed; nothing is applied by halves."""
    asyncio.run(changes(here))


async def changes(here: Here) -> None:
    async with splitplane.start(here.file) as runtime:
        said = lambda: asyncio.to_thread(here.said)
        assert await said() == b"4 8\n"
        await runtime.configure("web", greeting=5)
        assert await said() == b"5 8\n"
        for number in range(20):
            await runtime.configure("web", greeting=number, twice=2 * number)
            assert await said() == b"%d %d\n" % (number, 2 * number)
        deaths = runtime.workers[0].deaths
        assert kill_worker(runtime)
        await until(lambda: runtime.workers[0].deaths > deaths and runtime.workers[0].pid)
        assert await said() == b"19 38\n"
        assert await refusals(runtime) == b"19 38\n"
        here.write(greeting=7, twice=14)
        done = await asyncio.to_thread(reload, str(here.file))
        assert (done.returncode, done.stderr) == (0, "")
        assert "changed: group.web.listen[1].config.greeting" in done.stdout
        assert await said() == b"7 14\n"
        assert runtime._running.actors["boss"].config.greeting == 7
        again = await asyncio.to_thread(reload, str(here.values["name"]))
        assert "nothing has changed" in again.stdout
        await wrong_reloads(here)


async def refusals(runtime: Runtime) -> bytes:
    """Calls that are refused change nothing."""
    with pytest.raises(ActorError, match=r"no actor of the group has it in its Config.*known here"):
        await runtime.configure("web", greeting=1, farewell=2)
    with pytest.raises(ActorError, match=r"group.web.listen\[1\].config.twice = -1"):
        await runtime.configure("web", greeting=1, twice=-1)
    with pytest.raises(KeyError, match="no group shop: this layout has web"):
        await runtime.configure("shop", greeting=1)
    return b"19 38\n"


async def wrong_reloads(here: Here) -> None:
    """Each says what is wrong, and what was right beside it is not applied either."""
    here.write(plain=int(str(here.values["plain"])) + 1, greeting=9)
    done = await asyncio.to_thread(reload, str(here.values["name"]))
    assert done.returncode == 1
    assert "group.web.listen[0].port" in done.stderr
    assert "can't change live: stop it and start it again" in done.stderr
    here.write(plain=int(str(here.values["plain"])) - 1, greeting=-9)
    done = await asyncio.to_thread(reload, str(here.values["name"]))
    assert (done.returncode, "greeting = -9" in done.stderr) == (1, True)
    here.file.write_text("name = ")
    done = await asyncio.to_thread(reload, str(here.values["name"]))
    assert (done.returncode, "layout.toml" in done.stderr) == (1, True)
    assert await asyncio.to_thread(here.said) == b"7 14\n"


def test_nobody_to_reload() -> None:
    """An unknown name is refused, naming what runs or what to do."""
    done = reload("nobody-of-this-name")
    assert done.returncode == 1
    assert "layout 'nobody-of-this-name' does not run" in done.stderr


def test_a_layout_without_a_file_cannot_reload() -> None:
    """It says so, and what to do instead."""
    layout = splitplane.Layout(
        name="nofile",
        nic={"front": {"driver": "kernel", "bind": "127.0.0.1"}},  # type: ignore[dict-item]
        group={
            "web": {  # type: ignore[dict-item]
                "cpus": [0],
                "nic": "front",
                "listen": [{"port": "tcp:1", "actor": "x:Y"}],
            }
        },
    )
    with pytest.raises(RuntimeError, match="came from no file"):
        asyncio.run(Runtime(layout).reload())
