"""The ring's protocol (ring_model.py) in every interleaving that a machine with store buffers allows, either side
killed between any two of its steps. Each deviation that would lose, repeat or invent a message is a mutant that the
search catches: the proof that it would see the same in the protocol itself.
"""

from collections.abc import Callable
from functools import cache

import pytest
from ring_model import (
    Batch,
    Position,
    Ring,
    Thread,
    both_killed,
    consumer_killed,
    nobody_killed,
    producer_killed,
)
from store_buffers import Found, Load, Store

ORDERS = ("tso", "pso")
SINGLES = ((1,), (2,), (3,), (4,))
MIXED = ((1, 2), (3, 3), (4,))
LONG = ((1,), (2, 3), (4, 4, 4), (5,))
AGAIN = ((8,), (9,))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("each", [1, 2])
@pytest.mark.parametrize(("cells", "batches"), [(1, SINGLES), (2, SINGLES), (2, MIXED), (4, LONG)])
def test_everything_arrives_once(
    cells: int, batches: tuple[Batch, ...], each: int, order: str
) -> None:
    """Through several laps and a full ring, messages arrive once, whole, in order, and nobody waits for ever."""
    assert nobody_killed(Ring(cells), batches, order=order, each=min(each, cells)) > 50


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("cells", "batches"),
    [(2, SINGLES[:3]), (2, MIXED), (4, ((1, 2), (4, 4))), (4, ((1, 1), (2, 3, 4)))],
)
def test_producer_killed_anywhere(cells: int, batches: tuple[Batch, ...], order: str) -> None:
    """What it had put arrives, half-written batches never do, and its successor's messages follow."""
    assert producer_killed(Ring(cells), batches, AGAIN, order=order) > 1000


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("each", [1, 2])
@pytest.mark.parametrize(("cells", "batches"), [(2, SINGLES), (4, LONG)])
def test_consumer_killed_anywhere(
    cells: int, batches: tuple[Batch, ...], each: int, late: bool, order: str
) -> None:
    """At most what was in hand comes twice; or is missing, if the consumer advances before it delivers."""
    assert consumer_killed(Ring(cells), batches, order=order, each=each, late=late) > 100


@pytest.mark.parametrize("order", ORDERS)
def test_both_killed_anywhere(order: str) -> None:
    """Two new workers adopt the two ends side by side: nothing that was put is lost, and one message may come twice."""
    assert both_killed(Ring(2), ((1,), (2, 3)), AGAIN, order=order) > 1000


class FirstToLast(Ring):
    """A message is published before its other cells are there."""

    def place(self, done: int, count: int) -> int:
        return done


class FlagBeforePayload(Ring):
    """A cell is published before its payload is there."""

    def cell(self, tail: int, batch: Batch, place: int) -> Thread:
        yield self.word_store(tail, batch, place, release=place == 0)
        yield self.payload_store(tail, batch, place)


class RelaxedPublication(Ring):
    """The store that publishes is no release."""

    def cell(self, tail: int, batch: Batch, place: int) -> Thread:
        yield self.payload_store(tail, batch, place)
        yield self.word_store(tail, batch, place, release=False)


class NeverFull(Ring):
    """The producer overwrites what nobody has read."""

    def room(self, tail: int, count: int) -> Thread:
        yield from ()


class OneTooMany(Ring):
    """The producer takes the ring for one cell larger than it is."""

    def room(self, tail: int, count: int) -> Thread:
        return super().room(tail - 1, count)


class HeadBeforeCopy(Ring):
    """The consumer gives a cell back before it has read it."""

    def before_copy(self, after: int) -> Thread:
        yield Store("head", after, True)


class LapBlind(Ring):
    """Lap bits that don't change from one lap to the next."""

    def lap(self, position: int) -> int:
        return 1


class TailFirst(Ring):
    """The tail moves before the message is published."""

    def put(self, batch: Batch) -> Thread:
        count = len(batch)
        tail = yield Load("tail")
        yield from self.room(tail, count)
        yield Store("tail", tail + count)
        done = 0
        while done < count:
            yield from self.cell(tail, batch, self.place(done, count))
            done += 1


class KeepsHalfBatches(Ring):
    """Adoption doesn't clear."""

    def clear(self, at: int, end: int) -> Thread:
        yield from ()


class ClearsFirst(Ring):
    """Adoption trusts the tail and clears what was published beyond it."""

    def published_end(self, at: int, end: int) -> Position:
        yield from ()
        return at


class StopsAtEveryMark(Ring):
    """Adoption takes every marked cell for published, also behind an unpublished one."""

    def published_end(self, at: int, end: int) -> Position:
        last = at
        while at != end:
            mark, _ = yield Load(self.word(at))
            at += 1
            last = at if mark == self.lap(at - 1) else last
        return last


class ClearsUnread(Ring):
    """Adoption clears a whole ring from the tail on, unread messages and all."""

    def clear(self, at: int, end: int) -> Thread:
        return super().clear(at, at + self.cells)


class FromNext(Ring):
    """The consumer's successor begins after what was in hand, delivered or not."""

    def adopted(self) -> str:
        return "next"


def alive(ring: Ring, order: str) -> None:
    nobody_killed(ring, MIXED if ring.cells == 2 else LONG, order=order)


def dead_producer(ring: Ring, order: str) -> None:
    producer_killed(ring, ((1,), (2, 3)), AGAIN, order=order)


def dead_consumer(ring: Ring, order: str) -> None:
    consumer_killed(ring, SINGLES, order=order)


@cache
def passes(scene: Callable[[Ring, str], None], order: str, cells: int) -> None:
    scene(Ring(cells), order)


@pytest.mark.parametrize(
    ("mutant", "scene", "order", "cells"),
    [
        (FirstToLast, alive, "tso", 4),
        (FlagBeforePayload, alive, "tso", 2),
        (RelaxedPublication, alive, "pso", 2),
        (NeverFull, alive, "tso", 2),
        (NeverFull, alive, "tso", 4),
        (OneTooMany, alive, "tso", 2),
        (OneTooMany, alive, "tso", 4),
        (HeadBeforeCopy, alive, "tso", 2),
        (LapBlind, alive, "tso", 4),
        (TailFirst, dead_producer, "tso", 2),
        (KeepsHalfBatches, dead_producer, "tso", 2),
        (ClearsFirst, dead_producer, "tso", 2),
        (StopsAtEveryMark, dead_producer, "tso", 2),
        (ClearsUnread, dead_producer, "tso", 2),
        (FromNext, dead_consumer, "tso", 2),
    ],
)
def test_mutants_are_caught(
    mutant: type[Ring], scene: Callable[[Ring, str], None], order: str, cells: int
) -> None:
    """Each deviation does harm that the search finds, and the protocol itself passes the same scene."""
    passes(scene, order, cells)
    with pytest.raises(Found):
        scene(mutant(cells), order)
