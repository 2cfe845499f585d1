"""The layout: which cores run which actors on which ports, as a typed object.

Written as TOML and read by `load_layout` (load.py), or built in Python. Every key, its unit and its default stand in
docs/layout.md. Whether the names in it fit together is checked by references.py, whether this machine has what it
wants by machine.py.
"""

import hashlib
import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from .errors import LayoutError
from .relayed import CONTROL_PLANE

CONNECTIONS_MAX = 2**24 - 1  # record indexes have 24 bits; 0 is none
CORES_MAX = 64
LISTENERS_MAX = 32
MAILBOXES_MAX = 255  # 255 in a message's target means every listener

LOOSE = "loose"
"""Validation context of salvage.py: parts that don't fit together may pass."""

_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE = re.compile(r"\s*(\d[\d_]*(?:\.\d+)?)\s*(B|KiB|MiB|GiB)\s*")
_ACTOR = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def _bytes(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value)
    if match is None:
        raise ValueError(
            'a size is a number of bytes, or a text such as "64 MiB" (B, KiB, MiB, GiB)'
        )
    return int(float(match[1].replace("_", "")) * _UNITS[match[2]])


def _actor(value: object) -> object:
    if isinstance(value, type):
        if value.__module__ == "__main__":
            raise ValueError(
                "an actor of __main__ can't be imported by the launcher: move it to a module"
            )
        return f"{value.__module__}:{value.__qualname__}"
    if isinstance(value, str) and value != CONTROL_PLANE and not _ACTOR.fullmatch(value):
        raise ValueError(
            'an actor is written "module:Class", the module beside the layout or installed'
        )
    return value


def _message(value: object) -> object:
    if isinstance(value, type) and value.__module__ != "__main__":
        return f"{value.__module__}:{value.__qualname__}"
    if isinstance(value, str) and _ACTOR.fullmatch(value):
        return value
    raise ValueError(
        'a message is written "module:Class", the module beside the layout or installed'
    )


def _port(value: str) -> str:
    protocol, colon, number = value.partition(":")
    if not colon or protocol != "tcp" or not number.isascii() or not number.isdigit():
        raise ValueError('a port is written "tcp:8080"')
    if not 1 <= int(number) <= 65535:
        raise ValueError("ports are 1 to 65535")
    return value


def _address(value: str) -> str:
    if value == "shared":
        return value
    try:
        if "/" not in value:
            raise ValueError
        interface = ipaddress.IPv4Interface(value)
    except ValueError:
        raise ValueError(
            'an address is "shared", or an IPv4 address of its own such as "10.0.0.5/24"'
        ) from None
    if interface.ip.is_multicast or interface.ip.is_unspecified:
        raise ValueError("an address of its own must be a unicast address")
    return value


def _bind(value: str) -> str:
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        raise ValueError(
            'an IPv4 address of this machine such as "127.0.0.1"; "0.0.0.0" is all'
        ) from None
    return value


def _endpoint(value: str) -> str:
    address, colon, port = value.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError('where to listen is written "127.0.0.1:9464"')
    return f"{_bind(address)}:{int(port)}"


Size = Annotated[int, BeforeValidator(_bytes), Field(strict=True)]
MessageName = Annotated[str, BeforeValidator(_message)]
ActorName = Annotated[str, BeforeValidator(_actor)]
Cpu = Annotated[int, Field(ge=0, lt=4096)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,31}$")]
RingCells = Annotated[int, Field(ge=64, le=2**20)]


class Part(BaseModel):
    """A table of the layout: its keys are fixed, its values of the exact type, and nobody changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Machine(Part):
    """`[machine]`: what the whole runtime takes of this computer."""

    control_cpus: Annotated[tuple[Cpu, ...], Field(strict=False)] = ()
    """CPUs of the control plane; none given: every allowed CPU that no group has, or all if none is left."""
    hugepages: Literal["auto", "require", "off"] = "auto"
    """2 MiB pages: taken if they can be had, required, or not asked for."""
    isolated: Literal["warn", "require"] = "warn"
    """What a data-plane CPU that the control plane uses too is: a warning, or refused."""


class Rings(Part):
    """`[rings]`: the N×N mesh. A cell has 64 B and carries a message of up to 56 B."""

    control: RingCells = 8192
    """Cells of each ring between a core and the control plane; a power of two."""
    cores: RingCells = 1024
    """Cells of each ring between two cores; a power of two."""


class Supervision(Part):
    """`[supervision]`: how long things may take, and how often they may fail."""

    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 10.0
    """Connections still open this long after a stop are reset."""
    stall_milliseconds: Annotated[int, Field(ge=10, le=600_000)] = 1000
    """A worker whose loop stands still while it burns this much CPU time is replaced."""
    restarts: Annotated[int, Field(ge=0)] = 5
    """A group with a core whose worker dies more often than this within `restart_seconds` is quarantined."""
    restart_seconds: Annotated[float, Field(gt=0)] = 10.0
    on_controller_loss: Literal["stop", "serve"] = "stop"
    """What becomes of the cores when the controller's process is killed: they end too, or they serve on."""


