"""A group whose workers die too often is quarantined; the others serve on."""

import asyncio
import os
import signal
import socket
import tomllib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from processes import TOOLS, children, command, eventually, is_alive, is_listening, toml, until
from splitplane.runtime.controller import Event
from splitplane.runtime.errors import QuarantineError, StartError
from splitplane.runtime.layout import Layout
from splitplane.runtime.runtime import Runtime
from splitplane.runtime.system import process_status
from survivors import GetTotals, Visit

RESTARTS = 2


def text(port: int, other: int = 0) -> str:
    """A group `web` on one CPU, and at port `other` a group `edge` on another."""
    made = toml(port, actor="survivors:Teller").replace(
        "restarts = 100000", f"restarts = {RESTARTS}"
    )
    if not other:
        return made
    taken = tomllib.loads(made)["group"]["web"]["cpus"]
    free = [cpu for cpu in sorted(os.sched_getaffinity(0)) if cpu not in taken]
    edge = made[made.index("[group.web]") :].replace("web", "edge")
    return made + edge.replace(str(taken), str(free[:1])).replace(f"tcp:{port}", f"tcp:{other}")


def layout(port: int, other: int = 0) -> Layout:
    """The same as an object."""
    made = Layout.model_validate(tomllib.loads(text(port, other)))
    return made.located(TOOLS, "layout.toml")


async def die(runtime: Runtime, times: int) -> None:
    """Kills the worker of core 0 so many times, each time once there is one."""
    for _ in range(times):
        await until(lambda: runtime.workers[0].pid)
        deaths = runtime.workers[0].deaths
        os.kill(runtime.workers[0].pid, signal.SIGKILL)
        await until(partial(has_died, runtime, deaths))


def has_died(runtime: Runtime, deaths: int) -> bool:
    """Whether core 0 has lost another worker than so many."""
    return runtime.workers[0].deaths > deaths


async def stopped(runtime: Runtime) -> None:
    """Stops the worker of core 0, and waits until it has."""
    await until(lambda: runtime.workers[0].pid)
    pid = runtime.workers[0].pid
    os.kill(pid, signal.SIGSTOP)
    await until(lambda: (seen := process_status(pid)) and seen.state == "T")


