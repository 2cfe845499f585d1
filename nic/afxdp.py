"""Driver `afxdp`: what the controller opens (sockets, maps, the steering program) and what a worker makes of it."""

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from ..dataplane.native import check, ffi, lib

SILENCE = 5.0
"""Seconds without a look by a queue's core until its frames pass to Linux again."""
PAGE = 4096
XDP_REDIRECT = 4
QUEUES_MOST: int = lib.AFXDP_QUEUES
REGION_HEADER: int = lib.XDP_REGION_HEADER
STEER_ENTRIES: int = lib.STEER_ENTRIES
"""Addresses and ports that the program can tell from others."""


def frames_of(space: int, queues: int) -> int:
    """Frames a queue gets when `queues` of them share `space` bytes: a power of two, at least 64."""
    most = max(64, min(lib.XDP_FRAMES_MOST, space // max(queues, 1) // lib.XDP_FRAME))
    return 1 << (int(most).bit_length() - 1)


def section_bytes(frames: int, queues: int) -> int:
    """Bytes that `queues` queues of `frames` frames take of an arena's frames section."""
    return PAGE + queues * int(lib.xdp_region_bytes(frames))


@dataclass(frozen=True, slots=True)
class QueueOrder:
    """One queue as a worker inherits it: its socket, and where its region lies in the arena."""

    number: int
    descriptor: int
    offset: int


class Steering:
    """The maps and the program on one interface. Everything detaches when the last holder of `descriptors` is gone."""

    def __init__(self, queues: int, *, silence: float = SILENCE) -> None:
        """Loads the program. Raises OSError: EPERM (CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN are needed), ENOSYS."""
        self._steer = ffi.new("struct steer *")
        self.queues = queues
        log = ffi.new("char[]", lib.BPF_LOG_BYTES)
        error = lib.steer_open(self._steer, queues, int(silence * 1e9), log)
        if error < 0:
            said = ffi.string(log).decode(errors="replace").strip().rpartition("\n")[2]
            check(error, f"the steering program ({said})" if said else "the steering program")
        self._pulse = lib.steer_pulse_map(self._steer.pulse, queues)
        self.beat()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Of the maps, the program and the link, those that are open."""
        steer = self._steer
        every = (steer.ports, steer.sockets, steer.pulse, steer.program, steer.link)
        return tuple(int(one) for one in every if one >= 0)

    @property
    def pulse(self) -> int:
        """The pulse map's descriptor, for the workers."""
        return int(self._steer.pulse)

    @property
    def native(self) -> bool:
        """Whether the program runs in the driver, before Linux has made anything of a frame."""
        return bool(self._steer.native)

    def beat(self) -> None:
        """Counts every queue as looked at now: while workers start."""
        if self._pulse != ffi.NULL:
            for queue in range(self.queues):
                self._pulse[queue].looked = lib.clock_now()

    def take(self, address: str, port: int = 0) -> None:
        """TCP for this address and port is ours from now on; port 0: the whole address."""
        self._set(address, port, ours=True)

    def leave(self, address: str, port: int = 0) -> None:
        """It is Linux's again."""
        self._set(address, port, ours=False)

    def _set(self, address: str, port: int, *, ours: bool) -> None:
        key = ffi.new("struct steer_key *")
        ffi.memmove(ffi.addressof(key, "address"), socket.inet_aton(address), 4)
        key.port = socket.htons(port)
        key.protocol = socket.IPPROTO_TCP if port else 0
        check(lib.steer_port(self._steer, key, ours), f"steering {address}:{port}")

    def socket(self, queue: int, descriptor: int) -> None:
        """Frames of this queue go to this AF_XDP socket."""
        check(lib.steer_socket(self._steer, queue, descriptor), f"steering queue {queue}")

    def attach(self, interface: int) -> None:
        """From now on frames are steered. Raises OSError: EBUSY (the interface has another XDP program)."""
        check(lib.steer_attach(self._steer, interface), "attaching the steering program")

    def takes(self, interface: int, queue: int, frame: bytes) -> bool:
        """Whether a frame that enters on this queue goes to its socket. Raises OSError when Linux is too old to try."""
        action = lib.xdp_enter(self._steer.program, interface, queue, frame, len(frame), 0)
        return bool(check(action, f"a frame on queue {queue}") == XDP_REDIRECT)

    def receives(self, interface: int, descriptor: int, address: int, frame: bytes) -> bool:
        """Lets a frame that is ours enter on queue 0, and looks whether it comes out of its socket within a second.

        `address`: of the queue's region in this process; no worker may run yet. Raises OSError when Linux is too old
        to try (EINVAL, EOPNOTSUPP).
        """
        error = lib.xdp_enter(self._steer.program, interface, 0, frame, len(frame), 1)
        check(error, "a live frame on queue 0")
        region = ffi.cast("void *", address)
        return bool(check(lib.xdp_expect(descriptor, region, frame, len(frame), 1000), "self-test"))

    def close(self) -> None:
        """Closes this process's descriptors."""
        lib.steer_close(self._steer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_queue(
    interface: int, queue: int, frames: int, address: int, busy_poll: int = 0
) -> tuple[int, bool]:
    """A bound AF_XDP socket whose region lies at `address` in this process, and whether it copies nothing.

    Zero-copy if the driver can, else copying. `busy_poll`: microseconds, 0 = not. Raises OSError.
    """
    order = ffi.new("struct xdp_open *")
    order.interface, order.queue, order.frames = interface, queue, frames
    order.region = ffi.cast("void *", address)
    order.zero_copy, order.busy_poll = 1, busy_poll
    made = lib.xdp_socket(order)
    if made < 0:
        order.zero_copy = 0
        made = lib.xdp_socket(order)
    descriptor = check(made, f"AF_XDP socket on queue {queue}")
    return descriptor, lib.xdp_is_zero_copy(descriptor) == 1


def sends(descriptor: int, address: int, frame: bytes) -> bool:
    """Whether the kernel takes a frame from the queue whose region lies at `address` here, and gives its slot back
    within a second. No worker may run yet. Raises OSError."""
    region = ffi.cast("void *", address)
    return bool(check(lib.xdp_send_one(descriptor, region, frame, len(frame), 1000), "self-test"))


@dataclass(frozen=True, slots=True)
class FrameCount:
    """Where a queue's frames are: in the four rings, in the worker's hands, in the kernel's, twice, in no place.

    And since the queue was opened: received frames that dead workers had in hand, handled or not (`in_hand`), and those
    that Linux dropped because it found no free frame, or no room in the ring (`dropped`).
    """

    frames: int
    fill: int
    receive: int
    send: int
    completion: int
    owned: int
    kernel: int
    twice: int
    lost: int
    in_hand: int
    dropped: int


def audit(descriptor: int, address: int) -> FrameCount:
    """Counts the frames of the queue whose region lies at `address` here; right while nothing moves. Raises OSError."""
    count = ffi.new("struct xdp_count *")
    check(lib.xdp_audit(descriptor, ffi.cast("void *", address), count), "audit")
    return FrameCount(*(int(getattr(count, name)) for name in FrameCount.__slots__))


class Afxdp:
    """A worker's end: all queues of one core as one NIC. Maps what it inherits; adopts what a dead worker held.

    `memory` is the arena as `Core.memory` has it. Raises OSError: EBADMSG (a region is in disorder).
    """

    def __init__(
        self, memory: Any, mac: bytes, queues: Sequence[QueueOrder], pulse: int, all_queues: int
    ) -> None:
        made = ffi.new("struct nic **")
        check(lib.afxdp_open(ffi.from_buffer(mac), made), "AF_XDP")
        self.nic: Any = made[0]
        base = ffi.cast("uint8_t *", memory)
        beats = lib.steer_pulse_map(pulse, all_queues)
        for queue in queues:
            beat = ffi.NULL if beats == ffi.NULL else beats + queue.number
            error = lib.afxdp_add(self.nic, queue.descriptor, base + queue.offset, beat)
            check(error, f"AF_XDP queue {queue.number}")

    def close(self) -> None:
        """Unmaps the rings."""
        if self.nic is not None:
            lib.afxdp_close(self.nic)
            self.nic = None


def placeholders(addresses: Iterable[str], port: int) -> list[socket.socket]:
    """Sockets that are bound to the port and never listen, so that no program of Linux takes what is ours.

    Raises OSError (EADDRINUSE).
    """
    held: list[socket.socket] = []
    try:
        for address in addresses:
            held.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            held[-1].bind((address, port))
    except OSError:
        for one in held:
            one.close()
        raise
    return held