class Metrics(Part):
    """`[metrics]`: counters, gauges and histograms in the OpenMetrics format, at http://LISTEN/metrics."""

    listen: Annotated[str, AfterValidator(_endpoint)] | None = None
    """`127.0.0.1:9464`; none given, none is told."""


class Nic(Part):
    """`[nic.NAME]`: where frames or byte streams come from."""

    driver: Literal["kernel", "memory", "afxdp", "tap"]
    interface: str | None = None
    """Linux's name of the interface: afxdp and tap."""
    address: Annotated[str, AfterValidator(_address)] = "shared"
    """`shared`: Linux keeps the address, we take ports. `10.0.0.5/24`: every frame for it is ours."""
    bind: Annotated[str, AfterValidator(_bind)] = "0.0.0.0"
    """Driver kernel: the address listened at."""
    silence_seconds: Annotated[float, Field(gt=0, le=3600)] = 5.0
    """Driver afxdp: once its core has not looked at a queue for so long, the queue's frames pass to Linux."""
    busy_poll_microseconds: Annotated[int, Field(ge=0, le=1000)] = 0
    """Driver afxdp: the core serves the interface's NAPI itself, so long at a time; 0 = Linux does (docs/nic.md)."""
    mtu: Annotated[int, Field(ge=576, le=9000)] = 1500
    """Bytes of the largest IP packet: frame drivers."""

    @property
    def own_address(self) -> ipaddress.IPv4Interface | None:
        """The address that is ours alone, or None when Linux shares its own."""
        return None if self.address == "shared" else ipaddress.IPv4Interface(self.address)


class Listen(Part):
    """`[[group.NAME.listen]]`: one port and the actor behind it, on every core of the group."""

    port: Annotated[str, AfterValidator(_port)]
    actor: ActorName
    """`module:Class`, the module beside the layout or installed; in Python the class itself will do. `controlplane`:
    the control plane serves the connections."""
    config: dict[str, Any] = {}
    """Values of the actor's Config struct."""
    reports_to: Name | None = None
    """The `[control.NAME]` that `self.tell` reaches."""
    max_unconsumed: Annotated[Size, Field(ge=64, le=2**20)] = 64 * 2**10
    """Bytes a connection may keep unconsumed; full and still nothing consumed, it is reset."""
    reply_reserve: Annotated[Size, Field(ge=64, le=2**20)] = 16 * 2**10
    """Bytes of send space that are free whenever on_data runs."""
    tick_milliseconds: Annotated[int, Field(ge=0, le=86_400_000)] = 1000
    """Period of on_tick; 0 = never."""
    push_queue: Annotated[Size, Field(ge=64, le=2**30)] = 256 * 2**10
    """Bytes that a connection may have queued, a push that would exceed them included. An idle one takes any push."""
    push_slow: Literal["drop", "reset"] = "drop"
    """A push to a connection that has more queued: dropped for it, or the connection is reset; counted either way."""
    calls_per_turn: Annotated[int, Field(ge=1, le=1024)] = 16
    """on_data calls one connection may have in one turn before the others get theirs."""

    @property
    def port_number(self) -> int:
        """The number in `port`."""
        return int(self.port.partition(":")[2])


