"""Pushes and subscriptions, killed at any point: every receiver gets each push once, and no byte is lost or kept.

As in test_crash.py, a child works on shared memory and is killed at its first crash point, its second, and so on. Here
the ring's rule holds too: a part of a push that was not taken comes again.
"""

import itertools
import mmap
import os
import random
import signal
import struct
from typing import Any

import pytest
from bare import Bare, check_pools
from crashing import PUSHES, SANITIZED, Crashing, Log, build, crash_points
from splitplane.dataplane.native import lib

SIZES = {"connections": 8, "busy_blocks": 8, "buffer_bytes": 1 << 18, "subscriptions": 12}
QUEUE = 12_000
TOPICS = (7, 2**63 + 1, 7 << 40)
OPERATIONS = 60
STEP = 13 if SANITIZED else 1
SEEDS = range(4)
Operation = tuple[str, int, int]


def content(number: int) -> bytes:
    return random.Random(number).randbytes(1 + number % 3000)


def operations(seed: int) -> list[Operation]:
    """Names with two numbers each."""
    rng = random.Random(seed)
    names = ["part"] * 5 + ["turn", "turn", "send", "acknowledge", "subscribe", "unsubscribe"]
    names += ["subscribe", "open", "close", "drop"]
    opening = [("open", 0, 0)] * 6 + [("subscribe", i, i % 3) for i in range(7)]
    # More pushes than the shortest list holds, to everybody, then all of them acknowledged a piece at a time.
    crowd = [one for i in range(7) for one in (("part", 1, 3000 * i + 40), ("turn", 0, 0))]
    crowd += [("acknowledge", i % 6, 35) for i in range(20)]
    rest = [
        (rng.choice(names), rng.randrange(10**6), rng.randrange(10**6)) for _ in range(OPERATIONS)
    ]
    return opening + crowd + rest


class Push:
    """A push in parts, as the control plane would put them into the ring."""

    def __init__(self, sequence: int, which: int, number: int, handles: list[int]) -> None:
        self.data = content(number)
        self.kind = (lib.PUSH_SEND, lib.PUSH_BROADCAST, lib.PUSH_PUBLISH)[which % 3]
        self.to = {
            lib.PUSH_SEND: handles[number % len(handles)] if handles else 1,
            lib.PUSH_BROADCAST: lib.PUSH_EVERY_LISTENER,
            lib.PUSH_PUBLISH: TOPICS[number % 3],
        }[self.kind]
        middle = len(self.data) // 2
        cuts = [0, middle, len(self.data)] if middle else [0, len(self.data)]
        self.parts = [
            struct.pack("=QIIII", self.to, sequence, len(self.data), start, self.kind)
            + self.data[start:stop]
            for start, stop in itertools.pairwise(cuts)
        ]


