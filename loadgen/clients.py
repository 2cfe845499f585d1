"""The clients of loadgen/load.c, as Python orders them about."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from ..dataplane.native import check, ffi, lib

Kind = Literal["open", "request", "life", "served", "close"]
Sequence = Literal["robin", "random"]

CLIENTS_MOST = 2**32 - 1
PAYLOAD_LEAST: int = lib.LOAD_PAYLOAD_LEAST
PAYLOAD_MOST: int = lib.LOAD_PAYLOAD_MOST


@dataclass(frozen=True, slots=True)
class Target:
    """The server, as its clients must know it; `struct load_config` of loadgen/load.h without the clients' key."""

    server_address: int
    server_port: int
    server_mac: bytes
    server_key: tuple[int, int]
    first_client: int
    """The lowest client's IPv4 address; each carries 60 000 connections."""
    payload: int
    """Bytes of a request, and of its answer."""
    flight: int
    """Most operations in flight, a power of two."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the clients do next: `struct load_order` of loadgen/load.h, field by field."""

    kind: Kind
    count: int
    """Connections."""
    first: int = 0
    asked: int = 0
    """Requests each of them has had answered."""
    rounds: int = 1
    """Over all of them; 0: until told to finish."""
    rate: float = 0.0
    """Operations a second; 0: as fast as they are answered."""
    sequence: Sequence = "robin"


@dataclass(slots=True)
class Report:
    """`struct load_result` of loadgen/load.h, field by field; `latency` has the answers by nanoseconds, at least."""

    started: int = 0
    done: int = 0
    wrong: int = 0
    lost: int = 0
    duplicates: int = 0
    again: int = 0
    resets: int = 0
    late: int = 0
    bad: int = 0
    foreign: int = 0
    repeated: int = 0
    tx_frames: int = 0
    rx_frames: int = 0
    rounds: int = 0
    nanoseconds: int = 0
    idle: int = 0
    latency: list[tuple[int, int]] = field(default_factory=list)

    @property
    def errors(self) -> int:
        """Answers that were not as they must be or never came, and connections that ended unasked."""
        return self.wrong + self.lost + self.resets + self.bad

    @property
    def answers(self) -> int:
        """Those that were as they must be, each once."""
        return sum(count for _, count in self.latency)

    @property
    def seconds(self) -> float:
        """How long the order ran."""
        return self.nanoseconds / 1e9

    def quantile(self, part: float) -> float:
        """Microseconds within which that part of the answers came; 0.0 without answers."""
        left = part * sum(count for _, count in self.latency)
        for least, count in self.latency:
            left -= count
            if left <= 0:
                return least / 1000
        return 0.0

    def slower(self, microseconds: float) -> int:
        """How many answers took longer."""
        return sum(count for least, count in self.latency if least > microseconds * 1000)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Clients:
    """Clients over `wire`, an object with `nic` (nic/memory.py). Raises OSError: EINVAL (a size), ENOMEM."""

    def __init__(self, wire: Any, target: Target, key: tuple[int, int], began: int) -> None:
        self._wire = wire
        config = ffi.new("struct load_config *")
        config.key[0], config.key[1] = key
        config.server_key[0], config.server_key[1] = target.server_key
        config.began = began
        config.server_address, config.first_client = target.server_address, target.first_client
        config.server_port, config.payload = target.server_port, target.payload
        ffi.memmove(config.server_mac, target.server_mac, 6)
        config.flight = target.flight
        made = ffi.new("struct load **")
        check(lib.load_open(wire.nic, config, made), "clients")
        self._load: Any = made[0]

    def begin(self, order: Order) -> None:
        """Only once the last order is done."""
        made = ffi.new("struct load_order *")
        made.kind = getattr(lib, f"LOAD_{order.kind.upper()}")
        made.sequence = getattr(lib, f"LOAD_{order.sequence.upper()}")
        made.first, made.count, made.asked = order.first, order.count, order.asked
        made.rounds, made.rate = order.rounds, order.rate
        lib.load_begin(self._load, made)

    def run(self, seconds: float) -> bool:
        """Works so long, without the GIL, or until the order is done: then True."""
        return bool(lib.load_run(self._load, round(seconds * 1e9)))

    def finish(self) -> None:
        """End with the round that runs."""
        lib.load_finish(self._load)

    def stop(self) -> None:
        """Begin nothing more."""
        lib.load_stop(self._load)

    def report(self, *, latency: bool = True) -> Report:
        """What came of the order so far."""
        found = lib.load_result(self._load)
        report = Report()
        for name in Report.__slots__:
            if name != "latency":
                setattr(report, name, int(getattr(found, name)))
        if latency:
            report.latency = list(_filled(found.latency))
        return report

    def close(self) -> None:
        """Frees what is process-local. Safe to call twice."""
        if self._load is not None:
            lib.load_close(self._load)
            self._load = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _filled(buckets: Any) -> Iterator[tuple[int, int]]:
    for number in range(lib.LOAD_BUCKETS):
        if buckets[number]:
            yield int(lib.load_bucket_least(number)), int(buckets[number])


def mirror(wire: Any, seconds: float) -> int:
    """Sends requests back without any server for so long; frames received."""
    return int(lib.load_mirror(wire.nic, round(seconds * 1e9)))


def spin_gaps(seconds: float, gap_microseconds: float) -> int:
    """How often a spinning loop here stands still for longer than that."""
    return int(lib.load_spin_gaps(round(seconds * 1e9), round(gap_microseconds * 1000)))
