"""`splitplane reload` at doors that others hold, that are silent, or of which there are several; and what it answers."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import splitplane
from processes import free_cpus
from seen import unique
from splitplane.controlplane import reload as module
from splitplane.runtime.errors import RegistryError

LAYOUT = """
name = "{name}"
[nic.front]
driver = "kernel"
bind = "127.0.0.1"
[group.web]
cpus = {cpus}
nic = "front"
[[group.web.listen]]
port = "tcp:{port}"
actor = "greet:Greet"
config = {{ greeting = {greeting}, twice = {twice} }}
"""
MODULE = """
from splitplane import Config, Connection, DataActor, State, View
from splitplane.types import u32

class Settings(Config):
    greeting: u32
    twice: u32

class Greet(DataActor):
    config: Settings

    def on_data(self, connection: Connection[State], data: View) -> int:
        return len(data)
"""


@contextmanager
def door(name: str) -> Iterator[socket.socket]:
    """Somebody at the door of a runtime of that name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(f"\0{module.PREFIX}{os.geteuid()}/{name}")
        listening.listen()
        yield listening


def reload(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "splitplane", "reload", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_several_run() -> None:
    """Without a name none is chosen: it says which there are."""
    one, other = sorted((unique(), unique()))
    with door(one), door(other):
        done = reload()
        assert done.returncode == 1
        assert "several layouts run: " in done.stderr
        assert f"{one}, {other}" in done.stderr
        assert "splitplane reload NAME" in done.stderr


def test_a_silent_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes the call and says nothing is given up in the end, and named."""
    monkeypatch.setattr(module, "TIMEOUT", 0.05)
    name = unique()
    with door(name), pytest.raises(RegistryError, match=f"layout '{name}' does not answer"):
        module.ask(name)


def test_a_door_of_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever else has taken that name is told nothing and not believed."""
    monkeypatch.setattr(module, "_peer", lambda _: os.geteuid() + 1)
    name = unique()
    with door(name), pytest.raises(RegistryError, match=f"layout '{name}' does not run"):
        module.ask(name)


class Here:
    """A layout with an actor beside it."""

    def __init__(self, folder: Path, port: int) -> None:
        (folder / "greet.py").write_text(MODULE)
        self.file = folder / "layout.toml"
        self.name, self._port, self._cpus = unique("reloaded"), port, free_cpus()
        self.write(greeting=1, twice=2)

    def write(self, **values: int) -> None:
        text = LAYOUT.format(name=self.name, port=self._port, cpus=self._cpus, **values)
        self.file.write_text(text)


def test_another_user_is_refused(
    tmp_path: Path, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime that is asked by somebody else hangs up, and changes nothing."""
    here = Here(tmp_path, free_port())

    async def scene() -> None:
        async with splitplane.start(here.file) as runtime:
            here.write(greeting=5, twice=6)
            with monkeypatch.context() as other:
                other.setattr(module, "_peer", lambda _: os.geteuid() + 1)
                done = await asyncio.to_thread(reload, here.name)
            assert (done.returncode, "refused" in done.stderr) == (1, True)
            config = runtime._configs.layout.group["web"].listen[0].config
            assert config == {"greeting": 1, "twice": 2}

    asyncio.run(scene())


def test_json_and_overrides(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """--json has the keys that changed, or the problems; what `--set` said at the start goes before the file."""
    here = Here(tmp_path, free_port())

    async def scene() -> None:
        override = "group.web.listen[0].config.greeting=11"
        async with splitplane.start(here.file, [override]) as runtime:
            config = lambda: runtime._configs.layout.group["web"].listen[0].config
            assert config() == {"greeting": 11, "twice": 2}
            here.write(greeting=5, twice=6)
            done = await asyncio.to_thread(reload, here.name, "--json")
            assert (done.returncode, done.stderr) == (0, "")
            assert json.loads(done.stdout) == {"changed": ["group.web.listen[0].config.twice"]}
            assert config() == {"greeting": 11, "twice": 6}
            here.write(greeting=5, twice=-6)
            done = await asyncio.to_thread(reload, here.name, "--json")
            assert done.returncode == 1
            (problem,) = json.loads(done.stdout)["problems"]
            assert (problem["key"], problem["value"]) == ("group.web.listen[0].config.twice", -6)
            assert config() == {"greeting": 11, "twice": 6}

    asyncio.run(scene())
