"""The registry: which runtimes of this user run on this machine, and where their memory is found.

An entry is POSIX shared memory `/splitplane.NAME`, mode 0600: a header, words that change, and facts as JSON. Its
controller holds a lock on it (flock(2)) and its launcher with it, which Linux gives up when both have ended, however
they end. An entry whose lock can be had is a dead runtime's: its sweeper removes it, or whoever meets it, and the lock
keeps others from it. Nothing in it is believed before owner, mode, size, magic, version and checksum were looked at.
"""

import errno
import fcntl
import mmap
import os
import stat
import struct
import time
import zlib
from contextlib import suppress
from typing import Any, NamedTuple, Self

from .errors import RegistryError
from .facts import Facts, Words
from .private import keep_private

FOLDER = "/dev/shm"  # noqa: S108 - where Linux keeps POSIX shared memory (shm_overview(7))
PREFIX = "splitplane."
MAGIC = b"SPLTREGY"
ABI = 1
HEADER = struct.Struct("<8sIIQQQII")
HEADER_BYTES = 64
SIZE_MOST = 1 << 22
"""Bytes of the largest entry that is read."""
NAMES_MOST = 64
"""NAME, NAME.2, … : runtimes of one name that run at a time."""
PATIENCE = 1.0
"""Seconds that an entry may take to be filled in, or a lock to be let go."""


class Header(NamedTuple):
    """What stands at an entry's start, little-endian."""

    magic: bytes
    abi: int
    owner: int
    words: int
    facts: int
    """Bytes of JSON after the words."""
    checksum: int
    ready: int
    spare: int


def _path(name: str) -> str:
    return f"{FOLDER}/{PREFIX}{name}"


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in {errno.EWOULDBLOCK, errno.EINTR}:
            raise
        return False
    return True


class Entry:
    """This process's own entry; `words` are the numbers to keep up to date. Closing it takes it away."""

    def __init__(self, facts: Facts) -> None:
        """Publishes `facts` under their name, or NAME.2 and so on while others run under it.

        Raises OSError when this machine gives no shared memory.
        """
        self.facts = facts
        body = facts.model_dump_json().encode()
        count = Words.count(len(facts.cores), len(facts.mailboxes))
        self._size = HEADER_BYTES + 8 * count + len(body)
        self.name, self._fd = self._create()
        self._map: mmap.mmap | None = mmap.mmap(self._fd, self._size)
        self._map[HEADER_BYTES + 8 * count :] = body
        whole = memoryview(self._map)
        part = whole[HEADER_BYTES : HEADER_BYTES + 8 * count].cast("Q")
        self.words = Words(part, len(facts.cores), facts.mailboxes)
        header = Header(MAGIC, ABI, os.getuid(), count, len(body), zlib.crc32(body), 0, 0)
        self._map[: HEADER.size] = HEADER.pack(*header)
        self._map[: HEADER.size] = HEADER.pack(*header._replace(ready=1))
        whole.release()
        keep_private(self)

    def _create(self) -> tuple[str, int]:
        """An empty entry, locked, under the first name that is free."""
        for number in range(1, NAMES_MOST + 1):
            name = self.facts.name if number == 1 else f"{self.facts.name}.{number}"
            fd = _create(name, self._size)
            if fd is not None:
                return name, fd
        raise OSError(errno.EEXIST, f"{NAMES_MOST} entries like {_path(self.facts.name)}")

    @property
    def path(self) -> str:
        """Its file."""
        return _path(self.name)

    @property
    def private(self) -> tuple[int, ...]:
        """The lock goes with the descriptor, so a process that this one forks must not keep it."""
        return (self._fd,) if self._fd >= 0 else ()

    def forked(self) -> None:
        """In such a process: the entry is somebody else's."""
        self._unmap()
        self._fd = -1

    def is_there(self) -> bool:
        """Whether others still find it: somebody may have emptied /dev/shm (logind's RemoveIPC does, at logout)."""
        with suppress(OSError):
            return os.fstat(self._fd).st_nlink > 0
        return False

    def close(self) -> None:
        """Takes it away. Safe to repeat."""
        if self._fd < 0:
            return
        if self.is_there():
            with suppress(OSError):
                os.unlink(self.path)
        self._unmap()
        fcntl.flock(self._fd, fcntl.LOCK_UN)  # for the launcher, which has inherited it, too
        os.close(self._fd)
        self._fd = -1

    def _unmap(self) -> None:
        self.words.release()
        if self._map is not None:
            self._map.close()
            self._map = None


