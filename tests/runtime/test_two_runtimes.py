"""Two runtimes in one asyncio program: neither sees, holds or ends anything of the other's."""

import asyncio
import contextlib
import gc
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import splitplane
from processes import children, free_cpus, is_alive, is_held, kill_worker, layout, replaced, until
from seen import unique
from splitplane.runtime import registry
from splitplane.runtime.errors import ActorError, MachineError
from splitplane.runtime.layout import Layout
from splitplane.runtime.runtime import Runtime
from splitplane.runtime.system import open_descriptors
from survivors import GetTotals
from talkers import Burst, GetTally, Number

LIMIT = 60.0


def named(name: str, cpu: int, port: int, actor: str = "survivors:Echo") -> Layout:
    """A layout over Linux's sockets on this CPU."""
    made = layout(port, driver="kernel", actor=actor)
    group = made.group["web"].model_copy(update={"cpus": (cpu,)})
    return made.model_copy(update={"name": name, "group": {"web": group}})


@asynccontextmanager
async def both(one: Layout, other: Layout) -> AsyncIterator[tuple[Runtime, Runtime]]:
    """Started at the same time."""
    runtimes = Runtime(one), Runtime(other)
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(LIMIT):
        await asyncio.gather(*map(stack.enter_async_context, runtimes))
        yield runtimes


async def exchange(port: int, data: bytes) -> bytes:
    """What comes back for `data`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    found = await reader.readexactly(len(data))
    writer.close()
    return found


def processes(runtime: Runtime) -> set[int]:
    """Launcher and worker; the standby behind them may be a new one at any time."""
    return {runtime.launcher_pid, runtime.workers[0].pid}


def memories(runtime: Runtime) -> list[tuple[int, int]]:
    """Its arenas and its mesh: device and inode."""
    facts = runtime.seen.facts
    return [(each.device, each.inode) for each in (facts.mesh, *(c.arena for c in facts.cores))]


def held() -> tuple[list[str], int]:
    """Descriptors of this process, once what nobody refers to is gone, and its threads."""
    gc.collect()
    return sorted(map(str, open_descriptors())), threading.active_count()


async def check_apart(one: Runtime, other: Runtime) -> None:
    """Asks, tells and messages of two runtimes with different actors go to the right one or are refused."""
    numbers = other.messages(Number)
    await other["web"].tell(Burst(count=3, long=0))
    found = [(await anext(numbers)).value for _ in range(3)]
    assert found == [0, 1, 2]
    assert (await other["web"][0].ask(GetTally())).told == 3
    assert (await one["web"][0].ask(GetTotals())).served == 5
    with pytest.raises(ActorError, match="GetTally"):
        await one["web"][0].ask(GetTally())
    with pytest.raises(ActorError, match="GetTotals"):
        await other["web"][0].ask(GetTotals())
    assert numbers.waiting == 0


def refused_here(one: Layout, other: Layout) -> None:
    """On a machine with one CPU the second is refused, with the first's name."""

    async def scenario() -> None:
        async with Runtime(one):
            with pytest.raises(MachineError, match=f"held by splitplane runtime '{one.name}'"):
                await Runtime(other).__aenter__()

    asyncio.run(scenario())


async def one_ends(one: Runtime, other: Runtime, port: int) -> set[int]:
    """`one`, at `port`, loses its worker and is stopped: the other's processes, which stay, and hold nothing of it."""
    everybody, gone, name = processes(other), memories(one), one.seen.name
    assert kill_worker(one)
    await replaced(one, 1)
    assert await exchange(port, b"again") == b"again"
    dying = {one.launcher_pid, *children(one.launcher_pid)}
    assert not dying & everybody
    await one.stop()
    assert not any(map(is_alive, dying))
    gc.collect()  # rings map the mesh until nobody refers to them
    assert not any(map(is_held, gone)), "the other's processes hold its memory"
    assert name not in registry.names()
    with pytest.raises(ConnectionRefusedError):
        await exchange(port, b"x")
    assert processes(other) == everybody
    assert other.workers[0].deaths == 0
    return everybody


