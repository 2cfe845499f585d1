"""Interfaces, XDP programs and namespaces are root's: for anybody else these tests are left out, and the head of the
run says so. All of them run in a network namespace of this run's own, where no name and no address can collide."""

import ctypes
import os
from collections.abc import Iterator

import pytest

ROOT = os.geteuid() == 0
collect_ignore_glob = [] if ROOT else ["test_*.py"]
_CLONE_NEWNET = 0x40000000


def pytest_report_header() -> str:
    """A line of pytest's head."""
    return "" if ROOT else "tests/net left out: interfaces and XDP programs need root"


@pytest.fixture(scope="package", autouse=True)
def _apart() -> Iterator[None]:
    """The namespace; it vanishes with the last process in it."""
    from wires import ip

    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as before:
        assert libc.unshare(_CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        ip("link", "set", "lo", "up")
        yield
        assert libc.setns(before.fileno(), _CLONE_NEWNET) == 0
