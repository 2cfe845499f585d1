"""Which driver `splitplane demo` shows when nobody chooses: the best that this machine and this user can have.

Each road is tried in a process of its own, whose namespace and interfaces vanish with it.
"""

import os
import socket
from collections.abc import Callable

from ..runtime.errors import MachineError
from .demo_network import FRONT, Driver, add_veth, separate

_AF_XDP = 44  # linux/socket.h; not among Python's


def best_road(say: Callable[[str], None]) -> Driver:
    """afxdp, else tap, else kernel. What can't be had is said in a line each, with the reason."""
    roads: tuple[tuple[Driver, Callable[[], None]], ...] = (("afxdp", _afxdp), ("tap", _tap))
    for driver, road in roads:
        if driver == "afxdp" and os.geteuid() != 0:
            continue  # nobody expects it of an ordinary user
        reason = why_not(road)
        if not reason:
            return driver
        say(f"driver {driver} can't be had here: {reason}")
    return "kernel"


def why_not(road: Callable[[], None]) -> str:
    """Tries a road in a process of its own: why it leads nowhere, or nothing."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = "it ended without a word"
        try:
            road()
            said = ""
        except MachineError as error:
            said = error.problems[0].problem
        except OSError as error:
            said = error.strerror or str(error)
        except BaseException as error:  # noqa: BLE001 - this process ends here, whatever it was
            said = repr(error)
        finally:
            os.write(writing, said.encode())
            os._exit(bool(said))
    os.close(writing)
    with open(reading, "rb") as answer:
        said = answer.read().decode()
    _, status = os.waitpid(pid, 0)
    return said or ("" if status == 0 else "it crashed when it was tried")


def _afxdp() -> None:
    """A veth pair, the steering program on it, and a socket of its kind."""
    from ..nic.afxdp import Steering

    separate(user=False)
    try:
        socket.socket(_AF_XDP, socket.SOCK_RAW).close()
    except OSError as error:
        raise OSError(error.errno, f"no AF_XDP socket: {error.strerror}") from None
    add_veth()
    with Steering(1) as steering:
        steering.attach(socket.if_nametoindex(FRONT))


def _tap() -> None:
    """A TAP interface, in a user namespace where that is needed."""
    from ..nic.tap import open_queues

    separate(user=True)
    try:
        open_queues(FRONT, 1)
    except FileNotFoundError:
        raise MachineError("there is no /dev/net/tun") from None
