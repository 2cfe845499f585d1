"""Pushes: bytes from the control plane to one connection, to all of a group, or to the subscribers of a topic.

Each core gets one copy; what becomes of it there is dataplane/push.c's. docs/push.md is the guide.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence

from ..dataplane.pushes import BROADCAST, EVERY_LISTENER, PUBLISH, PUSH_MOST, SEND, core_of
from ..runtime.layout import Listen
from ..runtime.view import View
from .peer import DONE, CorePeer

__all__ = ["Pushes", "topic_number"]


def topic_number(topic: int | str | bytes) -> int:
    """The number of a topic: of a text, that of its UTF-8 bytes' `View.hash()`, as an unsigned 64-bit number."""
    if isinstance(topic, str):
        topic = topic.encode()
    if isinstance(topic, bytes):
        topic = View(memoryview(topic)).hash()
    if not -(1 << 63) <= topic < 1 << 64:
        raise ValueError(f"topic {topic}: topics are 64-bit numbers, or texts")
    return topic & (1 << 64) - 1


class Pushes:
    """What pushes. Used in the runtime's own event loop only; pushes to one core keep their order.

    Attributes: `sent`, `broadcasts`, `published`, as called since the start.
    """

    def __init__(
        self,
        cores: Sequence[CorePeer],
        groups: Mapping[str, Sequence[int]],
        listeners: Mapping[str, Sequence[Listen]],
    ) -> None:
        """`cores` by number; `groups`: numbers of the cores by group; `listeners`: those of a group, in their order."""
        self._cores, self._groups, self._listeners = cores, groups, listeners
        self.sent = self.broadcasts = self.published = 0

    def send(self, handle: int, data: bytes) -> Awaitable[None]:
        """Sends `data` (1 B to 1 MiB - 16) to the connection of that handle, behind what it has queued.

        If that connection is gone, or has more queued than the layout's `push_queue`, the core drops it and counts
        `push_stale` or `push_slow`. Sent at once, or queued in order while the core's ring is full: awaiting the
        result waits for room. ValueError for a handle of no core or a length out of range; asyncio.QueueFull as for tell.
        """
        number = core_of(handle)
        if handle <= 0 or number >= len(self._cores):
            raise ValueError(f"handle {handle} names no core of this layout")
        self.sent += 1
        return self._push([number], SEND, handle, data)

    def broadcast(
        self, group: str, data: bytes, *, port: str | int | None = None
    ) -> Awaitable[None]:
        """Sends `data` to every connection of a group, or of one `port` of it ("tcp:8080" or 8080).

        Each connection that is open when the core takes the broadcast, and still is when its turn comes, gets it once; one
        that opens meanwhile may. KeyError for an unknown group, LookupError for a port that nobody of it listens to; else
        as for `send`.
        """
        cores = self._cores_of(group)
        to = EVERY_LISTENER if port is None else self._listener(group, port)
        self.broadcasts += 1
        return self._push(cores, BROADCAST, to, data)

    def publish(
        self, topic: int | str | bytes, data: bytes, *, group: str | None = None
    ) -> Awaitable[None]:
        """Sends `data` to every connection, of `group` or of all, whose actor has subscribed it to `topic`.

        Who had subscribed when the core takes it gets it once. A text stands for its `View.hash()`. Errors as for `send`.
        """
        everywhere = [core.core_id for core in self._cores if not core.closed]
        cores = everywhere if group is None else self._cores_of(group)
        self.published += 1
        return self._push(cores, PUBLISH, topic_number(topic), data)

    def _push(self, cores: Iterable[int], kind: int, to: int, data: bytes) -> Awaitable[None]:
        if not 1 <= len(data) <= PUSH_MOST:
            raise ValueError(f"{len(data)} bytes to push: 1 to {PUSH_MOST} go in one")
        waits = [
            wait
            for number in cores
            if (wait := self._cores[number].push(kind, to, bytes(data))) is not DONE
        ]
        # gather's future is of a list: nobody looks at what awaiting it gives.
        return asyncio.gather(*waits) if waits else DONE  # type: ignore[return-value]

    def _cores_of(self, group: str) -> Sequence[int]:
        if group not in self._groups:
            raise KeyError(f"no group {group}: this layout has {', '.join(self._groups)}")
        return self._groups[group]

    def _listener(self, group: str, port: str | int) -> int:
        wanted = f"tcp:{port}" if isinstance(port, int) else port
        ports = [listen.port for listen in self._listeners.get(group, ())]
        if wanted not in ports:
            raise LookupError(f"group {group} listens at {', '.join(ports)}, not at {wanted}")
        return ports.index(wanted)
