"""Which of Linux's news an interface's cores want: the words between a front and controlplane/routes.py."""

from dataclasses import dataclass
from ipaddress import IPv4Interface


@dataclass(frozen=True, slots=True)
class FrontWatch:
    """An interface by its index; `slot`: bytes of the largest IP packet that a frame of its driver takes."""

    interface: int
    slot: int
    routes: bool
    """Routes, neighbours and MAC too, not only the MTU."""
    own: IPv4Interface | None = None
    """Our address, if Linux doesn't have it."""
