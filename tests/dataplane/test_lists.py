"""The lists of records that want something hold fewer than there are connections, and forget none."""

import pytest
from bare import Bare
from hypothesis import given, settings
from hypothesis import strategies as st
from splitplane.dataplane.native import lib

RECORDS = 24
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["add", "add", "drop"]), st.integers(1, RECORDS)),
        st.tuples(st.sampled_from(["pop", "pop", "sweep", "rebuild"]), st.just(0)),
    ),
    max_size=150,
)


def bare(room: int) -> Bare:
    """A core whose lists have so many places, every record taken."""
    one = Bare(connections=RECORDS)
    for index in range(1, RECORDS + 1):
        assert one.take() == index
    one.core.pending.room = one.core.again.room = room
    return one


def drain_again(one: Bare) -> list[int]:
    """All that is asked for, turn by turn; each turn pops what is listed, then sweeps."""
    got = []
    for _ in range(4 * RECORDS):
        got += [int(lib.again_pop(one.core)) for _ in range(one.core.again.count)]
        if not one.core.again.unswept and not one.core.again.count:
            break
        lib.lists_sweep(one.core)
    return [index for index in got if index]


@settings(max_examples=300)
@given(STEPS, st.integers(1, RECORDS))
def test_again_forgets_none(steps: list[tuple[str, int]], room: int) -> None:
    """Whatever is added, dropped, popped and swept, with however few places: what was added and not dropped comes out
    once, and nothing else does."""
    one = bare(room)
    wants: set[int] = set()
    for step, index in steps:
        if step == "add":
            lib.again_add(one.core, index)
            wants.add(index)
        elif step == "drop":
            lib.again_drop(one.core, index)
            wants.discard(index)
        elif step == "sweep":
            lib.lists_sweep(one.core)
        elif step == "rebuild":
            lib.lists_rebuild(one.core)
        elif one.core.again.count:
            got = int(lib.again_pop(one.core))
            assert not got or got in wants
            wants.discard(got)
        assert one.core.again.count <= room
    assert sorted(drain_again(one)) == sorted(wants)
    one.close()


@settings(max_examples=100)
@given(st.lists(st.integers(1, RECORDS), max_size=60), st.integers(1, RECORDS))
def test_pending_forgets_none(asked: list[int], room: int) -> None:
    """The same for output, whose list is emptied in each turn before the sweep."""
    one = bare(room)
    got: list[int] = []
    for index in asked:
        lib.actor_pend(one.core, index)
    for _ in range(4 * RECORDS):
        while one.core.pending.count:
            got.append(int(lib.pending_pop(one.core)))
        lib.lists_sweep(one.core)
    assert sorted(got) == sorted(set(asked))
    one.close()


@pytest.mark.parametrize("room", [1, 3, 10])
def test_those_without_a_place_get_their_turn(room: int) -> None:
    """When more ask again at once, for ever, than there are places, each is served as often as the others, nearly."""
    one = bare(room)
    served = [0] * (RECORDS + 1)
    for index in range(1, RECORDS + 1):
        lib.again_add(one.core, index)
    for _ in range(400):
        for _ in range(one.core.again.count):
            index = int(lib.again_pop(one.core))
            served[index] += 1
            lib.again_add(one.core, index)
        lib.lists_sweep(one.core)
    assert min(served[1:]) * 3 > max(served[1:])
    one.close()
