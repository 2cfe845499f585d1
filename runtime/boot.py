"""What a controller hands its launcher: numbers of inherited descriptors, cores, and the layout, as one JSON line.

Also the line protocol that both speak from then on. Knows no process.
"""

import json
import socket
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class BootListener:
    """One `[[group.NAME.listen]]` on one core; `descriptor` is its listening socket, -1 for frame drivers."""

    port: int
    descriptor: int = -1


@dataclass(frozen=True, slots=True)
class BootFront:
    """A core's queues of an interface: its MAC in hex, (number, socket, offset of the region in the arena) each."""

    mac: str
    queues: tuple[tuple[int, int, int], ...]
    pulse: int
    all_queues: int

    @classmethod
    def from_json(cls, made: dict[str, Any]) -> Self:
        """Back from its JSON."""
        return cls(**{**made, "queues": tuple(tuple(queue) for queue in made["queues"])})


@dataclass(frozen=True, slots=True)
class BootCore:
    """One core: its CPU, its memory and its way to the world."""

    number: int
    group: str
    cpu: int
    arena: int
    driver: str
    bell: int = -1
    """An eventfd by which the control plane wakes the core."""
    wire: int = -1
    front: BootFront | None = None
    spin: bool = False
    drain_milliseconds: int = 10_000
    half_open_limit: int = 0
    keepalive_seconds: int = 0
    local_address: str = "0.0.0.0"
    mtu: int = 1500
    listeners: tuple[BootListener, ...] = ()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a worker of this core inherits."""
        return (*self.own, *self.ways)

    @property
    def own(self) -> tuple[int, ...]:
        """Of these, the ones that stay when nobody serves the core any more."""
        return (self.arena, self.bell) if self.bell >= 0 else (self.arena,)

    @property
    def ways(self) -> tuple[int, ...]:
        """Of these, the ones by which clients come."""
        ports = [listener.descriptor for listener in self.listeners]
        queues = [queue[1] for queue in self.front.queues] if self.front else []
        pulse = self.front.pulse if self.front else -1
        return tuple(number for number in (self.wire, pulse, *queues, *ports) if number >= 0)


@dataclass(frozen=True, slots=True)
class Boot:
    """The whole order: compile `layout` (the JSON of a Layout) with modules from `directory`, then run `cores`."""

    name: str
    layout: dict[str, Any]
    directory: str
    file: str
    mesh: int
    digest: int
    cores: tuple[BootCore, ...]
    control_cpus: tuple[int, ...] = ()
    claims: tuple[int, ...] = ()
    held: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Descriptors that only have to stay open, by the group they serve."""
    adopt: bool = False
    serve: bool = False
    """Whether the cores outlive a killed controller."""
    stall_milliseconds: int = 1000
    restarts: int = 5
    restart_seconds: float = 10.0
    verbose: bool = False

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The order back from its line. Raises KeyError or TypeError when it isn't one."""
        made = json.loads(line)
        made["cores"] = tuple(
            BootCore(
                **{
                    **core,
                    "listeners": tuple(BootListener(**one) for one in core["listeners"]),
                    "front": BootFront.from_json(core["front"]) if core["front"] else None,
                }
            )
            for core in made["cores"]
        )
        for key in ("control_cpus", "claims"):
            made[key] = tuple(made[key])
        made["held"] = {group: tuple(numbers) for group, numbers in made["held"].items()}
        return cls(**made)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Everything the launcher inherits, its control socket left out."""
        cores = [number for core in self.cores for number in core.descriptors]
        held = [number for numbers in self.held.values() for number in numbers]
        return tuple(dict.fromkeys((*cores, *self.claims, *held, self.mesh)))


class Lines:
    """JSON objects, one a line, over a stream socket."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self._rest = b""
        self._ready: list[dict[str, Any]] = []

    def fileno(self) -> int:
        """For poll(2)."""
        return self.stream.fileno()

    def send(self, **message: Any) -> bool:
        """Sends one object; False when the other end is gone, or so far behind that its buffer is full."""
        try:
            self.stream.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return False
        return True

    def receive(self) -> list[dict[str, Any]] | None:
        """The objects complete after one read, maybe none; None at the end of the stream."""
        try:
            piece = self.stream.recv(65536)
        except BlockingIOError:
            ready, self._ready = self._ready, []
            return ready
        except OSError:
            return None
        if not piece:
            return None
        *lines, self._rest = (self._rest + piece).split(b"\n")
        ready, self._ready = self._ready + [json.loads(line) for line in lines], []
        return ready

    def wait(self) -> dict[str, Any] | None:
        """The next object of a blocking stream; None at its end. Later ones stay for `receive`."""
        while (messages := self.receive()) is not None:
            if messages:
                self._ready = messages[1:]
                return messages[0]
        return None

    def close(self) -> None:
        """Closes the stream."""
        self.stream.close()
