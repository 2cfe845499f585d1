"""Two cores with our TCP over a faulty memory wire, on a virtual clock that jumps from event to event."""

import os
from typing import Any, Self

MILLISECOND = 1_000_000
SECOND = 1000 * MILLISECOND


class Simulation:
    """`left` (10.0.0.1) and `right` (10.0.0.2); frames to each go through faults of their own, seeded."""

    def __init__(
        self, plan: Any = None, *, left: Any = None, right: Any = None, **options: Any
    ) -> None:
        from splitplane.dataplane.native import lib
        from splitplane.dataplane.peer import Peer
        from splitplane.nic.faults import FaultPlan, Faults
        from splitplane.nic.memory import Wire, create

        self._lib = lib
        self.descriptor = create(1024)
        self.wires = [Wire(self.descriptor, side) for side in range(2)]
        plan = plan or FaultPlan()
        plans = [plan, type(plan)(**{**_fields(plan), "seed": plan.seed + 1})]
        self.faults = [Faults(wire, one) for wire, one in zip(self.wires, plans, strict=True)]
        self.now = options.pop("now", 1000 * SECOND)
        sides = [left or {}, right or {}]
        self.peers = [
            Peer(
                self.faults[side],
                address=f"10.0.0.{side + 1}",
                number=side + 1,
                **{**options, **sides[side]},
            )
            for side in range(2)
        ]
        self.left, self.right = self.peers
        for peer in self.peers:  # the same keys in each run: the same sequence numbers and ports
            for word in range(4):
                peer.core.pointer.state.key[word] = (
                    0x9E3779B97F4A7C15 * (plan.seed * 8 + word + 1) % 2**64
                )
        self.free = [lib.buffer_free_bytes(peer.core.pointer) for peer in self.peers]
        self._tell()

    def _tell(self) -> None:
        for peer, faults in zip(self.peers, self.faults, strict=True):
            peer.clock(self.now)
            faults.clock(self.now)

    def _quiet(self) -> None:
        for _ in range(10_000):
            if not sum(peer.poll() for peer in self.peers):
                return
        raise AssertionError("two cores answer each other for ever")

    def step(self, most: int = 100 * MILLISECOND) -> None:
        """Everything due now, then on to the next arrival or deadline, `most` nanoseconds away at the furthest."""
        self._quiet()
        arrivals = min(faults.next for faults in self.faults)
        ticks = min(
            self._lib.timer_next(peer.core.pointer, most // MILLISECOND) for peer in self.peers
        )
        tick = (self.now // MILLISECOND + max(ticks, 1)) * MILLISECOND
        self.now = max(min(arrivals, tick, self.now + most), self.now + 1000)
        self._tell()

    def run(self, seconds: float) -> None:
        """So much virtual time."""
        end = self.now + int(seconds * SECOND)
        while self.now < end:
            self.step(min(100 * MILLISECOND, end - self.now))
        self._quiet()

    def until(self, condition: Any, seconds: float = 600.0) -> bool:
        """Steps until `condition()`, at most so much virtual time; whether it holds."""
        end = self.now + int(seconds * SECOND)
        while not condition():
            if self.now >= end:
                return False
            self.step()
        return True

    def connect(self, port: int = 80, local_port: int = 0) -> tuple[Any, Any]:
        """An established connection: the left's end (which accepted) and the right's."""
        if port not in self.left._listeners:
            self.left.listen(port)
        right = self.right.connect("10.0.0.1", port, local_port)
        accepted: list[Any] = []

        def both() -> bool:
            if left := self.left.accept(port):
                accepted.append(left)
            return bool(accepted) and (right.opened or right.closed)

        assert self.until(both)
        return accepted[-1], right

    def assert_nothing_left(self) -> None:
        """Records, busy blocks and buffers are all back in their pools, and no frame slot is lost."""
        for peer, free in zip(self.peers, self.free, strict=True):
            core = peer.core.pointer
            assert core.state.live == 0
            assert core.state.half_open == 0
            assert self._lib.buffer_free_bytes(core) == free
            assert all(not core.records[index].busy for index in range(core.capacity + 1))

    def close(self) -> None:
        for peer in self.peers:
            peer.close()
        for faults in self.faults:
            faults.close()
        for wire in self.wires:
            wire.close()
        os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _fields(plan: Any) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in plan.__dataclass_fields__}
