"""Wrapper `faults`: what arrives through it is lost, doubled, swapped, delayed or damaged by a seeded generator."""

from dataclasses import dataclass
from typing import Any, Self

from ..dataplane.native import check, ffi, lib

FOREVER: int = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """How bad the wire is. Chances are 0…1 a frame, times are nanoseconds.

    Frames keep their order however their delays fall, but for the `reorder` share, which waits `reorder_delay` more.
    """

    seed: int = 1
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    delay: int = 0
    jitter: int = 0
    reorder_delay: int = 5_000_000
    held: int = 8192


class Faults:
    """A NIC over `wire` (anything with `nic` and `address`) whose incoming frames suffer `plan`, at the time `clock`
    last set. The same seed and the same clock give the same run. Raises OSError when the plan can't be."""

    def __init__(self, wire: Any, plan: FaultPlan) -> None:
        self._wire = wire
        self._now = ffi.new("int64_t *")
        config = ffi.new("struct faults_config *")
        config.seed = plan.seed
        for name in ("loss", "duplicate", "reorder", "corrupt"):
            setattr(config, name, int(getattr(plan, name) * 65536))
        config.delay_least = plan.delay
        config.delay_most = plan.delay + plan.jitter
        config.reorder_delay = plan.reorder_delay
        config.held_most = plan.held
        made = ffi.new("struct nic **")
        check(lib.faults_open(wire.nic, config, self._now, made), f"faults {plan}")
        self.nic: Any = made[0]

    @property
    def address(self) -> bytes:
        """The MAC address of the wire's end."""
        return bytes(self.nic.address)

    def clock(self, now: int) -> None:
        """Sets the time, nanoseconds."""
        self._now[0] = now

    @property
    def next(self) -> int:
        """When the next held frame arrives; FOREVER if none is on its way."""
        return int(lib.faults_next(self.nic))

    @property
    def held(self) -> int:
        """Frames on their way."""
        return int(lib.faults_held(self.nic))

    def counts(self) -> dict[str, int]:
        """What happened so far: lost, duplicated, reordered, corrupted, overflowed."""
        counts = ffi.new("struct faults_counts *")
        lib.faults_counted(self.nic, counts)
        return {name: int(getattr(counts, name)) for name, _ in ffi.typeof(counts[0]).fields}

    def close(self) -> None:
        """Frees the wrapper and what it holds; the wire stays."""
        if self.nic is not None:
            lib.faults_close(self.nic)
            self.nic = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
