"""The memory a layout takes: by section, per connection, per core, in all, beside what the machine has."""

from dataclasses import asdict, dataclass
from typing import Any

from ..dataplane.sections import ArenaConfig, arena_plan, list_bytes
from ..nic.afxdp import QUEUES_MOST, REGION_HEADER
from .layout import Group, Layout
from .machine import HUGE, Machine, read_machine
from .mesh import mesh_bytes
from .references import FRAME_DRIVERS

PAGE = 4096
HALF_OPEN = 8
"""Half-open connections may take one part in so many of the table."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a core's actors want of its arena, in bytes."""

    side_state: int = 0
    """A connection's application state beyond what its record holds: the largest of all listeners."""
    actors: int = 0
    """The core state of all listeners' actors, each rounded up to 64."""
    subscriptions: int = 0
    """How many subscriptions to topics there is room for; not bytes."""
    config: int = 0
    """The configs of all listeners' actors, each rounded up to 8."""


@dataclass(frozen=True, slots=True)
class CorePlan:
    """One core's arena."""

    core: int
    group: str
    cpu: int
    sections: dict[str, int]
    total: int
    per_connection: float
    """Bytes that one more connection would take, idle; buffers are shared and counted by themselves."""
    lists: int
    """Bytes of the worker's own lists, outside the arena (dataplane/core.c, tcp.c)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All cores' arenas and the mesh, in bytes, and the machine."""

    layout: str
    cores: tuple[CorePlan, ...]
    mesh: int
    total: int
    page_size: int
    pages: int
    """Pages of `page_size` that the arenas take."""
    machine: Machine

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def arena_config(
    layout: Layout, core: int, footprint: Footprint, page_size: int = HUGE
) -> ArenaConfig:
    """What the arena of core number `core` is made with."""
    group = layout.group[layout.cores[core][1]]
    driver = layout.nic[group.nic].driver
    return ArenaConfig(
        connections=group.connections,
        busy_blocks=busy_blocks(group),
        buffer_bytes=group.buffers,
        time_wait=group.time_wait if driver in FRAME_DRIVERS else 0,
        side_state_bytes=footprint.side_state,
        actor_bytes=footprint.actors,
        frame_bytes=frame_bytes(group) if driver == "afxdp" else 0,
        core_id=core,
        layout_hash=layout.digest(),
        page_size=page_size,
        subscriptions=footprint.subscriptions,
        config_bytes=footprint.config,
    )


def half_open_limit(layout: Layout, name: str) -> int:
    """Most half-open connections of a core of that group; 0 where Linux keeps them."""
    group = layout.group[name]
    frames = layout.nic[group.nic].driver in FRAME_DRIVERS
    return max(group.connections // HALF_OPEN, 1) if frames else 0


def frame_bytes(group: Group) -> int:
    """A core's frames, and the headers of as many queues as it may have."""
    return group.frames + QUEUES_MOST * REGION_HEADER + PAGE


def busy_blocks(group: Group) -> int:
    """Connections that may be busy at one time: the group's part of all, at least 64 or all there are."""
    return max(round(group.connections * group.busy), min(64, group.connections))


def plan(layout: Layout, footprints: dict[str, Footprint] | None = None) -> Plan:
    """The arithmetic. `footprints` are by group; without them the actors are imported to measure their state.

    Raises ActorError when an actor can't be imported.
    """
    if footprints is None:
        from .footprint import footprints_of

        footprints = footprints_of(layout)
    page = PAGE if layout.machine.hugepages == "off" else HUGE
    cores = tuple(
        _core(layout, core, footprints.get(layout.cores[core][1], Footprint()), page)
        for core in range(len(layout.cores))
    )
    mesh = mesh_bytes(len(cores), layout.rings.control, layout.rings.cores)
    arenas = sum(core.total for core in cores)
    return Plan(layout.name, cores, mesh, arenas + mesh, page, arenas // page, read_machine())


def _core(layout: Layout, core: int, footprint: Footprint, page: int) -> CorePlan:
    config = arena_config(layout, core, footprint, page)
    planned = arena_plan(config)
    sections = {name: size for name, (_, size) in planned.sections.items()}
    each = sum(sections[name] for name in ("records", "index", "timers", "side_state"))
    number, group, cpu = layout.cores[core]
    lists = list_bytes(config.connections, frames=half_open_limit(layout, group) > 0)
    per_connection = (each + lists) / config.connections
    return CorePlan(number, group, cpu, sections, planned.total, per_connection, lists)


def plan_text(planned: Plan) -> str:
    """The plan as people read it."""
    lines = [
        f"{planned.layout}: {len(planned.cores)} cores, pages of {size_text(planned.page_size)}"
    ]
    for core in planned.cores:
        lines += ["", f"core {core.core} (group {core.group}, CPU {core.cpu})"]
        width = max(len(name) for name in core.sections)
        for name, size in core.sections.items():
            lines.append(f"  {name.replace('_', ' '):<{width}}  {size_text(size):>12}")
        lines.append(f"  {'in all':<{width}}  {size_text(core.total):>12}, in whole pages")
        lines.append(f"  {core.per_connection:.1f} B each idle connection, buffers not counted")
    machine = planned.machine
    available = machine.memory_available
    lines += [
        "",
        f"rings between cores and control plane  {size_text(planned.mesh)}",
        f"everything  {size_text(planned.total)}: {planned.pages} pages and the rings",
        f"this machine: {'?' if available is None else size_text(available)} available"
        + (f", limited to {size_text(machine.memory_limit)}" if machine.memory_limit else "")
        + f"; {machine.huge_free} pages of 2 MiB free, {_surplus(machine)} more on demand",
    ]
    return "\n".join(lines)


def _surplus(machine: Machine) -> str:
    if machine.huge_overcommit_writable:
        return "as many as memory holds"
    return str(machine.huge_overcommit)


def size_text(size: float) -> str:
    """`1.5 MiB`; whole numbers without a point."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024 or unit == "MiB":
            break
        size /= 1024
    text = f"{size:,.1f}".removesuffix(".0")
    return f"{text} {unit}"
