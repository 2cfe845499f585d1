"""The ring's protocol as runtime/ring.c and ring_cell.h have it, in steps that store_buffers.py explores.

A put writes a batch: numbers of one-cell messages, or one number repeated, a message of that many cells. A cell's word
holds (lap bit, cells of the message that begins there, 0 in a continuation), its payload (message, part).
"""

from collections.abc import Generator, Hashable
from functools import partial
from typing import Any

from store_buffers import Await, Deliver, Explorer, Load, Store

Thread = Generator[Any, Any, None]
Position = Generator[Any, Any, int]
Batch = tuple[int, ...]


class Ring:
    """The protocol. Mutants override one of its methods."""

    def __init__(self, cells: int = 2) -> None:
        self.cells = cells

    def memory(self) -> dict[Hashable, Hashable]:
        """A fresh ring: every lap bit 0, so nothing is published."""
        cells: dict[Hashable, Hashable] = {}
        for cell in range(self.cells):
            cells["word", cell] = (0, 0)
            cells["payload", cell] = (0, 0)
        return {**cells, "tail": 0, "head": 0, "next": 0, "put": 0, "never": 0}

    def lap(self, position: int) -> int:
        """ring_lap."""
        return int(position & self.cells == 0)

    def word(self, position: int) -> tuple[str, int]:
        """Address of the cell's first word."""
        return "word", position % self.cells

    def payload(self, position: int) -> tuple[str, int]:
        """Address of the rest of the cell."""
        return "payload", position % self.cells

    # The producer.

    def put(self, batch: Batch) -> Thread:
        """ring_put, ring_put_batch."""
        count = len(batch)
        tail = yield Load("tail")
        yield from self.room(tail, count)
        done = 0
        while done < count:
            yield from self.cell(tail, batch, self.place(done, count))
            done += 1
        yield Store("tail", tail + count)

    def room(self, tail: int, count: int) -> Thread:
        """ring_free, until there is enough."""
        head = yield Load("head")
        while tail + count - head > self.cells:
            head = yield Load("head")

    def place(self, done: int, count: int) -> int:
        """Which cell of a batch to write when `done` are written: the last first."""
        return count - 1 - done

    def cell(self, tail: int, batch: Batch, place: int) -> Thread:
        """Payload, then word; the first cell's word is released."""
        yield self.payload_store(tail, batch, place)
        yield self.word_store(tail, batch, place, release=place == 0)

    def payload_store(self, tail: int, batch: Batch, place: int) -> Store:
        """One cell's payload."""
        part = place if len(set(batch)) < len(batch) else 0
        return Store(self.payload(tail + place), (batch[place], part))

    def word_store(self, tail: int, batch: Batch, place: int, *, release: bool) -> Store:
        """One cell's word."""
        size = 1
        if len(set(batch)) < len(batch):
            size = len(batch) if place == 0 else 0
        return Store(self.word(tail + place), (self.lap(tail + place), size), release)

    def producer(self, batches: tuple[Batch, ...]) -> Thread:
        """Puts all batches, and keeps count."""
        number = 0
        while number < len(batches):
            yield from self.put(batches[number])
            number += 1
            yield Store("put", number)

    def mortal_producer(self, batches: tuple[Batch, ...]) -> Thread:
        """Puts all batches, then waits for its end."""
        yield from self.producer(batches)
        yield Await("never")

    def adopt_producer(self, batches: tuple[Batch, ...]) -> Thread:
        """ring_adopt_producer; then puts its own."""
        put = yield Load("put")
        yield Deliver(("put", put))
        tail = yield Load("tail")
        head = yield Load("head")
        tail = yield from self.published_end(tail, head + self.cells)
        yield from self.clear(tail, head + self.cells)
        yield Store("tail", tail)
        yield from self.producer(batches)

    def published_end(self, at: int, end: int) -> Position:
        """Over whole messages that are published."""
        while at != end:
            mark, size = yield Load(self.word(at))
            if mark != self.lap(at):
                break
            assert size > 0, f"a message begins at {at} with a continuation"
            at += size
        return at

    def clear(self, at: int, end: int) -> Thread:
        """What the dead producer may have written beyond becomes unpublished."""
        while at != end:
            yield Store(self.word(at), (1 - self.lap(at), 0))
            at += 1

    # The consumer.

    def get(self, at: int) -> Generator[Any, Any, tuple[int, int]]:
        """ring_get at position `at`: the message and the position after it; 0 and `at` if there is none."""
        mark, size = yield Load(self.word(at))
        if mark != self.lap(at):
            return 0, at
        assert size > 0, f"a message begins at {at} with a continuation"
        yield from self.before_copy(at + size)
        message = 0
        place = 0
        while place < size:
            found = yield Load(self.payload(at + place))
            message = message or found[0]
            assert found == (message, place), f"part {place} of message {message} is {found}"
            place += 1
        yield Store("next", at + size)
        return message, at + size

    def batch(self, at: int, last: int, each: int) -> Generator[Any, Any, Batch]:
        """ring_get_batch: what is there, at most `each`."""
        got: Batch = ()
        while len(got) < each and (not got or got[-1] != last):
            message, at = yield from self.get(at)
            if not message:
                break
            got = (*got, message)
        return got

    def before_copy(self, after: int) -> Thread:
        """Nothing."""
        yield from ()

    def consumer(self, last: int, each: int = 1, late: bool = False, end: int = -1) -> Thread:
        """Gets until message `last` or position `end`, advancing after every `each`: after delivering them, or before
        (`late`).
        """
        at = yield Load("next")
        got: Batch = ()
        while (not got or got[-1] != last) and at != end:
            got = yield from self.batch(at, last, each)
            if not got:
                continue
            done = 0
            while not late and done < len(got):
                yield Deliver(got[done])
                done += 1
            at = yield Load("next")
            yield Store("head", at, True)
            done = 0
            while late and done < len(got):
                yield Deliver(got[done])
                done += 1

    def adopt_consumer(self, last: int, each: int = 1, late: bool = False, end: int = -1) -> Thread:
        """ring_adopt_consumer; then as before."""
        head = yield Load(self.adopted())
        yield Store("next", head)
        yield from self.consumer(last, each, late, end)

    def adopted(self) -> str:
        """Where a new consumer begins."""
        return "head"


