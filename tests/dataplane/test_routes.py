"""Where segments go: by the table that the control plane published, else to the MAC that the SYN came from; and the tables
themselves against a model."""

import mmap
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw import ACK, CORE, RAW, SYN, Raw, build, parse
from scapy.layers.l2 import ARP, Ether
from splitplane.dataplane.native import ffi, lib
from splitplane.dataplane.ring import Ring, ring_bytes
from splitplane.dataplane.routes import HOPS_MOST, NeighbourEvent, Picture, Route

SYN_MAC = b"\x02SPLT\1"
GATEWAY = b"\x02\xaa\xaa\xaa\xaa\xaa"
PEER = b"\x02\xbb\xbb\xbb\xbb\xbb"
LINK = Route(IPv4Network("10.0.0.0/24"), link=True)


@pytest.fixture
def raw() -> Iterator[Raw]:
    with Raw() as one:
        yield one


def publish(raw: Raw, picture: Picture) -> None:
    """The picture is in force after this."""
    assert picture.table().publish(raw.peer.memory)
    raw.peer.poll()


def destination(raw: Raw) -> bytes:
    """The MAC that the connection's next segment goes to."""
    raw.peer.connections[0].send(b"x")
    raw.peer.poll()
    (frame,) = raw.wires[1].receive()
    segment = parse(frame)
    raw.ack = segment.seq + len(segment.data)
    raw.send(ACK)
    return frame[:6]


def test_live_connections_follow_the_table(raw: Raw) -> None:
    """Each picture holds from the next segment on: the peer's MAC on the link, the gateway's, another one, and without an
    answer again the MAC of the SYN."""
    raw.establish()
    peer = ((IPv4Address(RAW), PEER),)
    gateway = Route(IPv4Network("0.0.0.0/0"), mac=GATEWAY)
    for picture, wanted in (
        (Picture(), SYN_MAC),
        (Picture(routes=(LINK,), hops=peer), PEER),
        (Picture(routes=(LINK,)), SYN_MAC),
        (Picture(routes=(gateway,)), GATEWAY),
        (Picture(routes=(gateway, LINK), hops=peer), PEER),
        (Picture(routes=(gateway, LINK)), SYN_MAC),
        (Picture(routes=(gateway, Route(IPv4Network("10.0.0.2/32")))), SYN_MAC),
        (Picture(hops=peer), SYN_MAC),
    ):
        publish(raw, picture)
        assert destination(raw) == wanted, picture
    assert raw.counter("routes_taken") == 8


def test_a_table_is_left_alone_until_it_was_left(raw: Raw) -> None:
    """A second table waits until the core has taken the first, so that none is written while it is read."""
    first, second = Picture(mtu=1000).table(), Picture(mtu=900).table()
    assert first.publish(raw.peer.memory)
    assert not second.publish(raw.peer.memory)
    raw.peer.poll()
    assert raw.core.mtu == 1000
    assert second.publish(raw.peer.memory)
    assert raw.core.mtu == 1000
    raw.peer.poll()
    assert raw.core.mtu == 900


def test_the_next_worker_reads_the_same_table(raw: Raw) -> None:
    """What was published before a core is opened, or opened again over its arena, is in force from its first turn."""
    publish(raw, Picture(mtu=1100, routes=(LINK,), hops=((IPv4Address(RAW), PEER),)))
    before = raw.core.routes.seen
    raw.core.route_table = ffi.NULL  # as in a new worker
    raw.core.mtu = 1500
    raw.peer.poll()
    assert raw.core.mtu == 1100
    assert raw.core.routes.seen == before
    assert Picture().table().publish(raw.peer.memory)


