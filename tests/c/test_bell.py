"""The compiled bell under sanitizers (its protocol is modelled in tests/runtime)."""

import pytest
from c_program import compiled, run


@pytest.mark.parametrize("sanitizer", ["plain", "thread", "address"])
def test_nobody_sleeps_beside_a_message(sanitizer: str) -> None:
    """With the core asleep whenever it can be, for as long as nobody rings, every message arrives."""
    program = compiled("bell_stress.c", "runtime/bell.c", "runtime/ring.c", sanitizer=sanitizer)
    for seed in range(3):
        run(program, 20_000, seed)
