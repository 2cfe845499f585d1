"""Whether an interface can carry a group: everything that is seen without opening or attaching anything.

`splitplane check` says all of it at once, and the controller asks before it opens the interface (front.py), where only
the rest can still go wrong.
"""

import errno
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

from ..nic.afxdp import QUEUES_MOST, placeholders
from ..nic.interface import Interface, namespace_of, owner_of, read_interface
from ..nic.tap import CLONE
from .errors import Problem
from .layout import Group, Layout, Nic
from .machine import Machine
from .system import process_status

FRAME_HEADERS = 14
FRAME_MOST = 1700
"""Bytes of the largest frame that an AF_XDP slot takes, its Ethernet header included."""
ADMIN = 21
"""CAP_SYS_ADMIN includes most of RIGHTS; the others' numbers stand beside their names."""
RIGHTS = {
    "CAP_NET_ADMIN": (12, ADMIN),
    "CAP_NET_RAW": (13,),
    "CAP_BPF": (39, ADMIN),
    "CAP_PERFMON": (38, ADMIN),
}
LOCKING = 14
"""CAP_IPC_LOCK."""
FEATURES = {"rx-lro": "lro", "rx-gro": "gro"}
"""What `ethtool -K` calls them shortly; others go by their whole names."""
KERNEL = 'driver = "kernel" serves the same actors through Linux\'s own sockets'


