"""The watch between rtnetlink and the cores: what it publishes, when, and what it asks of Linux."""

import asyncio
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import pytest
from raw import RAW, Raw
from splitplane.controlplane import routes
from splitplane.controlplane.routes import RouteWatch
from splitplane.dataplane.native import ffi, lib
from splitplane.dataplane.routes import HOPS_MOST, NeighbourEvent
from splitplane.nic.linux_routes import Neighbour, Surroundings, Way
from splitplane.runtime.front_watch import FrontWatch

MAC, OTHER = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
STALE, FAILED, PERMANENT = 4, 32, 128
PEER, GATEWAY = IPv4Address(RAW), IPv4Address("10.0.0.9")
LINK = Way(IPv4Network("10.0.0.0/24"), True)
DEFAULT = Way(IPv4Network("0.0.0.0/0"), True, GATEWAY)


class Log:
    """What was said, by name."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def info(self, event: str, **_: Any) -> None:
        """An event."""
        self.said.append(event)

    warning = info


class Linux:
    """Stands for the interface: what is read of it, and what was asked of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.around = Surroundings(1, 1500, MAC)
        self.asked: list[tuple[Any, ...]] = []
        monkeypatch.setattr(Surroundings, "read", lambda index, routes: self.around)
        for name in ("look_for", "look_again", "look_anew", "moved"):
            monkeypatch.setattr(routes, name, self._question(name))

    def _question(self, name: str) -> Any:
        def ask(index: int, *words: Any) -> None:
            self.asked.append((name, *words))

        return ask


@pytest.fixture
def raw() -> Iterator[Raw]:
    with Raw() as one:
        yield one


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch) -> Linux:
    return Linux(monkeypatch)


def hop(raw: Raw, address: IPv4Address) -> bytes:
    """The MAC that the core has for an address, after a turn."""
    raw.peer.poll()
    found = lib.routes_hop(raw.core, int.from_bytes(address.packed, "little"))
    return b"" if found == ffi.NULL else bytes(ffi.buffer(found, 6))


def watch(raw: Raw, log: Log, own: IPv4Interface | None = None) -> RouteWatch:
    """For that one core."""
    return RouteWatch(FrontWatch(1, 1686, routes=True, own=own), [raw.peer.memory], log)


def test_every_change_reaches_a_core_that_comes_late(raw: Raw, linux: Linux) -> None:
    """A core that doesn't turn for a while takes the first picture and then the last one; those between are left out."""
    log = Log()

    async def run() -> None:
        watched = watch(raw, log)
        linux.around.ways = (LINK,)
        await watched.start()
        for number in range(1, 6):
            linux.around.neighbours[PEER] = Neighbour(bytes((2, 0, 0, 0, 0, number)), STALE)
            watched._publish()
        raw.peer.poll()
        await asyncio.sleep(0)
        while hop(raw, PEER) != bytes((2, 0, 0, 0, 0, 5)):
            await asyncio.sleep(0.005)
        watched.stop()

    asyncio.run(asyncio.wait_for(run(), 20))
    assert raw.counter("routes_taken") == 2


def test_an_address_of_our_own_is_on_the_link(raw: Raw, linux: Linux) -> None:
    """Linux need not know its network: hosts there are reached by their own MAC once Linux has it, else as they came."""

    async def run() -> None:
        watched = watch(raw, Log(), IPv4Interface("10.0.0.1/24"))
        await watched.start()
        assert hop(raw, PEER) == b""
        linux.around.neighbours[PEER] = Neighbour(OTHER, STALE)
        watched._publish()
        assert hop(raw, PEER) == OTHER
        watched.stop()

    asyncio.run(run())


def test_gateways_are_asked_for(raw: Raw, linux: Linux) -> None:
    """A gateway without a MAC is asked for, once in a while; until it answers replies go as they came."""

    async def run() -> None:
        watched = watch(raw, Log())
        linux.around.ways = (DEFAULT, LINK)
        await watched.start()
        watched._publish()
        assert hop(raw, IPv4Address("8.8.8.8")) == b""
        linux.around.neighbours[GATEWAY] = Neighbour(OTHER, STALE)
        watched._publish()
        assert hop(raw, IPv4Address("8.8.8.8")) == OTHER
        await asyncio.sleep(0.05)
        watched.stop()

    asyncio.run(run())
    assert linux.asked == [("look_for", GATEWAY)]


def test_doubts_are_passed_on(raw: Raw, linux: Linux) -> None:
    """A MAC heard elsewhere is told to Linux; silence of a host makes it ask everybody, silence behind a
    gateway ask that one and, if it is not there, everybody; what an
    administrator has fixed is let be."""
    far, fixed = IPv4Address("8.8.8.8"), IPv4Address("10.0.0.8")

    async def run() -> None:
        watched = watch(raw, Log())
        linux.around.ways = (DEFAULT, LINK)
        for address, state in ((GATEWAY, STALE), (PEER, STALE), (fixed, PERMANENT)):
            linux.around.neighbours[address] = Neighbour(OTHER, state)
        await watched.start()
        for _ in range(3):
            watched.doubt(NeighbourEvent(far, b""))
            watched.doubt(NeighbourEvent(fixed, b""))
        watched.doubt(NeighbourEvent(fixed, MAC))
        watched.doubt(NeighbourEvent(PEER, MAC))
        watched.doubt(NeighbourEvent(PEER, b""))
        linux.around.neighbours[GATEWAY] = Neighbour(b"", FAILED)
        watched._publish()
        while len(linux.asked) < 4:
            await asyncio.sleep(0.005)
        watched.stop()

    asyncio.run(asyncio.wait_for(run(), 20))
    assert set(linux.asked) == {
        ("look_again", GATEWAY, OTHER),
        ("moved", PEER, MAC),
        ("look_anew", PEER),
        ("look_for", GATEWAY),
    }


def test_too_much_is_said_and_left_out(raw: Raw, linux: Linux) -> None:
    """More neighbours or routes than a table takes, and an MTU that no frame takes, are said once each; what fits holds."""
    log = Log()

    async def run() -> None:
        watched = watch(raw, log)
        linux.around.ways = (LINK,)
        first = int(IPv4Address("10.0.0.0"))
        linux.around.neighbours = {
            IPv4Address(first + number): Neighbour(OTHER, STALE) for number in range(HOPS_MOST + 5)
        }
        await watched.start()
        assert hop(raw, PEER) == OTHER
        linux.around.mtu = 3000
        watched._publish()
        raw.peer.poll()
        linux.around.ways = tuple(Way(IPv4Network((n << 8, 24)), True) for n in range(300))
        watched._publish()
        assert hop(raw, PEER) == b""
        watched.stop()

    asyncio.run(run())
    assert log.said == ["neighbours_left_out", "mtu_too_large", "routes_left_out"]