async def asked(stream: socket.socket, data: bytes) -> bytes:
    """What an actor answers to a byte."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(stream, data)
    return await loop.sock_recv(stream, 1)


def connected(port: int) -> socket.socket:
    """A connection to that port."""
    stream = socket.create_connection(("127.0.0.1", port), timeout=20)
    stream.setblocking(False)
    return stream


def test_quarantined_group_is_refused_and_the_other_serves_on(
    free_port: Callable[[], int],
) -> None:
    """Its clients are refused by Linux; a data actor's tell to it is False and counted. The other group keeps its worker
    and its connections, and a new launcher gives the quarantined one no worker."""

    async def scenario() -> None:
        port, other = free_port(), free_port()
        async with Runtime(layout(port, other)) as runtime:
            edge, web = connected(other), connected(port)
            assert await asked(edge, b"w") == b"1"
            assert await asked(web, b"w") == b"1"
            survivor = runtime.workers[1].pid
            await die(runtime, RESTARTS + 1)
            await until(lambda: runtime.quarantined)
            assert runtime.quarantined == {"web"}
            assert await asyncio.get_running_loop().sock_recv(web, 1) == b""
            assert not is_listening(port)
            with pytest.raises(ConnectionRefusedError):
                connected(port)
            assert await asked(edge, b"w") == b"0"
            assert runtime.counters(1)["tells_quarantined"] == 1
            assert [worker.pid for worker in runtime.workers] == [0, survivor]
            launcher = runtime.launcher_pid
            os.kill(launcher, signal.SIGKILL)
            await until(lambda: runtime.launcher_pid not in (0, launcher))
            await until(lambda: runtime.workers[1].pid not in (0, survivor))
            with connected(other) as new:
                assert await asked(new, b"w") == b"0"
            assert runtime.workers[0].pid == 0
            edge.close()
            web.close()

    asyncio.run(scenario())


def test_who_tells_or_asks_a_quarantined_group_learns_why(free_port: Callable[[], int]) -> None:
    """Tells and asks raise QuarantineError with group, core, count and cause, also the ask that was under way; the event
    has the same."""
    events: list[Event] = []

    async def scenario() -> None:
        runtime = Runtime(layout(free_port(), free_port()))
        runtime.listen(events.append)
        async with runtime:
            await die(runtime, RESTARTS)
            await stopped(runtime)
            under_way = asyncio.ensure_future(runtime["web"][0].ask(GetTotals(), timeout=60))
            await asyncio.sleep(0)
            await die(runtime, 1)
            await until(lambda: runtime.quarantined)
            said = (
                "group web is quarantined: the worker of core 0 died 3 times .* killed by SIGKILL"
            )
            for attempt in (
                under_way,
                runtime["web"][0].ask(GetTotals()),
            ):
                with pytest.raises(QuarantineError, match=said):
                    await attempt
            with pytest.raises(ExceptionGroup) as every:
                await runtime["web"].ask_all(GetTotals())
            assert every.value.subgroup(QuarantineError) is not None
            with pytest.raises(QuarantineError, match=said):
                await runtime["web"].tell(Visit(served=1))
            assert (await runtime["edge"].ask_all(GetTotals()))[0].served == 0

    asyncio.run(scenario())
    (told,) = [event.fields for event in events if event.kind == "quarantined"]
    assert (told["group"], told["core"], told["count"]) == ("web", 0, RESTARTS + 1)
    assert (told["seconds"], told["cause"]) == (10, "killed by SIGKILL")


def test_runtime_without_a_group_left_fails(free_port: Callable[[], int]) -> None:
    """When the last group is quarantined the runtime fails: its `wait` raises, with core, count and cause."""

    async def scenario() -> None:
        async with Runtime(layout(free_port())) as runtime:
            waiting = asyncio.ensure_future(runtime.wait())
            await die(runtime, RESTARTS + 1)
            said = (
                r"group web is quarantined: the worker of core 0 died 3 times within 10 s.*SIGKILL"
            )
            with pytest.raises(StartError, match=said):
                await asyncio.wait_for(waiting, 30)

    asyncio.run(scenario())


def test_orphan_quarantines_too(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """Without a controller the launcher keeps the same rule: the group's port is refused, the other group serves on, and
    with no group left the launcher ends."""
    (tmp_path / "survivors.py").symlink_to(TOOLS / "survivors.py")
    port, other = free_port(), free_port()
    path = tmp_path / "layout.toml"
    serve = '[supervision]\non_controller_loss = "serve"'
    path.write_text(text(port, other).replace("[supervision]", serve))
    with command(path) as run:
        run.seen("running")
        launcher = run.launcher
        run.process.kill()
        run.process.wait()
        try:
            assert eventually(lambda: "controller_lost" in run.errors)
            ended = lambda: kill_named(launcher, "tested:0") or "quarantined" in run.errors
            assert eventually(ended), run.errors
            assert not is_listening(port)
            with socket.create_connection(("127.0.0.1", other), timeout=20) as stream:
                stream.sendall(b"w")
                assert stream.recv(1) == b"0"
            gone = lambda: kill_named(launcher, "tested:1") or not is_alive(launcher)
            assert eventually(gone), run.errors
            assert not is_listening(other)
        finally:
            if is_alive(launcher):
                os.kill(launcher, signal.SIGKILL)


def kill_named(launcher: int, name: str) -> None:
    """kill -9 of the launcher's children of that name."""
    for pid in children(launcher):
        seen = process_status(pid)
        if seen and seen.name == name:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_quarantine_reaches_the_log(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """`splitplane run` logs group, count, seconds and the last cause, and ends with 3 when no group is left."""
    (tmp_path / "survivors.py").symlink_to(TOOLS / "survivors.py")
    path = tmp_path / "layout.toml"
    path.write_text(text(free_port()))
    with command(path) as run:
        run.seen("running")
        for deaths in range(RESTARTS + 1):
            os.kill(run.worker(), signal.SIGKILL)
            if deaths < RESTARTS:
                run.seen("worker_replaced", deaths + 1)
        (told,) = run.seen("quarantined")
        assert (told["group"], told["count"], told["seconds"]) == ("web", RESTARTS + 1, 10)
        assert told["cause"] == "killed by SIGKILL"
        assert run.process.wait(30) == 3
