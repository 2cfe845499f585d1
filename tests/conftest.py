"""What every test gets: nothing it started outlives it, and ports nobody else has."""

import os
import resource
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from splitplane.runtime.registry import PREFIX, clean, names

MARK = "SPLITPLANE_TEST_RUN"
RUN = uuid.uuid4().hex
SHARED_MEMORY = Path("/dev/shm")
NAMESPACES = Path("/run/netns")

# Machines that run several things at once are slow at times: no example has a deadline.
settings.register_profile(
    "splitplane", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("splitplane")


def own_network() -> None:
    """Root's tests run in a network of their own, so that nobody else's ports and claims are in their way."""
    import ctypes
    import fcntl
    import struct

    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(0x40000000) != 0:  # CLONE_NEWNET
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        flags = struct.pack("16sh22x", b"lo", 1)  # IFF_UP
        fcntl.ioctl(any_socket, 0x8914, flags)  # SIOCSIFFLAGS


own_network()

# Started in a shell's background this process would ignore Ctrl-C, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def many_descriptors() -> None:
    """As many as this user may have: thousands of connections have two ends here."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


many_descriptors()


@pytest.fixture(scope="session", autouse=True)
def _marked() -> Iterator[None]:
    """Every process that a test starts carries this run's mark in its environment."""
    os.environ[MARK] = RUN
    yield
    del os.environ[MARK]


def strays() -> dict[int, str]:
    """Processes of this run that are not this one: pid → command line."""
    found: dict[int, str] = {}
    mark = f"{MARK}={RUN}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        if pid == os.getpid():
            continue
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found[pid] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


def things() -> set[str]:
    """Shared memory and network namespaces by name; the registry's entries apart."""
    return {
        str(path)
        for folder in (SHARED_MEMORY, NAMESPACES)
        if folder.is_dir()
        for path in folder.iterdir()
        if "splitplane" in path.name and not path.name.startswith(PREFIX)
    }


def entries() -> set[str]:
    """The registry's entries that this process holds, once those of dead runtimes are gone: whoever meets one removes it.

    Other runs on this machine have theirs.
    """
    for name in names():
        clean(name)
    links = (Path("/proc/self/fd") / number for number in os.listdir("/proc/self/fd"))
    held = {os.readlink(link) for link in links if link.is_symlink()}
    return {path for path in held if path.startswith(f"{SHARED_MEMORY}/{PREFIX}")}


@pytest.fixture(autouse=True)
def _leaves_nothing_behind() -> Iterator[None]:
    """Within a second after a test none of its processes, shared memory or namespaces is there."""
    before, known = things(), set(names())
    yield
    deadline = time.monotonic() + 1.5
    while (left := strays()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left, f"left running: {left}"
    assert things() <= before, f"left behind: {things() - before}"
    if set(names()) - known:
        assert not (held := entries()), f"left behind: {held}"


@pytest.fixture(autouse=True)
def _forgets_modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a test imported from a folder of its own is unknown to the next, which may have one of that name."""
    before, path = set(sys.modules), list(sys.path)
    yield
    folder = str(tmp_path_factory.getbasetemp())
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(folder):
            del sys.modules[name]
    sys.path[:] = [entry for entry in sys.path if entry in path or not entry.startswith(folder)]


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Gives TCP ports of 127.0.0.1 that nobody listens at."""

    def choose() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return choose
