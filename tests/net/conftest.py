"""Interfaces, XDP programs and namespaces are root's: for anybody else these tests are left out, and the head of the
run says so."""

import os

ROOT = os.geteuid() == 0
collect_ignore_glob = [] if ROOT else ["test_*.py"]


def pytest_report_header() -> str:
    """A line of pytest's head."""
    return "" if ROOT else "tests/net left out: interfaces and XDP programs need root"