def test_two_layouts_serve_side_by_side(free_port: Callable[[], int]) -> None:
    """Of different actors: clients, asks, tells and the registry find the right one; a worker of the one dies, then all
    of it is stopped, and the other serves on, its connections open; nothing of either is left in the program."""
    cpus, ports = free_cpus(2), (free_port(), free_port())
    one = named(unique("left"), cpus[0], ports[0])
    other = named(unique("right"), cpus[-1], ports[1], "talkers:Talker")
    other = other.model_copy(update={"messages": ("talkers:Long",)})
    if len(cpus) == 1:
        refused_here(one, other)
        return

    async def scenario() -> None:
        async with both(one, other):
            pass
        before = held()
        async with both(one, other) as (left, right):
            assert await exchange(ports[0], b"hello") == b"hello"
            await check_apart(left, right)
            assert {one.name, other.name} <= set(registry.names())
            reader, writer = await asyncio.open_connection("127.0.0.1", ports[1])
            await until(lambda: right.live(0) == 1)
            for name, port, live in ((one.name, ports[0], 0), (other.name, ports[1], 1)):
                with splitplane.attach(name) as it:
                    assert it.facts.cores[0].listeners[0].port == f"tcp:{port}"
                    await until(lambda it=it, live=live: len(it.connections()) == live)
            everybody = await one_ends(left, right, ports[0])
            assert (await right["web"][0].ask(GetTally())).told == 3
            assert len(right.connections("web")) == 1
            writer.write(b"still there")
            await until(lambda: right.counters(0)["received_bytes"] == 11)
            writer.close()
            assert await reader.read() == b""
        assert not any(map(is_alive, everybody))
        assert other.name not in registry.names()
        assert held() == before

    asyncio.run(scenario())


def test_one_module_and_one_name(free_port: Callable[[], int]) -> None:
    """Two of the same actor and the same name: each core has a state of its own, the second is registered as NAME.2 and
    keeps that name when the first has gone; a third may be called NAME again."""
    cpus, ports = free_cpus(2), (free_port(), free_port(), free_port())
    name = unique("twin")
    one, other, third = (
        named(name, cpus[0], ports[0]),
        named(name, cpus[-1], ports[1]),
        named(name, cpus[0], ports[2]),
    )
    if len(cpus) == 1:
        refused_here(one, other)
        return

    async def scenario() -> None:
        async with asyncio.timeout(LIMIT), Runtime(one) as left, Runtime(other) as right:
            assert (left.seen.name, right.seen.name) == (name, f"{name}.2")
            for count, port in enumerate(ports[:2], 1):
                for _ in range(count):
                    assert await exchange(port, b"hello") == b"hello"
            served = [(await each["web"][0].ask(GetTotals())).served for each in (left, right)]
            assert served == [5, 10]
            for found, port in ((name, ports[0]), (f"{name}.2", ports[1])):
                with splitplane.attach(found) as it:
                    assert it.facts.cores[0].listeners[0].port == f"tcp:{port}"
                    assert it.core(0).counters()["received_bytes"] == 5 * (1 + (port == ports[1]))
            await left.stop()
            assert right.seen.name == f"{name}.2"
            async with Runtime(third) as again:
                assert again.seen.name == name
                assert await exchange(ports[2], b"third") == b"third"
                totals = [(await each["web"][0].ask(GetTotals())) for each in (again, right)]
                assert [each.served for each in totals] == [5, 10]
        assert not {name, f"{name}.2"} & set(registry.names())

    asyncio.run(scenario())


def test_what_the_first_has_the_second_is_refused(free_port: Callable[[], int]) -> None:
    """One CPU or one port for both: the second start says who has it and leaves nothing; the first serves on."""
    cpus, ports = free_cpus(2), (free_port(), free_port())
    name = unique("first")
    one = named(name, cpus[0], ports[0])
    attempts = [(named(unique("cpu"), cpus[0], ports[1]), f"CPU {cpus[0]} is held by")]
    if len(cpus) > 1:
        attempts.append((named(unique("port"), cpus[1], ports[0]), f"port tcp:{ports[0]}"))

    async def scenario() -> None:
        async with asyncio.timeout(LIMIT), Runtime(one) as runtime:
            before, everybody = held(), processes(runtime)
            for other, text in attempts:
                with pytest.raises(MachineError, match=text) as caught:
                    await Runtime(other).__aenter__()
                assert f"runtime '{name}'" in str(caught.value)
                assert held() == before
                assert processes(runtime) == everybody
            assert await exchange(ports[0], b"hello") == b"hello"

    asyncio.run(scenario())
