"""What a runtime says of itself in the registry: the facts that don't change while it runs, and numbers that do."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from .holdings import Holding, Holdings

Descriptor = Annotated[int, Field(ge=0, lt=2**31)]


class Fact(BaseModel):
    """A table of facts; anything else than exactly these keys is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Memory(Fact):
    """A memfd: its number in the processes that hold it, and what it must be when opened through them."""

    descriptor: Descriptor
    device: int
    inode: int
    size: Annotated[int, Field(gt=0, le=2**47)]

    @classmethod
    def of(cls, descriptor: int) -> Self:
        """That behind a descriptor of this process."""
        about = os.fstat(descriptor)
        return cls(
            descriptor=descriptor, device=about.st_dev, inode=about.st_ino, size=about.st_size
        )

    def is_behind(self, descriptor: int) -> bool:
        """Whether a descriptor of this process is that memory."""
        about = os.fstat(descriptor)
        return (about.st_dev, about.st_ino, about.st_size) == (
            self.device,
            self.inode,
            self.size,
        )


class ListenerFacts(Fact):
    """One listener, in the order of the group's."""

    port: str
    actor: str
    reports_to: str | None
    reply_reserve: int
    max_unconsumed: int


class CoreFacts(Fact):
    """One core."""

    number: Annotated[int, Field(ge=0, lt=64)]
    group: str
    cpu: int
    driver: str
    arena: Memory
    page_size: int
    rung: str
    """How its pages were had: surplus, reserved, collapsed, small."""
    listeners: Annotated[tuple[ListenerFacts, ...], Field(strict=False)]


class Facts(Fact):
    """One runtime."""

    name: str
    version: str
    pid: Annotated[int, Field(gt=0)]
    layout: str
    """The layout's file."""
    digest: int
    mesh: Memory
    cores: Annotated[tuple[CoreFacts, ...], Field(strict=False, min_length=1, max_length=64)]
    mailboxes: Annotated[tuple[str, ...], Field(strict=False, max_length=255)]

    @classmethod
    def of(cls, held: "Holdings") -> Self:
        """Those of a runtime that this process holds."""
        from .. import __version__

        layout = held.layout
        return cls(
            name=layout.name,
            version=__version__,
            pid=os.getpid(),
            layout=str(layout.directory / layout.file),
            digest=layout.digest(),
            mesh=Memory.of(held.mesh.fd),
            cores=tuple(_core(held, core) for core in held.cores),
            mailboxes=tuple(layout.control),
        )

    @property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Numbers of the cores by group, in the order of the layout."""
        names = dict.fromkeys(core.group for core in self.cores)
        return {
            name: tuple(core.number for core in self.cores if core.group == name) for name in names
        }


def _core(held: "Holdings", core: "Holding") -> CoreFacts:
    order = core.order
    return CoreFacts(
        number=order.number,
        group=order.group,
        cpu=order.cpu,
        driver=order.driver,
        arena=Memory.of(order.arena),
        page_size=core.arena.page_size,
        rung=str(core.arena.rung),
        listeners=tuple(
            ListenerFacts(
                port=listen.port,
                actor=listen.actor,
                reports_to=listen.reports_to,
                reply_reserve=listen.reply_reserve,
                max_unconsumed=listen.max_unconsumed,
            )
            for listen in held.layout.group[order.group].listen
        ),
    )


CONTROL_COUNTERS = (
    "messages_taken",
    "messages_handled",
    "messages_failed",
    "messages_unknown",
    "events_lost",
    "actors_replaced",
    "told",
    "tells_waited",
    "asked",
    "replies_late",
    "sent",
    "broadcasts",
    "published",
    "streams_opened",
    "streams_refused",
    "streams_stale",
    "faults",
    "wakeups",
)
"""What the control plane counts (docs/operating.md)."""
CONTROL_LEVELS = (
    "asks",
    "tells_waiting",
    "streams",
    "rings_held",
    "spawned",
    "spawned_waiting",
    "spawned_full",
    "iterations",
    "iterations_waiting",
    "iterations_full",
)
"""How full it is now."""
RUNTIME_WORDS = ("refreshed", "launcher", "launcher_deaths", *CONTROL_COUNTERS, *CONTROL_LEVELS)
"""Of the runtime: `refreshed` in nanoseconds of CLOCK_MONOTONIC, `launcher` a pid."""
CORE_WORDS = ("pid", "deaths", "stalls", "outage", "quarantined")
"""Of each core: its worker's pid (0: none now), the last replacement in nanoseconds, 1 when its group was given up."""
MAILBOX_WORDS = ("waiting", "limit", "full", "handled", "failed", "unknown", "replaced")
"""Of each mailbox, in messages; `full`: how many cores refuse tells to it; `replaced`: instances of its actor."""


class Words:
    """The changing numbers, 64 bits each, over memory that one process writes and any reads."""

    def __init__(self, words: "memoryview[int]", cores: int, mailboxes: Sequence[str]) -> None:
        self._words = words
        self._cores, self._mailboxes = cores, tuple(mailboxes)

    @staticmethod
    def count(cores: int, mailboxes: int) -> int:
        """How many there are."""
        return len(RUNTIME_WORDS) + cores * len(CORE_WORDS) + mailboxes * len(MAILBOX_WORDS)

    def _read(self, names: tuple[str, ...], start: int) -> dict[str, int]:
        return {name: self._words[start + at] for at, name in enumerate(names)}

    def _write(self, names: tuple[str, ...], start: int, values: dict[str, int]) -> None:
        for name, value in values.items():
            self._words[start + names.index(name)] = max(value, 0) & (2**64 - 1)

    def _core(self, core: int) -> int:
        if not 0 <= core < self._cores:
            raise IndexError(f"core {core}: there are {self._cores}")
        return len(RUNTIME_WORDS) + core * len(CORE_WORDS)

    def _mailbox(self, name: str) -> int:
        at = self._mailboxes.index(name)
        return self._core(self._cores - 1) + len(CORE_WORDS) + at * len(MAILBOX_WORDS)

    def runtime(self) -> dict[str, int]:
        """RUNTIME_WORDS by name."""
        return self._read(RUNTIME_WORDS, 0)

    def core(self, number: int) -> dict[str, int]:
        """CORE_WORDS of a core by name."""
        return self._read(CORE_WORDS, self._core(number))

    def mailboxes(self) -> dict[str, dict[str, int]]:
        """MAILBOX_WORDS of each mailbox."""
        return {name: self._read(MAILBOX_WORDS, self._mailbox(name)) for name in self._mailboxes}

    def set_runtime(self, **values: int) -> None:
        """Some of RUNTIME_WORDS."""
        self._write(RUNTIME_WORDS, 0, values)

    def set_core(self, number: int, **values: int) -> None:
        """Some of a core's."""
        self._write(CORE_WORDS, self._core(number), values)

    def set_mailbox(self, name: str, **values: int) -> None:
        """Some of a mailbox's."""
        self._write(MAILBOX_WORDS, self._mailbox(name), values)

    def release(self) -> None:
        """Lets the memory go. Safe to repeat."""
        self._words.release()
