"""An interface under the driver `tap`: one queue a core, Linux at the other end of the wire.

Held by the controller and the launcher; an interface made here is gone with the last of them.
"""

import errno
import os
import socket
from typing import Any

from ..nic.tap import open_queues, our_mac
from .boot import BootFront
from .errors import MachineError, Problem
from .front_watch import FrontWatch
from .layout import Layout

SLOT = 2032
"""Bytes of the largest IP packet that a frame of the driver takes."""
_REMEDIES = {
    errno.EPERM: "run as root, or in `unshare -Urn`, or have root make it for you: "
    "ip tuntap add {name} mode tap user $USER{queues}",
    errno.EBUSY: "another program has it: choose another name",
    errno.ENOENT: "(as root) modprobe tun",
    errno.EINVAL: "it is another kind of interface, or has another number of queues: "
    "ip link del {name}, or another name",
}


class TapFront:
    """One TAP interface, open. Closing it closes this process's descriptors."""

    def __init__(self, layout: Layout, group: str) -> None:
        """Opens one queue for each core of the group. Raises MachineError, naming what mends it."""
        cores = len(layout.group[group].cpus)
        nic = layout.nic[layout.group[group].nic]
        name = str(nic.interface)
        try:
            self.descriptors = tuple(open_queues(name, cores))
        except OSError as error:
            queues = " multi_queue" if cores > 1 else ""
            remedy = _REMEDIES.get(error.errno or 0, "").format(name=name, queues=queues)
            key = f"nic.{layout.group[group].nic}.interface"
            text = f"the TAP interface can't be opened: {error.strerror}"
            raise MachineError(Problem(layout.file, text, key, name, remedy)) from None
        self._name = name
        self._mac = our_mac(name).hex()
        own = nic.own_address
        assert own is not None, (
            "references.py refuses a TAP interface without an address of its own"
        )
        self.local_address = str(own.ip)

    @property
    def facts(self) -> dict[str, Any]:
        """For people and programs."""
        return {"queues": len(self.descriptors)}

    @property
    def watch(self) -> FrontWatch:
        """What of Linux the cores follow: the MTU alone, for its routes are those of the wire's other end."""
        return FrontWatch(socket.if_nametoindex(self._name), SLOT, routes=False)

    def boot(self, place: int) -> BootFront:
        """What the worker of the group's core number `place` inherits."""
        queue = (place, self.descriptors[place], 0)
        return BootFront(self._mac, (queue,), pulse=-1, all_queues=len(self.descriptors))

    def close(self) -> None:
        """Lets the interface go."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = ()
