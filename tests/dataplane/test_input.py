"""Frames at the door: what is malformed is dropped under the right name, what is for us is answered; nothing vanishes."""

import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw import ACK, CORE, FIN, RAW, RST, SYN, Raw, build, checksum, parse, timestamps
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet
from scapy.packet import Raw as Payload

OURS = "02:53:50:4c:54:00"
THEIRS = "02:53:50:4c:54:01"
BROADCAST = "ff:ff:ff:ff:ff:ff"


@pytest.fixture
def raw() -> Iterator[Raw]:
    with Raw() as one:
        yield one


def put(raw: Raw, frame: bytes | Packet) -> list[bytes]:
    """The frame to the core; the frames that come back."""
    assert raw.wires[1].send(bytes(frame))
    raw.peer.poll()
    return list(raw.wires[1].receive())


def ether(**fields: Any) -> Packet:
    return Ether(**{"src": THEIRS, "dst": OURS, **fields})


def ip(**fields: Any) -> Packet:
    return ether() / IP(**{"src": RAW, "dst": CORE, **fields})


def test_mac_addresses_say_which_side(raw: Raw) -> None:
    """The ends of a wire have the addresses the tests write out."""
    assert raw.wires[0].address == bytes.fromhex(OURS.replace(":", ""))
    assert raw.wires[1].address == bytes.fromhex(THEIRS.replace(":", ""))


def damaged(packet: Packet, at: int) -> bytes:
    frame = bytearray(bytes(packet))
    frame[at] ^= 0x55
    return bytes(frame)


SYN_PACKET = ip() / TCP(sport=5000, dport=80, flags="S")
DROPS: dict[str, tuple[str, bytes | Packet]] = {
    "13 bytes": ("drop_truncated", bytes(SYN_PACKET)[:13]),
    "half an IP header": ("drop_truncated", bytes(SYN_PACKET)[:30]),
    "shorter than IP says": ("drop_truncated", bytes(SYN_PACKET)[:53]),
    "half an ARP": ("drop_truncated", bytes(ether() / ARP(pdst=CORE))[:40]),
    "another MAC": (
        "drop_not_ours",
        ether(dst="02:00:00:00:00:09") / IP(dst=CORE, src=RAW) / TCP(),
    ),
    "broadcast IP": ("drop_not_ours", ether(dst=BROADCAST) / IP(dst=CORE, src=RAW) / TCP()),
    "another address": ("drop_not_ours", ip(dst="10.0.0.77") / TCP(dport=80)),
    "IPv6": ("drop_ethertype", ether(type=0x86DD) / Payload(b"\x60" + bytes(60))),
    "802.1Q": ("drop_vlan", ether() / Dot1Q(vlan=5) / IP(dst=CORE, src=RAW) / TCP(dport=80)),
    "802.1ad": ("drop_vlan", ether(type=0x88A8) / Payload(bytes(60))),
    "ARP reply": ("drop_arp", ether() / ARP(op=2, psrc=RAW, pdst=CORE)),
    "ARP for another": ("drop_arp", ether(dst=BROADCAST) / ARP(op=1, psrc=RAW, pdst="10.0.0.9")),
    "version 5": ("drop_ip_version", ip(version=5) / TCP(dport=80)),
    "short header": ("drop_ip_header", ip(ihl=4) / TCP(dport=80)),
    "from multicast": ("drop_ip_header", ip(src="224.0.0.5") / TCP(dport=80)),
    "from loopback": ("drop_ip_header", ip(src="127.0.0.1") / TCP(dport=80)),
    "from ourselves": ("drop_ip_header", ip(src=CORE) / TCP(dport=80)),
    "IP checksum": ("drop_ip_checksum", ip(chksum=0x1234) / TCP(dport=80)),
    "first fragment": ("drop_ip_fragment", ip(flags="MF") / TCP(dport=80)),
    "later fragment": ("drop_ip_fragment", ip(frag=3) / TCP(dport=80)),
    "UDP": ("drop_ip_protocol", ip() / UDP(dport=80) / Payload(b"x")),
    "half a TCP header": ("drop_tcp_header", ip(proto=6) / Payload(bytes(19))),
    "TCP offset 4": ("drop_tcp_header", ip() / TCP(dport=80, dataofs=4)),
    "TCP offset 15": ("drop_tcp_header", ip() / TCP(dport=80, dataofs=15)),
    "TCP checksum": ("drop_tcp_checksum", ip() / TCP(dport=80, flags="S", chksum=0x4321)),
    "damaged payload": ("drop_tcp_checksum", damaged(SYN_PACKET / Payload(b"12345678"), 58)),
    "option of length 0": ("drop_tcp_options", build(flags=SYN, options=b"\x02\x00\x05\xb4")),
    "option of length 1": ("drop_tcp_options", build(flags=SYN, options=b"\x09\x01\x00\x00")),
    "option beyond the header": ("drop_tcp_options", build(flags=SYN, options=b"\x02\x0a\x05\xb4")),
    "option without length": ("drop_tcp_options", build(flags=SYN, options=b"\x01\x01\x01\x02")),
    "no flags": ("drop_tcp_flags", ip() / TCP(dport=80, flags="")),
    "FIN alone": ("drop_tcp_flags", ip() / TCP(dport=80, flags="F")),
    "SYN and FIN": ("drop_tcp_flags", ip() / TCP(dport=80, flags="SF")),
    "SYN and RST": ("drop_tcp_flags", ip() / TCP(dport=80, flags="SR")),
    "reset for nobody": ("drop_no_connection", ip() / TCP(dport=80, flags="R")),
    "ICMP unreachable": ("drop_icmp", ip() / ICMP(type=3) / Payload(bytes(28))),
    "ICMP of 4 bytes": ("drop_icmp", ip(proto=1) / Payload(b"\x08\0\0\0")),
    "ICMP checksum": ("drop_icmp", ip() / ICMP(chksum=1) / Payload(b"ping")),
    "over the MTU": ("drop_too_long", ip() / TCP(dport=80, flags="S") / Payload(bytes(1500))),
}


