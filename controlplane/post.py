"""Who takes a message that reached the control plane: the mailbox it is addressed to, actors started at run time, and
whoever iterates over its type. All of them take it, or it waits.
"""

import asyncio
import contextlib
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from ..dataplane.ring import TELL, Run
from ..runtime.actor import ControlActor, Sender
from ..runtime.fixed import Fixed
from ..runtime.message import Message, Request
from ..runtime.schema import Schema
from .inbox import Inbox
from .mailbox import Mailbox
from .restarts import Restarts
from .subscription import Messages

M = TypeVar("M", bound=Message)
R = TypeVar("R", bound=Fixed)

LOCAL = 1 << 16
"""Numbers of message types that no actor of the layout knows start here; they never reach a ring."""
EVENTS_BEYOND = 1 << 16
"""Messages about the cores find room in a full mailbox, because nobody could send them again."""
STOP_SECONDS = 5.0


class Taker(Protocol):
    """A mailbox, or somebody's iteration."""

    def room(self, run: Run) -> int:
        """How many messages of the run it takes now."""

    def offer(self, run: Run, sender: Sender, beyond: int = 0) -> Run | None:
        """Takes what fits; returns the rest."""

    def when_room(self, call: Callable[[], None]) -> None:
        """`call` runs once when there is room again."""

    def refuse(self, by: int) -> None:
        """So many more cores, or fewer, refuse what goes to it."""


class Here(Sender):
    """The sender of what the control plane tells itself."""

    __slots__ = ()

    @property
    def core_id(self) -> int:
        """-1: no core."""
        return -1

    def tell(self, message: Message) -> Awaitable[None]:
        """TypeError: nobody waits there."""
        text = f"{type(message).__qualname__} was told by the program itself: it takes no answer"
        raise TypeError(text)

    # The signature is CorePeer's.
    async def ask(self, request: Request[R], *, timeout: float = 5.0) -> R:  # noqa: ARG002
        """TypeError, as `tell`."""
        self.tell(request)
        raise AssertionError


HERE = Here()


TOTALS = ("handled", "failed", "unknown", "restarted")
"""What a mailbox counts."""


def _add(totals: dict[str, int], mailbox: Mailbox) -> None:
    for name in TOTALS:
        totals[name] += getattr(mailbox, name)


class Spawned:
    """A control actor started at run time, to tell and to stop. It also takes messages of its `@on` types that cores
    send, in addition to whomever they are addressed to.
    """

    def __init__(self, post: "Post", mailbox: Mailbox) -> None:
        self._post, self._mailbox = post, mailbox

    @property
    def name(self) -> str:
        """As logs call it."""
        return self._mailbox.name

    @property
    def actor(self) -> ControlActor:
        """The instance."""
        return self._mailbox.actor

    @property
    def waiting(self) -> int:
        """Messages in its mailbox."""
        return self._mailbox.waiting

    async def tell(self, message: Message) -> None:
        """Puts `message` into the mailbox; waits while it is full. RuntimeError once it has stopped."""
        number = self._post.number(type(message))
        run = Run(number, TELL, 0, 0, len(message.to_bytes()), 1, message.to_bytes())
        if not self._mailbox.takes(run):
            text = f"{self.name} does not take {type(message).__qualname__}"
            raise TypeError(f"{text}: add an @on({type(message).__qualname__}) method")
        while self._post.has(self._mailbox):
            if self._mailbox.offer(run, HERE) is None:
                return
            free = asyncio.Event()
            self._mailbox.when_room(free.set)
            await free.wait()
        raise RuntimeError(f"{self.name} has stopped")

    async def stop(self) -> None:
        """Lets it finish what waits (5 s), then calls its `on_stop`."""
        await self._post.retire(self._mailbox)


