"""The registry: found while it runs, gone when it is dead, and nothing believed that could be somebody else's doing."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import eventually
from seen import Seen, registered, seen, unique
from splitplane import attach
from splitplane.runtime import registry
from splitplane.runtime.errors import RegistryError
from splitplane.runtime.facts import Words
from splitplane.runtime.registry import HEADER, HEADER_BYTES, Entry, Found, Header, clean, names

TOOLS = str(Path(__file__).parents[1] / "tools")
HOLDER = """
import sys, time
sys.path.insert(0, {tools!r})
from seen import Seen, registered
with registered(Seen(), {name!r}) as entry:
    print(entry.name, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def world() -> Iterator[Seen]:
    with seen() as made:
        yield made


@pytest.fixture
def path() -> Iterator[Path]:
    """The file of an entry, gone afterwards."""
    made = Path(registry.FOLDER, registry.PREFIX + unique())
    yield made
    with suppress(FileNotFoundError):
        made.rmdir() if made.is_dir() and not made.is_symlink() else made.unlink()


def name_of(path: Path) -> str:
    return path.name.removeprefix(registry.PREFIX)


class Holder:
    """A process of its own that has an entry."""

    def __init__(self, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER.format(tools=TOOLS, name=name)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.name = self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


def test_what_is_published_is_found(world: Seen) -> None:
    """Facts come back as they were given, words as they change; nothing can be stored; the file is for its owner only."""
    with registered(world) as entry, Found(entry.name) as found:
        assert found.facts == entry.facts
        assert found.alive
        entry.words.set_core(0, pid=41, deaths=2**64 - 1)
        entry.words.set_runtime(refreshed=5, faults=-1)
        entry.words.set_mailbox("reporter", waiting=3, limit=7)
        assert found.words.core(0) == {
            "pid": 41,
            "deaths": 2**64 - 1,
            "stalls": 0,
            "outage": 0,
            "quarantined": 0,
        }
        assert found.words.runtime()["refreshed"] == 5
        assert found.words.runtime()["faults"] == 0
        assert found.words.mailboxes()["reporter"]["limit"] == 7
        with pytest.raises(TypeError):
            found.words.set_core(0, pid=1)
        about = os.stat(f"{registry.FOLDER}/{registry.PREFIX}{entry.name}")
        assert about.st_mode & 0o777 == 0o600
    assert entry.name not in names()
    entry.close()


def test_a_second_one_of_the_name_gets_another(world: Seen) -> None:
    """NAME, NAME.2, NAME.3; a name given up is used again."""
    name = unique()
    with registered(world, name) as first:
        with registered(world, name) as second, registered(world, name) as third:
            found = [first.name, second.name, third.name]
            assert found == [name, f"{name}.2", f"{name}.3"]
        with registered(world, name) as again:
            assert again.name == f"{name}.2"


def test_a_killed_runtime_leaves_nothing_that_lasts(world: Seen) -> None:
    """After kill -9 its entry is known for dead by whoever meets it, removed, and its name free."""
    holder = Holder(unique())
    with Found(holder.name) as found:
        assert found.alive
        holder.kill()
        assert eventually(lambda: not found.alive)
        assert found.facts.pid == holder.process.pid
    with pytest.raises(RegistryError, match="has ended"):
        Found(holder.name)
    assert holder.name not in names()
    again = Holder(holder.name)
    again.kill()
    with registered(world, holder.name) as entry:
        assert entry.name == holder.name


def test_one_that_was_killed_while_publishing_is_dead_too(path: Path, world: Seen) -> None:
    """An entry of zeros, of any length, without a lock is nobody's."""
    for length in (0, 10, 5000):
        path.write_bytes(bytes(length))
        path.chmod(0o600)
        with pytest.raises(RegistryError, match="has ended"):
            Found(name_of(path))
        assert not path.exists()
        path.write_bytes(bytes(length))
        path.chmod(0o600)
        with registered(world, name_of(path)) as entry:
            assert entry.name == name_of(path)


def lock(path: Path) -> int:
    """As if its runtime lived."""
    import fcntl

    descriptor = os.open(path, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


@pytest.mark.parametrize("kind", ["file", "fifo", "folder", "link", "socket"])
def test_garbage_is_refused_and_left(kind: str, path: Path, world: Seen, tmp_path: Path) -> None:
    """What is no entry is named as that, at once, is not removed, and keeps no runtime from starting."""
    if kind == "file":
        path.write_bytes(b"something else" * 100)
        path.chmod(0o600)
    elif kind == "fifo":
        os.mkfifo(path, 0o600)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        (tmp_path / "target").write_bytes(b"precious")
        path.symlink_to(tmp_path / "target")
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    with pytest.raises(RegistryError):
        attach(name_of(path))
    assert not clean(name_of(path))
    assert path.exists()
    with registered(world, name_of(path)) as entry:
        assert entry.name == f"{name_of(path)}.2"
    assert path.exists()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_entry_is_refused(data: st.DataObject) -> None:
    """Whatever byte is changed or wherever it is cut: refused with words, or what is found is what was published."""
    with seen() as world, registered(world) as entry:
        path = Path(f"{registry.FOLDER}/{registry.PREFIX}{entry.name}")
        whole = bytearray(path.read_bytes())
        words = range(HEADER_BYTES, HEADER_BYTES + 8 * Words.count(1, 1))
        if data.draw(st.booleans()):
            at = data.draw(st.integers(0, len(whole) - 1))
            whole[at] ^= 1 << data.draw(st.integers(0, 7))
        else:
            at = -1
            del whole[data.draw(st.integers(HEADER_BYTES, len(whole) - 1)) :]
        copy = Path(f"{registry.FOLDER}/{registry.PREFIX}{unique()}")
        copy.write_bytes(whole)
        copy.chmod(0o600)
        held = lock(copy)
        harmless = at in words or HEADER.size - 8 <= at < HEADER_BYTES
        try:
            if harmless:
                with suppress(RegistryError), Found(name_of(copy)) as found:
                    assert found.facts == entry.facts
            else:
                with pytest.raises(RegistryError):
                    Found(name_of(copy))
        finally:
            os.close(held)
            copy.unlink()


def test_another_version_is_named(world: Seen) -> None:
    """An entry of another ABI is not taken apart: the message says whose program can."""
    with registered(world) as entry:
        path = Path(f"{registry.FOLDER}/{registry.PREFIX}{entry.name}")
        with path.open("r+b") as file:
            header = Header(*HEADER.unpack(file.read(HEADER.size)))
            file.seek(0)
            file.write(HEADER.pack(*header._replace(abi=99)))
        with pytest.raises(RegistryError, match="another version"):
            Found(entry.name)


def test_others_entries_are_refused(world: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's runtime, also for root, and an entry that others could have written, are not looked into."""
    with registered(world) as entry:
        path = Path(f"{registry.FOLDER}/{registry.PREFIX}{entry.name}")
        path.chmod(0o660)
        with pytest.raises(RegistryError, match="open to others"):
            Found(entry.name)
        path.chmod(0o600)
        real = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: real + 1)
        with pytest.raises(RegistryError, match="belongs to"):
            Found(entry.name)
        assert not clean(entry.name)
        monkeypatch.undo()
        if real == 0:
            os.chown(path, 65534, 65534)
            with pytest.raises(RegistryError, match="belongs to"):
                attach(entry.name)
            os.chown(path, 0, 0)


def test_a_name_out_of_bounds_is_no_path(world: Seen) -> None:
    """A NAME can't lead out of the registry's folder."""
    for name in ("../../etc/passwd", "x/../../y", "", "\0", "a" * 300, "é"):
        with pytest.raises(RegistryError):
            attach(name)


def test_it_can_be_found_wanting(world: Seen) -> None:
    """Once somebody empties the folder the owner knows; closing it then takes nobody else's entry away."""
    with registered(world) as entry:
        assert entry.is_there()
        os.unlink(f"{registry.FOLDER}/{registry.PREFIX}{entry.name}")
        assert not entry.is_there()
        with registered(world, entry.facts.name) as other:
            assert other.name == entry.name
            entry.close()
            assert other.is_there()


def test_many_at_once_have_a_name_each(world: Seen) -> None:
    """Publishing, finding and cleaning from many threads and over dead entries: every live one has a name of its own."""
    name = unique()
    made: list[Entry] = []
    going = True

    def look() -> None:
        while going:
            for each in names():
                if each.startswith(name):
                    with suppress(RegistryError):
                        Found(each).close()
                    clean(each)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    publish = lambda: made.append(Entry(world.facts(name)))
    makers = [threading.Thread(target=publish) for _ in range(12)]
    for number in range(2, 8):
        dead = Path(registry.FOLDER, f"{registry.PREFIX}{name}.{number}")
        dead.write_bytes(b"")
        dead.chmod(0o600)
    try:
        for thread in [*lookers, *makers]:
            thread.start()
        for thread in makers:
            thread.join()
        found = {each.name for each in made}
        assert len(found) == 12
        assert all(each.is_there() for each in made)
        assert found <= set(names())
    finally:
        going = False
        for thread in lookers:
            thread.join()
        for each in made:
            each.close()
    assert not [each for each in names() if each.startswith(name)]


def test_a_stopped_reader_holds_nobody_up(world: Seen) -> None:
    """A reader that was stopped while it looked keeps neither the runtime from ending nor its name from use."""
    import fcntl

    name = unique()
    with registered(world, name) as entry:
        with Found(entry.name):
            pass
        descriptor = os.open(f"{registry.FOLDER}/{registry.PREFIX}{name}", os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    started = time.monotonic()
    with registered(world, name) as again:
        assert again.name == name
        assert time.monotonic() - started < 60
    os.close(descriptor)


def test_forked_children_keep_no_lock(world: Seen) -> None:
    """A process that the program forks doesn't make its entry look alive after the program has ended."""
    name = unique()
    program = HOLDER.replace(
        "    time.sleep(600)",
        "    import os\n    child = os.fork()\n    if child == 0:\n        time.sleep(600)\n"
        "    print(child, flush=True)\n    time.sleep(600)",
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program.format(tools=TOOLS, name=name)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    process.stdout.readline()
    child = int(process.stdout.readline())
    try:
        with Found(name) as found:
            assert found.alive
            process.kill()
            process.wait()
            assert eventually(lambda: not found.alive)
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()
    assert clean(name)


def facts_json(world: Seen, **changes: Any) -> bytes:
    import json

    return json.dumps(world.facts().model_dump(mode="json") | changes).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"pid": 0},
        {"cores": []},
        {"more": 1},
        {"name": 5},
        {"cores": [{}]},
        {"mailboxes": ["a", "b"]},
    ],
)
def test_facts_that_are_none_are_refused(changes: dict[str, Any], path: Path, world: Seen) -> None:
    """A body with a right checksum still has to have every fact, of its type, and no other."""
    body = facts_json(world, **changes)
    count = Words.count(1, 1)
    user, checksum = os.geteuid(), zlib.crc32(body)
    header = Header(registry.MAGIC, registry.ABI, user, count, len(body), checksum, 1, 0)
    path.write_bytes(HEADER.pack(*header).ljust(HEADER_BYTES, b"\0") + bytes(8 * count) + body)
    path.chmod(0o600)
    held = lock(path)
    with pytest.raises(RegistryError, match="no registry entry"):
        Found(name_of(path))
    os.close(held)
