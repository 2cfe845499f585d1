"""A worker dies under load and another takes over."""

import asyncio
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from functools import partial

from processes import Echoes, children, kill_worker, layout, replaced, until
from splitplane.dataplane.peer import Peer
from splitplane.nic.memory import Wire
from splitplane.runtime.controller import Event
from splitplane.runtime.runtime import Runtime
from splitplane.runtime.system import process_status
from survivors import GetTotals

KILLS = 100


async def killed_under_load(seed: int, kills: int, connections: int) -> None:
    """Kills the worker at random moments while every connection echoes; see the test below for what must hold."""
    dice = random.Random(seed)
    events: list[Event] = []
    runtime = Runtime(layout())
    runtime.listen(events.append)
    async with runtime:
        with Wire(runtime.wire(0), 1) as wire, Peer(wire, connections=connections) as peer:
            peer.start()
            echoes = Echoes(peer, connections, dice)
            done, due = 0, time.monotonic()
            while done < kills:
                echoes.feed()
                await asyncio.sleep(0)
                if time.monotonic() > due and kill_worker(runtime):
                    done += 1
                    due = time.monotonic() + dice.uniform(0, 0.05)
            await replaced(runtime, kills, peer.poll)
            assert echoes.settle()
            caught = [event for event in events if event.kind == "died" and event.fields["record"]]
            assert echoes.wrong() == []
            assert len(echoes.closed()) == len(caught), echoes.closed()
            totals = await runtime["web"][0].ask(GetTotals(), timeout=30)
            assert (totals.starts, totals.restarts) == (1, kills)
    assert runtime.counters(0)["adoptions"] == kills


def test_connections_over_memory_survive_every_kill() -> None:
    """kill -9 of the worker a hundred times at random moments under load: no connection is lost but one whose handler
    ran at that moment, every stream comes back byte for byte, `on_start` and the core's state tell of each restart."""
    asyncio.run(killed_under_load(seed=1, kills=KILLS, connections=32))


def test_asks_are_answered_across_kills() -> None:
    """Whatever is asked while workers die one after the other is answered, by the next worker if need be: each death
    costs at most the one message that was in hand, which is not tried again. The core's own state never goes back."""

    async def scenario() -> None:
        dice = random.Random(21)
        async with Runtime(layout()) as runtime:
            for deaths in range(1, 31):
                asks = [
                    asyncio.ensure_future(runtime["web"][0].ask(GetTotals(), timeout=100))
                    for _ in range(dice.randint(1, 200))
                ]
                await asyncio.sleep(dice.uniform(0, 0.002))
                await until(lambda: kill_worker(runtime))
                await replaced(runtime, deaths)
                totals = await runtime["web"][0].ask(GetTotals(), timeout=100)
                assert totals.restarts == deaths
                # A ring keeps its order: what was asked before is answered by now, or never will be.
                answers = [ask.result() for ask in asks if ask.done()]
                assert len(answers) >= len(asks) - 1
                assert all(one.starts == 1 for one in answers)
                assert all(one.restarts in (deaths - 1, deaths) for one in answers)
                for ask in asks:
                    ask.cancel()

    asyncio.run(scenario())