hosts = st.integers(0, 2**32 - 1).map(IPv4Address)
macs = st.binary(min_size=6, max_size=6).filter(any)
networks = st.builds(
    lambda address, bits: IPv4Network((address, bits), strict=False), hosts, st.integers(0, 32)
)
routes = st.lists(
    st.builds(Route, networks, st.booleans(), st.one_of(st.just(b""), macs)),
    max_size=12,
    unique_by=lambda route: route.network,
)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), routes=routes, hops=st.dictionaries(hosts, macs, max_size=40))
def test_look_up_is_the_longest_mask(
    data: st.DataObject, routes: list[Route], hops: dict[IPv4Address, bytes]
) -> None:
    """Any host is answered as a search of all routes for the longest mask would answer."""
    edges = [one.network.network_address for one in routes] + list(hops) + [IPv4Address(RAW)]
    with Raw(connections=4, buffers=1 << 16) as raw:
        publish(raw, Picture(routes=tuple(routes), hops=tuple(hops.items())))
        for host in (*edges, *data.draw(st.lists(hosts, max_size=5))):
            fitting = [route for route in routes if host in route.network]
            best = max(fitting, key=lambda route: route.network.prefixlen, default=None)
            wanted: bytes | None = None
            if best is not None:
                wanted = best.mac or (hops.get(host) if best.link else None)
            word = int.from_bytes(host.packed, "little")
            found = lib.routes_hop(raw.core, word)
            assert (None if found == ffi.NULL else ffi.buffer(found, 6)[:]) == wanted


def test_tables_have_an_end() -> None:
    """As many neighbours as the table promises fit and are found; one more is refused, and so is one route more."""
    hops = tuple((IPv4Address(number), PEER) for number in range(1, HOPS_MOST + 1))
    Picture(hops=hops).table()
    with pytest.raises(OverflowError, match="neighbours"):
        Picture(hops=(*hops, (IPv4Address(0), PEER))).table()
    many = tuple(Route(IPv4Network((number << 8, 24))) for number in range(lib.ROUTES_MOST + 1))
    Picture(routes=many[1:]).table()
    with pytest.raises(OverflowError, match="routes"):
        Picture(routes=many).table()


def test_our_own_mac_may_change(raw: Raw) -> None:
    """Frames to the MAC the interface has now are ours, and ours come from it."""
    ours = b"\x02\xcc\xcc\xcc\xcc\xcc"
    publish(raw, Picture(mac=ours))
    assert raw.wires[1].send(build(flags=SYN))
    raw.peer.poll()
    assert list(raw.wires[1].receive()) == []
    assert raw.wires[1].send(build(flags=SYN, mac=ours))
    raw.peer.poll()
    (frame,) = raw.wires[1].receive()
    assert frame[6:12] == ours


def test_the_mtu_is_what_the_interface_has(raw: Raw) -> None:
    """A smaller MTU is offered to new peers and kept to on live connections, a larger one than a frame is counted."""
    connection = raw.establish(b"\2\4\5\xb4")
    publish(raw, Picture(mtu=600))
    connection.send(bytes(3000))
    lengths = {len(segment.data) for segment in raw.receive()}
    assert max(lengths) == 560
    assert raw.send(SYN, source_port=5001, seq=1)[0].options[2] == (560).to_bytes(2, "big")
    publish(raw, Picture(mtu=9000))
    assert raw.counter("mtu_capped") == 1
    assert raw.core.mtu == 1500


def test_forgotten_neighbours_make_room() -> None:
    """MACs that no connection holds are forgotten once the table is crowded; those of live connections stay where they
    are, and new ones find room."""
    with Raw(connections=16, buffers=1 << 16) as raw:
        raw.establish()
        held = raw.record.neighbour
        for number in range(1, lib.NEIGHBOURS_CROWDED + 100):
            lib.neighbour_learn(raw.core, number.to_bytes(6, "big"))
        raw.wait(0.1)
        assert raw.counter("neighbours_forgotten") >= lib.NEIGHBOURS_CROWDED
        assert raw.record.neighbour == held
        assert destination(raw) == SYN_MAC
        assert lib.neighbour_learn(raw.core, SYN_MAC) == held
        assert lib.neighbour_learn(raw.core, PEER) != 0


def test_a_flood_of_macs_shuts_nobody_out() -> None:
    """SYNs from ever new MACs: the table is swept again and again, and who comes from a new one gets through."""
    with Raw(connections=16, buffers=1 << 16, half_open_limit=8) as raw:
        for round_ in range(3):
            for number in range(9000):
                lib.neighbour_learn(raw.core, (round_ << 16 | number | 1 << 40).to_bytes(6, "big"))
            raw.wait(1.5)
            mac = bytes((2, 0xDD, 0, 0, 0, round_))
            assert raw.wires[1].send(build(flags=SYN, source_mac=mac, source_port=6000 + round_))
            raw.peer.poll()
            (frame,) = raw.wires[1].receive()
            assert frame[:6] == mac


