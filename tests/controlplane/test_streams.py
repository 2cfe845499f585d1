"""Connections served and opened in the control plane, over real cores."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing

import pytest
import uvloop
from processes import OURS, kill_worker, layout, replaced, until
from splitplane.dataplane.peer import Peer, PeerConnection
from splitplane.nic.memory import Wire
from splitplane.runtime.layout import Layout, Nic
from splitplane.runtime.runtime import Runtime

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HERE = "127.0.0.1"
LIMIT = 30.0
Loop = Callable[[], asyncio.AbstractEventLoop]
LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what it gets, until the peer ends."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def over_kernel(
    port: int, handler: Handler | None = echo, actor: str = "controlplane", more: str = ""
) -> AsyncIterator[Runtime]:
    made: Layout = layout(port, driver="kernel", actor=actor, more=more)
    made = made.model_copy(update={"nic": {"front": Nic(driver="kernel", bind=HERE)}})
    async with Runtime(made) as runtime, asyncio.timeout(LIMIT):
        if handler is not None:
            await runtime.start_server(handler, port)
        yield runtime


@asynccontextmanager
async def over_memory(handler: Handler = echo) -> AsyncIterator[tuple[Runtime, Peer]]:
    async with Runtime(layout(7, actor="controlplane")) as runtime, asyncio.timeout(LIMIT):
        await runtime.start_server(handler, 7)
        with Wire(runtime.wire(0), 1) as wire, Peer(wire) as peer:
            yield runtime, peer


def live(runtime: Runtime) -> int:
    """Connections that the control plane has."""
    return runtime._running.streams.live


async def gone(runtime: Runtime) -> None:
    """Until neither side has any connection."""
    await until(lambda: not live(runtime) and not runtime.live(0))


async def everything(stream: socket.socket, data: bytes) -> bytes:
    """Sends all of `data`, then FIN; what came back until the other's FIN."""
    loop = asyncio.get_running_loop()

    async def send() -> None:
        await loop.sock_sendall(stream, data)
        stream.shutdown(socket.SHUT_WR)

    sending = asyncio.ensure_future(send())
    got = bytearray()
    while piece := await loop.sock_recv(stream, 1 << 16):
        got += piece
    await sending
    return bytes(got)


async def client(port: int) -> socket.socket:
    """A connected, non-blocking socket."""
    stream = socket.socket()
    stream.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(stream, (HERE, port))
    except OSError:
        stream.close()
        raise
    return stream


@LOOPS
def test_every_byte_comes_back(free_port: Callable[[], int], loop: Loop) -> None:
    """Megabytes through many connections at once, ended by FIN both ways: each gets its own bytes, all of them."""

    async def scenario() -> None:
        port, dice = free_port(), random.Random(1)
        async with over_kernel(port) as runtime:
            sent = [dice.randbytes(dice.randint(1, 600_000)) for _ in range(12)]
            streams = [await client(port) for _ in sent]
            got = await asyncio.gather(*map(everything, streams, sent))
            assert got == sent
            for stream in streams:
                stream.close()
            await gone(runtime)
            assert runtime._running.streams.stale == 0

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())


@LOOPS
def test_our_half_ends_first(free_port: Callable[[], int], loop: Loop) -> None:
    """After write_eof the peer has read our end, and what it sends still comes, over Linux's TCP and over ours."""
    got: list[bytes] = []

    async def ends_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"question")
        writer.write_eof()
        got.append(await reader.read())
        writer.close()
        await writer.wait_closed()

    async def scenario() -> None:
        port, answer = free_port(), random.Random(2).randbytes(300_000)
        async with over_kernel(port, ends_first) as runtime:
            reader, writer = await asyncio.open_connection(HERE, port)
            assert await reader.read() == b"question"
            writer.write(answer)
            writer.close()
            await gone(runtime)
        async with over_memory(ends_first) as (runtime, peer):
            peer._answer_end = False
            made = peer.connect(OURS, 7)
            await until(lambda: made.received == b"question", peer.poll)
            made.send(answer)
            await until(lambda: not made.unsent, peer.poll)
            made.close()
            await until(lambda: not live(runtime), peer.poll)
        assert got == [answer, answer]

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())


def test_a_program_that_does_not_read_closes_the_window(free_port: Callable[[], int]) -> None:
    """What nobody reads stops its sender after a bounded number of bytes, others go on, and later all of it is read."""
    go = asyncio.Event()
    got: list[bytes] = []

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(1) == b"s":
            await go.wait()
        got.append(await reader.read())
        writer.close()

    async def scenario() -> None:
        port, loop = free_port(), asyncio.get_running_loop()
        async with over_kernel(port, late):
            slow, quick = await client(port), await client(port)
            sent, still = 0, 0
            await loop.sock_sendall(slow, b"s")
            while still < 200:
                try:
                    sent += slow.send(b"x" * 65536)
                    still = 0
                except BlockingIOError:
                    still += 1
                    await asyncio.sleep(0.001)
            assert sent < 32 << 20
            assert await everything(quick, b"q" + b"y" * 1000) == b""
            assert got == [b"y" * 1000]
            go.set()
            assert await everything(slow, b"end") == b""
            assert got[1] == b"x" * sent + b"end"
            slow.close()
            quick.close()

    asyncio.run(scenario())


