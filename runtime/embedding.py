"""What a program that embeds a runtime does with it in its own event loop: messages, actors, connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from .actor import ControlActor
from .message import Message

if TYPE_CHECKING:
    import asyncio

    from ..controlplane.post import Spawned
    from ..controlplane.server import Connected, Dialer, Server
    from ..controlplane.service import Service
    from ..controlplane.streams import Factory
    from ..controlplane.subscription import Messages
    from .controller import Event
    from .layout import Layout

M = TypeVar("M", bound=Message)
P = TypeVar("P")

NOT_RUNNING = "the runtime isn't running: async with splitplane.start(…) as runtime"


class Embedding:
    """The part of a Runtime that needs its control plane alone."""

    layout: Layout
    _service: Service | None = None
    _dialer: Dialer | None = None

    def messages(self, message: type[M], *, limit: int = 1024) -> Messages[M]:
        """`async for visit in runtime.messages(Visit)`: every message of that type that a core sends from now on,
        besides whomever it is addressed to. Ends with the runtime.

        At most `limit` wait unread, and what the rings hold; while it is full the cores' `tell` says False. The types
        of `splitplane.events` come here too. A type that no actor takes is named in the layout's `messages`.
        """
        return self._running.post.messages(message, limit)

    async def spawn(
        self,
        actor: ControlActor | Callable[[], ControlActor],
        *,
        name: str = "",
        mailbox: int = 1024,
    ) -> Spawned:
        """Starts a control actor now; it ends with the runtime, or when the result is stopped.

        It takes what the result is told, and messages of its `@on` types that cores send. Given as a class or function
        that makes one, it is replaced by a new one when it raises, within [supervision]'s `restarts`; beyond, the
        runtime fails. Given as an instance it goes on. Errors of `on_start` pass through.
        """
        from ..controlplane.restarts import Restarts

        supervision = self.layout.supervision
        restarts = None
        if not isinstance(actor, ControlActor):
            make = actor
            limits = (supervision.restarts, supervision.restart_seconds)
            restarts = Restarts(make, *limits, self._give_up)
            actor = make()
        actor.__pushes__ = self._running.pushes
        name = name or type(actor).__qualname__
        return await self._running.post.spawn(actor, name, mailbox, restarts)

    async def start_server(
        self, connected: Connected, port: int, *, group: str | None = None, limit: int = 2**16
    ) -> Server:
        """As asyncio.start_server: `connected(reader, writer)` for each connection of `port` that the control plane has.

        `port` is a listener's of the layout (of `group` alone, if given); its connections come here when its actor is
        `controlplane`, or hands them over. LookupError if there is none, OSError (EADDRINUSE) if it is served already.
        """
        from ..controlplane.server import stream_factory

        return await self.create_server(stream_factory(connected, limit), port, group=group)

    async def create_server(
        self, factory: Factory, port: int, *, group: str | None = None
    ) -> Server:
        """As an event loop's create_server: each connection of `port` gets the protocol that `factory()` returns."""
        from ..controlplane.server import Server, listeners_of

        listeners = listeners_of(self.layout, port, group)
        return Server(self._running.streams, listeners, factory)

    async def connect(
        self, address: str, port: int, *, group: str | None = None, limit: int = 2**16
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """As asyncio.open_connection, from a core (of `group`): reader and writer of a connection to `address`.

        OSError if it can't be had.
        """
        import asyncio

        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit, loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await self.create_connection(lambda: protocol, address, port, group=group)
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def create_connection(
        self, factory: Callable[[], P], address: str, port: int, *, group: str | None = None
    ) -> tuple[asyncio.Transport, P]:
        """As an event loop's create_connection, from a core: the transport and the protocol that `factory()` made."""
        from ..controlplane.server import Dialer

        if self._dialer is None:
            self._dialer = Dialer(self.layout, self._running.streams)
        return await self._dialer.open(factory, address, port, group)

    @property
    def _running(self) -> Service:
        if self._service is None:
            raise RuntimeError(NOT_RUNNING)
        return self._service

    def _give_up(self, name: str, error: BaseException) -> None:
        """A control actor raises too often: the runtime fails."""
        raise NotImplementedError

    def _publish(self, event: Event) -> None:
        """What befell a core, to whoever takes its message."""
        from ..events import event_message

        service = self._service
        if service is None or not service.running:
            return
        message = event_message(event.kind, event.fields)
        if message is not None:
            service.publish(message, event.fields.get("core", 0))
