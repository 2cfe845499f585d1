"""Killed at any point of any operation, a core is adopted whole: each operation happened or didn't.

The data plane is compiled with crash points. A child runs random operations on shared memory and is killed at its first
point, at its second, and so on; this process adopts what it left and holds it against a model of what had been done.
"""

import mmap
import os
import random
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from bare import Bare, check_index, check_pools, flow
from crashing import PUSHES, SANITIZED, SOURCES, Crashing, Log, build, crash_points
from splitplane.dataplane.native import ffi, lib

SIZES = {"connections": 26, "busy_blocks": 6, "buffer_bytes": 1 << 15}
# Two of three buckets' worth of hashes in one place: keys are displaced far.
HASHES = (0, 1, 2, 0xFFFFFFFF)
OPERATIONS = 40
# Forking a process with a sanitizer's shadow memory is slow: there the functions are sanitized too, and a kill comes
# at every so many points only.
STEP = 11 if SANITIZED else 1
SEEDS = range(6)


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Crashing:
    return build(tmp_path_factory.mktemp("crash"))


Operation = tuple[str, int, int]


def operations(seed: int) -> list[Operation]:
    """Names with two numbers each, of which a runner makes what fits its state."""
    rng = random.Random(seed)
    names = [
        "insert",
        "insert",
        "insert",
        "take",
        "delete",
        "delete",
        "free",
        "send",
        "send",
        "send",
        "acknowledge",
        "keep",
        "keep",
        "consume",
        "drop",
        "release",
        "set",
        "set",
        "set",
        "clear",
        "advance",
        "buffer",
    ]
    # Every third run works on a table that is nearly full, its keys in few buckets, so that some are displaced.
    filling = [("insert", 0, 4 * rng.randrange(10**6)) for _ in range(20 if seed % 3 == 1 else 2)]
    # Bytes kept that move to the front of their buffer, and more of them than fit before where they are.
    filling += [("keep", 0, 2500), ("consume", 0, 2000), ("keep", 0, 1700), ("drop", 0, 0)]
    filling += [("keep", 0, 2500), ("consume", 0, 500), ("keep", 0, 1800)]
    rest = [
        (rng.choice(names), rng.randrange(10**6), rng.randrange(10**6)) for _ in range(OPERATIONS)
    ]
    return filling + rest


def content(number: int) -> bytes:
    return random.Random(number).randbytes(number % 3000)


class Model:
    """What should be: per live record its key (None: without a flow), generation, bytes both ways, deadlines."""

    def __init__(self) -> None:
        self.live: dict[int, dict[str, Any]] = {}
        self.dead: list[int] = []
        self.tick = 1000

    def copy(self) -> "Model":
        made = Model()
        made.live = {index: dict(one) for index, one in self.live.items()}
        made.dead = list(self.dead)
        made.tick = self.tick
        return made

    def apply(self, operation: Operation, result: int) -> None:
        name, which, number = operation
        if name in ("insert", "take"):
            if result:
                index = result & 0xFFFFFF
                key = (HASHES[number % len(HASHES)], number) if name == "insert" else None
                self.live[index] = {
                    "handle": result,
                    "key": key,
                    "send": b"",
                    "keep": b"",
                    "at": [0, 0],
                }
            return
        if name == "advance":
            self.tick += number % 300
            for one in self.live.values():
                one["at"] = [0 if 0 < at <= self.tick else at for at in one["at"]]
            return
        if not result:
            return
        one = self.live[result]
        if name in ("delete", "free"):
            self.dead.append(self.live.pop(result)["handle"])
        elif name == "send":
            one["send"] += content(number)
        elif name == "acknowledge":
            one["send"] = one["send"][number % 4000 :]
        elif name == "keep":
            one["keep"] += content(number)
        elif name == "consume":
            one["keep"] = one["keep"][number % 4000 :]
        elif name == "drop":
            one["send"] = one["keep"] = b""
        elif name == "set":
            one["at"][which % 2] = self.tick + 1 + number % 700
        elif name == "clear":
            one["at"][which % 2] = 0