@LOOPS
def test_drain_waits_for_a_slow_reader(free_port: Callable[[], int], loop: Loop) -> None:
    """Who writes faster than the peer reads waits in drain(), with bounded memory; the peer gets every byte."""
    written = 0
    data = random.Random(3).randbytes(1 << 16)

    async def fast(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        for _ in range(400):
            writer.write(data)
            await writer.drain()
            written += len(data)
        writer.close()

    async def scenario() -> None:
        port = free_port()
        async with over_kernel(port, fast):
            stream = await client(port)
            before = -1
            while before != written:
                before = written
                await asyncio.sleep(0.3)
            assert 0 < written < 400 * len(data)
            assert await everything(stream, b"") == data * 400
            stream.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())


@LOOPS
def test_ends_raise_what_asyncio_raises(free_port: Callable[[], int], loop: Loop) -> None:
    """A reset is ConnectionResetError, an early end IncompleteReadError, and an abort of ours a reset at the peer."""
    seen: list[BaseException] = []

    async def wants_ten(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.readexactly(10) == b"abort now!":
                writer.transport.abort()
        except (OSError, EOFError) as error:
            seen.append(error)
        writer.close()

    async def scenario() -> None:
        port, loop = free_port(), asyncio.get_running_loop()
        async with over_kernel(port, wants_ten) as runtime:
            early = await client(port)
            await everything(early, b"short")
            early.close()
            await until(lambda: len(seen) == 1)
            reset = await client(port)
            await loop.sock_sendall(reset, b"abc")
            await until(lambda: live(runtime))
            reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            reset.close()
            await until(lambda: len(seen) == 2)
            aborted = await client(port)
            await loop.sock_sendall(aborted, b"abort now!")
            with pytest.raises(ConnectionResetError):
                await loop.sock_recv(aborted, 1)
            aborted.close()
            await gone(runtime)
        assert [type(error) for error in seen] == [
            asyncio.IncompleteReadError,
            ConnectionResetError,
        ]

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())


def test_connections_wait_for_their_server(free_port: Callable[[], int]) -> None:
    """Who comes before somebody serves the port waits; after the server has closed new ones are reset, old ones go on."""

    async def scenario() -> None:
        port, loop = free_port(), asyncio.get_running_loop()
        async with over_kernel(port, None) as runtime:
            first = await client(port)
            await loop.sock_sendall(first, b"early")
            await until(lambda: live(runtime))
            server = await runtime.start_server(echo, port)
            with pytest.raises(OSError, match="serves this port"):
                await runtime.start_server(echo, port)
            with pytest.raises(LookupError, match=f"tcp:{port}"):
                await runtime.start_server(echo, port + 1)
            assert await loop.sock_recv(first, 100) == b"early"
            server.close()
            await server.wait_closed()
            # Already of connect, should it be reset before that looks.
            with pytest.raises(ConnectionResetError), closing(await client(port)) as late:
                await loop.sock_recv(late, 1)
            assert await everything(first, b"still") == b"still"
            first.close()
            await gone(runtime)

    asyncio.run(scenario())


def test_an_actor_hands_over(free_port: Callable[[], int]) -> None:
    """From hand_over on the control actor has the connection: what was read, what was left, and all that comes; what the
    data actor sent before goes first."""

    async def scenario() -> None:
        port = free_port()
        more = 'reports_to = "shouter"\n[control.shouter]\nactor = "streamers:Shouter"'
        async with over_kernel(port, None, "streamers:Switch", more) as runtime:
            for cut in (1, 3, 5, 6, 7, 20):
                stream, loop = await client(port), asyncio.get_running_loop()
                whole = b"plain!shouted" * 3
                await loop.sock_sendall(stream, whole[:cut])
                await asyncio.sleep(0.01)
                got = await everything(stream, whole[cut:])
                assert got == b"plain" + whole[5:].upper()
                stream.close()
            await gone(runtime)
            assert runtime.counters(0)["handed_over"] == 6

    asyncio.run(scenario())


@LOOPS
def test_connections_outward(free_port: Callable[[], int], loop: Loop) -> None:
    """connect opens one from a core: bytes both ways, half-closed; refused, unreachable and cancelled ones leave nothing."""

    async def scenario() -> None:
        port = free_port()
        async with over_kernel(port) as runtime:
            served = await asyncio.start_server(echo, HERE, 0)
            target = served.sockets[0].getsockname()[1]
            data = random.Random(4).randbytes(500_000)
            reader, writer = await runtime.connect(HERE, target)
            writer.write(data)
            writer.write_eof()
            assert await reader.read() == data
            writer.close()
            await writer.wait_closed()
            with pytest.raises(ConnectionRefusedError):
                await runtime.connect(HERE, free_port())
            with pytest.raises(KeyError, match="no group front"):
                await runtime.connect(HERE, target, group="front")
            for wait in (0, 0, 0.0005, 0.002):
                dialing = asyncio.ensure_future(runtime.connect(HERE, target))
                await asyncio.sleep(wait)
                dialing.cancel()
                done = (await asyncio.gather(dialing, return_exceptions=True))[0]
                if isinstance(done, tuple):
                    done[1].close()
            await gone(runtime)
            served.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())


