"""Pushes through the public Runtime to real connections of two cores; one copy of each; nothing for who is silent."""

import asyncio
import gc
import sys
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from processes import OURS, TOOLS, free_cpus, layout, until
from splitplane.controlplane.peer import WAITING_MAX
from splitplane.dataplane.peer import Peer, PeerConnection
from splitplane.dataplane.pushes import PUSH_MOST, core_of
from splitplane.nic.memory import Wire
from splitplane.runtime.layout import Layout, Nic
from splitplane.runtime.runtime import Runtime

HEAD = """
name = "pushed"
[nic.front]
driver = "kernel"
bind = "127.0.0.1"
"""
GROUP = """
[group.{name}]
cpus = {cpus}
nic = "front"
connections = 1000
"""
LISTEN = """
[[group.{name}.listen]]
port = "tcp:{port}"
actor = "pushed:News"
"""


@asynccontextmanager
async def running(groups: dict[str, tuple[list[int], list[int]]]) -> AsyncIterator[Runtime]:
    """Groups of these CPUs and ports."""
    text = HEAD
    for name, (cpus, ports) in groups.items():
        text += GROUP.format(name=name, cpus=cpus)
        text += "".join(LISTEN.format(name=name, port=port) for port in ports)
    made = Layout.model_validate(tomllib.loads(text)).located(TOOLS, "layout.toml")
    async with Runtime(made) as runtime, asyncio.timeout(60):
        yield runtime


