"""Whether a machine fits a layout: each shortage is named with what mends it."""

import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

from splitplane.runtime.boot_line import boot_line
from splitplane.runtime.fit import Findings, control_cpus, fit
from splitplane.runtime.layout import Layout
from splitplane.runtime.machine import HUGE, Machine, read_machine
from splitplane.runtime.plan import Plan, busy_blocks, plan

GIB = 2**30


def machine(**facts: Any) -> Machine:
    """A roomy machine of four CPUs, with `facts` put over it."""
    cpus = tuple(range(max(os.sched_getaffinity(0)) + 4))
    return replace(
        read_machine(Path("/nowhere")),
        cpus=cpus,
        online=cpus,
        memory_total=64 * GIB,
        memory_available=60 * GIB,
        files_hard=1_000_000,
        **facts,
    )


def layout(port: int, **parts: Any) -> Layout:
    """One core on CPU 1, listening at 127.0.0.1."""
    group = {"cpus": [1], "nic": "front", "listen": [{"port": f"tcp:{port}", "actor": "m:A"}]}
    nic = {"driver": "kernel", "bind": "127.0.0.1"}
    whole = {
        "name": "hello",
        "machine": parts.get("machine", {}),
        "nic": {"front": nic | parts.get("nic", {})},
        "group": {"web": group | parts.get("group", {})},
    }
    return Layout.model_validate(whole)


def said(found: Findings) -> tuple[list[str], list[str]]:
    """Problems and warnings as printed."""
    return [str(one) for one in found.problems], [str(one) for one in found.warnings]


def test_all_well(free_port: Any) -> None:
    """A layout that fits has neither problems nor warnings."""
    made = layout(free_port())
    assert said(fit(made, machine(), plan(made, {}))) == ([], [])


def test_cpus(free_port: Any) -> None:
    """A CPU the machine doesn't have is told from one that this process may not use."""
    made = layout(free_port(), group={"cpus": [0, 9]}, machine={"control_cpus": [2]})
    facts = replace(machine(), cpus=(0, 1), online=(0, 1, 2))
    problems, _ = said(fit(made, facts, None))
    assert problems == [
        "layout: group.web.cpus = [0, 9]: this machine has CPUs 0-2",
        "layout: machine.control_cpus = [2]: this process may use CPUs 0-1 only: "
        "see its taskset, cpuset or container",
    ]


def test_port_in_use(free_port: Any) -> None:
    """A port that somebody listens at is refused, naming the process."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = layout(server.getsockname()[1])
        problems, _ = said(fit(made, machine(), None))
    assert len(problems) == 1
    assert f"(pid {os.getpid()})" in problems[0]
    assert problems[0].startswith("layout: group.web.listen[0].port = ")


def test_shared_cpu(free_port: Any) -> None:
    """Control and data on one CPU warns, and is refused where isolation is required."""
    port = free_port()
    for isolated in ("warn", "require"):
        made = layout(port, machine={"control_cpus": [1], "isolated": isolated})
        problems, warnings = said(fit(made, machine(), None))
        there, not_there = (problems, warnings) if isolated == "require" else (warnings, problems)
        assert "CPU 1 is the control plane's too" in there[0]
        assert not_there == []


def test_control_cpus(free_port: Any) -> None:
    """Without a word of the layout the control plane gets what no core has, or all."""
    made = layout(free_port())
    assert control_cpus(made, replace(machine(), cpus=(0, 1, 2))) == (0, 2)
    assert control_cpus(made, replace(machine(), cpus=(1,))) == (1,)


def test_memory(free_port: Any) -> None:
    """Too little memory is refused with the sums, and the container's limit is named as the cause."""
    made = layout(free_port(), group={"connections": 10_000_000})
    planned = plan(made, {})
    problems, _ = said(fit(made, machine(memory_limit=GIB), planned))
    assert problems == []
    small = replace(machine(), memory_available=GIB, memory_limit=GIB)
    problems, _ = said(fit(made, small, planned))
    assert len(problems) == 1
    assert "wanted, 1,024 MiB free" in problems[0]
    assert "raise the container's limit" in problems[0]


def test_hugepages_required(free_port: Any) -> None:
    """Required pages that can't be had are refused with the command that mends it."""
    made = layout(free_port(), machine={"hugepages": "require"})
    planned = plan(made, {})
    facts = replace(machine(), huge_free=4, huge_overcommit=1, huge_overcommit_writable=False)
    problems, _ = said(fit(made, facts, planned))
    (problem,) = problems
    assert f"{planned.pages} pages of 2 MiB wanted, 5 free" in problem
    assert f"sysctl vm.nr_overcommit_hugepages={planned.pages - 4}" in problem


def test_descriptors(free_port: Any) -> None:
    """More connections than a process may have descriptors warns for driver kernel."""
    made = layout(free_port(), group={"connections": 30_000})
    _, warnings = said(fit(made, replace(machine(), files_hard=20_000), None))
    assert "a process here may have 20000" in warnings[0]


def test_address_elsewhere(free_port: Any) -> None:
    """Listening at an address of another machine is refused."""
    problems, _ = said(fit(layout(free_port(), nic={"bind": "192.0.2.1"}), machine(), None))
    assert "this machine has no such address" in problems[0]


def test_boot_line(free_port: Any) -> None:
    """The line isolates the layout's CPUs, leaves the others to Linux, and reserves the plan's pages; no CPU left: it
    says so."""
    made = layout(free_port(), group={"cpus": [1]})
    planned = plan(made, {})
    few = replace(machine(), online=(0, 1))
    line = boot_line(made, planned, few)
    assert line.startswith("isolcpus=managed_irq,domain,1 nohz_full=1 rcu_nocbs=1 irqaffinity=0 ")
    assert f"hugepages={-(-planned.total // HUGE)}" in line
    assert boot_line(made, planned, replace(machine(), online=(1,))).startswith("none")


def test_plan_adds_up(free_port: Any) -> None:
    """An arena holds its sections; the whole is all arenas and the rings, in whole pages."""
    made = layout(free_port(), group={"cpus": [0, 1]})
    planned: Plan = plan(made, {})
    for core in planned.cores:
        assert sum(core.sections.values()) <= core.total
        assert core.total % planned.page_size == 0
        assert core.sections["records"] == (made.group["web"].connections + 1) * 128
    assert planned.total == sum(core.total for core in planned.cores) + planned.mesh
    assert planned.pages * planned.page_size == sum(core.total for core in planned.cores)


def test_busy_blocks(free_port: Any) -> None:
    """The busy part of the connections, but never so few that a small core starves."""
    port = free_port()
    for connections, busy, blocks in ((1000, 0.25, 250), (100, 0.01, 64), (10, 0.5, 10)):
        group = layout(port, group={"connections": connections, "busy": busy}).group["web"]
        assert busy_blocks(group) == blocks
