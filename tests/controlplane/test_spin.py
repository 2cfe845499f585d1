"""The event loop looks at the rings itself only as long as that pays."""

from hypothesis import given
from hypothesis import strategies as st
from splitplane.controlplane.spin import LONGEST_REST, Spin


def test_one_look_for_each_ask() -> None:
    """Without an ask there is no look; with one there is one, as long as each finds something."""
    spin = Spin()
    assert not spin.due()
    for _ in range(5):
        spin.ask()
        assert spin.due()
        assert not spin.due()
        spin.ended(found=True)


@given(st.lists(st.booleans(), max_size=200))
def test_rests_are_bounded(finds: list[bool]) -> None:
    """However many looks are in vain, one of LONGEST_REST + 1 asks looks again; one that found is followed by the next."""
    spin = Spin()
    for found in finds:
        asks = 0
        while True:
            spin.ask()
            asks += 1
            if spin.due():
                break
        assert asks <= LONGEST_REST + 1
        spin.ended(found=found)
        if found:
            spin.ask()
            assert spin.due()
            spin.ended(found=True)