@pytest.mark.parametrize("case", DROPS)
def test_drop_has_its_own_name(raw: Raw, case: str) -> None:
    """Each malformed or foreign frame raises exactly the counter that says why, and gets no answer."""
    reason, frame = DROPS[case]
    assert put(raw, frame) == []
    assert raw.dropped() == {reason: 1}
    assert raw.counter("rx_frames") == 1


def test_arp_request_is_answered(raw: Raw) -> None:
    """RFC 826: who asks for our address by broadcast gets our MAC."""
    (frame,) = put(raw, ether(dst=BROADCAST) / ARP(op=1, hwsrc=THEIRS, psrc=RAW, pdst=CORE))
    reply = Ether(frame)
    assert (reply.dst, reply.src) == (THEIRS, OURS)
    arp = reply[ARP]
    assert (arp.op, arp.hwsrc, arp.psrc, arp.hwdst, arp.pdst) == (2, OURS, CORE, THEIRS, RAW)
    assert raw.counter("arp_replies") == 1


@pytest.mark.parametrize("size", [0, 1, 56, 1472])
def test_echo_request_is_answered(raw: Raw, size: int) -> None:
    """RFC 792: the same identifier, sequence and bytes come back, with good checksums."""
    data = bytes(range(256)) * 6
    (frame,) = put(raw, ip(ttl=3, tos=4) / ICMP(id=7, seq=9) / Payload(data[:size]))
    reply = Ether(frame)
    assert (reply[IP].src, reply[IP].dst, reply[IP].ttl) == (CORE, RAW, 64)
    assert (reply[ICMP].type, reply[ICMP].id, reply[ICMP].seq) == (0, 7, 9)
    assert bytes(reply[ICMP].payload) == data[:size]
    assert checksum(bytes(reply[IP])[:20]) == 0
    assert checksum(bytes(reply[ICMP])) == 0


def test_frames_we_send_are_what_scapy_would_send(raw: Raw) -> None:
    """A SYN-ACK byte by byte, checksums included, against scapy's own encoding of the same fields."""
    options = [
        ("MSS", 1400),
        ("NOP", None),
        ("WScale", 7),
        ("NOP", None),
        ("NOP", None),
        ("Timestamp", (5, 0)),
    ]
    (frame,) = put(raw, ip() / TCP(sport=5000, dport=80, flags="S", seq=77, options=options))
    got = Ether(frame)
    expected = (
        Ether(src=OURS, dst=THEIRS)
        / IP(src=CORE, dst=RAW, id=0, flags="DF", ttl=64)
        / TCP(
            sport=80,
            dport=5000,
            flags="SA",
            seq=got[TCP].seq,
            ack=78,
            window=65535,
            options=[
                ("MSS", 1460),
                ("NOP", None),
                ("WScale", 3),
                ("NOP", None),
                ("NOP", None),
                ("Timestamp", (dict(got[TCP].options)["Timestamp"][0], 5)),
            ],
        )
    )
    assert frame == bytes(expected)


def test_ip_options_are_skipped(raw: Raw) -> None:
    """A header longer than 20 bytes is walked over, not dropped."""
    packet = (
        ether()
        / IP(src=RAW, dst=CORE, options=[b"\x94\x04\0\0"])
        / TCP(sport=5000, dport=80, flags="S")
    )
    (frame,) = put(raw, packet)
    assert parse(frame).flags == SYN | ACK