class World:
    """A core with one actor and what should be in it; an operation is done to both, or to the model alone."""

    def __init__(self, bare: Bare) -> None:
        self.bare, self.core, self.lib = bare, bare.core, bare.lib
        actor = self.lib.core_listen(self.core, 80, -1)
        actor.push_queue = QUEUE
        self.queued: dict[int, bytes] = {}
        self.handles: dict[int, int] = {}
        self.topics: dict[int, dict[int, int]] = {}
        self.coming: list[bytes] = []
        self.push: Push | None = None
        self.waiting: list[tuple[Push, int]] = []
        self.sequence = 0

    def plan(self, operation: Operation) -> Any:
        """What the operation does to the core, as a function; None: nothing. The model is changed by `note`."""
        name, which, number = operation
        live = list(self.queued)
        index = live[which % len(live)] if live else 0
        topic = TOPICS[number % 3]
        if name == "part":
            if not self.coming:
                self.sequence += 1
                handles = list(self.handles.values())
                self.push = Push(self.sequence, which, number, handles)
                self.coming = list(self.push.parts)
            part = self.coming[0]
            return lambda: self.lib.push_receive(self.core, part, len(part))
        if name == "turn":
            return self.turn
        if name == "open":
            return self.open
        if not live:
            return None
        data = content(number)
        return {
            "send": lambda: self.lib.stream_send(self.core, index, data, len(data)),
            "acknowledge": lambda: self.lib.stream_acknowledge(self.core, index, number % 4000),
            "subscribe": lambda: self.lib.topic_subscribe(self.core, index, topic),
            "unsubscribe": lambda: self.lib.topic_unsubscribe(self.core, index, topic),
            "close": lambda: self.close(index),
            "drop": lambda: self.lib.stream_drop(self.core, index),
        }[name]

    def turn(self) -> None:
        while self.lib.push_waiting(self.core):
            self.lib.push_turn(self.core)

    def open(self) -> int:
        index = int(self.lib.record_take(self.core))
        if index:
            self.core.records[index].flags = lib.FLAG_OPENED
            self.core.records[index].state = lib.STATE_ESTABLISHED
        return int(self.lib.record_handle(self.core, index)) if index else 0

    def close(self, index: int) -> None:
        self.core.records[index].flags = 0
        self.lib.topic_forget(self.core, index)
        self.lib.record_free(self.core, index)

    def is_there(self, which: int) -> bool:
        """Whether the record that an operation would choose is still in use."""
        index = list(self.queued)[which % len(self.queued)]
        return bool(self.core.records[index].state)

    def note(self, operation: Operation, result: int) -> None:
        """The operation is done."""
        name, which, number = operation
        live = list(self.queued)
        index = live[which % len(live)] if live else 0
        topic = TOPICS[number % 3]
        if name == "part":
            if result:
                self.coming.pop(0)
            if not self.coming and self.push:
                self.waiting.append((self.push, self.sequence))
        elif name == "turn":
            self.serve()
        elif name == "open" and result:
            index = result & 0xFFFFFF
            self.queued[index], self.topics[index], self.handles[index] = b"", {}, result
        elif index and name == "send":
            self.queued[index] += content(number)
        elif index and name == "acknowledge":
            self.queued[index] = self.queued[index][number % 4000 :]
        elif index and name == "drop":
            self.queued[index] = b""
        elif index and name == "subscribe" and result:
            whole = self.sequence - bool(self.coming)
            self.topics[index].setdefault(topic, whole)
        elif index and name == "unsubscribe":
            self.topics[index].pop(topic, None)
        elif index and name == "close":
            del self.queued[index], self.topics[index], self.handles[index]

    def serve(self) -> None:
        """What a turn does."""
        for push, sequence in self.waiting:
            for index, waits in list(self.queued.items()):
                wanted = (
                    push.kind == lib.PUSH_BROADCAST
                    or (push.kind == lib.PUSH_SEND and push.to == self.handles[index])
                    or (
                        push.kind == lib.PUSH_PUBLISH
                        and self.topics[index].get(push.to, sequence) < sequence
                    )
                )
                if wanted and (not waits or len(waits) + len(push.data) <= QUEUE):
                    self.queued[index] += push.data
        self.waiting.clear()

    def matches(self) -> bool:
        """Whether the core is as the model says."""
        live = {i for i in range(1, self.core.state.record_fresh) if self.core.records[i].state}
        return (
            live == set(self.queued)
            and all(self.bare.queued(index) == data for index, data in self.queued.items())
            and self.subscriptions() == {(i, t) for i, all_ in self.topics.items() for t in all_}
        )

    def subscriptions(self) -> set[tuple[int, int]]:
        """(record, topic), by way of the topics' rings, which must be whole."""
        found = []
        for topic in TOPICS:
            number = self.lib.topic_first(self.core, topic)
            while number:
                one = self.lib.topic_at(self.core, number)
                assert one.topic == topic
                found.append((one.index, topic))
                number = self.lib.topic_next(self.core, number)
        assert len(set(found)) == len(found) <= SIZES["subscriptions"]
        return set(found)


