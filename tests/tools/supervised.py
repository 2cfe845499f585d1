"""Control actors that fail as they are told, and one that writes down what befalls the cores."""

from typing import ClassVar

from splitplane import Config, ControlActor, Sender, on
from splitplane.events import GroupQuarantined, HandlerFault, WorkerAdopted, WorkerDied
from splitplane.types import u32
from talkers import Number


class Shift(Config):
    shift: u32 = 1


class Fragile(ControlActor):
    """Raises at the numbers in `poison`; so many instances, from the second on, fail to start."""

    config: Shift
    poison: ClassVar[set[int]] = set()
    fail_starts: ClassVar[int] = 0
    made: ClassVar[list["Fragile"]] = []
    life: ClassVar[list[str]] = []

    @classmethod
    def forget(cls, poison: set[int], fail_starts: int = 0) -> None:
        cls.poison, cls.fail_starts = poison, fail_starts
        cls.made, cls.life = [], []

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.made.append(self)

    async def on_start(self) -> None:
        self.life.append("start")
        if len(self.made) > 1 and Fragile.fail_starts:
            Fragile.fail_starts -= 1
            raise OSError("no database")

    async def on_stop(self) -> None:
        self.life.append("stop")

    @on(Number)
    async def number(self, message: Number, sender: Sender) -> None:
        if message.value in self.poison:
            raise ValueError(f"number {message.value}")
        self.seen.append(message.value)


class Witness(ControlActor):
    """Keeps every event."""

    def __init__(self) -> None:
        self.events: list[tuple[object, int]] = []

    @on(WorkerDied)
    async def died(self, message: WorkerDied, sender: Sender) -> None:
        self.events.append((message, sender.core_id))

    @on(WorkerAdopted)
    async def adopted(self, message: WorkerAdopted, sender: Sender) -> None:
        self.events.append((message, sender.core_id))

    @on(GroupQuarantined)
    async def quarantined(self, message: GroupQuarantined, sender: Sender) -> None:
        self.events.append((message, sender.core_id))

    @on(HandlerFault)
    async def fault(self, message: HandlerFault, sender: Sender) -> None:
        self.events.append((message, sender.core_id))
