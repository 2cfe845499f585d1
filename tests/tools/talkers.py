"""Actors for the tests of messages: a data actor that tells numbers and checks those it is told, and a control actor that
writes down what comes.
"""

import asyncio
import threading
from typing import ClassVar

from splitplane import (
    Config,
    Connection,
    ControlActor,
    DataActor,
    Message,
    Request,
    Sender,
    State,
    View,
    on,
)
from splitplane.types import u32, u64


class Tally(State):
    told: u64
    refused: u64
    got: u64
    last: u64
    disordered: u64


class Number(Message):
    value: u64


class Long(Message):
    """Three cells of a ring."""

    value: u64
    b: u64
    c: u64
    d: u64
    e: u64
    f: u64
    g: u64
    h: u64
    i: u64
    j: u64
    k: u64
    p: u64
    m: u64
    n: u64
    o: u64


class Burst(Message):
    """Tell so many numbers."""

    count: u32
    long: u32


class GetTally(Request[Tally]):
    pass


class Divide(Request[Tally]):
    by: u32


class Pass(Message):
    """Goes `hops` times from core to core, then to the control plane as a Number."""

    value: u64
    hops: u32
    cores: u32


class Relay(DataActor):
    core: Tally

    def on_data(self, connection: Connection[State], data: View) -> int:
        return len(data)

    @on(Pass)
    def carry(self, message: Pass) -> None:
        if message.hops == 0:
            self.tell(Number(value=message.value))
        else:
            self.core.told += 1
            next_core = (self.core_id + 1) % message.cores
            self.tell(
                Pass(value=message.value, hops=message.hops - 1, cores=message.cores), to=next_core
            )

    @on(GetTally)
    def tally(self, message: GetTally) -> Tally:
        return self.core


class Cry(Message):
    """Tell a Number to your own group, `web`, or to the group `store`."""

    value: u64
    own: u32


class Crier(DataActor):
    core: Tally
    OWN = "web"

    def on_data(self, connection: Connection[State], data: View) -> int:
        return len(data)

    @on(Cry)
    def cry(self, message: Cry) -> None:
        number = Number(value=message.value)
        if not (self.tell(number, to=self.OWN) if message.own else self.tell(number, to="store")):
            self.core.refused += 1

    @on(Number)
    def number(self, message: Number) -> None:
        self.core.got += 1

    @on(GetTally)
    def tally(self, message: GetTally) -> Tally:
        return self.core


class Talker(DataActor):
    core: Tally

    def on_data(self, connection: Connection[State], data: View) -> int:
        return len(data)

    @on(Burst)
    def burst(self, message: Burst) -> None:
        for _ in range(message.count):
            if message.long:
                v = self.core.told
                went = self.tell(
                    Long(
                        value=v,
                        b=v,
                        c=v,
                        d=v,
                        e=v,
                        f=v,
                        g=v,
                        h=v,
                        i=v,
                        j=v,
                        k=v,
                        p=v,
                        m=v,
                        n=v,
                        o=v,
                    )
                )
            else:
                went = self.tell(Number(value=self.core.told))
            if went:
                self.core.told += 1
            else:
                self.core.refused += 1

    @on(Number)
    def number(self, message: Number) -> None:
        self.core.got += 1
        if message.value <= self.core.last:
            self.core.disordered += 1
        self.core.last = message.value

    @on(GetTally)
    def tally(self, message: GetTally) -> Tally:
        return self.core

    @on(Divide)
    def divide(self, message: Divide) -> Tally:
        self.core.refused = self.core.told // message.by  # fails
        return self.core


class Shift(Config):
    shift: u32 = 1


class Clerk(ControlActor):
    config: Shift

    def __init__(self) -> None:
        self.numbers: list[int] = []

    @on(Number)
    async def number(self, message: Number, sender: Sender) -> None:
        self.numbers.append(message.value)

    @on(Long)
    async def long(self, message: Long, sender: Sender) -> None:
        v = message.value
        whole = Long(value=v, b=v, c=v, d=v, e=v, f=v, g=v, h=v, i=v, j=v, k=v, p=v, m=v, n=v, o=v)
        self.numbers.append(v if message == whole else -1)


class Stuck(ControlActor):
    """Takes nothing until its `gate` opens."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.gate = asyncio.Event()

    @on(Number)
    async def number(self, message: Number, sender: Sender) -> None:
        await self.gate.wait()
        self.numbers.append(message.value)

    @on(Long)
    async def long(self, message: Long, sender: Sender) -> None:
        await self.gate.wait()
        self.numbers.append(message.value)


class Blocker(Clerk):
    """Blocks the whole event loop at the first number, until another thread says so."""

    blocked: ClassVar = threading.Event()
    go_on: ClassVar = threading.Event()

    @on(Number)
    async def number(self, message: Number, sender: Sender) -> None:
        if not self.numbers:
            self.blocked.set()
            self.go_on.wait(90)
        self.numbers.append(message.value)
