"""The page ladder: the best pages there are, refusals in words, and nothing left behind."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from splitplane.runtime import pages
from splitplane.runtime.errors import MachineError
from splitplane.runtime.pages import HUGE, SMALL, Pages, allocate

SIZE = 3 * HUGE


@pytest.fixture
def had() -> Iterator[Callable[..., Pages]]:
    """allocate, closed afterwards."""
    made: list[Pages] = []

    def make(*args: object, **options: object) -> Pages:
        made.append(allocate("splitplane-test", *args, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        os.close(one.fd)


def number(path: Path) -> int:
    return int(path.read_text())


def test_the_page_size_is_the_real_one(had: Callable[..., Pages]) -> None:
    """Whichever rung was reached, the kernel says the same page size, and every page is there."""
    for wish in ("auto", "off"):
        found = had(SIZE - 100, wish)
        assert os.fstat(found.fd).st_size == found.size == (SIZE if wish == "auto" else found.size)
        assert os.fstat(found.fd).st_blocks * 512 >= found.size
        address = pages.map_shared(found.fd, found.size)
        assert address % HUGE == 0
        assert pages.page_size_at(found.fd, address, found.size) == found.page_size
        pages.unmap(address, found.size)
        assert found.page_size == (SMALL if found.rung == "small" else HUGE)
        assert bool(found.reason) == (wish == "auto" and found.rung != "hugetlb")


def test_without_hugetlb_it_collapses_or_warns(
    had: Callable[..., Pages], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A kernel without 2 MiB pages: shared memory collapsed, or 4 KiB pages and a warning that says the cost."""
    monkeypatch.setattr(pages, "POOL", tmp_path / "absent")
    found = had(SIZE)
    assert found.rung in ("collapsed", "small")
    assert "hides /sys" in found.reason
    assert bool(found.warning) == (found.rung == "small")
    refuse_collapse(monkeypatch)
    found = had(SIZE)
    assert found.rung == "small"
    assert "6 MiB on 4 KiB pages" in found.warning
    assert "1.6 times" in found.warning


def refuse_collapse(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int, _size: int, refusals: list[str]) -> bool:
        refusals.append("collapsing was refused")
        return False

    monkeypatch.setattr(pages, "_collapse", refuse)


def pool(folder: Path, **values: int) -> Path:
    folder.mkdir()
    names = ("nr_hugepages", "free_hugepages", "resv_hugepages", "surplus_hugepages")
    for name in names:
        (folder / name).write_text(str(values.get(name, 0)))
    return folder


def test_require_refuses_with_the_arithmetic(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing to be had: how much was wanted, how much is free, and the command that mends it."""
    monkeypatch.setattr(pages, "POOL", pool(tmp_path / "pool", nr_hugepages=5, free_hugepages=1))
    monkeypatch.setattr(pages, "OVERCOMMIT", tmp_path / "absent")
    refuse_collapse(monkeypatch)
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(MachineError) as caught:
        allocate("splitplane-test", SIZE, "require", file="layout.toml")
    text = str(caught.value)
    assert text.startswith('layout.toml: machine.hugepages = "require": 6 MiB of hugepages wanted')
    assert "2 MiB free" in text
    assert 'sysctl vm.nr_hugepages=7, or hugepages = "auto"' in text
    assert "sysctl vm.nr_overcommit_hugepages=2" in text
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_read_only_limit_is_no_error(
    had: Callable[..., Pages], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A limit that can't be written, as in a container: the next rung, and the reason names the command."""
    monkeypatch.setattr(pages, "POOL", pool(tmp_path / "pool"))
    monkeypatch.setattr(
        pages, "OVERCOMMIT", tmp_path
    )  # opening a folder for writing fails, whoever asks
    found = had(SIZE)
    assert found.rung != "hugetlb"
    assert "may not raise that: sysctl vm.nr_overcommit_hugepages=3" in found.reason


def eventually(true: Callable[[], bool]) -> bool:
    """Another runtime on this machine may move the same figures for a moment."""
    deadline = time.monotonic() + 2
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return true()


def test_the_limit_is_what_it_was(had: Callable[..., Pages]) -> None:
    """Whatever was raised to take pages is back as soon as they are taken."""
    limit = pages.OVERCOMMIT
    before = number(limit) if limit.exists() else 0
    had(SIZE)
    assert not limit.exists() or eventually(lambda: number(limit) <= before)


def test_a_second_core_stands_no_lower(had: Callable[..., Pages]) -> None:
    """One allocation after another gets the same rung: pages made under a limit that went back don't count against it."""
    assert len({had(SIZE).rung for _ in range(4)}) == 1


def test_memory_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the machine has is refused with both figures, before the kernel would kill somebody for it."""
    for wish in ("auto", "require", "off"):
        with pytest.raises(
            MachineError, match=r"16777216 MiB of memory wanted for one core, \d+ MiB available"
        ):
            allocate("splitplane-test", 1 << 44, wish)  # type: ignore[arg-type]


def test_a_sandbox_without_memfds_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memfd_create is forbidden, the error says what was wanted, what refused it and what to do."""

    def refuse(*_: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "memfd_create", refuse)
    with pytest.raises(MachineError, match="6 MiB of shared memory refused: Operation not perm"):
        allocate("splitplane-test", SIZE, file="layout.toml")


def in_child(act: Callable[[], None]) -> int:
    """Runs it in a forked child; its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def test_an_unprivileged_user_gets_memory_too() -> None:
    """Nobody in particular gets an allocation on some rung, with a reason unless it is the best."""

    def act() -> None:
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        found = allocate("splitplane-test", SIZE)
        assert found.rung == "hugetlb" or found.reason

    assert in_child(act) == 0


def test_killed_it_leaves_nothing() -> None:
    """After kill -9 of the only holder its pages are Linux's again."""
    counted = pages.POOL / "nr_hugepages"
    before = number(counted) if counted.exists() else 0
    many = 100

    def act() -> None:
        found = allocate("splitplane-test", many * HUGE)
        pages.map_shared(found.fd, found.size)
        os.kill(os.getpid(), signal.SIGKILL)

    assert os.WTERMSIG(in_child(act)) == signal.SIGKILL
    assert not counted.exists() or eventually(lambda: number(counted) < before + many)
