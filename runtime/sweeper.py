"""The sweeper: `python -m splitplane.runtime.sweeper ENTRY NAME` takes a dead runtime's entry out of the registry.

The controller starts it beside every entry. It is nobody's child and asleep in flock(2): Linux gives it the entry's
lock once controller, launcher and workers have ended, however they did. It knows a file and nothing else.
"""

import fcntl
import os
import signal
import subprocess
import sys
from contextlib import suppress

from . import system


def start(entry: str, name: str) -> "subprocess.Popen[bytes] | None":
    """Has the file `entry` swept when its lock is let go; a process to be waited for, which ends soon.

    None where the machine gives no further process: then the entry of a killed runtime stays until somebody meets it.
    """
    from .controller import launcher_environment

    null = subprocess.DEVNULL
    with suppress(OSError):
        return subprocess.Popen(
            [sys.executable, "-m", __name__, entry, name],
            env=launcher_environment(),
            stdin=null,
            stdout=null,
            stderr=null,
            cwd="/",
            start_new_session=True,
        )
    return None


def main(arguments: list[str]) -> None:
    """The process's life: its parent returns at once, so that it is no child of the controller."""
    if os.fork():
        return
    entry, name = arguments[1:]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    system.name_process(f"{name}:sweeper")
    system.drop_privileges()
    with suppress(OSError):
        sweep(os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), entry)


def sweep(descriptor: int, entry: str) -> None:
    """Waits for the lock, then removes the file, unless another has its name by now. Raises OSError."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    if os.path.samestat(os.fstat(descriptor), os.lstat(entry)):
        os.unlink(entry)


if __name__ == "__main__":
    main(sys.argv)