def test_padding_after_the_packet_is_no_data(raw: Raw) -> None:
    """Ethernet pads short frames; what lies beyond IP's length isn't delivered."""
    connection = raw.establish()
    frame = build(seq=raw.seq, ack=raw.ack, flags=ACK, data=b"x")
    put(raw, frame + b"PADDING")
    assert connection.received == b"x"


def test_partial_checksum_is_accepted_and_counted(raw: Raw) -> None:
    """On a driver that says such frames happen, the pseudo-header's sum alone will do (virtual links)."""
    frame = bytearray(build(flags=SYN))
    addresses = socket.inet_aton(RAW) + socket.inet_aton(CORE)
    partial = ~checksum(addresses + b"\0\x06" + struct.pack("!H", len(frame) - 34)) & 0xFFFF
    frame[50:52] = partial.to_bytes(2, "big")
    (answer,) = put(raw, bytes(frame))
    assert parse(answer).flags == SYN | ACK
    assert raw.counter("partial_checksum") == 1


def test_answers_go_to_the_mac_the_syn_came_from(raw: Raw) -> None:
    """Whatever router a SYN came through gets the whole connection's frames."""
    router = b"\x02\xaa\xbb\xcc\xdd\xee"
    answers = put(raw, build(flags=SYN, seq=1, source_mac=router))
    assert answers[0][:6] == router
    seq = parse(answers[0]).seq
    put(raw, build(flags=ACK, seq=2, ack=seq + 1))
    connection = raw.peer.accept(80)
    assert connection
    connection.send(b"hello")
    raw.peer.poll()
    (frame,) = raw.wires[1].receive()
    assert frame[:6] == router


def test_resets_answer_what_belongs_to_nobody(raw: Raw) -> None:
    """RFC 9293 section 3.10.7.1: sequence and acknowledgement such that the sender accepts the reset."""
    (frame,) = put(raw, build(flags=ACK, seq=5, ack=99))
    assert (parse(frame).flags, parse(frame).seq, parse(frame).ack) == (RST, 99, 0)
    (frame,) = put(raw, build(flags=SYN, seq=5, port=81, data=b"abc"))
    assert (parse(frame).flags, parse(frame).seq, parse(frame).ack) == (RST | ACK, 0, 9)
    assert raw.dropped() == {"drop_no_connection": 1, "drop_no_listener": 1}


VALID = [
    bytes(SYN_PACKET),
    build(flags=SYN, options=b"\x02\x04\x05\xb4\1\3\3\7" + timestamps(9)),
    build(flags=ACK, data=b"hello"),
    build(flags=FIN | ACK),
    bytes(ip() / ICMP() / Payload(b"ping")),
    bytes(ether(dst=BROADCAST) / ARP(op=1, hwsrc=THEIRS, psrc=RAW, pdst=CORE)),
]
MUTATIONS = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=6)


@settings(max_examples=400)
@given(st.sampled_from(VALID), MUTATIONS, st.integers(0, 140), st.binary(max_size=20))
def test_no_frame_vanishes(frame: bytes, mutations: Any, cut: int, tail: bytes) -> None:
    """Mutated, cut or lengthened: a frame is dropped under exactly one name, or answered."""
    mutated = bytearray(frame)
    for at, value in mutations:
        if at < len(mutated):
            mutated[at] = value
    with Raw(connections=4, buffers=1 << 16) as raw:
        answers = put(raw, bytes(mutated[:cut] if cut < len(mutated) else mutated) + tail)
        dropped = sum(raw.dropped().values())
        assert dropped + len(answers) >= 1
        assert dropped <= 1
        assert raw.core.state.live <= 1


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, SYN, ACK, ACK, ACK | 8, FIN | ACK, RST, RST | ACK, SYN | ACK, 63]),
            st.integers(-3, 3) | st.integers(-70_000, 70_000),
            st.integers(-3, 3) | st.integers(-70_000, 70_000),
            st.integers(0, 1400),
            st.integers(0, 65535),
            st.floats(0, 3),
        ),
        max_size=12,
    )
)
def test_any_segments_leave_a_connection_that_can_be_reset(segments: list[Any]) -> None:
    """After whatever segments, what was delivered is what was in order, and a reset from our side frees everything."""
    with Raw(connections=4, buffers=1 << 18, room=5000) as raw:
        raw.establish()
        free = raw.lib.buffer_free_bytes(raw.core)
        for flags, seq, ack, length, window, seconds in segments:
            raw.send(flags, b"d" * length, seq=raw.seq + seq, ack=raw.ack + ack, window=window)
            raw.wait(seconds)
        assert raw.core.state.live <= 2
        for connection in raw.peer.connections:
            assert set(connection.received) <= {ord("d")}
            connection.abort()
        raw.core.transport.drain(raw.core, 1)
        raw.receive()
        assert raw.core.state.live == 0
        assert raw.core.state.half_open == 0
        assert raw.lib.buffer_free_bytes(raw.core) >= free
