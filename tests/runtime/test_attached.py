"""Looking into a running runtime: what is seen is true, and whatever becomes of either side harms the other in nothing."""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import splitplane
from processes import TOOLS, command, eventually, is_held, layout, toml
from seen import attached, registered, seen, unique
from splitplane.dataplane.peek import STATES
from splitplane.runtime import attached as module
from splitplane.runtime import registry
from splitplane.runtime.attached import own_memory
from splitplane.runtime.errors import RegistryError
from splitplane.runtime.facts import Memory
from splitplane.runtime.registry import Entry
from splitplane.runtime.runtime import Runtime

LOOK = """
import sys
import splitplane
with splitplane.attach(sys.argv[1]) as it:
    rows = it.connections("web")
    print(it.facts.pid, it.counters(0)["opened"], it.live(0), sorted(rows["remote_port"].tolist()))
"""


async def elsewhere(program: str, *arguments: str) -> str:
    """What a program prints that runs in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *arguments, stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


def test_another_process_sees_what_is_there(free_port: Callable[[], int]) -> None:
    """`splitplane.attach` from outside and `runtime.connections` from inside show the clients' own ports."""
    port = free_port()
    made = layout(port, driver="kernel").model_copy(update={"name": unique("it")})

    async def scenario() -> None:
        async with Runtime(made) as runtime:
            clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(7)]
            for client in clients:
                client.sendall(b"x" * 50)
                assert await asyncio.to_thread(client.recv, 50) == b"x" * 50
            ports = sorted(client.getsockname()[1] for client in clients)
            rows = runtime.connections("web")
            assert sorted(rows["remote_port"].tolist()) == ports
            assert set(rows["local_port"].tolist()) == {port}
            assert set(rows["state"].tolist()) == {STATES.index("established")}
            with pytest.raises(ValueError, match="read-only"):
                rows["state"] = 0
            with pytest.raises(KeyError, match="this runtime has web"):
                runtime.connections("nobody")
            text = await elsewhere(LOOK, runtime.seen.name)
            assert text == f"{os.getpid()} 7 7 {ports}\n"
            assert runtime.seen.words.core(0)["pid"] == runtime.workers[0].pid
            for client in clients:
                client.close()
            assert runtime.seen.alive
        with pytest.raises(RegistryError, match="no runtime"):
            splitplane.attach(made.name)
        with pytest.raises(RuntimeError):
            runtime.connections()

    asyncio.run(scenario())