def _create(name: str, size: int) -> int | None:
    """A locked descriptor of a new entry; None when the name is taken by somebody alive, or by another user."""
    import posix_ipc

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            made = posix_ipc.SharedMemory(
                f"/{PREFIX}{name}", posix_ipc.O_CREX, mode=0o600, size=size
            )
        except posix_ipc.ExistentialError:
            if clean(name):
                continue
            return None
        except posix_ipc.PermissionsError:
            return None
        fd: int = made.fd
        # Between the two steps somebody may take it for a dead one's, lock it and unlink it.
        while not _try_lock(fd, fcntl.LOCK_EX) and time.monotonic() < deadline:
            time.sleep(0.001)
        if os.fstat(fd).st_nlink and _try_lock(fd, fcntl.LOCK_EX):
            os.fchmod(fd, 0o600)
            return fd
        os.close(fd)
        if time.monotonic() >= deadline:
            return None


def clean(name: str) -> bool:
    """Removes an entry of this user whose runtime is dead; False if it isn't that."""
    try:
        fd = _open(name)
    except (RegistryError, OSError):
        return not os.path.lexists(_path(name))
    try:
        if not _try_lock(fd, fcntl.LOCK_EX):
            return False
        there, here = os.stat(_path(name)), os.fstat(fd)
        start = os.pread(fd, len(MAGIC), 0)
        if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
            return True
        if start.strip(b"\0") and start != MAGIC:
            return False
        os.unlink(_path(name))
        return True
    except FileNotFoundError:
        return True
    finally:
        os.close(fd)


def _open(name: str) -> int:
    """A read-only descriptor of an entry that is a file of this user's. Raises RegistryError."""
    import posix_ipc

    path = _path(name)
    try:
        about = os.lstat(path)
    except FileNotFoundError:
        raise RegistryError(f"no runtime '{name}' is running here ({path})") from None
    except (OSError, ValueError) as error:
        raise RegistryError(f"'{name}' names no runtime: {error}") from None
    _believe(name, about)
    try:
        # The folder is sticky: nobody else can have put another file in place of this user's.
        found = posix_ipc.SharedMemory(f"/{PREFIX}{name}", read_only=True)
    except posix_ipc.ExistentialError:
        raise RegistryError(f"runtime '{name}' has just ended") from None
    except (posix_ipc.Error, OSError, ValueError) as error:
        raise RegistryError(f"{path} can't be opened: {error}") from None
    fd: int = found.fd
    try:
        _believe(name, os.fstat(fd))
    except RegistryError:
        os.close(fd)
        raise
    return fd


def _believe(name: str, about: os.stat_result) -> None:
    """Refuses what can't be an entry of this user. Asked before it is opened too: opening a pipe could wait for ever."""
    path = _path(name)
    if about.st_uid != os.geteuid():
        raise RegistryError(
            f"runtime '{name}' belongs to {_user(about.st_uid)}, and this is {_user(os.geteuid())}: "
            f"only its owner may look into it (sudo -u '#{about.st_uid}' …)"
        )
    if not stat.S_ISREG(about.st_mode):
        raise RegistryError(f"{path} is no registry entry: it is no ordinary file")
    if stat.S_IMODE(about.st_mode) & 0o077:
        mode = stat.S_IMODE(about.st_mode)
        raise RegistryError(f"{path} is open to others (mode {mode:04o}, not 0600): rm {path}")


def _user(uid: int) -> str:
    import pwd

    with suppress(KeyError):
        return f"user {pwd.getpwuid(uid).pw_name}"
    return f"user {uid}"


