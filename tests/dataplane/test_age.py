"""How long a connection has been open: right whatever the tick was, from on_open on, over a new worker."""

from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from raw import ACK, CORE, SECOND, SYN, Raw
from seen import seen
from splitplane.dataplane.native import ffi, lib
from splitplane.dataplane.peek import STATES, row_dtype
from splitplane.dataplane.peer import Peer

MILLISECOND = SECOND // 1000
WRAP = 2**32
AHEAD = 2**20
"""Milliseconds before the wrap from which on a tick may lie ahead of the reader's clock instead."""


def row_of(memory: Any) -> Any:
    """The only connection of an arena."""
    rows = np.zeros(8, row_dtype())
    base = ffi.from_buffer(memory)
    found = lib.peek_rows(base, 1, 8, ffi.from_buffer("struct peek_row[]", rows))
    ffi.release(base)
    assert found == 1
    return rows[0]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3 * WRAP), st.integers(0, WRAP - AHEAD - 2))
@example(WRAP - 1, 1)
@example(WRAP, 2**31)
@example(2**31 + 5, WRAP - AHEAD - 2)
def test_an_age_is_right_for_49_days(start: int, passed: int) -> None:
    """Opened at any tick, seen any time later short of the wrap: the age is what has passed, and so is the silence; a
    millisecond off where the tick is 1 instead of 0."""
    with seen(4) as world:
        lib.core_clock(world.core.pointer, start * MILLISECOND)
        world.connect(1)
        world.core.pointer.state.now = (start + passed) * MILLISECOND
        row = row_of(world.arena.memory)
        off = (start % WRAP == 0) - ((start + passed) % WRAP == 0)
        assert int(row["age"]) == int(row["idle"]) == max(passed - off, 0)


@given(st.integers(AHEAD, 3 * WRAP), st.integers(1, AHEAD - 1))
def test_who_opened_after_the_look_at_the_clock_is_new(start: int, ahead: int) -> None:
    """The core goes on while it is read: a connection younger than the reader's clock is 0 old, not 49 days."""
    with seen(4) as world:
        lib.core_clock(world.core.pointer, start * MILLISECOND)
        world.connect(1)
        world.core.pointer.state.now = (start - ahead) * MILLISECOND
        row = row_of(world.arena.memory)
        assert (int(row["age"]), int(row["idle"])) == (0, 0)


def test_bytes_end_the_silence_and_leave_the_age() -> None:
    """Whatever comes, the age goes on; the next connection in the same record begins anew."""
    with seen(1) as world:
        world.handle_data(consume=True)
        now = 10**9
        peer = world.connect(1)
        for step in (5000, 70_000, 3):
            now += step * MILLISECOND
            lib.core_clock(world.core.pointer, now)
            world.send(peer, b"x")
            world.core.turn()
            row = row_of(world.arena.memory)
            assert int(row["age"]) == now // MILLISECOND - 1000
            assert int(row["idle"]) == 0
        world.reset(peer)
        world.core.turn()
        world.core.turn()
        world.connect(2)
        assert int(row_of(world.arena.memory)["age"]) == 0


def seen_as(raw: Raw) -> tuple[str, int]:
    """State and age of Raw's connection."""
    row = row_of(raw.peer.memory)
    return STATES[int(row["state"])], int(row["age"])


def test_tcp_counts_from_on_open() -> None:
    """Passively and actively opened: the handshake's age while it lasts, then that of the open connection."""
    with Raw() as raw:
        raw.syn()
        raw.wait(0.5)
        assert seen_as(raw) == ("syn-received", 500)
        raw.send(ACK)
        assert seen_as(raw) == ("established", 0)
        raw.wait(7)
        assert seen_as(raw) == ("established", 7000)
    with Raw() as raw:
        raw.peer.connect("10.0.0.2", 5000, 1234)
        (syn,) = raw.receive()
        raw.wait(0.25)
        assert seen_as(raw) == ("syn-sent", 250)
        raw.send(SYN | ACK, ack=syn.seq + 1, port=1234)
        assert seen_as(raw) == ("established", 0)
        raw.wait(1)
        assert seen_as(raw) == ("established", 1000)


def test_an_age_outlives_the_worker() -> None:
    """Adopted by another core, a connection is as old as before; one whose handshake was cut short, too."""
    for opened, state in ((True, "established"), (False, "syn-received")):
        with Raw() as raw:
            raw.syn()
            if opened:
                raw.send(ACK)
            raw.wait(0.75)
            raw.peer.close()
            again = Peer(raw.wires[0], memory=raw.peer.memory, address=CORE, number=1, adopt=True)
            again.listen(80)
            again.clock(raw.now + 200 * MILLISECOND)
            again.start()
            again.poll(3)
            row = row_of(again.memory)
            assert (STATES[int(row["state"])], int(row["age"])) == (state, 950)
            again.close()