class Runner:
    """Does operations on a core; a record is chosen by number among those live."""

    def __init__(self, bare: Bare) -> None:
        self.bare = bare
        self.core = bare.core
        self.lib = bare.lib
        self.tick = 1000
        self.live: list[int] = []
        self.lib.core_clock(self.core, self.tick * 1_000_000)

    def do(self, operation: Operation) -> int:
        """The handle of a record made, else the index of the record it was done to, 0 if it wasn't."""
        name, which, number = operation
        if name in ("insert", "take"):
            index = self._make(name, number)
            if index:
                self.live.append(index)
                return int(self.lib.record_handle(self.core, index))
            return 0
        if name == "advance":
            self.tick += number % 300
            self.lib.core_clock(self.core, self.tick * 1_000_000)
            while self.lib.timer_poll(self.core, 60):
                pass
            return 0
        if name == "buffer":
            kind = 6 + number % 8
            buffer = self.lib.buffer_take(self.core, kind)
            if buffer:
                self.lib.buffer_give(self.core, buffer, kind)
            return 0
        if not self.live:
            return 0
        index = self.live[which % len(self.live)]
        return index if self._change(name, index, which, number) else 0

    def _make(self, name: str, number: int) -> int:
        if name == "take":
            index = int(self.lib.record_take(self.core))
        else:
            hash_ = HASHES[number % len(HASHES)]
            key = flow((1, number, 2, 3))
            if self.lib.table_find_one(self.core, key, hash_):
                return 0
            index = int(self.lib.table_insert(self.core, key, hash_))
        if index:
            self.core.records[index].state = lib.STATE_ESTABLISHED
        return index

    def _change(self, name: str, index: int, which: int, number: int) -> bool:
        core, data = self.core, content(number)
        if name in ("delete", "free"):
            if name == "free" and any(bytes(ffi.buffer(ffi.addressof(core.records[index].flow)))):
                return False
            self.live.remove(index)
            (self.lib.table_delete if name == "delete" else self.lib.record_free)(core, index)
        elif name == "send":
            return bool(self.lib.stream_send(core, index, data, len(data)) == 0)
        elif name == "keep":
            return bool(self.lib.stream_keep(core, index, data, len(data)) == 0)
        elif name == "acknowledge":
            self.lib.stream_acknowledge(core, index, number % 4000)
        elif name == "consume":
            self.lib.stream_consume(core, index, number % 4000)
        elif name == "drop":
            self.lib.stream_drop(core, index)
        elif name == "release":
            self.lib.busy_release(core, index)
        elif name == "set":
            self.lib.timer_set(core, index, which % 2, self.tick + 1 + number % 700)
        elif name == "clear":
            self.lib.timer_clear(core, index, which % 2)
        return True


class Scene:
    """One formatted arena, started over for every run."""

    def __init__(self, crashing: Crashing) -> None:
        self.crashing = crashing
        fresh = Bare(functions=crashing, **SIZES)
        size = len(fresh.memory)
        self.template = bytes(fresh.memory[:])
        fresh.close()
        self.memory = mmap.mmap(-1, size)
        self.log = Log()

    def run(self, todo: list[Operation], at: int) -> bool:
        """A child does it all and dies at crash point `at`; False if it came through."""
        self.memory[:] = self.template
        self.log.reset(at)
        return self._child(lambda: self._operate(todo))

    def adopt_and_die(self, at: int) -> bool:
        """A child adopts and dies at crash point `at` of that; False if it came through."""
        self.log.words[0], self.log.words[1] = 0, at
        return self._child(self.adopt)

    def _child(self, act: Any) -> bool:
        pid = os.fork()
        if pid == 0:
            try:
                self.crashing.point("crash", self.log.address)
                act()
            except BaseException:
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return True
        assert os.WEXITSTATUS(status) == 0
        return False

    def _operate(self, todo: list[Operation]) -> None:
        log = self.log.words
        bare = Bare(self.memory, functions=self.crashing, adopt=True, **SIZES)
        log[0] = 0  # what counts are the points of the operations
        self.crashing.point("noted", self.log.address + 256 * 8)
        self.crashing.attach(bare.core)
        runner = Runner(bare)
        for number, operation in enumerate(todo):
            log[16] = number + 1
            log[32 + number] = runner.do(operation)
            log[17] = number + 1

    def adopt(self) -> Bare:
        bare = Bare(self.memory, functions=self.crashing, adopt=True, **SIZES)
        self.crashing.point("noted", self.log.address + 256 * 8)
        self.crashing.attach(bare.core)
        return bare

    def models(self, todo: list[Operation]) -> list[Model]:
        """What may have been when the child died: before its last operation, after it, or in the midst of a `drop`."""
        model = Model()
        done = self.log.done
        for number in range(done):
            model.apply(todo[number], self.log.words[32 + number])
        return [model, *self._after(model, todo[done])] if done < len(todo) else [model]

    def _after(self, model: Model, operation: Operation) -> Iterator[Model]:
        name, which, _number = operation
        order = list(self._order(model))
        chosen = order[which % len(order)] if order else 0
        if name in ("insert", "take"):
            return  # given no state, and so freed again: or see below
        if name == "drop" and chosen:
            half = model.copy()
            half.live[chosen]["send"] = b""
            yield half
        if name == "advance" or chosen:
            after = model.copy()
            after.apply(operation, chosen)
            yield after

    def _order(self, model: Model) -> list[int]:
        """Live records in the order in which the runner lists them: as they were made."""
        return list(model.live)