class Scene:
    """One formatted arena, started over for every run."""

    def __init__(self, crashing: Crashing, seed: int) -> None:
        self.crashing = crashing
        self.todo = operations(seed)
        fresh = Bare(functions=crashing, **SIZES)
        self.template = bytes(fresh.memory[:])
        fresh.close()
        self.memory = mmap.mmap(-1, len(self.template))
        self.log = Log()

    def world(self) -> World:
        return World(Bare(self.memory, functions=self.crashing, adopt=True, **SIZES))

    def run(self, at: int) -> bool:
        """A child does it all and dies at crash point `at`; False if it came through."""
        self.memory[:] = self.template
        self.log.reset(at)
        return self.child(self.operate)

    def child(self, act: Any) -> bool:
        pid = os.fork()
        if pid == 0:
            try:
                self.crashing.point("crash", self.log.address)
                act()
            except BaseException:
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL

    def operate(self) -> None:
        world = self.world()
        words = self.log.words
        words[0] = 0
        for number, operation in enumerate(self.todo):
            words[16] = number + 1
            act = world.plan(operation)
            result = int(act() or 0) if act else 0
            words[32 + number] = result
            words[17] = number + 1
            world.note(operation, result)

    def adopt_and_die(self, at: int) -> bool:
        self.log.words[0], self.log.words[1] = 0, at
        return self.child(self.world)

    def check(self) -> None:
        """A new worker takes over; the operation in hand is done or not, and if the ring or the turn repeats it, done."""
        world = self.world()
        done = self.log.done
        for number in range(done):
            world.plan(self.todo[number])
            world.note(self.todo[number], self.log.words[32 + number])
        operation = self.todo[done]
        name = operation[0]
        act = world.plan(operation)
        if name in ("part", "turn"):
            world.note(operation, act() or 0)
            assert world.matches(), (self.log.name, operation)
        elif name == "open":
            assert world.matches() or self.opened(world), (self.log.name, operation)
        elif name == "acknowledge":  # TCP's journal says how many bytes are left (tcp_adopt.c)
            world.note(operation, 1)
            for index, left in world.queued.items():
                more = int(world.lib.stream_queued(world.core, index)) - len(left)
                world.lib.stream_acknowledge(world.core, index, more)
            assert world.matches(), (self.log.name, operation)
        elif name in ("drop", "close") and act:  # several steps: the transport ends what it finds
            if name == "drop" or world.is_there(operation[1]):
                act()
            world.note(operation, 1)
            assert world.matches(), (self.log.name, operation)
        elif not world.matches():
            world.note(operation, 1)
            assert world.matches(), (self.log.name, operation)
        check_pools(world.bare, world.queued)
        world.turn()
        world.serve()
        assert world.matches(), (self.log.name, operation)
        check_pools(world.bare, world.queued)
        world.bare.close()

    def opened(self, world: World) -> bool:
        """Whole, but the child died before it said so."""
        new = [i for i in range(1, 9) if world.core.records[i].state and i not in world.queued]
        world.note(("open", 0, 0), world.lib.record_handle(world.core, new[0]))
        return len(new) == 1 and world.matches()


killed: set[str] = set()


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Crashing:
    return build(tmp_path_factory.mktemp("push"))


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_at_every_point(crashing: Crashing, seed: int) -> None:
    """Whichever point a worker dies at, each receiver has each push once, in order, and nothing leaks."""
    scene = Scene(crashing, seed)
    at = 1 + seed % STEP
    while scene.run(at):
        killed.add(scene.log.name)
        scene.check()
        at += STEP
    assert at > 100


def test_killed_again_while_adopting(crashing: Crashing) -> None:
    """An adoption that is killed at any of its points leaves all to the next one."""
    scene = Scene(crashing, 0)
    rng = random.Random(0)
    scene.run(0)
    for first in rng.sample(range(1, scene.log.reached), 3 if SANITIZED else 15):
        assert scene.run(first)
        saved = bytes(scene.memory[:]), bytes(scene.log.memory[:])
        second = 1
        while scene.adopt_and_die(second):
            scene.check()
            scene.memory[:], scene.log.memory[:] = saved
            second += STEP


def test_no_point_was_left_out() -> None:
    """Every crash point of pushes, shares and topics has killed somebody above."""
    points = {name for source in PUSHES for name in crash_points(source)}
    assert len(points) > 15
    assert len(points - killed) <= (len(points) // 2 if SANITIZED else 0), points - killed
