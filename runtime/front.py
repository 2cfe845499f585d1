"""An interface under the driver `afxdp`: all its queues, shared out over a group's cores, and the steering beside Linux.

Held by the controller and the launcher; frames go to Linux again when the last of them is gone.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from ..nic.afxdp import (
    QueueOrder,
    Steering,
    frames_of,
    open_queue,
    placeholders,
    section_bytes,
    sends,
)
from ..nic.interface import Interface, apart, read_interface
from ..nic.netdev import napis
from .arena import Arena
from .boot import BootFront
from .errors import MachineError, Problem
from .front_look import FRAME_HEADERS, FRAME_MOST, KERNEL, RIGHTS, port_problem
from .front_watch import FrontWatch
from .layout import Layout


class Front:
    """One interface, open. Closing it closes this process's descriptors."""

    def __init__(self, layout: Layout, group: str, arenas: Sequence[Arena]) -> None:
        """Opens every queue over the arenas of the group's cores and attaches the steering program.

        Raises MachineError, naming the interface and what mends it; nothing is held then.
        """
        self._layout = layout
        self._group = layout.group[group]
        self._key = f"nic.{self._group.nic}.interface"
        self._nic = layout.nic[self._group.nic]
        self._arenas = arenas
        self._stack = ExitStack()
        self._reserved: list[int] = []
        try:
            self.interface = self._find()
            self._stack.enter_context(self._steer())
            self.zero_copy = True
            self.orders = [self._core(place, arena) for place, arena in enumerate(arenas)]
            self._attach()
        except BaseException:
            self._stack.close()
            raise

    def close(self) -> None:
        """Lets the interface go. May be called again."""
        self._stack.close()
        self._reserved.clear()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What keeps frames coming and the ports ours: for the launcher to hold too."""
        return (*self.steering.descriptors, *self._reserved)

    @property
    def watch(self) -> FrontWatch:
        """What of Linux the cores follow."""
        return FrontWatch(
            self.interface.index, FRAME_MOST - FRAME_HEADERS, routes=True, own=self._nic.own_address
        )

    @property
    def local_address(self) -> str:
        """The address served."""
        own = self._nic.own_address
        return str(own.ip) if own else self.interface.addresses[0]

    @property
    def facts(self) -> dict[str, Any]:
        """For people and programs."""
        mode = "native" if self.steering.native else "skb"
        queues = self.interface.queues
        return {"xdp_mode": mode, "zero_copy": self.zero_copy, "queues": queues}

    @property
    def warning(self) -> str:
        """What it costs more than it should; empty if nothing."""
        if self.interface.native is not False and not self.steering.native:
            text = "its driver refused the XDP program: the generic one works, more slowly"
            return str(self._problem(text, "see `dmesg | tail`").problems[0])
        return ""

    def boot(self, place: int) -> BootFront:
        """What the worker of the group's core number `place` inherits."""
        return BootFront(
            mac=self.interface.mac.hex(),
            queues=tuple((one.number, one.descriptor, one.offset) for one in self.orders[place]),
            pulse=self.steering.pulse,
            all_queues=self.interface.queues,
        )

    def _find(self) -> Interface:
        """The interface that front_look.py has looked at."""
        try:
            return read_interface(str(self._nic.interface))
        except LookupError:
            raise self._problem("it has vanished", "see `ip -br link`") from None

    @contextmanager
    def _steer(self) -> Iterator[None]:
        try:
            self.steering = Steering(self.interface.queues, silence=self._nic.silence_seconds)
        except OSError as error:
            raise self._denied(error) from None
        try:
            yield
        finally:
            self.steering.close()

    def _core(self, place: int, arena: Arena) -> list[QueueOrder]:
        """The queues of one core: every so-manieth of all."""
        numbers = range(place, self.interface.queues, len(self._group.cpus))
        frames = frames_of(self._group.frames, len(numbers))
        start = -(-arena.section("frames")[0] // 4096) * 4096
        step = section_bytes(frames, 1) - 4096
        return [
            self._queue(number, frames, arena, start + at * step)
            for at, number in enumerate(numbers)
        ]

    def _queue(self, number: int, frames: int, arena: Arena, offset: int) -> QueueOrder:
        try:
            descriptor, zero_copy = open_queue(
                self.interface.index,
                number,
                frames,
                arena.address + offset,
                self._nic.busy_poll_microseconds,
            )
        except OSError as error:
            raise self._denied(error) from None
        self._stack.callback(os.close, descriptor)
        self.steering.socket(number, descriptor)
        self.zero_copy = self.zero_copy and zero_copy
        return QueueOrder(number, descriptor, offset)

    def _attach(self) -> None:
        own = self._nic.own_address
        if own:
            self.steering.take(str(own.ip))
        else:
            for number, listen in enumerate(self._group.listen):
                self._port(number, listen.port_number)
        self.steering.beat()
        try:
            self.steering.attach(self.interface.index)
        except OSError as error:
            raise self._denied(error) from None
        if self._nic.busy_poll_microseconds and (
            not self.steering.native or apart(napis, self.interface.index) == 0
        ):
            text = "busy_poll_microseconds is set, and its driver has no NAPI to poll"
            raise self._problem(text, "busy_poll_microseconds = 0")
        for orders, arena in zip(self.orders, self._arenas, strict=True):
            for queue in orders:
                self._prove(queue, arena.address + queue.offset)

    def _prove(self, queue: QueueOrder, address: int) -> None:
        """Sees the program take a frame that enters on the queue, a live one arrive (queue 0: Linux lets them enter
        nowhere else), and one go out; or says which of it doesn't happen."""
        index, number, mac = self.interface.index, queue.number, self.interface.mac
        frame = probe(mac, self.local_address, self._group.listen[0].port_number)
        failed = ""
        with suppress(OSError):  # a Linux before 5.18 can't try: the queue stands as it is
            if not self.steering.takes(index, number, frame):
                failed = "the steering program gives its frames to nobody"
            elif number == 0 and not self.steering.receives(
                index, queue.descriptor, address, frame
            ):
                failed = "it was opened and receives nothing"
        if not failed and not sends(queue.descriptor, address, loopback(mac)):
            failed = "it was opened and sends nothing"
        if failed:
            remedy = f"see `ip -d link show {self.interface.name}` and `ethtool -l {self.interface.name}`"
            raise self._problem(f"queue {number}: {failed}", remedy)

    def _port(self, number: int, port: int) -> None:
        try:
            for held in placeholders(self.interface.addresses, port):
                self._stack.callback(held.close)
                self._reserved.append(held.fileno())
        except OSError as error:
            name = f"tcp:{port}"
            found = port_problem(self._layout.file, self._group_name, number, name, error)
            raise MachineError(found) from None
        for address in self.interface.addresses:
            self.steering.take(address, port)

    @property
    def _group_name(self) -> str:
        return next(name for name, group in self._layout.group.items() if group is self._group)

    def _problem(self, text: str, remedy: str) -> MachineError:
        return MachineError(
            Problem(self._layout.file, text, self._key, self._nic.interface, remedy)
        )

    def _denied(self, error: OSError) -> MachineError:
        name = self._nic.interface
        if error.errno in (errno.EBUSY, errno.EEXIST):
            text = "somebody else has its queues or an XDP program on it"
            return self._problem(text, f"ip -d link show {name}")
        if error.errno in (errno.EPERM, errno.EACCES):
            remedy = f'run as root ({", ".join(RIGHTS)}), or driver = "kernel"'
            return self._problem(f"AF_XDP is not permitted: {error.strerror}", remedy)
        if error.errno == errno.ENOSPC:
            queues = self.interface.queues
            text = f"its other end sends on more queues than the {queues} it receives on"
            remedy = f"ethtool -L PEER tx {queues} at the other end, or ethtool -L {name} rx N here"
            return self._problem(text, remedy)
        return self._problem(f"AF_XDP can't be had: {error.strerror}", KERNEL)


def loopback(mac: bytes) -> bytes:
    """A frame to nobody but ourselves, which no other machine takes: Ethernet's configuration test (type 0x9000)."""
    return mac + mac + b"\x90\x00" + bytes(46)


def probe(mac: bytes, address: str, port: int) -> bytes:
    """A frame that steering must take: 60 bytes, from an address of documentation (RFC 5737), its checksums wrong."""
    ethernet = mac + bytes.fromhex("020000000001") + b"\x08\x00"
    source, destination = socket.inet_aton("192.0.2.1"), socket.inet_aton(address)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 46, 0, 0, 64, 6, 0, source, destination)
    tcp = struct.pack("!HHIIBBHHH6s", 9, port, 0, 0, 0x50, 0x10, 0, 0, 0, b"probe!")
    return ethernet + ip + tcp
