"""The control plane's service: takes what the cores send out of their rings, in batches, and gives it to the mailboxes,
to whoever asked, or, for faults, to the log. Runs in one asyncio event loop; the poller wakes it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

from ..dataplane.fault_event import EVENT_FAULT, FAULT_LEAST, FaultEvent
from ..dataplane.poller import Poller
from ..dataplane.relay import EVENT_STREAM
from ..dataplane.ring import EVENT, REPLY, TELL, Ring, Run
from ..dataplane.routes import EVENT_NEIGHBOUR, NEIGHBOUR_BYTES, NeighbourEvent
from ..events import fault_message
from ..runtime.actor import CloseReason, ControlActor
from ..runtime.errors import QuarantineError
from ..runtime.layout import Listen
from ..runtime.mesh import CONTROL, Mesh
from ..runtime.message import Message
from ..runtime.schema import Schema
from .faults import FaultLog, Locate
from .inbox import Inbox
from .mailbox import Mailbox
from .peer import CorePeer, CoreSender, GroupPeer
from .post import Post
from .push import Pushes
from .restarts import Restarts
from .server import stream_factory
from .spin import SPIN, Spin
from .streams import Streams

STOPPED = "the runtime has stopped"
AFTER_AN_ERROR = 0.1
"""Seconds."""
RUNS_A_TURN = 16
"""Runs (of up to 256 messages) taken from one ring before the next ring, and the rest of asyncio, get their turn."""


class Service:
    """Everything between the rings and the control actors.

    Attributes: `mailboxes` in the order of the layout, `cores` (a CorePeer each, by number), and since the start
    `taken` (messages out of the rings) and `faults` (handlers' failures told by the cores).
    """

    def __init__(
        self,
        mesh: Mesh,
        schema: Schema,
        *,
        actors: Mapping[str, tuple[ControlActor, int]],
        groups: Mapping[str, Iterable[int]],
        listeners: Sequence[type] = (),
        locate: Locate | None = None,
        restarts: Mapping[str, Restarts] | None = None,
        streams_to: Mapping[int, str] | None = None,
        ports: Mapping[str, Sequence[Listen]] | None = None,
    ) -> None:
        """Nothing runs before `start`.

        `actors`: control actors by name, each with its mailbox's limit in messages, in the order of the layout;
        `groups`: numbers of the cores by group; `listeners`: data actors by number (struct actor.number);
        `locate`: finds file and line of a fault that the core could not place; `restarts`: how the actors of these
        names are supervised; `streams_to`: which actor has the connections that a listener gives to the control plane;
        `ports`: the listeners of each group.
        """
        import structlog

        self._log = structlog.get_logger("splitplane")
        self._schema = schema
        self._streams_to = dict(streams_to or {})
        self._actors, self._restarts = dict(actors), dict(restarts or {})
        self._inboxes: list[Inbox] = []
        self._mesh = mesh
        self._poller: Poller | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._turn_due = self._in_turn = self._answered = self._hurry = False
        self._spin = Spin()
        self._groups = {name: tuple(numbers) for name, numbers in groups.items()}
        self._peers: dict[str, GroupPeer] = {}
        self._wanted: dict[int, int] = {}
        self._wanted_for_streams: dict[int, int] = {}
        self._fault_log = FaultLog(self._log, schema, listeners, locate)
        self.streams = Streams()
        self.post = Post(schema, self._log)
        self.cores: list[CorePeer] = []
        self.pushes = Pushes(self.cores, self._groups, ports or {})
        self.taken = 0
        self.on_doubt: Callable[[int, NeighbourEvent], None] = lambda *_: None
        """Called with a core's number when it doubts the next hop it was given (controlplane/routes.py)."""

    @property
    def running(self) -> bool:
        """Between start and stop."""
        return self._poller is not None

    @property
    def mailboxes(self) -> list[Mailbox]:
        """In the order of the layout."""
        return self.post.mailboxes

    @property
    def faults(self) -> int:
        """Handlers' failures that the cores told of."""
        return self._fault_log.faults

    @property
    def actors(self) -> dict[str, ControlActor]:
        """The control actors by name."""
        return {mailbox.name: mailbox.actor for mailbox in self.mailboxes}

    def group(self, name: str) -> GroupPeer:
        """The cores of a group. KeyError, naming those there are, if there is none of that name."""
        known = self._peers.get(name)
        if known is None:
            if name not in self._groups:
                raise KeyError(f"no group {name}: this layout has {', '.join(self._groups)}")
            known = GroupPeer(name, [self.cores[number] for number in self._groups[name]])
            self._peers[name] = known
        return known

    def quarantine(self, name: str, why: str) -> None:
        """Nobody serves this group any more: what waits for its cores, and what comes later, gets a QuarantineError."""
        for peer in self.group(name):
            peer.close(why, QuarantineError)
            self.streams.cores[peer.core_id].stop(CloseReason.WORKER_LOST)

    async def start(self) -> None:
        """Starts the actors (`on_start`, whose error passes through), then begins to take messages.

        An error stops the actors that had started.
        """
        loop = asyncio.get_running_loop()
        self.streams.loop = loop
        for number in range(self._mesh.cores):
            out = self._mesh.ring(CONTROL, number)
            peer = CorePeer(number, out, self._schema, self._want, self._asking)
            self.cores.append(peer)
            ring = self._mesh.ring(number, CONTROL)
            self.streams.add_core(number, out, ring, self._want_for_streams)
            streams = self.streams.cores[number]
            inbox = Inbox(number, ring, peer, streams, self._mesh.cores, self._soon)
            self._inboxes.append(inbox)
        for number, (name, (actor, limit)) in enumerate(self._actors.items()):
            restarts = self._restarts.get(name)
            actor.__pushes__ = self.pushes
            mailbox = Mailbox(number, name, actor, limit, self.post.number, self._log, restarts)
            self.mailboxes.append(mailbox)
        self._poller = Poller([inbox.ring for inbox in self._inboxes])
        started: list[Mailbox] = []
        try:
            for mailbox in self.mailboxes:
                await mailbox.start()
                started.append(mailbox)
        except BaseException:
            poller, self._poller = self._poller, None
            poller.stop()
            await self._stop_actors(started)
            raise
        for number, name in self._streams_to.items():
            self._serve(number, name)
        for mailbox in self.mailboxes:
            task = loop.create_task(mailbox.serve(), name=f"splitplane mailbox {mailbox.name}")
            self._tasks.append(task)
        loop.add_reader(self._poller.fileno(), self._signalled)
        self._soon()

    def _serve(self, listener: int, name: str) -> None:
        """Connections of a listener go to `on_stream` of the actor it reports to, if that defines one."""
        (mailbox,) = (mailbox for mailbox in self.mailboxes if mailbox.name == name)
        if type(mailbox.actor).on_stream is ControlActor.on_stream:
            return

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await mailbox.actor.on_stream(reader, writer)

        self.streams.serve([listener], stream_factory(connected))

    async def stop(self, timeout: float = 5.0) -> None:
        """Takes what is left in the rings, gives the actors `timeout` seconds to finish, calls their `on_stop`."""
        if self._poller is None:
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while loop.time() < end:
            if not self._take_all():
                for peer in self.cores:
                    peer.hang_up(STOPPED)  # no reply is left in the rings
                if not self.held:
                    break
            await asyncio.sleep(0.001)
        loop.remove_reader(self._poller.fileno())
        poller, self._poller = self._poller, None
        poller.stop()
        self.streams.stop()
        for mailbox in self.mailboxes:
            mailbox.close()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=max(0.0, end - loop.time()))
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        held = [inbox.held for inbox in self._inboxes if inbox.held is not None]
        for mailbox in self.mailboxes:
            lost = mailbox.waiting + sum(run.many for run in held if run.target == mailbox.number)
            if lost:
                self._log.warning("messages_lost", mailbox=mailbox.name, count=lost)
        await self.post.stop(max(0.1, end - loop.time()))
        await self._stop_actors(self.mailboxes)
        for peer in self.cores:
            peer.close(STOPPED)

    async def _stop_actors(self, mailboxes: Iterable[Mailbox]) -> None:
        for mailbox in mailboxes:
            await mailbox.stop()

    @property
    def wakeups(self) -> int:
        """How often the poller woke the event loop."""
        return self._poller.signals if self._poller else 0

    @property
    def held(self) -> int:
        """Rings left alone because nobody has room."""
        return sum(inbox.held is not None for inbox in self._inboxes)

    def _want(self, number: int, ring: Ring, cells: int) -> None:
        self._wanted[number] = cells
        self._watch_room(number, ring)

    def _want_for_streams(self, number: int, ring: Ring, cells: int) -> None:
        self._wanted_for_streams[number] = cells
        self._watch_room(number, ring)

    def _watch_room(self, number: int, ring: Ring) -> None:
        """Messages and streams wait for room in the same rings."""
        if self._poller is not None:
            cells = (self._wanted.get(number, 0), self._wanted_for_streams.get(number, 0))
            self._poller.unpark()
            self._poller.want(number, ring, max(cells))
            if not self._in_turn:
                self._soon()

    def _signalled(self) -> None:
        if self._poller is not None:
            self._poller.clear()
            if not self._turn_due:  # whoever was answered goes on before the next turn
                self._turn()

    def _asking(self) -> None:
        if self._poller is not None:
            self._poller.unpark()
        self._spin.ask()
        self._hurry = True
        self._soon()

    def _fed(self) -> None:
        """Streams were given bytes: their callbacks run before the next turn, and the next bytes often come at once."""
        self._answered = True
        self._spin.ask()

    def _soon(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Takes messages, sends what waited for room, and parks when there is no more of either."""
        self._turn_due = False
        if self._poller is None:
            return
        self._poller.unpark()
        self._in_turn, self._answered = True, False
        try:
            more = self._take_all()
            for peer, streams in zip(self.cores, self.streams.cores, strict=True):
                if peer.waiting:
                    peer.flush()
                if streams.waiting:
                    streams.flush()
            if not more and self._spins(self._poller):
                more = self._take_all()
        except Exception:  # a mistake of ours must not silence the control plane for good
            self._log.exception("service_error")
            asyncio.get_running_loop().call_later(AFTER_AN_ERROR, self._soon)
            return
        finally:
            self._in_turn = False
        if more or not self._sleep(self._poller):
            self._soon()

    def _spins(self, poller: Poller) -> bool:
        """Looks at the rings for a moment, if somebody waits for a reply and none has come; whether it found one."""
        if self._answered or not self._spin.due():
            return False
        found = poller.spin(SPIN)
        self._spin.ended(found=found)
        return found

    def _sleep(self, poller: Poller) -> bool:
        """Parks; False if there is something to do."""
        if self._answered:
            return False  # whoever asked goes on before us, and often asks again
        hurry, self._hurry = self._hurry, False
        return poller.park(hurry=hurry)

    def _take_all(self) -> bool:
        """A bounded number of messages from every ring; whether there may be more to take now."""
        more = False
        for inbox in self._inboxes:
            more |= self._take(inbox)
        return more

    def _take(self, inbox: Inbox) -> bool:
        if inbox.held is not None and not self._deliver(inbox, inbox.held):
            return False
        for _ in range(RUNS_A_TURN):
            if inbox.streams.streams and (heard := inbox.streams.hear()):
                self.taken += heard
                self._fed()
                continue
            run = inbox.ring.get_run()
            if run is None:
                return False
            inbox.ring.advance()
            self.taken += run.many
            if not self._deliver(inbox, run):
                return False
        return True

    def _deliver(self, inbox: Inbox, run: Run) -> bool:
        """False if nobody has room, far beyond every limit: what is left of the run is held, and the ring left alone."""
        if run.kind == REPLY:
            self._answered = True
            inbox.peer.replied(run.tag, run.type, run.data)
            more = (
                sum(peer.asks for peer in self.cores) > 1
            )  # who is answered here is still among them
            self._hurry = self._hurry and more
            if more:
                self._spin.ask()
        elif run.kind == EVENT and run.type == EVENT_STREAM:
            inbox.streams.take(run)
        elif run.kind == EVENT and run.type == EVENT_FAULT and run.length >= FAULT_LEAST:
            for start in range(0, len(run.data), run.length):
                event = FaultEvent.from_bytes(run.data[start : start + run.length])
                told = self._fault_log.told(inbox.number, event)
                self.publish(fault_message(told), inbox.number)
        elif run.kind == EVENT and run.type == EVENT_NEIGHBOUR and run.length >= NEIGHBOUR_BYTES:
            for start in range(0, len(run.data), run.length):
                doubt = NeighbourEvent.from_bytes(run.data[start : start + run.length])
                self.on_doubt(inbox.number, doubt)
        elif run.kind == TELL:
            return self._post(inbox, run)
        else:
            self.post.unknown += run.many
        return True

    def publish(self, message: Message, core: int) -> None:
        """An event of a core, to whoever takes its type."""
        self.post.publish(message, CoreSender(self.cores[core], 0), self._inboxes[core].beyond)

    def _post(self, inbox: Inbox, run: Run) -> bool:
        rest = self.post.deliver(run, CoreSender(inbox.peer, run.tag), inbox)
        held, inbox.held = inbox.held, rest
        if self._poller is not None and (rest is None) != (held is None):
            self._poller.mute(inbox.number, rest is not None)
        return rest is None


@contextlib.asynccontextmanager
async def running(service: Service) -> AsyncIterator[Service]:
    """Starts the service and stops it at the end, as an `async with`."""
    await service.start()
    try:
        yield service
    finally:
        await service.stop()
