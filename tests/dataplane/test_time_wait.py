"""TIME-WAIT's table and the next hops' against simple models."""

from collections import OrderedDict
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


@settings(max_examples=100)
@given(STEPS)
def test_time_wait_matches_an_ordered_dict(steps: list[tuple[str, int]]) -> None:
    """Found is what was put in, not taken out, not older than a minute, and among the newest eight."""
    with Raw(time_wait=8, connections=4, buffers=1 << 16) as raw:
        core = raw.core
        model: OrderedDict[int, int] = OrderedDict()  # flow number -> tick it expires at
        slots: list[int] = []  # what lies in the FIFO, taken out or not
        for step, number in steps:
            key = flow(number)
            hash_ = lib.table_hash(core, key)
            if step == "insert" and number not in model:
                expires = core.tick + lib.TIME_WAIT_MILLISECONDS
                entry = ffi.new("struct time_wait *", {"flow": key[0], "expires": expires})
                lib.time_wait_insert(core, entry, hash_)
                if len(slots) == 8:
                    model.pop(slots.pop(0), None)
                model[number] = expires
                slots.append(number)
            elif step == "remove" and number in model:
                lib.time_wait_remove(core, lib.time_wait_find(core, key, hash_), hash_)
                del model[number]
                slots[slots.index(number)] = 0
            elif step == "expire":
                raw.now += number * 1_000_000_000
                raw.peer.clock(raw.now)
                lib.time_wait_expire(core, 100)
                while slots and (slots[0] not in model or model[slots[0]] <= core.tick):
                    model.pop(slots.pop(0), None)
            elif step == "recover":
                lib.time_wait_recover(core)
            assert lib.time_wait_count(core) == len(slots)
            for candidate in range(1, 41):
                sought = flow(candidate)
                found = lib.time_wait_find(core, sought, lib.table_hash(core, sought))
                assert (found != ffi.NULL) == (candidate in model)
                assert found == ffi.NULL or found.flow.remote_port == candidate


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
