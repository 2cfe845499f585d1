"""What is made of rtnetlink's messages: the routes that matter, the neighbours that may be used, the hop of an address."""

import socket
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from splitplane.nic.linux_routes import Surroundings, Way, _best, _way

OURS, OTHERS = 3, 4
NET = IPv4Network("10.0.0.0/24")
PEER = IPv4Address("10.0.0.2")
MAC = bytes.fromhex("020000000001")


class Message(dict[str, Any]):
    """As pyroute2 gives it."""

    def get_attr(self, name: str, default: Any = None) -> Any:
        """An attribute, or None."""
        return self["attrs"].get(name, default)


def route(network: str = "10.0.0.0/24", index: int = OURS, **attributes: Any) -> Message:
    """RTM_NEWROUTE."""
    wanted = IPv4Network(network)
    named = {"RTA_OIF": index, "RTA_DST": str(wanted.network_address), **attributes}
    return Message(
        event="RTM_NEWROUTE", family=socket.AF_INET, dst_len=wanted.prefixlen, table=254, type=1, tos=0,
        flags=0, attrs=named,
    )  # fmt: skip


def neighbour(state: int, mac: str | None = MAC.hex(":"), event: str = "RTM_NEWNEIGH") -> Message:
    """RTM_NEWNEIGH about PEER."""
    attributes = {"NDA_DST": str(PEER)} | ({"NDA_LLADDR": mac} if mac else {})
    return Message(event=event, family=socket.AF_INET, ifindex=OURS, state=state, attrs=attributes)


@pytest.mark.parametrize(
    ("state", "usable"),
    [(1, False), (2, True), (4, True), (8, True), (16, True), (32, False), (64, True), (128, True)],
)
def test_states_that_may_be_used(state: int, usable: bool) -> None:
    """Reachable, stale, delay, probe, noarp and permanent entries may; incomplete and failed ones may not."""
    around = Surroundings(OURS)
    assert not around.heard(neighbour(state))
    assert around.neighbours[PEER].usable == usable
    assert around.neighbours[PEER].failed == (state == 32)
    around.heard(neighbour(state, None))
    assert not around.neighbours[PEER].usable


def test_a_removed_neighbour_is_gone() -> None:
    """RTM_DELNEIGH; those of other interfaces and of IPv6 are nobody's."""
    around = Surroundings(OURS)
    around.heard(neighbour(2))
    around.heard(neighbour(2, event="RTM_DELNEIGH") | {"ifindex": OTHERS})
    assert PEER in around.neighbours
    around.heard(Message(neighbour(2, event="RTM_DELNEIGH")))
    assert not around.neighbours


def test_what_asks_for_another_reading() -> None:
    """Routes of the main table, addresses, and our link going down or up do; other links and tables don't."""
    around = Surroundings(OURS)
    said = {"IFLA_MTU": 900, "IFLA_ADDRESS": MAC.hex(":")}
    link = Message(event="RTM_NEWLINK", index=OURS, flags=1, attrs=said)
    assert not around.heard(link)
    assert (around.mtu, around.mac) == (900, MAC)
    assert around.heard(Message(link | {"flags": 0}))
    assert not around.heard(Message(link | {"index": OTHERS, "flags": 1}))
    assert around.heard(route())
    assert not around.heard(route(RTA_TABLE=100))
    assert around.heard(Message(event="RTM_NEWADDR", attrs={}))


def test_one_route_a_network() -> None:
    """The smallest metric wins; routes of other interfaces count where they lie within ours; dead ones, other tables' and
    those by type of service never do; several next hops are no single one."""
    messages = [
        route(RTA_PRIORITY=10, RTA_GATEWAY="10.0.0.9"),
        route(RTA_PRIORITY=5),
        route("0.0.0.0/0", RTA_DST=None, RTA_GATEWAY="10.0.0.1"),
        route("10.9.0.0/16", OTHERS),
        route("10.8.0.0/16", RTA_OIF=None, RTA_MULTIPATH=[{}, {}]),
        Message(route("10.7.0.0/16") | {"flags": 1}),
        Message(route("10.6.0.0/16") | {"tos": 8}),
        route("10.5.0.0/16", RTA_TABLE=100),
    ]
    ways = set(_best(filter(None, (_way(one, OURS) for one in messages))))
    assert ways == {
        Way(NET, True, None, True, 5),
        Way(IPv4Network("0.0.0.0/0"), True, IPv4Address("10.0.0.1")),
        Way(IPv4Network("10.9.0.0/16"), False),
        Way(IPv4Network("10.8.0.0/16"), False, None, False),
    }
    alone = [route("10.9.0.0/16", OTHERS), route()]
    kept = set(_best(filter(None, (_way(one, OURS) for one in alone))))
    assert kept == {Way(NET, True)}
    around = Surroundings(OURS, ways=tuple(ways))
    assert around.hop(PEER) == PEER
    assert around.hop(IPv4Address("8.8.8.8")) == IPv4Address("10.0.0.1")
    assert around.hop(IPv4Address("10.9.0.1")) == IPv4Address("10.9.0.1")