PRIVATE = frozenset({"tail", "next", "put"})


def messages(batches: tuple[Batch, ...]) -> list[int]:
    """Each message once, in order."""
    return [message for batch in batches for message in dict.fromkeys(batch)]


def nobody_killed(
    ring: Ring, batches: tuple[Batch, ...], *, order: str = "tso", each: int = 1
) -> int:
    """Every message arrives once, whole and in order. Returns how many states there are."""
    wanted = messages(batches)

    def check(got: tuple[Any, ...]) -> str:
        return "" if list(got) == wanted else f"not {wanted}"

    threads = [partial(ring.producer, batches), partial(ring.consumer, wanted[-1], each)]
    return Explorer(threads, ring.memory(), order=order, private=PRIVATE, check=check).run()


def split(happened: tuple[Any, ...]) -> tuple[int, list[int]]:
    """How many batches the dead producer had put, and what the consumer got."""
    put = next(event[1] for event in happened if isinstance(event, tuple))
    return put, [event for event in happened if not isinstance(event, tuple)]


def after_producer(batches: tuple[Batch, ...], wanted: list[int], put: int, got: list[int]) -> str:
    """Of the dead producer's batches a whole number, at least those it had put; then its successor's messages."""
    wholes = [messages(batches[:count]) for count in range(len(batches) + 1)]
    old, new = got[: len(got) - len(wanted)], got[len(got) - len(wanted) :]
    if new != wanted or old not in wholes:
        return "half a batch, a ghost, or something lost"
    return "" if wholes.index(old) >= put else f"{put} batches were put"


def producer_killed(
    ring: Ring, batches: tuple[Batch, ...], again: tuple[Batch, ...], *, order: str = "tso"
) -> int:
    """Of the dead producer's batches a whole number arrives, with all that it had put; then its successor's."""
    wanted = messages(again)

    def check(happened: tuple[Any, ...]) -> str:
        put, got = split(happened)
        return after_producer(batches, wanted, put, got)

    threads = [partial(ring.mortal_producer, batches), partial(ring.consumer, wanted[-1])]
    successors = {0: partial(ring.adopt_producer, again)}
    return Explorer(
        threads, ring.memory(), order=order, private=PRIVATE, successors=successors, check=check
    ).run()


def consumer_killed(
    ring: Ring, batches: tuple[Batch, ...], *, order: str = "tso", each: int = 1, late: bool = False
) -> int:
    """What was in hand, at most `each`, arrives twice; or not at all if it advances before it delivers (`late`)."""
    wanted = messages(batches)

    def check(got: tuple[Any, ...]) -> str:
        for at in range(len(wanted) + 1):
            for size in range(min(each, at) + 1):
                repeated = wanted[:at] + wanted[at - size :]
                missing = wanted[: at - size] + wanted[at:]
                if list(got) == (missing if late else repeated):
                    return ""
        return f"more than what was in hand is repeated or lost of {wanted}"

    last, end = wanted[-1], sum(map(len, batches))
    threads = [partial(ring.producer, batches), partial(ring.consumer, last, each, late, end)]
    successors = {1: partial(ring.adopt_consumer, last, each, late, end)}
    return Explorer(
        threads, ring.memory(), order=order, private=PRIVATE, successors=successors, check=check
    ).run()


def both_killed(
    ring: Ring, batches: tuple[Batch, ...], again: tuple[Batch, ...], *, order: str = "tso"
) -> int:
    """Both ends, each at any moment, adopted side by side: as for each alone."""
    wanted = messages(again)

    def check(happened: tuple[Any, ...]) -> str:
        put, got = split(happened)
        once = [message for place, message in enumerate(got) if got[place - 1 : place] != [message]]
        if len(got) > len(once) + 1:
            return "more than what was in hand is repeated"
        return after_producer(batches, wanted, put, once)

    threads = [partial(ring.mortal_producer, batches), partial(ring.consumer, wanted[-1])]
    successors = {
        0: partial(ring.adopt_producer, again),
        1: partial(ring.adopt_consumer, wanted[-1]),
    }
    return Explorer(
        threads, ring.memory(), order=order, private=PRIVATE, successors=successors, check=check
    ).run()
