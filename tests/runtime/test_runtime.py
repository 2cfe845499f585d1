"""`splitplane.start`: a runtime inside somebody's asyncio program."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import splitplane
import uvloop
from processes import TOOLS, eventually, is_alive, kill_worker, layout, replaced, toml, until
from splitplane.runtime import controller
from splitplane.runtime.claim import holder_of
from splitplane.runtime.errors import ActorError, LayoutError, MachineError, StartError
from splitplane.runtime.runtime import Runtime
from splitplane.runtime.system import open_descriptors
from survivors import GetTotals


def exchange(port: int, data: bytes) -> bytes:
    """What comes back for `data`."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
        one.sendall(data)
        return one.recv(len(data))


def held() -> int:
    """Descriptors of this process, once what nobody refers to is gone."""
    gc.collect()
    return len(list(open_descriptors()))


def test_started_from_a_file_it_serves_asks_and_stops(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """`async with splitplane.start(file, overrides)`: it answers clients and asks, says what runs where, and afterwards
    its counters are still to be had, its processes and its port are not."""
    (tmp_path / "survivors.py").symlink_to(TOOLS / "survivors.py")
    path = tmp_path / "layout.toml"
    path.write_text(toml(1))
    port = free_port()

    async def scenario() -> None:
        overrides = [f'group.web.listen[0].port="tcp:{port}"']
        async with splitplane.start(path, overrides) as runtime:
            assert await asyncio.to_thread(exchange, port, b"hello") == b"hello"
            totals = await runtime["web"][0].ask(GetTotals())
            assert (totals.starts, totals.restarts, totals.served) == (1, 0, 5)
            (worker,) = runtime.workers
            assert (worker.core, worker.group, worker.deaths) == (0, "web", 0)
            assert is_alive(worker.pid)
            assert set(runtime.steps) == {"interpreter", "import", "compile", "fork", "ready"}
            assert runtime.page_size in (4096, 2 << 20)
            with pytest.raises(KeyError, match="no group wab"):
                runtime["wab"]
        assert not is_alive(worker.pid)
        assert runtime.launcher_pid == 0
        assert runtime.counters(0)["received_bytes"] == 5
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(exchange, port, b"x")

    asyncio.run(scenario())


def test_cycles_of_start_and_stop_leak_nothing(free_port: Callable[[], int]) -> None:
    """Descriptors and threads of the process after three runtimes, one of them with a replaced worker and one left by an
    exception, are those from before."""

    async def cycle(how: int) -> None:
        async with Runtime(layout(free_port(), driver="kernel")) as runtime:
            if how == 1:
                assert kill_worker(runtime)
                await replaced(runtime, 1)
            if how == 2:
                raise LookupError("the program's own")

    async def scenario() -> None:
        await cycle(0)
        before = held(), threading.active_count()
        for how in (0, 1):
            await cycle(how)
        with pytest.raises(LookupError, match="own"):
            await cycle(2)
        assert (held(), threading.active_count()) == before

    asyncio.run(scenario())


def test_failed_starts_leave_nothing(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """Whatever the reason, a start that fails holds nothing afterwards: no claim, no port, no descriptor, no process."""
    port = free_port()
    (tmp_path / "survivors.py").symlink_to(TOOLS / "survivors.py")
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "dying.py").write_text(
        "import os, signal, sys\n"
        "from survivors import Echo as Echo\n"
        "if os.getppid() != 1 and 'launcher' in sys.argv[0]:\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "layout.toml"
    path.write_text(toml(port))
    actor = 'group.web.listen[0].actor="{}:Echo"'
    attempts: list[tuple[list[str], type[Exception], str]] = [
        (["group.web.cpus=[3999]"], MachineError, "3999"),
        ([actor.format("missing")], ActorError, "no module missing"),
        ([actor.format("leaving")], ActorError, "SystemExit"),
        ([actor.format("dying")], StartError, "killed by SIGKILL"),
        (["group.web.nic=3"], LayoutError, "nic"),
    ]

    async def scenario() -> None:
        async with splitplane.start(path):
            pass
        before = held()
        for overrides, error, text in attempts:
            with pytest.raises(error, match=text):
                async with splitplane.start(path, overrides):
                    raise AssertionError
            assert held() == before, overrides
        async with splitplane.start(path):
            assert await asyncio.to_thread(exchange, port, b"hello") == b"hello"

    asyncio.run(scenario())


def test_worker_that_keeps_dying_stops_the_runtime_with_the_reason() -> None:
    """More deaths than `supervision.restarts` allows: `wait` raises StartError with the number, the limit and the last
    signal; leaving the runtime still ends everything."""

    async def scenario() -> None:
        text = layout().model_dump()
        text["supervision"]["restarts"] = 2
        limited = type(layout()).model_validate(text).located(TOOLS, "layout.toml")
        async with Runtime(limited) as runtime:
            launcher = runtime.launcher_pid
            waiting = asyncio.ensure_future(runtime.wait())
            for deaths in (1, 2):
                assert kill_worker(runtime)
                await replaced(runtime, deaths)
            assert kill_worker(runtime)
            with pytest.raises(
                StartError, match=r"died 3 times within 10 s .*restarts = 2.*SIGKILL"
            ):
                await asyncio.wait_for(waiting, 20)
        assert eventually(lambda: not is_alive(launcher))

    asyncio.run(scenario())


def test_cancelled_start_ends_its_processes() -> None:
    """A start that is cancelled while the launcher compiles leaves no process."""

    async def scenario() -> None:
        runtime = Runtime(layout())
        starting = asyncio.ensure_future(runtime.__aenter__())
        while True:
            await asyncio.sleep(0.01)
            if runtime._controller and runtime.launcher_pid:
                break
        launcher = runtime.launcher_pid
        await asyncio.sleep(0.1)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert not is_alive(launcher)

    asyncio.run(scenario())


@pytest.mark.parametrize("victim", ["worker killed", "launcher killed", "launcher stopped"])
def test_stop_comes_to_its_end_whatever_happens(
    victim: str, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker or a launcher that is killed while connections drain, or a launcher that somebody has stopped: stop returns
    all the same, and no process is left."""
    monkeypatch.setattr(controller, "STOP_MARGIN", 0.5)

    async def scenario() -> None:
        port = free_port()
        runtime = Runtime(layout(port, driver="kernel"))
        async with runtime:
            everybody = {runtime.launcher_pid, runtime.workers[0].pid}
            with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
                one.sendall(b"hello")
                stopping = asyncio.ensure_future(runtime.stop())
                await asyncio.sleep(0)
                if victim == "worker killed":
                    assert kill_worker(runtime)
                else:
                    number = signal.SIGKILL if victim == "launcher killed" else signal.SIGSTOP
                    os.kill(runtime.launcher_pid, number)
                await asyncio.wait_for(stopping, 60)
            assert eventually(lambda: not any(map(is_alive, everybody)), 1)

    asyncio.run(scenario())


def test_other_loops_and_threads(free_port: Callable[[], int]) -> None:
    """It runs in uvloop, and in an event loop of a thread that isn't the main one."""

    async def scenario() -> None:
        port = free_port()
        async with Runtime(layout(port, driver="kernel")) as runtime:
            assert await asyncio.to_thread(exchange, port, b"hello") == b"hello"
            assert kill_worker(runtime)
            await replaced(runtime, 1)
            assert await asyncio.to_thread(exchange, port, b"hello") == b"hello"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
    failures: list[BaseException] = []

    def elsewhere() -> None:
        try:
            asyncio.run(scenario())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert failures == []


def forked_sleeper() -> int:
    """A child by fork alone."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            time.sleep(60)
        os._exit(0)
    return child


def test_forked_children_keep_what_is_the_programs_own(free_port: Callable[[], int]) -> None:
    """Once a runtime has ended, its descriptors' numbers are the program's again: a child has what it opened under them."""

    async def scenario() -> Runtime:
        async with splitplane.start(layout(free_port(), driver="kernel")) as runtime:
            return runtime

    ended = asyncio.run(scenario())
    files = [os.open("/dev/zero", os.O_RDONLY) for _ in range(64)]
    child = os.fork()
    if child == 0:
        os._exit(sum(not os.pread(file, 1, 0) for file in files))
    assert os.waitpid(child, 0)[1] == 0
    assert ended.layout
    for file in files:
        os.close(file)


def test_forked_children_of_the_program_keep_nothing(free_port: Callable[[], int]) -> None:
    """A process that the program forks (multiprocessing) while a runtime runs keeps no port, no arena and no claim of
    it: once the runtime has stopped, they are free, though the child lives."""
    port = free_port()

    async def scenario() -> int:
        async with Runtime(layout(port, driver="kernel")) as runtime:
            child = forked_sleeper()
            assert await asyncio.to_thread(exchange, port, b"hello") == b"hello"
            cpu = runtime.workers[0].cpu
        assert holder_of(f"cpu/{cpu}") is None
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(exchange, port, b"x")
        return child

    child = asyncio.run(scenario())
    assert "splitplane-core" not in Path(f"/proc/{child}/maps").read_text()
    links = [os.readlink(link) for link in Path(f"/proc/{child}/fd").iterdir()]
    assert not any("splitplane-core" in link for link in links)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_use_before_start_says_how() -> None:
    """A runtime that nobody entered answers every question with how to start it."""
    runtime = Runtime(layout())
    for ask in (lambda: runtime["web"], lambda: runtime.workers, lambda: runtime.counters(0)):
        with pytest.raises(RuntimeError, match=r"async with splitplane\.start"):
            ask()


def test_output_of_the_launcher_stays_off_standard_output(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """What an actor's module prints in the launcher goes to standard error: standard output may carry JSON."""
    from processes import command

    (tmp_path / "survivors.py").symlink_to(TOOLS / "survivors.py")
    (tmp_path / "loud.py").write_text(
        "import sys\nfrom survivors import Echo as Echo\n"
        "if 'launcher' in sys.argv[0]:\n    print('printed in the launcher', flush=True)\n"
    )
    path = tmp_path / "layout.toml"
    path.write_text(toml(free_port(), actor="loud:Echo"))
    with command(path) as run:
        run.seen("running")
        assert run.end() == 0
        assert "printed in the launcher" in run.errors
    assert os.listdir(tmp_path)


def test_a_stop_that_is_cancelled(free_port: Callable[[], int]) -> None:
    """It waits for no connection any more, and leaves nothing: the same layout runs again in the same program."""

    async def scenario() -> None:
        port = free_port()
        made = layout(port, driver="kernel")
        for _ in range(2):
            runtime = Runtime(made)
            await runtime.__aenter__()
            everybody = {runtime.launcher_pid, *(worker.pid for worker in runtime.workers)}
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            await until(lambda runtime=runtime: runtime.live(0) == 1)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(runtime.stop(), 0.1)
            assert not any(map(is_alive, everybody))
            await runtime.stop()
            writer.close()

    asyncio.run(scenario())
