"""Connections that open, talk and end in every way while workers die."""

import asyncio
import random
import time
from dataclasses import dataclass, field

from processes import OURS, kill_worker, layout, replaced, until
from splitplane.dataplane.peer import Peer, PeerConnection
from splitplane.nic.memory import Wire
from splitplane.runtime.controller import Event
from splitplane.runtime.runtime import Runtime

KILLS = 60
AT_ONCE = 40


@dataclass
class Visit:
    """One connection's life: it talks, then ends by FIN once all is back, by FIN at once, or by a reset."""

    one: PeerConnection
    end: str
    sent: bytearray = field(default_factory=bytearray)
    ended: bool = False

    def step(self, dice: random.Random, *, last: bool) -> None:
        """Sends a bit more, or ends."""
        if not self.one.opened or self.ended:
            return
        if not last and len(self.sent) < 30_000 and dice.random() < 0.9:
            data = dice.randbytes(dice.randint(1, 4000))
            self.sent += data
            self.one.send(data)
        elif self.end == "reset":
            self.one.abort()
            self.ended = True
        elif not self.one.unsent and (self.end == "at once" or self.one.length == len(self.sent)):
            self.one.close()
            self.ended = True

    @property
    def right(self) -> bool:
        """No byte that was not sent, and every byte if it was waited for."""
        whole = self.end == "whole" and self.one.closed and self.one.reason == "local"
        return self.sent.startswith(self.one.received) and (
            not whole or self.one.length == len(self.sent)
        )


class Crowd:
    """Visits that come and go."""

    def __init__(self, peer: Peer, dice: random.Random) -> None:
        self.peer, self.dice = peer, dice
        self.visits: list[Visit] = []
        self.done = self.wrong = self.reset = 0

    def step(self, *, last: bool = False) -> None:
        """Every visit goes on a little; `last`: nobody comes any more, everybody goes."""
        dice = self.dice
        if not last and len(self.visits) < AT_ONCE and dice.random() < 0.5:
            end = dice.choice(["whole", "at once", "reset"])
            self.visits.append(Visit(self.peer.connect(OURS, 7), end))
        for visit in list(self.visits):
            visit.step(dice, last=last)
            if visit.one.closed:
                self.done += 1
                self.wrong += not visit.right
                self.reset += visit.one.reason == "reset"
                visit.one.forget()
                self.visits.remove(visit)
        self.peer.poll(3)


def test_connections_come_and_go_while_workers_die() -> None:
    """kill -9 at random moments while hundreds of connections open, echo and end: no stream has a wrong byte, none is
    reset but those whose handler ran at a kill, none is left over, and as many were closed as had been opened."""

    async def scenario() -> None:
        dice = random.Random(31)
        events: list[Event] = []
        runtime = Runtime(layout())
        runtime.listen(events.append)
        async with runtime:
            with Wire(runtime.wire(0), 1) as wire, Peer(wire, connections=2 * AT_ONCE) as peer:
                peer.start()
                crowd = Crowd(peer, dice)
                killed, due = 0, time.monotonic()
                while killed < KILLS:
                    crowd.step()
                    await asyncio.sleep(0)
                    if time.monotonic() > due and kill_worker(runtime):
                        killed += 1
                        due = time.monotonic() + dice.uniform(0, 0.04)
                await replaced(runtime, KILLS, crowd.step)
                await until(lambda: not crowd.visits, lambda: crowd.step(last=True))
                await until(lambda: runtime.live(0) == 0, peer.poll)
        caught = sum(bool(event.fields["record"]) for event in events if event.kind == "died")
        assert crowd.wrong == 0
        assert crowd.reset <= caught
        counters = runtime.counters(0)
        assert counters["opened"] == counters["closed"]
        assert crowd.done > KILLS

    asyncio.run(scenario())
