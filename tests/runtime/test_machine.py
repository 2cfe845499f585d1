"""What this computer gives."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitplane.runtime.machine import (
    cpu_list,
    cpu_quota,
    memory_limit,
    read_machine,
)
from splitplane.runtime.system import show_cpus


@given(st.sets(st.integers(0, 300)))
def test_cpu_lists(cpus: set[int]) -> None:
    """What is shown reads back as what it was."""
    assert cpu_list(show_cpus(cpus)) == tuple(sorted(cpus))


def test_this_machine() -> None:
    """The CPUs are those that the scheduler allows, and memory is known."""
    machine = read_machine()
    assert machine.cpus == tuple(sorted(os.sched_getaffinity(0)))
    assert machine.memory_total
    assert machine.memory_available
    assert machine.memory_available <= machine.memory_total


def test_empty_proc(tmp_path: Path) -> None:
    """Without /proc and /sys the facts are not known, and that is no error."""
    machine = read_machine(tmp_path)
    assert machine.memory_total is None
    assert machine.huge_free == 0
    assert machine.online == machine.cpus


def write(root: Path, files: dict[str, str]) -> None:
    """Files below `root`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    "files",
    [
        {
            "proc/self/cgroup": "0::/pod/app\n",
            "sys/fs/cgroup/pod/memory.max": "1048576\n",
            "sys/fs/cgroup/pod/memory.current": "4096\n",
            "sys/fs/cgroup/pod/app/memory.max": "max\n",
            "sys/fs/cgroup/pod/cpu.max": "50000 100000\n",
        },
        {
            "proc/self/cgroup": "4:memory:/pod\n3:cpu,cpuacct:/pod\n0::/\n",
            "sys/fs/cgroup/memory/pod/memory.limit_in_bytes": "1048576\n",
            "sys/fs/cgroup/memory/pod/memory.usage_in_bytes": "4096\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/cpu/pod/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/pod/cpu.cfs_period_us": "100000\n",
        },
    ],
    ids=["v2", "v1"],
)
def test_container_limits(tmp_path: Path, files: dict[str, str]) -> None:
    """The tightest limit of any control group above counts, in both versions' files."""
    write(tmp_path, files | {"proc/meminfo": "MemTotal: 4096 kB\nMemAvailable: 4000 kB\n"})
    assert memory_limit(tmp_path) == (1048576, 4096)
    assert cpu_quota(tmp_path) == 0.5
    assert read_machine(tmp_path).memory_available == 1048576 - 4096