class Post:
    """All takers. `mailboxes` are the layout's by number; `unknown` messages found nobody, `events_lost` no room."""

    def __init__(self, schema: Schema, log: Any) -> None:
        self.mailboxes: list[Mailbox] = []
        self.unknown = self.events_lost = 0
        self._schema, self._log = schema, log
        self._local: dict[type[Fixed], int] = {}
        self._spawned: dict[Mailbox, asyncio.Task[None]] = {}
        self._others: dict[int, list[Taker]] = {}
        self._iterations: dict[_Weak, None] = {}
        self._retired = dict.fromkeys(TOTALS, 0)
        self._stopped = False

    def totals(self) -> dict[str, int]:
        """TOTALS of all mailboxes, of actors that have ended too."""
        found = dict(self._retired)
        for mailbox in (*self.mailboxes, *self._spawned):
            _add(found, mailbox)
        return found

    def levels(self) -> dict[str, int]:
        """How full spawned actors and iterations are."""
        found: dict[str, int] = {}
        for name, takers in (("spawned", self._spawned), ("iterations", self._iterations)):
            found[name] = len(takers)
            found[f"{name}_waiting"] = sum(taker.waiting for taker in takers)
            found[f"{name}_full"] = sum(taker.refusing > 0 for taker in takers)
        return found

    def number(self, cls: type[Fixed]) -> int:
        """The number of a message type in this runtime."""
        known = self._schema.numbers.get(cls)
        if known is None:
            known = self._local.setdefault(cls, LOCAL + len(self._local))
        return known

    def deliver(self, run: Run, sender: Sender, inbox: Inbox) -> Run | None:
        """Gives the run, which came in `inbox`, to all who take it; the rest that they have no room for."""
        others = self._others.get(run.type)
        mailbox = self.mailboxes[run.target] if run.target < len(self.mailboxes) else None
        if not others:
            if mailbox is None:
                self.unknown += run.many
                return None
            rest = mailbox.offer(run, sender, inbox.beyond)
            inbox.look(mailbox, run)
            if rest is not None:
                mailbox.when_room(inbox.soon)
            return rest
        takers: list[Taker] = list(others)
        if mailbox is not None and mailbox.takes(run):
            takers.append(mailbox)
        return _to_all(takers, run, sender, inbox)

    def publish(self, message: Message, sender: Sender, beyond: int) -> None:
        """An event: to every mailbox and iteration that takes its type, of which messages took `beyond` at most."""
        number, data = self.number(type(message)), message.to_bytes()
        run = Run(number, TELL, 0, 0, len(data), 1, data)
        takers = [mailbox for mailbox in self.mailboxes if mailbox.takes(run)]
        for taker in (*takers, *self._others.get(number, ())):
            if taker.offer(run, sender, beyond + EVENTS_BEYOND) is not None:
                self.events_lost += 1

    def messages(self, cls: type[M], limit: int) -> Messages[M]:
        """Messages of that type from now on."""
        number = self.number(cls)

        def leave() -> None:
            self._leave(number, proxy)
            self._iterations.pop(proxy, None)

        made: Messages[M] = Messages(cls, limit, leave)
        proxy = _Weak(made)
        self._others.setdefault(number, []).append(proxy)
        self._iterations[proxy] = None
        if self._stopped:
            made.close()
        return made

    async def spawn(
        self, actor: ControlActor, name: str, limit: int, restarts: Restarts | None
    ) -> Spawned:
        """Starts `actor`; an error of its `on_start` passes through."""
        if self._stopped:
            raise RuntimeError("the runtime has stopped")
        mailbox = Mailbox(255, name, actor, limit, self.number, self._log, restarts)
        try:
            await mailbox.start()
        except BaseException:
            mailbox.close()
            raise
        task = asyncio.get_running_loop().create_task(
            mailbox.serve(), name=f"splitplane actor {name}"
        )
        self._spawned[mailbox] = task
        for number in mailbox.numbers:
            self._others.setdefault(number, []).append(mailbox)
        return Spawned(self, mailbox)

    def has(self, mailbox: Mailbox) -> bool:
        """Whether a spawned actor lives."""
        return mailbox in self._spawned

    async def retire(self, mailbox: Mailbox, seconds: float = STOP_SECONDS) -> None:
        """Ends a spawned actor; nothing if it has ended."""
        task = self._spawned.pop(mailbox, None)
        if task is None:
            return
        for number in mailbox.numbers:
            self._leave(number, mailbox)
        mailbox.close()
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(task)
        except TimeoutError:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        finally:
            if not task.done():
                task.cancel()
            mailbox.free()
            await mailbox.stop()
        _add(self._retired, mailbox)
        if mailbox.waiting:
            self._log.warning("messages_lost", mailbox=mailbox.name, count=mailbox.waiting)

    async def stop(self, seconds: float) -> None:
        """No more messages come: ends spawned actors and iterations."""
        self._stopped = True
        await asyncio.gather(*(self.retire(mailbox, seconds) for mailbox in tuple(self._spawned)))
        for takers in tuple(self._others.values()):
            for taker in tuple(takers):
                if isinstance(taker, _Weak):
                    taker.close()

    def _leave(self, number: int, taker: Taker) -> None:
        takers = self._others.get(number, [])
        if taker in takers:
            takers.remove(taker)
        if not takers:
            self._others.pop(number, None)


def _to_all(takers: list[Taker], run: Run, sender: Sender, inbox: Inbox) -> Run | None:
    fullest = min(takers, key=lambda taker: taker.room(run))
    head, rest = run.split(fullest.room(run) + inbox.beyond)
    if head is not None:
        for taker in takers:
            taker.offer(head, sender, inbox.beyond)
            inbox.look(taker, run)
    if rest is not None:
        fullest.when_room(inbox.soon)
    return rest


class _Weak:
    """An iteration that nobody holds any more is over."""

    def __init__(self, messages: Messages[Any]) -> None:
        self._messages = weakref.ref(messages)

    def room(self, run: Run) -> int:
        found = self._messages()
        return run.many if found is None else found.room(run)

    def offer(self, run: Run, sender: Sender, beyond: int = 0) -> Run | None:
        found = self._messages()
        return None if found is None else found.offer(run, sender, beyond)

    def when_room(self, call: Callable[[], None]) -> None:
        found = self._messages()
        if found is not None:
            found.when_room(call)

    def refuse(self, by: int) -> None:
        found = self._messages()
        if found is not None:
            found.refuse(by)

    @property
    def waiting(self) -> int:
        found = self._messages()
        return 0 if found is None else found.waiting

    @property
    def refusing(self) -> int:
        found = self._messages()
        return 0 if found is None else found.refusing

    def close(self) -> None:
        found = self._messages()
        if found is not None:
            found.close()