def matches(bare: Bare, model: Model) -> bool:
    """Whether live records, their keys, handles and bytes are the model's."""
    if bare.state.live != len(model.live):
        return False
    for index, one in model.live.items():
        if bare.lib.record_of_handle(bare.core, one["handle"]) != index:
            return False
        if one["key"]:
            hash_, number = one["key"]
            if bare.lib.table_find_one(bare.core, flow((1, number, 2, 3)), hash_) != index:
                return False
        if bare.queued(index) != one["send"] or bare.kept(index) != one["keep"]:
            return False
    return not any(bare.lib.record_of_handle(bare.core, handle) for handle in model.dead)


def check_deadlines(bare: Bare, scene: Scene, models: list[Model]) -> None:
    """Each deadline of one of the models fires once, whether before the kill or after; only one in hand may twice."""
    before = scene.log.fired()
    bare.lib.core_clock(bare.core, 10_000 * 1_000_000)
    while bare.lib.timer_poll(bare.core, 60):
        pass
    after = scene.log.fired()[len(before) :]
    assert len(set(after)) == len(after)
    wanted = []
    for model in models:
        left = {
            (index, which)
            for index, one in model.live.items()
            for which in (0, 1)
            if one["at"][which]
        }
        wanted.append(left)
    assert any(set(after) == left for left in wanted) or min(wanted, key=len) <= set(after) <= max(
        wanted, key=len
    ), (after, wanted)


def check(scene: Scene, todo: list[Operation]) -> None:
    bare = scene.adopt()
    models = scene.models(todo)
    matching = [model for model in models if matches(bare, model)]
    made = todo[scene.log.done][0] in ("insert", "take") if scene.log.done < len(todo) else False
    if not matching and made:  # whole, and given its state, but the child died before it said so
        model = models[0]
        new = [i for i in range(1, 27) if bare.core.records[i].state and i not in model.live]
        assert len(new) == 1
        model.apply(todo[scene.log.done], bare.lib.record_handle(bare.core, new[0]))
        matching = [model] if matches(bare, model) else []
    assert matching, (scene.log.name, todo[scene.log.done])
    live = matching[0].live
    check_pools(bare, live)
    check_index(bare, [index for index, one in live.items() if one["key"]])
    check_deadlines(bare, scene, matching)
    bare.close()


killed: set[str] = set()


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_at_every_point(crashing: Crashing, seed: int) -> None:
    """Whichever point a worker dies at, the next one finds every operation done or not begun, and nothing lost."""
    scene = Scene(crashing)
    todo = operations(seed)
    at = 1 + seed % STEP
    while scene.run(todo, at):
        killed.add(scene.log.name)
        check(scene, todo)
        at += STEP
    assert at > 100


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_killed_again_while_adopting(crashing: Crashing, seed: int) -> None:
    """An adoption that is killed at any of its points leaves all to the next one."""
    scene = Scene(crashing)
    todo = operations(seed)
    rng = random.Random(seed)
    scene.run(todo, 0)
    points = scene.log.reached
    for first in rng.sample(range(1, points), 2 if SANITIZED else 12):
        assert scene.run(todo, first)
        saved = bytes(scene.memory[:]), bytes(scene.log.memory[:])
        second = 1
        while scene.adopt_and_die(second):
            killed.add(scene.log.name)
            check(scene, todo)
            scene.memory[:], scene.log.memory[:] = saved
            second += STEP


def test_no_point_was_left_out() -> None:
    """Every crash point in these sources has killed somebody above."""
    points = {
        name
        for source in (*SOURCES, "dataplane/intent.h")
        if source not in PUSHES
        for name in crash_points(source)
    }
    assert len(points) > 20
    assert len(points - killed) <= (len(points) // 2 if SANITIZED else 0), points - killed