class Found:
    """Somebody's entry, read: `facts`, and `words` that change as one looks. Nothing can be stored in it."""

    def __init__(self, name: str) -> None:
        """Raises RegistryError: there is none, it is dead (then it is removed), another user's, or can't be believed."""
        self.name = name
        self._fd = _open(name)
        self._map: mmap.mmap | None = None
        try:
            if not self.alive:
                clean(name)
                raise RegistryError(f"runtime '{name}' has ended without a word: its entry is gone")
            header = self._header()
            self.facts = self._facts(header)
            whole = memoryview(self._mapped())
            part = whole[HEADER_BYTES : HEADER_BYTES + 8 * header.words].cast("Q")
            self.words = Words(part, len(self.facts.cores), self.facts.mailboxes)
            whole.release()
        except BaseException:
            self._close_map()
            os.close(self._fd)
            raise

    @property
    def alive(self) -> bool:
        """Whether its controller still runs, or its launcher alone. One system call, of this process."""
        if not _try_lock(self._fd, fcntl.LOCK_SH):
            return True
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        return False

    def close(self) -> None:
        """Lets it go. Safe to repeat."""
        if self._fd >= 0:
            self.words.release()
            self._close_map()
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wrong(self, what: str) -> RegistryError:
        return RegistryError(f"{_path(self.name)} is no registry entry: {what}")

    def _mapped(self) -> mmap.mmap:
        if self._map is None:
            size = os.fstat(self._fd).st_size
            if not HEADER_BYTES <= size <= SIZE_MOST:
                raise self._wrong(f"it has {size} bytes")
            self._map = mmap.mmap(self._fd, size, mmap.MAP_SHARED, mmap.PROT_READ)
        return self._map

    def _close_map(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None

    def _header(self) -> Header:
        """Waits a moment for one that is just being written."""
        deadline = time.monotonic() + PATIENCE
        header = Header(b"", 0, 0, 0, 0, 0, 0, 0)
        while not header.ready and not header.magic.strip(b"\0"):
            if time.monotonic() > deadline:
                raise self._wrong("nobody has filled it in")
            if os.fstat(self._fd).st_size >= HEADER_BYTES:
                header = Header(*HEADER.unpack_from(self._mapped()))
            if not header.ready:
                time.sleep(0.005)
        if header.magic != MAGIC:
            raise self._wrong(f"it begins with {header.magic!r}")
        if header.abi != ABI:
            raise RegistryError(
                f"runtime '{self.name}' runs another version of splitplane (registry {header.abi}, "
                f"this program {ABI}): use the splitplane it was started with"
            )
        if header.owner != os.geteuid():
            raise self._wrong(f"user {header.owner} wrote it")
        return header

    def _facts(self, header: Header) -> Facts:
        from pydantic import ValidationError

        start = HEADER_BYTES + 8 * header.words
        memory = self._mapped()
        if start + header.facts != len(memory) or header.words > SIZE_MOST:
            raise self._wrong(f"{len(memory)} bytes are not what its header says")
        body: Any = memory[start : start + header.facts]
        if zlib.crc32(body) != header.checksum:
            raise self._wrong("its checksum is wrong")
        try:
            facts = Facts.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            raise self._wrong(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        if Words.count(len(facts.cores), len(facts.mailboxes)) != header.words:
            raise self._wrong("its words are not those of its facts")
        return facts


def names() -> list[str]:
    """Every entry's name, alive or not, ours or not."""
    try:
        return sorted(
            name.removeprefix(PREFIX) for name in os.listdir(FOLDER) if name.startswith(PREFIX)
        )
    except OSError:
        return []


def find(name: str | None = None) -> Found:
    """The entry of a name, or without one that of the only runtime of this user that runs.

    Raises RegistryError: none runs, several do (it says which), or the one named can't be had.
    """
    if name is not None:
        return Found(name)
    found: list[Found] = []
    doubts: list[str] = []
    for entry in names():
        try:
            found.append(Found(entry))
        except RegistryError as error:
            doubts.append(str(error))
    if len(found) == 1:
        return found[0]
    for each in found:
        each.close()
    if found:
        known = ", ".join(f"{each.name} (pid {each.facts.pid})" for each in found)
        raise RegistryError(f"{len(found)} runtimes run here, name one: {known}")
    aside = "".join(f"; {doubt}" for doubt in doubts)
    raise RegistryError(f"no runtime of {_user(os.geteuid())} runs here{aside}")
