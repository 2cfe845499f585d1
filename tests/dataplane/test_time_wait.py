"""TIME-WAIT's table and the next hops' against simple models."""

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from raw import Raw
from splitplane.dataplane.native import ffi, lib

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["insert", "insert", "remove", "expire", "recover"]), st.integers(1, 40)
    ),
    max_size=120,
)


def flow(number: int) -> Any:
    return ffi.new(
        "struct flow *", {"local_address": 1, "remote_address": 2, "remote_port": number}
    )


@dataclass
class Entry:
    number: int
    expires: int
    alive: bool = True


STARTS = [1000 * 1000, 2**32 - 1, 2**32 - 30_000, 2**31 - 30_000]


@settings(max_examples=100)
@given(STEPS, st.sampled_from(STARTS))
def test_time_wait_matches_a_list(steps: list[tuple[str, int]], start: int) -> None:
    """Found is what was put in last, not taken out, not older than a minute, and among the newest eight; also where the
    tick wraps, and where a flow comes again that is still there."""
    with Raw(time_wait=8, connections=4, buffers=1 << 16, now=start * 1_000_000) as raw:
        core = raw.core
        model: list[Entry] = []  # what lies in the FIFO, taken out or not
        for step, number in steps:
            key = flow(number)
            hash_ = lib.table_hash(core, key)
            newest = next((one for one in model[::-1] if one.alive and one.number == number), None)
            if step == "insert":
                expires = (core.tick + lib.TIME_WAIT_MILLISECONDS) % 2**32
                entry = ffi.new("struct time_wait *", {"flow": key[0], "expires": expires})
                lib.time_wait_insert(core, entry, hash_)
                model = [*model[-7:], Entry(number, expires)]
            elif step == "remove" and newest:
                lib.time_wait_remove(core, lib.time_wait_find(core, key, hash_), hash_)
                newest.alive = False
            elif step == "expire":
                raw.now += number * 1_000_000_000
                raw.peer.clock(raw.now)
                lib.time_wait_expire(core, 100)
                while model and (
                    not model[0].alive or (core.tick - model[0].expires) % 2**32 < 2**31
                ):
                    del model[0]
            elif step == "recover":
                lib.time_wait_recover(core)
            assert lib.time_wait_count(core) == len(model)
            check_found(core, model)


def check_found(core: Any, model: list[Entry]) -> None:
    alive = {one.number: one.expires for one in model if one.alive}  # the newest of each
    for candidate in range(1, 41):
        sought = flow(candidate)
        found = lib.time_wait_find(core, sought, lib.table_hash(core, sought))
        assert (found != ffi.NULL) == (candidate in alive)
        if found != ffi.NULL:
            assert (found.flow.remote_port, found.expires) == (candidate, alive[candidate])


@settings(max_examples=50)
@given(st.lists(st.binary(min_size=6, max_size=6), max_size=200))
def test_neighbours_keep_their_index(addresses: list[bytes]) -> None:
    """A MAC gets one index for good, and the index gives it back."""
    with Raw(connections=4, buffers=1 << 16) as raw:
        indexes = {address: lib.neighbour_learn(raw.core, address) for address in addresses}
        assert len(set(indexes.values())) == len(indexes)
        for address, index in indexes.items():
            assert lib.neighbour_learn(raw.core, address) == index != 0
            assert ffi.buffer(lib.neighbour_address(raw.core, index), 6)[:] == address


def test_too_many_next_hops_are_refused() -> None:
    """When no place near its own is free a new MAC is refused, and known ones are still known."""
    with Raw(connections=4, buffers=1 << 16) as raw:
        learned = [
            lib.neighbour_learn(raw.core, number.to_bytes(6, "big"))
            for number in range(1, lib.NEIGHBOURS + 100)
        ]
        assert 0 in learned
        assert len(set(learned) - {0}) > lib.NEIGHBOURS * 0.9
        assert lib.neighbour_learn(raw.core, (1).to_bytes(6, "big")) == learned[0]