class Client:
    """A connection that has said its word."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    handle: int

    @classmethod
    async def of(cls, port: int, word: bytes) -> "Client":
        made = cls()
        made.reader, made.writer = await asyncio.open_connection("127.0.0.1", port)
        made.writer.write(word + b"\n")
        made.handle = int(await made.reader.readline())
        return made

    async def heard(self) -> list[bytes]:
        """The lines up to the one that says `end`."""
        lines: list[bytes] = []
        while not lines or lines[-1] != b"end\n":
            lines.append(await self.reader.readline())
        return lines[:-1]


def test_one_group_of_two_cores(free_port: Callable[[], int]) -> None:
    """send, broadcast (to all, or one port) and publish each reach just whom they name, once, in the order of the calls,
    wherever their cores are; who is gone is counted."""

    async def scene() -> None:
        ports = [free_port(), free_port()]
        async with running({"web": (free_cpus(2), ports)}) as runtime:
            clients = [
                await Client.of(ports[at % 2], b"+sport" if at % 3 == 0 else b"what")
                for at in range(60)
            ]
            assert {core_of(client.handle) for client in clients} == {0, 1}
            await runtime.broadcast("web", b"all\n")
            await runtime.broadcast("web", b"first\n", port=ports[0])
            await runtime.broadcast("web", b"second\n", port=f"tcp:{ports[1]}")
            await runtime.publish("sport", b"3:1\n")
            await runtime.publish(b"sport", b"3:2\n", group="web")
            await runtime.publish("music", b"never\n")
            for client in clients:
                await runtime.send(client.handle, b"%d\n" % client.handle)
            await runtime.broadcast("web", b"end\n")
            for at, client in enumerate(clients):
                wanted = [b"all\n", b"second\n" if at % 2 else b"first\n"]
                wanted += [b"3:1\n", b"3:2\n"] if at % 3 == 0 else []
                assert await client.heard() == [*wanted, b"%d\n" % client.handle]
            stale = lambda: sum(runtime.counters(core)["push_stale"] for core in range(2))
            for client in clients[:7]:
                client.writer.close()
            await until(lambda: runtime.live(0) + runtime.live(1) == 53)
            for client in clients[:7]:
                await runtime.send(client.handle, b"anybody?\n")
            await until(lambda: stale() == 7)
            pushes = runtime._running.pushes
            assert (pushes.sent, pushes.broadcasts, pushes.published) == (67, 4, 3)

    asyncio.run(scene())


def test_two_groups(free_port: Callable[[], int]) -> None:
    """A broadcast reaches its group alone, a publication all, or the group that is named."""

    async def scene() -> None:
        web, shop = free_cpus(2)
        ports = {"web": free_port(), "shop": free_port()}
        groups = {"web": ([web], [ports["web"]]), "shop": ([shop], [ports["shop"]])}
        async with running(groups) as runtime:
            clients = {
                name: [await Client.of(port, b"+tea") for _ in range(5)]
                for name, port in ports.items()
            }
            await runtime.broadcast("web", b"web\n")
            await runtime.publish("tea", b"both\n")
            await runtime.publish("tea", b"shop\n", group="shop")
            await runtime.publish("tea", b"end\n")
            heard = {
                name: [await client.heard() for client in some] for name, some in clients.items()
            }
            assert heard["web"] == [[b"web\n", b"both\n"]] * 5
            assert heard["shop"] == [[b"both\n", b"shop\n"]] * 5

    asyncio.run(scene())


def test_what_is_pushed_wrongly_is_refused_in_words(free_port: Callable[[], int]) -> None:
    """Handles of nobody, lengths, topics, groups, ports; more than may wait; a runtime that has stopped. Nothing of it
    is sent."""

    async def scene() -> None:
        port = free_port()
        async with running({"web": (free_cpus(), [port])}) as runtime:
            client = await Client.of(port, b"what")
            for handle in (0, -5, 1 << 56 | 1 << 24 | 1):
                with pytest.raises(ValueError, match=f"handle {handle} names no core"):
                    runtime.send(handle, b"x")
            for length in (0, PUSH_MOST + 1):
                with pytest.raises(ValueError, match=f"{length} bytes to push: 1 to {PUSH_MOST}"):
                    runtime.broadcast("web", bytes(length))
            with pytest.raises(ValueError, match="topics are 64-bit numbers, or texts"):
                runtime.publish(1 << 64, b"x")
            with pytest.raises(KeyError, match="no group shop: this layout has web"):
                runtime.broadcast("shop", b"x")
            with pytest.raises(KeyError, match="no group shop"):
                runtime.publish("tea", b"x", group="shop")
            with pytest.raises(LookupError, match=f"group web listens at tcp:{port}, not at tcp:1"):
                runtime.broadcast("web", b"x", port=1)
            flood = lambda: [runtime.publish("nobody", bytes(PUSH_MOST)) for _ in range(100)]
            with pytest.raises(asyncio.QueueFull, match=f"{WAITING_MAX} messages wait for core 0"):
                flood()
            await runtime.broadcast("web", b"end\n")
            assert await client.heard() == []
            client.writer.close()
        with pytest.raises(RuntimeError, match="isn't running"):
            runtime.broadcast("web", b"x")

    asyncio.run(scene())


READERS, LENGTH = 250, 100_000


def test_one_copy_of_the_payload() -> None:
    """100 kB to 250 clients that read nothing take one copy and their lists, not 25 MB; read, all of it is free again."""

    async def scene() -> None:
        made = layout(7, actor="pushed:News")
        groups = {"web": made.group["web"].model_copy(update={"busy": 1.0})}
        made = made.model_copy(update={"group": groups}).located(made.directory, made.file)
        async with Runtime(made) as runtime, asyncio.timeout(100):
            fill = lambda: runtime.seen.core(0).fill()
            with Wire(runtime.wire(0), 1) as wire, Peer(wire, connections=256, room=4096) as peer:
                peers: list[PeerConnection] = []
                while len(peers) < READERS:  # no more handshakes at a time than a core allows
                    peers += [peer.connect(OURS, 7) for _ in range(50)]
                    await until(lambda: all(one.opened for one in peers), peer.poll)  # noqa: B023
                await until(lambda: not fill()["busy"], peer.poll)
                before = fill()["buffers"]
                data = bytes(at % 251 for at in range(LENGTH))
                await runtime.broadcast("web", data)
                await until(lambda: runtime.counters(0)["pushed"] == READERS, peer.poll)
                held = fill()
                assert held["busy"] == READERS
                assert LENGTH <= held["buffers"] - before <= 2 * LENGTH + READERS * 64
                await until(lambda: sum(one.length for one in peers) == READERS * LENGTH, peer.poll)
                assert {one.received for one in peers} == {data}
                await until(lambda: not fill()["busy"], peer.poll)
                assert fill()["buffers"] == before

    asyncio.run(scene())


PARKED = 2000
CLIENTS = """
import socket, sys
for line in sys.stdin:
    streams = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(int(line))]
    print("open", flush=True)
"""


def test_a_parked_connection_costs_no_object(free_port: Callable[[], int]) -> None:
    """Thousands of them leave the controller with the objects, and the blocks of memory, that it had with a few."""

    async def scene() -> None:
        port = free_port()
        made = layout(port, driver="kernel", actor="pushed:Silent")
        web = made.group["web"].model_copy(update={"connections": PARKED + 200})
        changes = {"group": {"web": web}, "nic": {"front": Nic(driver="kernel", bind="127.0.0.1")}}
        made = made.model_copy(update=changes).located(made.directory, made.file)
        async with Runtime(made) as runtime, asyncio.timeout(100):
            pipe = asyncio.subprocess.PIPE
            words = (sys.executable, "-c", CLIENTS, str(port))
            client = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe)
            assert client.stdin
            assert client.stdout

            async def parked(count: int) -> tuple[int, int]:
                """What this process holds with so many connections."""
                client.stdin.write(b"%d\n" % count)
                await client.stdout.readline()
                await until(lambda: runtime.live(0) == count)
                gc.collect()
                return len(gc.get_objects()), sys.getallocatedblocks()

            few = await parked(100)
            few = await parked(100)
            many = await parked(PARKED)
            assert many[0] - few[0] < PARKED // 100
            assert many[1] - few[1] < PARKED // 20
            client.stdin.close()
            await client.wait()

    asyncio.run(scene())