class Group(Part):
    """`[group.NAME]`: cores that do the same; one worker a CPU."""

    cpus: Annotated[tuple[Cpu, ...], Field(max_length=CORES_MAX, strict=False)]
    nic: Name
    connections: Annotated[int, Field(ge=1, le=CONNECTIONS_MAX)] = 10_000
    """Most connections at a time, per core; their memory is taken at the start."""
    busy: Annotated[float, Field(gt=0, le=1)] = 0.25
    """The part of the connections that may have bytes in hand or in flight at one time."""
    buffers: Annotated[Size, Field(ge=2**20, le=2**36)] = 64 * 2**20
    """Bytes of send and receive buffers, per core, shared by its connections."""
    time_wait: Annotated[int, Field(ge=16, le=CONNECTIONS_MAX)] = 65_536
    """Connections in TIME-WAIT, per core; beyond, the oldest makes room. Frame drivers."""
    frames: Annotated[Size, Field(ge=2**20, le=2**34)] = 16 * 2**20
    """Bytes of frame memory, per core, shared by its queues. Driver afxdp."""
    subscriptions: Annotated[int, Field(ge=0, le=CONNECTIONS_MAX)] | None = None
    """Most subscriptions to topics at a time, per core; none given: as many as connections if an actor subscribes."""
    keepalive_seconds: Annotated[int, Field(ge=0, le=32_767)] = 7200
    """Silence after which a connection's peer is asked whether it is still there; 0 = never."""
    idle: Literal["adaptive", "spin"] = "adaptive"
    """`adaptive` sleeps when there is nothing to do; `spin` never does and burns the CPU."""
    listen: Annotated[tuple[Listen, ...], Field(max_length=LISTENERS_MAX, strict=False)]


class Control(Part):
    """`[control.NAME]`: an actor of the control plane."""

    actor: ActorName
    config: dict[str, Any] = {}
    mailbox: Annotated[int, Field(ge=1, le=2**20)] = 1024
    """Messages that may wait for it, besides what rings hold; beyond, data actors' `tell` says False."""
    on_error: Literal["resume", "restart"] = "resume"
    """When it raises: logged and counted, it goes on; or a new instance takes its place, within [supervision]'s limits."""


class Layout(Part):
    """The whole layout. Raises LayoutError with every problem at once, also those between its parts."""

    name: Name
    machine: Machine = Machine()
    rings: Rings = Rings()
    supervision: Supervision = Supervision()
    metrics: Metrics = Metrics()
    nic: dict[Name, Nic]
    group: dict[Name, Group]
    control: dict[Name, Control] = {}
    messages: Annotated[tuple[MessageName, ...], Field(strict=False)] = ()
    """`module:Class` of messages that no actor takes, but the program that embeds the runtime (`runtime.messages`)."""
    _directory: Path = PrivateAttr(default_factory=Path.cwd)
    _file: str = PrivateAttr(default="layout")
    _source: tuple[Path, tuple[str, ...]] | None = PrivateAttr(default=None)

    @property
    def directory(self) -> Path:
        """Where the layout's own modules lie: the folder of its file, or the current one."""
        return self._directory

    @property
    def file(self) -> str:
        """Its file as messages name it."""
        return self._file

    @property
    def cores(self) -> tuple[tuple[int, str, int], ...]:
        """Every core as (number, group, CPU), numbered from 0 in the order of the layout."""
        pairs = [(name, cpu) for name, group in self.group.items() for cpu in group.cpus]
        return tuple((number, name, cpu) for number, (name, cpu) in enumerate(pairs))

    @property
    def cores_of(self) -> dict[str, int]:
        """The cores of each group, as a bit for each core's number."""
        bits = dict.fromkeys(self.group, 0)
        for number, name, _ in self.cores:
            bits[name] |= 1 << number
        return bits

    def digest(self) -> int:
        """64 bits over everything in it: arenas made under another layout are not adopted."""
        text = self.model_dump_json().encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")

    @property
    def source(self) -> tuple[Path, tuple[str, ...]] | None:
        """The file it was read from and what `--set` put over it; None for one built in Python."""
        return self._source

    def located(
        self, directory: Path, file: str, source: tuple[Path, tuple[str, ...]] | None = None
    ) -> Self:
        """The same layout, with its modules in `directory` and called `file` in messages; `source` as the property."""
        copy = self.model_copy()
        copy._directory = directory
        copy._file = file
        copy._source = source
        return copy

    @model_validator(mode="wrap")
    @classmethod
    def _whole(cls, data: Any, handler: Any, info: ValidationInfo) -> Self:
        from .load import field_problems
        from .references import reference_problems

        made: Self | None = None
        problems = reference_problems(data) if isinstance(data, dict) else []
        try:
            made = handler(data)
        except ValidationError as error:
            problems = field_problems(error, cls) + problems
        if made is None or (problems and not info.context == LOOSE):
            raise LayoutError(problems)
        return made
