"""When buffers run out: peers that hold them and only look alive pay, and the others go on. Over our TCP, frame by frame."""

from collections.abc import Iterator
from typing import Any

import pytest
from raw import ACK, RST, SYN, Raw, build, parse
from rig import SCRIPT, Handlers
from splitplane.dataplane.native import ffi, lib

MSS_1000 = b"\x02\x04\x03\xe8"
SCRIPT_PORT = 81


def script_listen(raw: Raw, handlers: Handlers) -> None:
    """The script actor of tests/c/handlers.c at SCRIPT_PORT."""
    actor = lib.core_listen(raw.core, int.from_bytes(SCRIPT_PORT.to_bytes(2, "big"), "little"), -1)
    actor.max_unconsumed, actor.reply_reserve, actor.calls_per_turn = 4096, 2048, 64
    for handler, function in SCRIPT.items():
        entry = ffi.cast("handler_entry", handlers.address(function))
        actor.reporting[getattr(lib, handler)] = actor.quiet[getattr(lib, handler)] = entry


class Client:
    """One end of many on the same wire; it acknowledges what it takes, sends again what is not acknowledged."""

    def __init__(self, port: int, window: int = 65535) -> None:
        self.port, self.window = port, window
        self.seq, self.ack = 1000, 0
        self.unacked = b""
        self.received = b""
        self.open = self.reset = False

    def frame(self, flags: int = ACK, data: bytes = b"") -> bytes:
        return build(
            source_port=self.port,
            port=SCRIPT_PORT,
            seq=self.seq,
            ack=self.ack if flags & ACK else 0,
            flags=flags,
            window=self.window,
            options=MSS_1000 if flags & SYN else b"",
            data=data,
        )

    def hear(self, segment: Any) -> None:
        if segment.flags & RST:
            self.reset = True
        elif segment.flags & SYN:
            self.seq, self.ack, self.open = 1001, (segment.seq + 1) % 2**32, True
        else:
            taken = (segment.ack - self.seq) % 2**32
            if taken <= len(self.unacked):
                self.seq, self.unacked = segment.ack, self.unacked[taken:]
            if segment.seq == self.ack:
                data = segment.data[: self.window]
                self.received += data
                self.ack = (self.ack + len(data)) % 2**32


class Crowd:
    """Clients of one core, by port."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.clients: dict[int, Client] = {}

    def connect(self, window: int = 65535) -> Client:
        client = Client(5000 + len(self.clients), window)
        self.clients[client.port] = client
        self.put([client.frame(SYN)])
        assert client.open
        self.put([client.frame()])
        return client

    def put(self, frames: list[bytes]) -> None:
        """Sends the frames in bursts; everybody hears what comes back."""
        for first in range(0, len(frames), 32):
            for frame in frames[first : first + 32]:
                assert self.raw.wires[1].send(frame)
            self.turn()

    def turn(self) -> None:
        for _ in range(3):
            self.raw.peer.poll()
            for frame in self.raw.wires[1].receive():
                segment = parse(frame)
                self.clients[segment.port].hear(segment)

    def step(self) -> None:
        """A fifth of a second."""
        for _ in range(20):
            self.raw.now += 10_000_000
            self.raw.peer.clock(self.raw.now)
            self.turn()


class Hostile:
    """Peers that hold memory and show signs of life. `unread`: an answer asked for, the window shut, the same ACK again
    and again. `sipping`: likewise, but it takes one byte of each probe. `unfinished`: a request without its end, the
    same ACK again and again. `trickling`: a byte of it at a time."""

    def __init__(self, crowd: Crowd, kind: str) -> None:
        self.crowd, self.kind = crowd, kind
        self.peers: list[Client] = []

    def join(self) -> None:
        reads = self.kind not in ("unread", "sipping")
        peer = self.crowd.connect(65535 if reads else int(self.kind == "sipping"))
        request = b"#\xff" + b"a" * (20 + 37 * len(self.peers) % 180) if reads else b"*\x04" * 40
        peer.unacked = request
        self.peers.append(peer)
        self.crowd.put([peer.frame(data=request)])

    def chat(self) -> None:
        alive = [peer for peer in self.peers if not peer.reset]
        for peer in alive:
            if self.kind == "trickling" and not peer.unacked:
                peer.unacked = b"a"
        self.crowd.put([peer.frame(data=peer.unacked[:1000]) for peer in alive])


@pytest.fixture
def crowd(handlers: Handlers) -> Iterator[Crowd]:
    handlers.reset()
    with Raw(connections=256, buffers=1 << 14) as raw:
        script_listen(raw, handlers)
        yield Crowd(raw)


def seen_from_outside(raw: Raw) -> tuple[float, int]:
    """How full the buffers are, and how many connections there are, as tools read them from the arena."""
    arena = ffi.from_buffer(raw.peer.memory)
    fill = ffi.new("struct peek_fill *")
    lib.peek_fill(arena, fill)
    rows = ffi.new("struct peek_row[]", 256)
    return fill.buffers / fill.buffers_most, lib.peek_rows(arena, 1, 256, rows)


@pytest.mark.parametrize("kind", ["unread", "sipping", "unfinished", "trickling"])
def test_signs_of_life_do_not_keep_memory(crowd: Crowd, kind: str) -> None:
    """Hostile peers that send an ACK or a byte every 200 ms hold all buffers: they pay, not the one who only asks;
    every question of its is answered, and the core can be looked into all the while."""
    raw = crowd.raw
    well = crowd.connect()
    hostile = Hostile(crowd, kind)
    for _ in range(200):
        hostile.join()
    fullest = 0.0
    for number in range(5):
        expected = b"hello" * (number + 1)
        well.unacked = b"=\x05hello"
        for _ in range(100):
            crowd.put([well.frame(data=well.unacked)])
            hostile.chat()
            full, connections = seen_from_outside(raw)
            fullest = max(full, fullest)
            assert connections == raw.core.state.live
            crowd.step()
            if well.received == expected:
                break
        assert well.received == expected
    assert not well.reset
    assert fullest > 0.85
    assert raw.counter("buffer_evicted") >= 1
    assert raw.counter("buffer_evicted") == sum(peer.reset for peer in hostile.peers)
