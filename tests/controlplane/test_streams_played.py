"""What the control plane makes of a core's words about its connections, said by hand."""

import asyncio
import socket
import struct
import time

from service_world import World, play, until
from splitplane.controlplane.server import stream_factory
from splitplane.dataplane import relay
from splitplane.dataplane.relay import EVENT_STREAM
from splitplane.dataplane.ring import EVENT
from splitplane.runtime.actor import CloseReason
from splitplane.runtime.mesh import CONTROL

INDEX, GENERATION = 7, 3


def says(world: World, what: int, body: bytes, index: int = INDEX) -> None:
    """What relay.c tells of a connection."""
    assert world.mesh.ring(0, CONTROL).put(EVENT_STREAM, body, kind=EVENT, target=what, tag=index)


def opened() -> bytes:
    """struct relay_open."""
    here = socket.inet_aton("127.0.0.1")
    return struct.pack("<II", GENERATION, 0) + here * 2 + bytes.fromhex("1f90 0050") + bytes(8)


def head(at: int = 0) -> bytes:
    """struct relay_head."""
    return relay.HEAD.pack(GENERATION, at)


def test_a_comparison_that_crosses_the_end_is_no_stray() -> None:
    """A core whose ring was full asks for a comparison; a connection that ends meanwhile answers it with "gone", which
    is as it should be. Any other word about a connection that nobody has counts as stale."""

    async def scene(world: World) -> None:
        streams = world.service.streams
        says(world, relay.OPEN, opened())
        await until(lambda: streams.opened == 1)
        says(world, relay.RESYNC, b"", index=0)
        ring = world.mesh.ring(CONTROL, 0)
        await until(ring.ready)
        asked = world.received()
        assert asked is not None
        assert (asked.target, asked.tag) == (relay.SYNC, INDEX)
        says(world, relay.CLOSED, head(CloseReason.PEER))
        await until(lambda: not streams.live)
        says(world, relay.GONE, head())
        says(world, relay.CREDIT, head(1))
        await until(lambda: streams.stale)
        await asyncio.sleep(0)
        assert streams.stale == 1, "of two words about a connection that is gone, one was expected"

    play(scene)


def test_busy_streams_keep_the_event_loop_awake() -> None:
    """While each answer brings the next bytes at once, the event loop finds them itself: the poller has nothing to do."""
    rounds = 200

    async def scene(world: World) -> None:
        service, wakeups, done = world.service, [0], asyncio.Event()

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for number in range(rounds):
                assert await reader.readexactly(1) == b"x"
                if not number:
                    wakeups[0] = service.wakeups
                says(world, relay.DATA, head(number + 1) + b"x")
                time.sleep(0.0002)  # noqa: ASYNC251 - the poller's time to see it, if it looks
            wakeups.append(service.wakeups)
            writer.close()
            done.set()

        service.streams.serve([0], stream_factory(echo))
        says(world, relay.OPEN, opened())
        says(world, relay.DATA, head() + b"x")
        await asyncio.wait_for(done.wait(), 20)
        assert wakeups[1] == wakeups[0]

    play(scene)
