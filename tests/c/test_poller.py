"""The compiled poller under sanitizers (its protocol is modelled in tests/controlplane)."""

import pytest
from c_program import compiled, run


@pytest.mark.parametrize("sanitizer", ["plain", "thread", "address"])
def test_nobody_sleeps_for_ever(sanitizer: str) -> None:
    """With the event loop parking whenever it can, every message arrives and room in a full ring is noticed."""
    tested = ("controlplane/poller.c", "runtime/ring.c")
    program = compiled("poller_stress.c", *tested, sanitizer=sanitizer)
    for seed in range(3):
        run(program, 10_000, seed)
