"""The actors of messages.py: one that tells as fast as its mailbox takes, and answers asks."""

from splitplane import Connection, DataActor, Message, Request, State, View, on
from splitplane.types import u32, u64


class One(Message):
    value: u64


class Many(Message):
    value: u64


class Flow(Message):
    """How many of each a core tells in a tick; 0: none."""

    ones: u32
    many: u32


class Settings(State):
    ones: u32
    many: u32
    told: u64


class Get(Request[Settings]): ...


class Source(DataActor):
    core: Settings

    def on_data(self, connection: Connection[State], data: View) -> int:
        return len(data)

    def on_tick(self) -> None:
        for _ in range(self.core.ones):
            if not self.tell(One(value=self.core.told)):
                break
            self.core.told += 1
        for _ in range(self.core.many):
            if not self.tell(Many(value=self.core.told)):
                break
            self.core.told += 1

    @on(Flow)
    def flow(self, message: Flow) -> None:
        self.core.ones = message.ones
        self.core.many = message.many

    @on(Get)
    def get(self, message: Get) -> Settings:
        return self.core
