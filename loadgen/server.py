"""The server under load: a layout of one core at one end of a road, checked against the machine with the arithmetic."""

from dataclasses import dataclass
from typing import Any

from ..runtime.errors import LayoutError, MachineError, Problem
from ..runtime.layout import CONNECTIONS_MAX, Layout
from ..runtime.machine import HUGE, Machine
from ..runtime.plan import CorePlan, half_open_limit, plan, size_text
from ..runtime.runtime import Runtime
from ..runtime.system import show_cpus
from .actor import Answer
from .clients import PAYLOAD_LEAST, PAYLOAD_MOST, Target
from .road import ADDRESS, FIRST_CLIENT, MEMORY, Road

PORT = 7


@dataclass(frozen=True, slots=True)
class Place:
    """Where things run."""

    server: int
    clients: int


def place(machine: Machine) -> Place:
    """The last CPU for the server, the first for the clients. MachineError if there is but one."""
    if len(machine.cpus) < 2:
        raise MachineError(
            Problem(
                "",
                f"two CPUs are wanted, one for the server, one for its clients: this process may use "
                f"{show_cpus(machine.cpus)}",
            )
        )
    return Place(machine.cpus[-1], machine.cpus[0])


def make_layout(
    connections: int, payload: int, cpu: int, actor: Any = Answer, road: Road = MEMORY
) -> Layout:
    """One core with room for so many connections. LayoutError beyond 16 777 215, or for an odd payload."""
    problems = []
    if not 1 <= connections <= CONNECTIONS_MAX:
        text = f"a core has 1 to {CONNECTIONS_MAX} connections"
        problems.append(Problem("", text, "--count", connections))
    if not PAYLOAD_LEAST <= payload <= PAYLOAD_MOST:
        text = f"a request has {PAYLOAD_LEAST} to {PAYLOAD_MOST} bytes"
        problems.append(Problem("", text, "--payload", payload))
    if problems:
        raise LayoutError(problems)
    listen = {"port": f"tcp:{PORT}", "actor": actor, "config": {"payload": payload}}
    group = {
        "cpus": [cpu],
        "nic": "wire",
        "connections": connections,
        "busy": min(1.0, max(8 * road.flight / connections, 1 / 1024)),
        "buffers": "16 MiB",
        "idle": "spin",
        "listen": [listen | {"reply_reserve": 4096, "max_unconsumed": 65536}],
    }
    return Layout.model_validate(
        {
            "name": "bench",
            "supervision": {"drain_seconds": 0.1},
            "nic": {"wire": road.nic() | {"address": str(ADDRESS)}},
            "group": {"load": group},
        }
    )


def _most(layout: Layout, free: int) -> int:
    """How many connections fit, in thousands: what one takes says where to look, its own plan whether it is so."""
    group = layout.group["load"]
    count = group.connections
    while count > 0:
        fewer = group.model_copy(update={"connections": count})
        planned = plan(layout.model_copy(update={"group": {"load": fewer}}))
        core = planned.cores[0]
        over = planned.total + core.lists - free
        if over <= 0:
            break
        count = (count - max(int(over / core.per_connection), 1)) // 1000 * 1000
    return max(count, 0)


def refuse_too_much(layout: Layout) -> CorePlan:
    """The core's plan. MachineError, with the sum by part, if memory can't hold it."""
    planned = plan(layout)
    core = planned.cores[0]
    machine = planned.machine
    wanted = planned.total + core.lists
    if machine.memory_available is None:
        return core
    free = machine.memory_available + machine.huge_free * HUGE
    if wanted <= free:
        return core
    group = layout.group["load"]
    most = _most(layout, free)
    sums = " + ".join(
        f"{name.replace('_', ' ')} {size_text(size)}"
        for name, size in sorted(core.sections.items(), key=lambda part: -part[1])
        if size >= 2**20
    )
    raise MachineError(
        Problem(
            "",
            f"{size_text(wanted)} wanted, {size_text(free)} free: {sums} + lists {size_text(core.lists)}, "
            f"{core.per_connection:.0f} B a connection",
            "--count",
            group.connections,
            f"at most {most} fit",
        )
    )


def state_bytes(core: CorePlan) -> int:
    """Bytes that hold connections: everything of the arena in whole pages, and the worker's lists, but no payload."""
    return core.total - core.sections["buffers"] - core.sections["frames"] + core.lists


def target_of(runtime: Runtime, payload: int, road: Road) -> Target:
    """What the clients must know of a running server."""
    half_open = half_open_limit(runtime.layout, "load")
    flight = road.flight
    while flight > max(half_open, 2):
        flight //= 2
    return target(payload, road, flight, runtime._held.cores[0].state.sequence_key)


def target(payload: int, road: Road, flight: int, key: tuple[int, int] = (0, 0)) -> Target:
    """Clients with so many operations in flight, of a server with that key."""
    return Target(
        server_address=int(ADDRESS.ip),
        server_port=PORT,
        server_mac=road.server_mac(),
        server_key=key,
        first_client=int(FIRST_CLIENT),
        payload=payload,
        flight=flight,
    )
