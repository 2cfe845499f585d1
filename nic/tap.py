"""Driver `tap`: the controller makes or takes the interface, a worker gets one queue of it as its NIC."""

import fcntl
import os
import socket
import struct
from typing import Any

from ..dataplane.native import check, ffi, lib

CLONE = "/dev/net/tun"
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_MULTI_QUEUE = 0x2, 0x1000, 0x100
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCGIFHWADDR = 0x8913, 0x8914, 0x8927
_IFF_UP = 1


def open_queues(name: str, count: int) -> list[int]:
    """Descriptors of `count` queues of the TAP interface `name`, which is made if it isn't there, and brought up.

    An interface made here vanishes with the last descriptor. Raises OSError: EPERM (CAP_NET_ADMIN is needed, or a
    persistent interface of this user), EBUSY (somebody has it), ENOENT (no /dev/net/tun), EINVAL (it is no TAP
    interface, or was made without `multi_queue`).
    """
    flags = _IFF_TAP | _IFF_NO_PI | (_IFF_MULTI_QUEUE if count > 1 else 0)
    request = struct.pack("16sH22x", name.encode(), flags)
    made: list[int] = []
    try:
        for _ in range(count):
            made.append(os.open(CLONE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
            fcntl.ioctl(made[-1], _TUNSETIFF, request)
        _bring_up(name)
    except OSError:
        for one in made:
            os.close(one)
        raise
    return made


def _bring_up(name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        request = struct.pack("16sH22x", name.encode(), 0)
        (flags,) = struct.unpack("16xH22x", fcntl.ioctl(asked, _SIOCGIFFLAGS, request))
        if not flags & _IFF_UP:
            request = struct.pack("16sH22x", name.encode(), flags | _IFF_UP)
            fcntl.ioctl(asked, _SIOCSIFFLAGS, request)


def our_mac(name: str) -> bytes:
    """The MAC at our end of the wire: the interface's own, locally administered and with its last bit turned."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        request = struct.pack("16s24x", name.encode())
        found = fcntl.ioctl(asked, _SIOCGIFHWADDR, request)[18:24]
    return bytes((found[0] | 2, *found[1:5], found[5] ^ 1))


class Tap:
    """A worker's end: one queue as a NIC. Raises OSError (ENOMEM)."""

    def __init__(self, descriptor: int, mac: bytes) -> None:
        made = ffi.new("struct nic **")
        check(lib.tap_open(descriptor, ffi.from_buffer(mac), made), "TAP")
        self.nic: Any = made[0]

    def close(self) -> None:
        """Frees what is process-local; the descriptor stays open."""
        if self.nic is not None:
            lib.tap_close(self.nic)
            self.nic = None