class Told:
    """A ring to the control plane, put to the core."""

    def __init__(self, raw: Raw) -> None:
        self.memory = mmap.mmap(-1, ring_bytes(64))
        self.ring = Ring.format(self.memory, 64)
        lib.core_peer(raw.core, lib.CORE_CONTROL, self.ring.pointer, ffi.NULL)

    def events(self) -> list[NeighbourEvent]:
        """What the core said since."""
        events = []
        while (run := self.ring.get_run()) is not None:
            self.ring.advance()
            events += [
                NeighbourEvent.from_bytes(run.data[at : at + run.length])
                for at in range(0, len(run.data), run.length)
            ]
        return events


def test_arp_that_contradicts_the_table_is_told(raw: Raw) -> None:
    """Who asks for our address from another MAC than the table has of him is reported; who agrees, or isn't in it, is not;
    and a flood of contradictions is reported a few times a second."""
    told = Told(raw)

    def ask(sender: str, mac: str) -> None:
        arp = ARP(op=1, hwsrc=mac, psrc=sender, pdst=CORE)
        assert raw.wires[1].send(bytes(Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / arp))
        raw.peer.poll()
        assert len(raw.wires[1].receive()) == 1

    publish(raw, Picture(routes=(LINK,), hops=((IPv4Address(RAW), PEER),)))
    ask(RAW, "02:bb:bb:bb:bb:bb")
    ask("10.0.0.7", "02:bb:bb:bb:bb:cc")
    assert told.events() == []
    ask(RAW, "02:bb:bb:bb:bb:cc")
    assert told.events() == [NeighbourEvent(IPv4Address(RAW), b"\x02\xbb\xbb\xbb\xbb\xcc")]
    for _ in range(50):
        ask(RAW, "02:bb:bb:bb:bb:cc")
    assert len(told.events()) == lib.NEIGHBOUR_DOUBTS_PER_SECOND - 1


def test_silence_is_told(raw: Raw) -> None:
    """Two timeouts in a row by a hop of the table are reported, without one they are not."""
    told = Told(raw)
    connection = raw.establish()
    connection.send(b"x")
    raw.wait(3)
    assert told.events() == []
    raw.send(ACK)
    publish(raw, Picture(routes=(Route(IPv4Network("0.0.0.0/0"), mac=GATEWAY),)))
    connection.send(b"y")
    raw.wait(5)
    assert told.events()[0] == NeighbourEvent(IPv4Address(RAW), b"")


def test_connecting_by_the_table_alone(raw: Raw) -> None:
    """An active open without a MAC goes by the table; without an answer there it is refused; and when the table loses the
    hop in the middle the MAC of the peer's segments serves."""
    word = int.from_bytes(IPv4Address(RAW).packed, "little")
    port = int.from_bytes((99).to_bytes(2, "big"), "little")
    assert lib.tcp_connect(raw.core, 0, word, port, 0, ffi.NULL) == 0
    publish(raw, Picture(routes=(LINK,), hops=((IPv4Address(RAW), PEER),)))
    index = lib.tcp_connect(raw.core, 0, word, port, 0, ffi.NULL)
    assert index
    raw.peer.poll()
    (frame,) = raw.wires[1].receive()
    assert frame[:6] == PEER
    syn = parse(frame)
    theirs = {"port": syn.source_port, "source_port": 99, "ack": syn.seq + 1}
    assert put(raw, build(flags=SYN | ACK, seq=5, **theirs))[0][:6] == PEER
    publish(raw, Picture())
    data = build(seq=6, data=b"hi", **theirs)
    answers = put(raw, data) + put(raw, data)  # what is sent twice is acknowledged at once
    assert answers
    assert all(frame[:6] == SYN_MAC for frame in answers)


def put(raw: Raw, frame: bytes) -> list[bytes]:
    """The frame to the core; the frames that come back."""
    assert raw.wires[1].send(frame)
    raw.peer.poll()
    return list(raw.wires[1].receive())
