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

from ..nic.afxdp import QueueOrder, Steering, frames_of, open_queue, placeholders, section_bytes
from ..nic.interface import Interface, read_interface
from .arena import Arena
from .boot import BootFront
from .errors import MachineError, Problem
from .layout import Layout

FRAME_HEADERS = 14
FRAME_MOST = 1700
"""Bytes of the largest frame that an AF_XDP slot takes, its Ethernet header included."""


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
        """Lets the interface go."""
        self._stack.close()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What keeps frames coming: for the launcher to hold too."""
        return self.steering.descriptors

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

    def boot(self, place: int) -> BootFront:
        """What the worker of the group's core number `place` inherits."""
        return BootFront(
            mac=self.interface.mac.hex(),
            queues=tuple((one.number, one.descriptor, one.offset) for one in self.orders[place]),
            pulse=self.steering.pulse,
            all_queues=self.interface.queues,
        )

    def _find(self) -> Interface:
        name = str(self._nic.interface)
        try:
            interface = read_interface(name)
        except LookupError:
            raise self._problem("this machine has no such interface", "see `ip -br link`") from None
        if not interface.up:
            raise self._problem("the interface is down", f"ip link set {name} up")
        if self._nic.own_address is None and not interface.addresses:
            remedy = f'ip address add 10.0.0.5/24 dev {name}, or address = "10.0.0.5/24" for one of our own'
            raise self._problem("the interface has no IPv4 address to share", remedy)
        if interface.mtu + FRAME_HEADERS > FRAME_MOST:
            raise self._problem(
                f"its MTU of {interface.mtu} bytes is more than a frame's slot of {FRAME_MOST} takes",
                f"ip link set {name} mtu 1500",
            )
        if interface.queues < len(self._group.cpus):
            text = f"it has {interface.queues} queues for {len(self._group.cpus)} cores"
            remedy = f"ethtool -L {name} combined {len(self._group.cpus)}, or fewer cpus"
            raise self._problem(text, remedy)
        if interface.xdp_program:
            raise self._taken(interface)
        return interface

    def _taken(self, interface: Interface) -> MachineError:
        return self._problem(
            f"XDP program {interface.xdp_program} is attached to it already",
            f"see `bpftool prog show id {interface.xdp_program}`; ip link set {interface.name} xdp off",
        )

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
                self.interface.index, number, frames, arena.address + offset
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
        self._prove(
            self.orders[0][0], self._arenas[0]
        )  # Linux lets live frames enter at queue 0 only

    def _prove(self, queue: QueueOrder, arena: Arena) -> None:
        """A live frame through the queue, or the reason why there is none."""
        frame = probe(self.interface.mac, self.local_address, self._group.listen[0].port_number)
        address = arena.address + queue.offset
        with suppress(OSError):  # a Linux before 5.18 can't try: the queue stands as it is
            if not self.steering.prove(
                self.interface.index, queue.number, queue.descriptor, address, frame
            ):
                raise self._problem(
                    f"queue {queue.number} was opened and receives nothing",
                    f"see `ip -d link show {self.interface.name}` and `ethtool -l {self.interface.name}`",
                )

    def _port(self, number: int, port: int) -> None:
        try:
            for held in placeholders(self.interface.addresses, port):
                self._stack.callback(held.close)
        except OSError as error:
            key = f"group.{self._group_name}.listen[{number}].port"
            remedy = f"see `ss -ltnp sport = :{port}`"
            problem = f"Linux holds that port: {error.strerror}"
            raise MachineError(
                Problem(self._layout.file, problem, key, f"tcp:{port}", remedy)
            ) from None
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
        if error.errno in (errno.EBUSY, errno.EEXIST):
            return self._problem(
                "somebody else has its queues or an XDP program on it",
                f"ip -d link show {self._nic.interface}",
            )
        if error.errno in (errno.EPERM, errno.EACCES):
            remedy = 'run as root (CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF), or driver = "kernel"'
            return self._problem(f"AF_XDP is not permitted: {error}", remedy)
        remedy = 'driver = "kernel" serves the same actors through Linux\'s own sockets'
        return self._problem(f"AF_XDP can't be had: {error}", remedy)


def probe(mac: bytes, address: str, port: int) -> bytes:
    """A frame that steering must take: 60 bytes, from an address of documentation (RFC 5737), its checksums wrong."""
    ethernet = mac + bytes.fromhex("020000000001") + b"\x08\x00"
    source, destination = socket.inet_aton("192.0.2.1"), socket.inet_aton(address)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 46, 0, 0, 64, 6, 0, source, destination)
    tcp = struct.pack("!HHIIBBHHH6s", 9, port, 0, 0, 0x50, 0x10, 0, 0, 0, b"probe!")
    return ethernet + ip + tcp
