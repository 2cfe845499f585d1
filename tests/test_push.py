"""Pushes and topics as an actor's user sees them, in both modes: once to each, in order, bounded."""

import pytest
from splitplane import CloseReason, Connection, DataActor, State, View
from splitplane.testing import Bench, Mode
from splitplane.types import u32

MODES: tuple[Mode, ...] = ("interpreted", "compiled")
NEWS = 7


class Joined(State):
    subscribed: u32
    left: u32
    gone: u32


class Feed(DataActor):
    """Lines: `+text` and `-text` subscribe to a text's topic, `!` to NEWS, `?` asks for an answer."""

    core: Joined

    def on_data(self, connection: Connection[State], data: View) -> int:
        end = data.find(b"\n")
        if end < 0:
            return 0
        if data[0] == 43:
            self.core.subscribed += self.subscribe(connection, data[1:end].hash())
        elif data[0] == 45:
            self.core.left += self.unsubscribe(connection, data[1:end].hash())
        elif data[0] == 33:
            self.subscribe(connection, NEWS)
        else:
            connection.send(b"answer\n")
        return end + 1

    def on_close(self, connection: Connection[State], reason: int) -> None:
        self.core.gone += self.subscribe(connection, NEWS)


@pytest.fixture(params=MODES)
def bench(request: pytest.FixtureRequest) -> object:
    with Bench(Feed, mode=request.param, connections=300) as made:
        yield made


def test_a_push_reaches_its_connection_alone(bench: Bench) -> None:
    """And one to a connection that is gone reaches nobody, also when its record serves another one by then."""
    one, other = bench.connect(), bench.connect()
    handle = one.handle
    bench.push(handle, b"to one\n")
    assert (one.received, other.received) == (b"to one\n", b"")
    one.reset()
    following = bench.connect()
    assert following.handle & 0xFFFFFF == handle & 0xFFFFFF
    bench.push(handle, b"too late\n")
    assert (other.received, following.received) == (b"", b"")
    assert bench.counters["push_stale"] == 1


def test_a_broadcast_reaches_each_once(bench: Bench) -> None:
    """More receivers than a turn serves, a payload of many messages: each gets all of it, once, in order."""
    peers = [bench.connect() for _ in range(250)]
    long = bytes(range(256)) * 400
    bench.broadcast(long)
    bench.broadcast(b"short")
    assert all(peer.received == long + b"short" for peer in peers)
    assert bench.counters["pushed"] == 500


def test_topics(bench: Bench) -> None:
    """Subscribers get what is published, others don't; twice subscribed is once; unsubscribed and closed is over."""
    one, two, three = (bench.connect() for _ in range(3))
    one.send(b"+tea\n+tea\n!\n")
    two.send(b"+tea\n+milk\n")
    bench.publish("tea", b"T")
    bench.publish(b"milk", b"M")
    bench.publish(NEWS, b"N")
    assert (one.received, two.received, three.received) == (b"TN", b"TM", b"")
    two.send(b"-tea\n-tea\n")
    one.reset()
    bench.publish("tea", b"T")
    bench.publish(NEWS, b"N")
    assert (two.received, three.received) == (b"TM", b"")
    core = bench.core
    assert (core.subscribed, core.left, core.gone) == (4, 1, 0)


def test_order_among_answers(bench: Bench) -> None:
    """A push stands where it came: behind the answers before it, before those after it."""
    peer = bench.connect()
    peer.read(0)
    for number in range(5):
        peer.send(b"?\n")
        bench.broadcast(b"push %d\n" % number)
    peer.read(None)
    assert peer.received == b"".join(b"answer\npush %d\n" % number for number in range(5))


def test_a_slow_receiver_misses_pushes(bench: Bench) -> None:
    """It has at most `push_queue` bytes queued: what is more is dropped for it, counted, and nobody else notices."""
    slow, quick = bench.connect(), bench.connect()
    slow.read(0)
    for _ in range(10):
        bench.broadcast(b"x" * 60_000)
    assert len(quick.received) == 600_000
    slow.read(None)
    assert slow.received == b"x" * 240_000
    assert bench.counters["push_slow"] == 6
    bench.broadcast(b"again")
    assert slow.received.endswith(b"xagain")


def test_a_slow_receiver_may_be_reset() -> None:
    """The layout's `push_slow = "reset"`."""
    with Bench(Feed, push_queue=100, push_slow="reset") as bench:
        peer = bench.connect()
        peer.read(0)
        bench.broadcast(b"x" * 1000)
        bench.broadcast(b"y")
        assert peer.reason == CloseReason.OVERFLOW
        assert bench.counters["push_reset"] == 1


def test_subscriptions_are_bounded(bench: Bench) -> None:
    """As many as the core has room for: the next is refused and counted, and there is room again when one ends."""
    peer = bench.connect()
    for number in range(1200):
        peer.send(b"+%d\n" % number)
    assert bench.core.subscribed == 1200
    peer.send(b"+more\n")
    assert (bench.core.subscribed, bench.counters["subscriptions_full"]) == (1200, 1)
    peer.send(b"-5\n+more\n")
    assert bench.core.subscribed == 1201
    bench.publish("more", b"!")
    assert peer.received == b"!"
