"""The sweeper: takes away the entry of whoever has ended, and nothing else; costs and may do nothing meanwhile."""

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from processes import command_line, eventually, is_alive
from seen import unique
from splitplane.runtime import registry, sweeper
from splitplane.runtime.system import cpu_time, process_status


class Swept:
    """A locked file as an entry is, and its sweeper's pid."""

    def __init__(self) -> None:
        self.path = Path(registry.FOLDER, registry.PREFIX + unique())
        self.lock = locked(self.path)
        started = sweeper.start(str(self.path), "tested")
        assert started
        assert started.wait(60) == 0
        assert eventually(self.asleep)

    def asleep(self) -> bool:
        """Whether it waits for the lock."""
        for folder in Path("/proc").glob("[0-9]*"):
            self.pid = int(folder.name)
            status = process_status(self.pid)
            if str(self.path).encode() in command_line(self.pid) and status and status.state == "S":
                blocked = Path("/proc/locks").read_text().splitlines()
                return any("->" in line and f" {self.pid} " in line for line in blocked)
        return False

    def ended(self) -> bool:
        """Whether the sweeper is gone."""
        return not is_alive(self.pid)


def locked(path: Path) -> int:
    """A new file's descriptor, which holds its lock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


@pytest.fixture
def swept() -> Iterator[Swept]:
    made = Swept()
    yield made
    with suppress(OSError):
        os.close(made.lock)
    made.path.unlink(missing_ok=True)
    assert eventually(made.ended)


def test_it_waits_for_the_last_holder(swept: Swept) -> None:
    """The file stays while anyone has the lock by inheritance, signals that end a session notwithstanding; then both file
    and sweeper are gone."""
    inherited = os.dup(swept.lock)
    os.close(swept.lock)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(swept.pid, number)
    assert swept.asleep()
    assert swept.path.exists()
    os.close(inherited)
    assert eventually(lambda: not swept.path.exists())
    assert eventually(swept.ended)


def test_what_was_taken_away_is_no_business_of_its(swept: Swept) -> None:
    """The owner removed its file, and another has the name: that one's stays, the sweeper ends."""
    swept.path.unlink()
    other = locked(swept.path)
    os.close(swept.lock)
    assert eventually(swept.ended)
    assert swept.path.exists()
    os.close(other)


def test_it_has_nothing_and_uses_nothing(swept: Swept) -> None:
    """Its own session, nobody's child, a name for ps, no capability and no way to one, no descriptor but the file's; and
    not a nanosecond of CPU while it waits."""
    status = process_status(swept.pid)
    assert status
    assert status.name == "tested:sweeper"
    assert status.parent != os.getpid()
    assert os.getsid(swept.pid) != os.getsid(0)
    text = Path(f"/proc/{swept.pid}/status").read_text()
    assert "CapPrm:\t0000000000000000\n" in text
    assert "NoNewPrivs:\t1\n" in text
    links = {os.readlink(link) for link in Path(f"/proc/{swept.pid}/fd").iterdir()}
    assert links == {"/dev/null", str(swept.path)}
    assert status.state == "S"
    used = cpu_time(swept.pid)
    time.sleep(0.1)
    assert cpu_time(swept.pid) == used


def test_a_machine_without_processes_is_tolerated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no process can be had there is no sweeper, and no error."""
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    assert sweeper.start("/dev/shm/splitplane.none", "tested") is None