def test_connections_outward_over_our_own_tcp() -> None:
    """connect works over a frame driver as over sockets; a refusal too."""

    async def scenario() -> None:
        async with over_memory() as (runtime, peer):
            peer.listen(9)
            accepted: list[PeerConnection] = []

            def look() -> None:
                peer.poll(5)
                one = peer.accept(9)
                if one is not None:
                    accepted.append(one)

            dialing = asyncio.ensure_future(runtime.connect("10.0.0.2", 9))
            await until(lambda: dialing.done() and accepted, look)
            reader, writer = await dialing
            writer.write(b"over the wire" * 1000)
            await until(lambda: accepted[0].length == 13000, look)
            accepted[0].send(b"answer")
            reading = asyncio.ensure_future(reader.readexactly(6))
            await until(reading.done, look)
            assert await reading == b"answer"
            writer.close()
            refused = asyncio.ensure_future(runtime.connect("10.0.0.2", 10))
            await until(refused.done, look)
            with pytest.raises(ConnectionRefusedError):
                await refused
            await until(lambda: not live(runtime), look)

    asyncio.run(scenario())


def test_streams_survive_their_worker() -> None:
    """Workers are killed while connections over our own TCP are busy both ways: each goes on without a byte lost or
    doubled, or ends with an error; none hangs."""

    async def scenario() -> None:
        dice = random.Random(5)
        async with over_memory() as (runtime, peer):
            made = [peer.connect(OURS, 7) for _ in range(6)]
            sent = [bytearray() for _ in made]

            def feed() -> None:
                for one, whole in zip(made, sent, strict=True):
                    if one.opened and not one.closed and len(whole) - one.length < 200_000:
                        whole += (data := dice.randbytes(dice.randint(1, 9000)))
                        one.send(data)
                peer.poll(5)

            await until(lambda: all(one.length > 50_000 for one in made), feed)
            for deaths in range(1, 9):
                await until(lambda: kill_worker(runtime), feed)
                await replaced(runtime, deaths, feed)
                for _ in range(dice.randint(1, 40)):
                    feed()
                    await asyncio.sleep(0)
            settled = lambda: all(
                one.closed or one.length == len(whole)
                for one, whole in zip(made, sent, strict=True)
            )
            await until(settled, peer.poll)
            for one, whole in zip(made, sent, strict=True):
                assert whole.startswith(one.received)
            going_on = [one for one in made if not one.closed]
            assert len(going_on) >= 2
            for one in going_on:
                one.close()
            await until(lambda: not live(runtime) and not runtime.live(0), peer.poll)

    asyncio.run(scenario())


def test_sockets_end_with_their_worker(free_port: Callable[[], int]) -> None:
    """A connection over Linux's TCP whose worker is killed ends with ConnectionResetError in the program; new ones are
    served by the next worker, and connections that were being opened fail."""
    ends: list[BaseException | None] = []

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(await reader.readexactly(2))
            await reader.read()
            ends.append(None)
        except OSError as error:
            ends.append(error)
        writer.close()

    async def scenario() -> None:
        port = free_port()
        async with over_kernel(port, wait) as runtime:
            for deaths in (1, 2):
                streams = [await asyncio.open_connection(HERE, port) for _ in range(20)]
                for reader, writer in streams:
                    writer.write(b"hi")
                    assert await reader.readexactly(2) == b"hi"
                await until(lambda: kill_worker(runtime))
                await replaced(runtime, deaths)
                await until(lambda so_many=20 * deaths: len(ends) == so_many)
                for _, writer in streams:
                    writer.close()
            assert {type(error) for error in ends} == {ConnectionResetError}
            await gone(runtime)

    asyncio.run(scenario())


def test_thousands_come_and_go(free_port: Callable[[], int]) -> None:
    """Short connections, some cut off in the middle, leave no record, no stream and no task behind."""

    async def scenario() -> None:
        port, dice = free_port(), random.Random(6)
        async with over_kernel(port) as runtime:
            tasks = len(asyncio.all_tasks())

            async def one() -> None:
                stream = await client(port)
                await asyncio.get_running_loop().sock_sendall(stream, b"hello")
                if dice.random() < 0.7:
                    await everything(stream, b"")
                elif dice.random() < 0.5:
                    linger = struct.pack("ii", 1, 0)
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                stream.close()

            for _ in range(40):
                await asyncio.gather(*(one() for _ in range(50)))
            await gone(runtime)
            await until(lambda: len(asyncio.all_tasks()) == tasks)
            assert runtime.counters(0)["opened"] == runtime.counters(0)["closed"] == 2000

    asyncio.run(scenario())
