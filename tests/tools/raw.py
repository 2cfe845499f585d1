"""Bare segments against a core: one end is our TCP on a virtual clock, the other writes and reads frames by hand."""

import os
import socket
import struct
from dataclasses import dataclass
from typing import Any, Self

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
SECOND = 1_000_000_000
CORE, RAW = "10.0.0.1", "10.0.0.2"


def checksum(data: bytes) -> int:
    """RFC 1071, of bytes in network order."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(frozen=True)
class Segment:
    """What a frame from the core said."""

    flags: int
    seq: int
    ack: int
    window: int
    data: bytes
    options: dict[int, bytes]
    source_port: int
    port: int

    @property
    def timestamps(self) -> tuple[int, int]:
        value, echo = struct.unpack("!II", self.options[8])
        return value, echo


def parse_options(options: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while options and options[0] != 0:
        if options[0] == 1:
            options = options[1:]
            continue
        found[options[0]] = options[2 : options[1]]
        options = options[options[1] :]
    return found


def parse(frame: bytes) -> Segment:
    """A TCP frame, its lengths and both checksums verified."""
    assert frame[12:14] == b"\x08\x00"
    ip = frame[14:]
    assert ip[0] == 0x45
    assert len(ip) == int.from_bytes(ip[2:4])
    assert checksum(ip[:20]) == 0
    tcp = ip[20:]
    pseudo = ip[12:20] + b"\0\x06" + struct.pack("!H", len(tcp))
    assert checksum(pseudo + tcp) == 0
    source, port, seq, ack, offset, flags, window, _, urgent = struct.unpack("!HHIIBBHHH", tcp[:20])
    assert urgent == 0
    header = (offset >> 4) * 4
    return Segment(
        flags, seq, ack, window, tcp[header:], parse_options(tcp[20:header]), source, port
    )


def build(
    *,
    source: str = RAW,
    destination: str = CORE,
    mac: bytes = b"\x02SPLT\0",
    source_mac: bytes = b"\x02SPLT\1",
    source_port: int = 5000,
    port: int = 80,
    seq: int = 0,
    ack: int = 0,
    flags: int = ACK,
    window: int = 65535,
    options: bytes = b"",
    data: bytes = b"",
) -> bytes:
    """A frame that passes every check."""
    options += b"\0" * (-len(options) % 4)
    offset = (20 + len(options)) // 4 << 4
    tcp = struct.pack(
        "!HHIIBBHHH",
        source_port,
        port,
        seq % 2**32,
        ack % 2**32,
        offset,
        flags,
        window,
        0,
        0,
    )
    tcp += options + data
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    total = checksum(addresses + b"\0\x06" + struct.pack("!H", len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack("!H", total) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + addresses
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    return mac + source_mac + b"\x08\x00" + ip + tcp


def timestamps(value: int, echo: int = 0) -> bytes:
    return b"\1\1\x08\x0a" + struct.pack("!II", value % 2**32, echo % 2**32)


class Raw:
    """A core (`peer`, 10.0.0.1, listening at 80) and this end of the wire (10.0.0.2 port 5000), written by hand.

    `seq` and `ack` are this end's SND.NXT and RCV.NXT; `send` moves the first, `receive` the second.
    """

    def __init__(
        self, *, iss: int = 1000, now: int = 1000 * SECOND, slots: int = 256, **options: Any
    ) -> None:
        from splitplane.dataplane.native import lib
        from splitplane.dataplane.peer import Peer
        from splitplane.nic.memory import Wire, create

        self.lib = lib
        self.descriptor = create(slots)
        self.wires = [Wire(self.descriptor, 0), Wire(self.descriptor, 1)]
        self.peer = Peer(self.wires[0], address=CORE, number=1, **{"answer_end": False, **options})
        self.core = self.peer.core.pointer
        for word in range(4):  # the same keys in each run
            self.core.state.key[word] = 0x9E3779B97F4A7C15 * (word + 1) % 2**64
        self.peer.listen(80)
        self.now = now
        self.peer.clock(now)
        self.iss = iss
        self.seq = iss
        self.ack = 0
        self.port = 80
        self.source_port = 5000
        self.echo: int | None = None
        self.value = 100

    def send(self, flags: int = ACK, data: bytes = b"", **fields: Any) -> list[Segment]:
        """One segment at `seq`/`ack` unless told otherwise; what comes back in the same turns."""
        return self.burst([self.frame(flags, data, **fields)])

    def burst(self, frames: list[bytes]) -> list[Segment]:
        """Frames that the core takes in one turn, 32 at most; what comes back."""
        for frame in frames:
            assert self.wires[1].send(frame)
        return self.receive()

    def frame(self, flags: int = ACK, data: bytes = b"", **fields: Any) -> bytes:
        """The segment that `send` sends; `seq` moves on as if it had gone."""
        fields = {
            "seq": self.seq,
            "ack": self.ack if flags & ACK else 0,
            "port": self.port,
            "source_port": self.source_port,
        } | fields
        if self.echo is not None and "options" not in fields:
            fields["options"] = timestamps(self.value, self.echo)
        frame = build(flags=flags, data=data, **fields)
        if fields["seq"] == self.seq and not flags & RST:
            self.seq = (self.seq + len(data) + bool(flags & SYN) + bool(flags & FIN)) % 2**32
        return frame

    def receive(self) -> list[Segment]:
        """Turns of the core until it is quiet; its segments."""
        segments: list[Segment] = []
        for _ in range(100):
            work = self.peer.poll()
            frames = self.wires[1].receive()
            segments += [parse(frame) for frame in frames]
            if not work and not frames:
                break
        for segment in segments:
            end = segment.seq + len(segment.data) + bool(segment.flags & (SYN | FIN))
            if not segment.flags & RST and (end - self.ack) % 2**32 < 2**31:
                self.ack = end % 2**32
            if 8 in segment.options and self.echo is not None:
                self.echo = segment.timestamps[0]
        return segments

    def wait(self, seconds: float) -> list[Segment]:
        """Lets so much virtual time pass, a millisecond at a time; what the core sends meanwhile."""
        segments: list[Segment] = []
        end = self.now + int(seconds * SECOND)
        while self.now < end:
            ticks = self.lib.timer_next(self.core, 1000)
            self.now = min(end, self.now + max(ticks, 1) * 1_000_000)
            self.peer.clock(self.now)
            segments += self.receive()
        return segments

    def syn(self, options: bytes = b"") -> Segment:
        """Sends the SYN; the SYN-ACK."""
        self.ack = 0
        (answer,) = self.send(SYN, options=options)
        assert answer.flags == SYN | ACK
        self.ack = (answer.seq + 1) % 2**32
        return answer

    def establish(self, options: bytes = b"") -> Any:
        """A whole handshake; the core's end of the connection."""
        self.syn(options)
        if b"\x08\x0a" in options:
            self.echo = 0
        assert self.send(ACK) == []
        connection = self.peer.accept(80)
        assert connection is not None
        assert connection.opened
        return connection

    @property
    def record(self) -> Any:
        """The only record, whatever its state."""
        return self.core.records[1]

    @property
    def state(self) -> str:
        """Of the only connection: a state's name, "TIME_WAIT", or "CLOSED"."""
        if self.record.state == 0 and self.lib.time_wait_count(self.core):
            return "TIME_WAIT"
        return STATES[self.record.state]

    def counter(self, name: str) -> int:
        return self.peer.counters()[name]

    def dropped(self) -> dict[str, int]:
        """Every drop counter that isn't zero."""
        counters = self.peer.counters()
        return {
            name: value for name, value in counters.items() if name.startswith("drop_") and value
        }

    def close(self) -> None:
        self.peer.close()
        for wire in self.wires:
            wire.close()
        os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


STATES = (
    "CLOSED",
    "SYN_SENT",
    "SYN_RECEIVED",
    "ESTABLISHED",
    "FIN_WAIT_1",
    "FIN_WAIT_2",
    "CLOSE_WAIT",
    "CLOSING",
    "LAST_ACK",
    "TIME_WAIT",
)
