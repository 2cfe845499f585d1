"""Whether this machine has what a layout asks for: CPUs, memory, pages, descriptors, ports, addresses, drivers.

Only looks: a port is asked for by binding it and letting go at once. `splitplane check` prints all of it; the
controller asks before it starts anything.
"""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from .claim import Claims
from .errors import MachineError, Problem
from .layout import Layout
from .machine import HUGE, Machine
from .plan import Plan, size_text
from .references import INTERFACE_DRIVERS
from .system import show_cpus

_SPARE_FILES = 64  # descriptors a worker has besides its connections


@dataclass(slots=True)
class Findings:
    """What stops a start, and what only costs something."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def fit(
    layout: Layout,
    machine: Machine,
    planned: Plan | None,
    claims: Claims | None = None,
    *,
    pinned: bool = True,
) -> Findings:
    """Everything about this machine that the layout collides with. Without a plan, memory is left out.

    CPUs and ports stay claimed in `claims`; without it they are claimed for a moment. `pinned`: cores get CPUs of their
    own.
    """
    found = Findings()
    found.problems += _drivers(layout)
    _interfaces(layout, machine, found)
    if pinned:
        found.problems += _cpus(layout, machine)
        _shared_cpus(layout, machine, found)
    with nullcontext(claims) if claims else Claims(layout.name) as taken:
        found.problems += _claims(layout, machine, taken, pinned=pinned)
    _descriptors(layout, machine, found)
    if planned is not None:
        _memory(layout, machine, planned, found)
    return found


def control_cpus(layout: Layout, machine: Machine) -> tuple[int, ...]:
    """The control plane's CPUs: the layout's, or every allowed one that is no core's, or all if none is left."""
    if layout.machine.control_cpus:
        return layout.machine.control_cpus
    cores = {cpu for _, _, cpu in layout.cores}
    return tuple(cpu for cpu in machine.cpus if cpu not in cores) or machine.cpus


def _drivers(layout: Layout) -> Iterator[Problem]:
    for name, nic in layout.nic.items():
        if nic.driver == "kernel" and not has_address(nic.bind):
            remedy = "choose one of `ip -4 -brief address`, or 0.0.0.0 for all"
            yield Problem(
                layout.file,
                "this machine has no such address",
                f"nic.{name}.bind",
                nic.bind,
                remedy,
            )


def _interfaces(layout: Layout, machine: Machine, found: Findings) -> None:
    """What the interfaces of the groups collide with."""
    for name, group in layout.group.items():
        nic = layout.nic.get(group.nic)
        if nic is not None and nic.driver in INTERFACE_DRIVERS and nic.interface:
            from .front_look import Look

            look = Look(layout, name, machine)
            found.problems += look.problems
            found.warnings += look.warnings


def has_address(address: str) -> bool:
    """Whether one may listen at this IPv4 address here."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def _cpu_keys(layout: Layout) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, group in layout.group.items():
        yield f"group.{name}.cpus", group.cpus
    if layout.machine.control_cpus:
        yield "machine.control_cpus", layout.machine.control_cpus


def _cpus(layout: Layout, machine: Machine) -> Iterator[Problem]:
    for key, cpus in _cpu_keys(layout):
        absent = [cpu for cpu in cpus if cpu not in machine.online]
        barred = [cpu for cpu in cpus if cpu in machine.online and cpu not in machine.cpus]
        if absent:
            yield Problem(
                layout.file, f"this machine has CPUs {show_cpus(machine.online)}", key, cpus
            )
        if barred:
            text = f"this process may use CPUs {show_cpus(machine.cpus)} only"
            yield Problem(layout.file, text, key, cpus, "see its taskset, cpuset or container")


def _claims(layout: Layout, machine: Machine, claims: Claims, *, pinned: bool) -> Iterator[Problem]:
    """CPUs and ports that somebody holds."""
    for group_name, group in layout.group.items():
        for cpu in group.cpus if pinned else ():
            if cpu in machine.cpus:
                with _refusals() as refused:
                    claims.cpu(cpu, f"group.{group_name}.cpus", group.cpus, layout.file)
                yield from refused
        nic = layout.nic.get(group.nic)
        if nic is None or nic.driver != "kernel" or not has_address(nic.bind):
            continue
        for number, listen in enumerate(group.listen):
            key = f"group.{group_name}.listen[{number}].port"
            with _refusals() as refused:
                claims.port(nic.bind, listen.port_number, key, layout.file)
            yield from refused
    yield from _metrics(layout, claims)


def _metrics(layout: Layout, claims: Claims) -> Iterator[Problem]:
    """The endpoint's address, port and library."""
    if layout.metrics.listen is None:
        return
    from ..controlplane.metrics import library_problem

    address, _, port = layout.metrics.listen.rpartition(":")
    missing = library_problem(layout.file, layout.metrics.listen)
    if missing:
        yield missing
    if not has_address(address):
        text, remedy = "this machine has no such address", "ip address show lists them"
        yield Problem(layout.file, text, "metrics.listen", layout.metrics.listen, remedy)
        return
    with _refusals() as refused:
        claims.port(address, int(port), "metrics.listen", layout.file)
    yield from refused