class Look:
    """One group's interface, looked at: `problems` and `warnings`, each naming interface, reason and remedy."""

    def __init__(self, layout: Layout, name: str, machine: Machine) -> None:
        """Reads the interface of group `name`; raises nothing."""
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._layout, self._name, self._machine = layout, name, machine
        self._group: Group = layout.group[name]
        self._nic: Nic = layout.nic[self._group.nic]
        self._own_address()
        if self._nic.driver == "tap":
            self._tap()
            return
        self._rights()
        interface = self._found()
        if interface is None:
            return
        if not interface.ethernet:
            self._wrong("its frames are no Ethernet frames", KERNEL)
            return
        for text, remedy in (*self._link(interface), *self._path(interface)):
            self._wrong(text, remedy)
        for text, remedy in self._costs(interface):
            self.warnings.append(self.problem(text, remedy))
        self._ports(interface)

    def problem(self, text: str, remedy: str, key: str = "interface") -> Problem:
        """At a key of the layout's [nic]."""
        value = getattr(self._nic, key)
        return Problem(self._layout.file, text, f"nic.{self._group.nic}.{key}", value, remedy)

    def _wrong(self, text: str, remedy: str, key: str = "interface") -> None:
        self.problems.append(self.problem(text, remedy, key))

    def _own_address(self) -> None:
        own = self._nic.own_address
        holder = owner_of(str(own.ip)) if own else ""
        if holder:
            remedy = f'address = "shared", or ip address del {own} dev {holder}'
            if self._nic.driver == "tap":
                remedy = "another address of the same network, or " + remedy.partition(", or ")[2]
            self._wrong(f"Linux has that address itself, on {holder}", remedy, "address")

    def _tap(self) -> None:
        name = str(self._nic.interface)
        if not Path(CLONE).exists():
            self._wrong(f"this machine has no {CLONE}", "(as root) modprobe tun")
            return
        folder = Path("/proc/sys/net/ipv4/conf") / name
        if not folder.exists() and not self._may(RIGHTS["CAP_NET_ADMIN"][:1]):
            queues = " multi_queue" if len(self._group.cpus) > 1 else ""
            remedy = "run as root, or in `unshare -Urn`, or have root make it for you: "
            remedy += f"ip tuntap add {name} mode tap user $USER{queues}"
            self._wrong("CAP_NET_ADMIN is missing, and there is no such interface yet", remedy)

    def _may(self, capabilities: tuple[int, ...]) -> bool:
        return any(self._machine.capabilities >> number & 1 for number in capabilities)

    def _rights(self) -> None:
        missing = [name for name, numbers in RIGHTS.items() if not self._may(numbers)]
        whole = ", ".join(RIGHTS)
        if missing:
            text = f"AF_XDP is not permitted: {', '.join(missing)} missing"
            remedy = f'run as root (with {whole}), or driver = "kernel"'
            self._wrong(text, remedy)
        elif in_user_namespace():
            text = "AF_XDP is not permitted: this is a user namespace, whose CAP_BPF counts only inside"
            self._wrong(text, 'run as root of the machine, or driver = "tap", or driver = "kernel"')
        elif not self._has_sockets():
            self._wrong("this kernel has no AF_XDP (CONFIG_XDP_SOCKETS)", KERNEL)
        limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        wanted = self._group.frames
        if not self._may((LOCKING,)) and limit != resource.RLIM_INFINITY and limit < wanted:
            text = (
                f"{wanted >> 10} KiB of frames must be locked, and this user may lock {limit >> 10}"
            )
            self._wrong(text, f"ulimit -l {wanted >> 10}, or CAP_IPC_LOCK")

    @staticmethod
    def _has_sockets() -> bool:
        try:
            socket.socket(getattr(socket, "AF_XDP", 44), socket.SOCK_RAW).close()
        except OSError as error:
            return error.errno != errno.EAFNOSUPPORT
        return True

    def _found(self) -> Interface | None:
        name = str(self._nic.interface)
        try:
            return read_interface(name)
        except LookupError:
            pid = namespace_of(name)
            status = process_status(pid) if pid else None
            if status is None:
                self._wrong("this machine has no such interface", "see `ip -br link`")
                return None
        text = f"it is in another network namespace, that of process {pid} ({status.name}), not in this one"
        self._wrong(text, f"nsenter --net=/proc/{pid}/ns/net splitplane …")
        return None

    def _link(self, interface: Interface) -> Iterator[tuple[str, str]]:
        """Problems: the interface, its queues and what is attached to it."""
        name, cores = interface.name, len(self._group.cpus)
        if not interface.up:
            yield "the interface is down", f"ip link set {name} up"
        if interface.mtu + FRAME_HEADERS > FRAME_MOST:
            text = f"its MTU of {interface.mtu} bytes is more than a frame's slot of {FRAME_MOST} takes"
            yield text, f"ip link set {name} mtu 1500"
        if interface.queues < cores:
            text = f"it has {interface.queues} queues for {cores} cores"
            yield text, f"ethtool -L {name} {self._channels(interface)} {cores}, or fewer cpus"
        if interface.queues > QUEUES_MOST * cores:
            text = (
                f"it has {interface.queues} queues for {cores} cores, which take {QUEUES_MOST} each"
            )
            most = QUEUES_MOST * cores
            yield text, f"ethtool -L {name} {self._channels(interface)} {most}, or more cpus"
        if interface.xdp_program:
            number = interface.xdp_program
            text = f"XDP program {number} is attached to it already"
            yield text, f"see `bpftool prog show id {number}`; ip link set {name} xdp off"
        if self._nic.busy_poll_microseconds and interface.native is False:
            text = "busy_poll_microseconds is set, and without native XDP there is no NAPI to poll"
            yield text, "busy_poll_microseconds = 0"

    @staticmethod
    def _channels(interface: Interface) -> str:
        return "combined" if interface.combined else "rx"

    def _path(self, interface: Interface) -> Iterator[tuple[str, str]]:
        """Problems: what would keep frames from arriving."""
        name = interface.name
        if self._nic.own_address is None and not interface.addresses:
            remedy = f'ip address add 10.0.0.5/24 dev {name}, or address = "10.0.0.5/24" for one of our own'
            yield "the interface has no IPv4 address to share", remedy
        for one in interface.merging:
            text = (
                f"{one.feature} of {one.interface} merges frames to larger ones than a slot takes"
            )
            if one.fixed:
                yield (
                    f"{text}, and can't be switched off here",
                    f"at the virtual machine's host; {KERNEL}",
                )
            else:
                yield (
                    text,
                    f"ethtool -K {one.interface} {FEATURES.get(one.feature, one.feature)} off",
                )
        if self._nic.own_address is None and interface.path_filter and not interface.routed:
            text = (
                f"rp_filter is {interface.path_filter} and no route leads out of it: "
                "Linux drops what comes from there, questions for its MAC address too"
            )
            remedy = f"ip route add CLIENTS/24 dev {name}, or sysctl net.ipv4.conf.all.rp_filter=0"
            yield text, f"{remedy} net.ipv4.conf.{name}.rp_filter=0"

    @staticmethod
    def _costs(interface: Interface) -> Iterator[tuple[str, str]]:
        """Warnings."""
        if interface.up and not interface.carrier:
            yield "it has no carrier: nothing arrives until its other end is up", "see `ip -d link`"
        if interface.other_end:
            text = f"its other end {interface.other_end} has an address in this same namespace: "
            text += "what Linux sends there never takes the wire"
            yield text, f"ip link set {interface.other_end} netns NAME"
        if interface.native is False:
            text = "its driver has no XDP of its own: the generic one works, after Linux has made its own of each frame"
            yield text, "an interface with native XDP is faster"

    def _ports(self, interface: Interface) -> None:
        """Ports that Linux holds."""
        if self._nic.own_address:
            return
        for number, listen in enumerate(self._group.listen):
            try:
                for held in placeholders(interface.addresses, listen.port_number):
                    held.close()
            except OSError as error:
                self.problems.append(
                    port_problem(self._layout.file, self._name, number, listen.port, error)
                )


def port_problem(file: str, group: str, number: int, port: str, error: OSError) -> Problem:
    """A declared port that can't be reserved in Linux."""
    text = f"Linux holds that port: {error.strerror}"
    remedy = f"see `ss -ltnp sport = :{port.partition(':')[2]}`"
    return Problem(file, text, f"group.{group}.listen[{number}].port", port, remedy)


def in_user_namespace() -> bool:
    """Whether this process's rights end at a user namespace of its own (user_namespaces(7))."""
    try:
        return Path("/proc/self/uid_map").read_text().split() != ["0", "0", str(2**32 - 1)]
    except OSError:
        return False