class Client:
    """Echoes over Linux's sockets, opening a new one when its connection is lost."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.stream: socket.socket | None = None
        self.answered = self.lost = self.refused = 0

    def ask(self, data: bytes) -> None:
        try:
            if self.stream is None:
                self.stream = socket.create_connection(("127.0.0.1", self.port), timeout=20)
            self.stream.sendall(data)
            got = b""
            while len(got) < len(data):
                piece = self.stream.recv(65536)
                if not piece:
                    raise ConnectionResetError
                got += piece
        except ConnectionRefusedError:
            self.refused += 1
        except (ConnectionResetError, BrokenPipeError):
            self.lost += 1
            self.close()
        else:
            assert got == data
            self.answered += 1

    def close(self) -> None:
        if self.stream is not None:
            self.stream.close()
            self.stream = None


def test_service_over_kernel_goes_on_after_every_kill(free_port: Callable[[], int]) -> None:
    """Over Linux's sockets a kill may cost the connections of the time, but no connect is refused, none hangs, and what
    is answered is right."""
    kills = 20

    async def scenario() -> None:
        dice = random.Random(3)
        port = free_port()
        async with Runtime(layout(port, driver="kernel")) as runtime:
            client = Client(port)
            for done in range(kills):
                before = client.answered
                while client.answered < before + dice.randint(1, 30):
                    await asyncio.to_thread(client.ask, dice.randbytes(dice.randint(1, 9000)))
                await until(lambda: kill_worker(runtime))
                await replaced(runtime, done + 1)
            await asyncio.to_thread(client.ask, b"last")
            await asyncio.to_thread(client.ask, b"last")
            client.close()
        assert client.refused == 0
        assert client.lost <= kills

    asyncio.run(scenario())


def test_cores_of_a_group_die_alone(free_port: Callable[[], int]) -> None:
    """With as many cores as there are CPUs (two at most), the death of one worker touches no other: their pids, their
    connections and their state stay."""

    async def scenario() -> None:
        port = free_port()
        async with Runtime(layout(port, driver="kernel", cores=2)) as runtime:
            clients = [Client(port) for _ in range(24)]
            for client in clients:
                await asyncio.to_thread(client.ask, b"hello")
            before = [worker.pid for worker in runtime.workers]
            others = sum(runtime.live(core) for core in range(1, len(before)))
            assert sum(runtime.live(core) for core in range(len(before))) == len(clients)
            assert kill_worker(runtime)
            await replaced(runtime, 1)
            for client in clients:
                await asyncio.to_thread(client.ask, b"again")
            after = [worker.pid for worker in runtime.workers]
            assert after[1:] == before[1:]
            assert sum(client.answered for client in clients) == len(clients) + others
            totals = await runtime["web"].ask_all(GetTotals())
            assert [each.restarts for each in totals] == [1, *(0 for _ in before[1:])]
            for client in clients:
                client.close()

    asyncio.run(scenario())


def test_handler_that_never_returns_costs_its_connection_only() -> None:
    """A handler in an endless loop is found by the CPU time it burns; its connection is reset, the others go on with
    every byte in place."""

    async def scenario() -> None:
        events: list[Event] = []
        runtime = Runtime(layout(actor="survivors:Moody"))
        runtime.listen(events.append)
        async with runtime:
            with Wire(runtime.wire(0), 1) as wire, Peer(wire) as peer:
                peer.start()
                echoes = Echoes(peer, 8, random.Random(5))
                evil = peer.connect("10.0.0.1", 7)
                assert peer.until(lambda: evil.opened)
                evil.send(b"loop")
                await until(lambda: evil.closed, peer.poll)
                for one, sent in zip(echoes.connections, echoes.sent, strict=True):
                    sent += b"still here"
                    one.send(b"still here")
                assert echoes.settle()
                assert echoes.wrong() == []
                assert echoes.closed() == []
                assert evil.reason == "reset"
        stalls = [event for event in events if event.kind == "stalled"]
        assert len(stalls) == 1
        assert "a handler doesn't return" in stalls[0].fields["text"]
        died = next(event for event in events if event.kind == "died")
        assert died.fields["handler"] == "on_data"

    asyncio.run(scenario())


def test_stopped_and_crashed_workers_are_replaced() -> None:
    """SIGSTOP, SIGSEGV, SIGABRT and SIGKILL all end in another worker, with the signal named; SIGTERM and SIGINT, which
    are the controller's affair, don't touch it. Connections outlive it all."""

    async def scenario() -> None:
        events: list[Event] = []
        runtime = Runtime(layout())
        runtime.listen(events.append)
        async with runtime:
            with Wire(runtime.wire(0), 1) as wire, Peer(wire) as peer:
                peer.start()
                echoes = Echoes(peer, 4, random.Random(7))
                first = runtime.workers[0].pid
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                    os.kill(first, number)
                await asyncio.sleep(0.1)
                assert runtime.workers[0].pid == first
                deadly = (signal.SIGSTOP, signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL)
                for deaths, number in enumerate(deadly, 1):
                    assert kill_worker(runtime, number)
                    await replaced(runtime, deaths)
                    echoes.feed()
                    assert echoes.settle()
                assert echoes.wrong() == []
                assert echoes.closed() == []
        ends = [event.fields["exit"] for event in events if event.kind == "died"]
        assert "stopped by a signal" in ends[0]
        assert ends[1:] == ["killed by SIGSEGV", "killed by SIGABRT", "killed by SIGKILL"]

    asyncio.run(scenario())


def test_killed_launcher_is_replaced_once_with_every_connection() -> None:
    """kill -9 of the launcher takes the workers along; a new one adopts their arenas, and connections over memory go on.
    Killed again soon after, the runtime fails and says so instead of trying for ever."""

    async def scenario() -> None:
        runtime = Runtime(layout())
        failure = ""
        async with runtime:
            with Wire(runtime.wire(0), 1) as wire, Peer(wire) as peer:
                peer.start()
                echoes = Echoes(peer, 8, random.Random(9))
                echoes.feed()
                launcher, worker = runtime.launcher_pid, runtime.workers[0].pid
                os.kill(launcher, signal.SIGKILL)
                await until(lambda: runtime.workers[0].pid not in (0, worker), peer.poll)
                assert runtime.launcher_pid != launcher
                echoes.feed()
                assert echoes.settle()
                assert echoes.wrong() == []
                assert echoes.closed() == []
            os.kill(runtime.launcher_pid, signal.SIGKILL)
            try:
                await asyncio.wait_for(runtime.wait(), 30)
            except Exception as error:
                failure = str(error)
        assert "the launcher ended (killed by SIGKILL) again soon after it was replaced" in failure

    asyncio.run(scenario())


def test_standby_takes_over_without_the_launcher() -> None:
    """While somebody has stopped the launcher (SIGSTOP), or it waits for its CPU, a killed worker is replaced all the
    same: connections go on. Once it runs again it counts the death, knows the new worker, and has made another standby."""

    async def scenario() -> None:
        async with Runtime(layout()) as runtime:
            with Wire(runtime.wire(0), 1) as wire, Peer(wire) as peer:
                peer.start()
                echoes = Echoes(peer, 8, random.Random(13))
                for deaths in range(1, 4):
                    worker, launcher = runtime.workers[0].pid, runtime.launcher_pid
                    await until(lambda: children(launcher) - {worker})  # noqa: B023 - called at once
                    (standby,) = children(launcher) - {worker}
                    await until(partial(is_pinned, standby, runtime.workers[0].cpu))
                    os.kill(launcher, signal.SIGSTOP)
                    assert kill_worker(runtime)
                    echoes.feed()
                    assert echoes.settle()
                    assert runtime.workers[0].deaths == deaths - 1
                    os.kill(launcher, signal.SIGCONT)
                    await replaced(runtime, deaths, peer.poll)
                    assert runtime.workers[0].pid == standby
                assert echoes.wrong() == []
                assert echoes.closed() == []
            totals = await runtime["web"][0].ask(GetTotals(), timeout=30)
            assert (totals.starts, totals.restarts) == (1, 3)

    asyncio.run(scenario())


def test_death_in_a_handler_is_told_though_the_standby_was_first() -> None:
    """A standby that has adopted the core before the launcher hears of the death says what the dead worker was at."""

    async def scenario() -> None:
        events: list[Event] = []
        runtime = Runtime(layout(actor="survivors:Moody"))
        runtime.listen(events.append)
        async with runtime:
            with Wire(runtime.wire(0), 1) as wire, Peer(wire) as peer:
                peer.start()
                worker, launcher = runtime.workers[0].pid, runtime.launcher_pid
                await until(lambda: children(launcher) - {worker})
                (standby,) = children(launcher) - {worker}
                await until(partial(is_pinned, standby, runtime.workers[0].cpu))
                evil = peer.connect("10.0.0.1", 7)
                assert peer.until(lambda: evil.opened)
                os.kill(launcher, signal.SIGSTOP)
                evil.send(b"loop")
                await until(lambda: runtime._held.cores[0].state.current[0], peer.poll)
                os.kill(worker, signal.SIGKILL)
                await until(lambda: evil.closed, peer.poll)
                os.kill(launcher, signal.SIGCONT)
                await replaced(runtime, 1, peer.poll)
        (died,) = [event for event in events if event.kind == "died"]
        assert died.fields["record"]
        assert died.fields["handler"] == "on_data"

    asyncio.run(scenario())


def is_pinned(pid: int, cpu: int) -> bool:
    """Whether this process may run on one CPU only, as a standby that watches its worker does."""
    return os.sched_getaffinity(pid) == {cpu} and named(pid)


def named(pid: int) -> bool:
    """Whether it is a core's process: just forked, it still has the launcher's name."""
    seen = process_status(pid)
    return seen is not None and seen.name == "tested:0"


def test_standby_that_dies_is_replaced() -> None:
    """kill -9 of the waiting standby disturbs nobody, and another one is ready for the worker's own death."""

    async def scenario() -> None:
        async with Runtime(layout()) as runtime:
            worker = runtime.workers[0].pid
            killed: set[int] = set()
            for _ in range(5):
                await until(lambda: children(runtime.launcher_pid) - killed - {worker})
                (standby,) = children(runtime.launcher_pid) - killed - {worker}
                await asyncio.sleep(
                    0.1
                )  # it waits by then; before, its death counts as a failed start
                os.kill(standby, signal.SIGKILL)
                killed.add(standby)
            assert runtime.workers[0].pid == worker
            assert kill_worker(runtime)
            await replaced(runtime, 1)

    asyncio.run(scenario())