def test_a_killed_runtime_is_seen_to_be_dead(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """After kill -9 of all of it: `alive` is False, the last counters are still to be had, and memory goes with the
    reader."""
    (tmp_path / "survivors.py").symlink_to(TOOLS / "survivors.py")
    path = tmp_path / "layout.toml"
    name = unique("k")
    path.write_text(toml(free_port()).replace('name = "tested"', f'name = "{name}"'))
    with command(path) as running:
        running.seen("running")
        it = splitplane.attach(name)
        memory = it.facts.cores[0].arena
        turns = it.counters(0)["turns"]
        assert it.alive
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
        assert eventually(lambda: not it.alive)
        assert it.counters(0)["turns"] >= turns > 0
        assert len(it.connections()) == 0
        assert is_held((memory.device, memory.inode))
        it.close()
        it.close()
        assert eventually(lambda: not is_held((memory.device, memory.inode)))
        with pytest.raises(LookupError):
            it.counters(0)
        with pytest.raises(RegistryError):
            splitplane.attach(name)


def test_attaching_to_the_dying_is_an_error_at_worst() -> None:
    """Runtimes killed at any moment while somebody attaches: either it works or RegistryError says why."""
    program = (
        "import sys, time\n"
        f"sys.path.insert(0, {str(TOOLS)!r})\n"
        "from seen import Seen, registered\n"
        "world = Seen()\n"
        f"with registered(world, sys.argv[1]) as entry:\n"
        "    print(flush=True)\n"
        "    time.sleep(600)\n"
    )
    dice = random.Random(4)
    said = {"attached": 0, "refused": 0}
    for _ in range(6):
        name = unique("dying")
        process = subprocess.Popen(
            [sys.executable, "-c", program, name], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        process.stdout.readline()
        due = time.monotonic() + dice.random() * 0.02
        while process.poll() is None:
            try:
                with splitplane.attach(name) as it:
                    assert len(it.connections()) == it.live(0) == 0
                said["attached"] += 1
            except RegistryError:
                said["refused"] += 1
            if time.monotonic() > due:
                process.kill()
        process.stdout.close()
        with pytest.raises(RegistryError):
            splitplane.attach(name)
    assert said["attached"]


def test_readers_killed_at_any_point_change_nothing(free_port: Callable[[], int]) -> None:
    """kill -9 of processes that attach and read: the runtime serves on, holds no more than before and can be seen."""
    port = free_port()
    made = layout(port, driver="kernel").model_copy(update={"name": unique("r")})
    program = (
        "import sys, splitplane\n"
        "print(flush=True)\n"
        "while True:\n"
        "    with splitplane.attach(sys.argv[1]) as it:\n"
        "        it.connections(), it.core(0).fill(), it.rings(0)\n"
    )
    dice = random.Random(5)

    async def scenario() -> None:
        async with Runtime(made) as runtime:
            client = socket.create_connection(("127.0.0.1", port))
            before = len(os.listdir("/proc/self/fd"))
            for _ in range(5):
                reader = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", program, made.name, stdout=subprocess.PIPE
                )
                assert reader.stdout
                await reader.stdout.readline()
                await asyncio.sleep(dice.random() * 0.2)
                client.sendall(b"ping")
                assert await asyncio.to_thread(client.recv, 4) == b"ping"
                reader.kill()
                await reader.wait()
                del reader
            client.close()
            with splitplane.attach(made.name) as it:
                assert it.counters(0)["opened"] == 1
            assert runtime.workers[0].deaths == 0
            assert eventually(lambda: len(os.listdir("/proc/self/fd")) <= before + 2)

    asyncio.run(scenario())


def test_only_the_very_memory_is_believed() -> None:
    """A process that has something else under the number, or a pid that somebody else has by now, is not looked into."""
    with seen() as world:
        for wrong in ({"inode": 1}, {"size": 4096}, {"descriptor": 0}, {"descriptor": 2**30}):
            core = world.facts().cores[0]
            arena = Memory(**(core.arena.model_dump() | wrong))
            cores = (core.model_copy(update={"arena": arena}),)
            entry = Entry(world.facts(unique(), cores=cores))
            try:
                with pytest.raises(RegistryError, match="just ended"):
                    splitplane.attach(entry.name)
            finally:
                entry.close()


def test_holders_with_more_rights_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the controller may not be looked into, a worker of it will do; if none may, the refusal says so."""
    with seen() as world, registered(world) as entry:
        real = os.open
        refused: list[str] = []

        def guarded(path: str, *arguments: int, **more: int) -> int:
            if str(path).startswith("/proc/") and len(refused) < most:
                refused.append(path)
                raise PermissionError(13, "no")
            return real(path, *arguments, **more)

        monkeypatch.setattr(module.os, "open", guarded)
        entry.words.set_runtime(launcher=os.getppid())
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"],
            stdin=subprocess.PIPE,
            pass_fds=(world.fd, world.mesh.fd),
        )
        try:
            entry.words.set_core(0, pid=child.pid)
            most = 1
            splitplane.attach(entry.name).close()
            assert len(refused) == 1
            most = 1000
            with pytest.raises(RegistryError, match="more rights"):
                splitplane.attach(entry.name)
        finally:
            child.communicate(b"\n")


def test_without_a_name_the_only_one_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    """None runs: it says so. One: that. Several: it names them. Doubtful ones are told of, not taken."""
    mine = unique("mine")
    real = registry.names
    monkeypatch.setattr(registry, "names", lambda: [each for each in real() if mine in each])
    with pytest.raises(RegistryError, match="no runtime of user"):
        splitplane.attach()
    with seen() as world, registered(world, mine):
        with splitplane.attach() as it:
            assert it.name == mine
        with registered(world, mine), pytest.raises(RegistryError, match=f"2 runtimes.*{mine}.2"):
            splitplane.attach()
    path = Path(f"{registry.FOLDER}/{registry.PREFIX}{mine}")
    path.write_text("nonsense")
    try:
        with pytest.raises(RegistryError, match="open to others"):
            splitplane.attach()
    finally:
        path.unlink()


def test_pieces_are_the_whole() -> None:
    """`blocks` of any size give the rows of `connections`, in order."""
    with seen(500) as world, attached(world) as it:
        peers = [world.connect(number) for number in range(500)]
        for peer in random.Random(3).sample(peers, 300):
            world.reset(peer)
        world.core.turn()
        whole = it.connections()
        assert len(whole) == 200
        for size in (1, 7, 64, 1000):
            pieces = [block.copy() for block in it.blocks("web", size)]
            assert (np.concatenate(pieces) == whole).all()


def test_the_program_sees_itself_where_it_can_not_be_found(
    monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]
) -> None:
    """Without shared memory the runtime runs, warns that others can't find it, and sees itself; when its entry was taken
    away it comes back."""
    port = free_port()
    made = layout(port, driver="kernel").model_copy(update={"name": unique("w")})

    async def scenario() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(registry, "NAMES_MOST", 0)
            async with Runtime(made) as runtime:
                assert any("can't find this runtime" in warning for warning in runtime.warnings)
                assert len(runtime.connections()) == 0
        async with Runtime(made) as runtime:
            path = Path(f"{registry.FOLDER}/{registry.PREFIX}{made.name}")
            await asyncio.to_thread(path.unlink)
            assert await asyncio.to_thread(eventually, path.exists, 60)
            with splitplane.attach(made.name) as it:
                assert it.words.core(0)["pid"] == runtime.workers[0].pid

    asyncio.run(scenario())


def test_an_attached_one_is_closed_whole() -> None:
    """Attaching and closing a thousand times leaves no descriptor and no mapping behind."""
    with seen() as world, registered(world) as entry:
        splitplane.attach(entry.name).close()
        descriptors, maps = len(os.listdir("/proc/self/fd")), _maps()
        for _ in range(300):
            splitplane.attach(entry.name).close()
        with suppress(RegistryError):
            splitplane.attach(entry.name + ".9")
        assert len(os.listdir("/proc/self/fd")) == descriptors
        assert _maps() == maps


def _maps() -> int:
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sum("splitplane" in line for line in lines)


def test_memory_of_this_process_is_opened_read_only() -> None:
    """What a runtime sees itself through can't be written either."""
    with seen() as world:
        descriptor = own_memory(Memory.of(world.fd))
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(descriptor, b"x")
        os.close(descriptor)