@contextmanager
def _refusals() -> Iterator[list[Problem]]:
    refused: list[Problem] = []
    try:
        yield refused
    except MachineError as error:
        refused += error.problems


def _shared_cpus(layout: Layout, machine: Machine, found: Findings) -> None:
    """Cores beside the control plane, and cores beside anything else Linux may schedule."""
    control = set(control_cpus(layout, machine))
    for name, group in layout.group.items():
        key = f"group.{name}.cpus"
        shared = [cpu for cpu in group.cpus if cpu in control]
        if shared:
            text = f"CPU {show_cpus(shared)} is the control plane's too: they take turns of milliseconds"
            free = [cpu for cpu in machine.cpus if cpu not in {core for _, _, core in layout.cores}]
            remedy = f"machine.control_cpus = [{free[0]}]" if free else "fewer cores, or more CPUs"
            problem = Problem(layout.file, text, key, group.cpus, remedy)
            required = layout.machine.isolated == "require"
            (found.problems if required else found.warnings).append(problem)
            if group.idle == "spin":
                text = "a core that never sleeps leaves the control plane on its CPU little time"
                remedy = 'idle = "adaptive"'
                found.warnings.append(
                    Problem(layout.file, text, f"group.{name}.idle", group.idle, remedy)
                )
    count = len(layout.cores)
    if machine.cpu_quota is not None and machine.cpu_quota < count:
        text = (
            f"this container gets {machine.cpu_quota:g} CPUs' time for {count} cores and the rest"
        )
        found.warnings.append(Problem(layout.file, text, remedy="raise its CPU limit"))


def _descriptors(layout: Layout, machine: Machine, found: Findings) -> None:
    for name, group in layout.group.items():
        nic = layout.nic.get(group.nic)
        room = machine.files_hard - _SPARE_FILES
        if nic is None or nic.driver != "kernel" or group.connections <= room:
            continue
        text = f"driver kernel needs a descriptor each, and a process here may have {machine.files_hard}"
        remedy = f"connections = {room}, or (as root) ulimit -Hn {group.connections + _SPARE_FILES}"
        found.warnings.append(
            Problem(layout.file, text, f"group.{name}.connections", group.connections, remedy)
        )


def _memory(layout: Layout, machine: Machine, planned: Plan, found: Findings) -> None:
    available = machine.memory_available
    hugepages = layout.machine.hugepages
    room = machine.huge_free + machine.huge_overcommit
    if hugepages == "require" and planned.pages > room and not machine.huge_overcommit_writable:
        more = planned.pages - room
        text = f"{planned.pages} pages of 2 MiB wanted, {room} free"
        remedy = f"(as root) sysctl vm.nr_overcommit_hugepages={machine.huge_overcommit + more}"
        remedy += ', or hugepages = "auto"'
        found.problems.append(Problem(layout.file, text, "machine.hugepages", hugepages, remedy))
    if available is None:
        return
    available += machine.huge_free * HUGE  # MemAvailable leaves reserved pages out
    if planned.total > available:
        text = f"{size_text(planned.total)} wanted, {size_text(available)} free"
        largest = max(planned.cores, key=lambda core: core.total)
        group = layout.group[largest.group]
        limited = machine.memory_limit is not None and machine.memory_limit <= available
        remedy = "fewer connections or smaller buffers" + (
            ", or raise the container's limit" if limited else ""
        )
        key = f"group.{largest.group}.connections"
        found.problems.append(Problem(layout.file, text, key, group.connections, remedy))
