"""Keeps the cores of an interface in the picture: Linux's routes, neighbours, MTU and MAC, published whenever one of
them changes. Sleeps in asyncio's poll until rtnetlink has something to say.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Any

from ..dataplane.routes import HOPS_MOST, ROUTES_MOST, NeighbourEvent, Picture, Route, RouteTable
from ..nic.linux_routes import GROUPS, Surroundings, look_again, look_anew, look_for, moved
from ..runtime.front_watch import FrontWatch
from ..runtime.holdings import Holdings

SOON = 0.005
"""Seconds that changes are gathered for."""
AGAIN = 0.02
"""Seconds until a core that had not taken the last picture is tried again; doubled up to a second."""
ASKED = 1.0
SOUGHT = 10.0
"""Seconds before Linux is asked for the same neighbour again: for one that it has, for one that it doesn't have."""
SHARE, MOST = 10, 10.0
"""Between two readings passes so many times what one took, at most so many seconds: a router's tables are long."""
DATAGRAM = 1 << 16


class RouteWatch:
    """Watches one interface for the cores whose arenas are given."""

    def __init__(self, watch: FrontWatch, arenas: Sequence[Any], log: Any) -> None:
        self._watch = watch
        self._interface = watch.interface
        self._routes = watch.routes
        self._arenas = dict(enumerate(arenas))
        self._waiting = dict(self._arenas)
        self._log = log
        self._around = Surroundings(watch.interface)
        self._asked: dict[tuple[IPv4Address, Callable[..., None]], float] = {}
        self._said: set[str] = set()
        self._picture: Picture | None = None
        self._table: RouteTable | None = None
        self._pause = AGAIN
        self._due: asyncio.TimerHandle | None = None
        self._again: asyncio.TimerHandle | None = None
        self._reading: asyncio.Task[None] | None = None
        self._errands: set[asyncio.Task[None]] = set()
        self._socket: socket.socket | None = None
        self._marshal: Any = None

    async def start(self) -> None:
        """Reads everything and publishes it, then goes on watching. Raises OSError, LookupError (no such interface)."""
        from pyroute2.netlink.rtnl.marshal import MarshalRtnl

        self._marshal = MarshalRtnl()
        flags = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, flags, socket.NETLINK_ROUTE)
        self._socket.bind((0, GROUPS))
        try:
            await self._read()
        except BaseException:
            self.stop()
            raise
        asyncio.get_running_loop().add_reader(self._socket, self._hear)

    def stop(self) -> None:
        """Ends it; the cores keep the last picture."""
        for handle in (self._due, self._again):
            if handle:
                handle.cancel()
        for task in (self._reading, *self._errands):
            if task:
                task.cancel()
        if self._socket:
            with suppress(RuntimeError):  # no loop runs any more
                asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def doubt(self, event: NeighbourEvent) -> None:
        """A core finds that a next hop has moved or doesn't answer: Linux is told, or asked to look again."""
        hop = event.address if event.mac else self._around.hop(event.address)
        known = self._around.neighbours.get(hop)
        if known is None or known.fixed or not self._routes:
            return
        if event.mac:
            self._errand(moved, hop, event.mac)
        elif known.usable and hop != event.address:  # a gateway, which others use too
            self._ask(hop, look_again, known.mac)
        elif known.usable:
            self._ask(hop, look_anew)
        else:
            self._ask(hop, look_for)

    def _hear(self) -> None:
        """Takes in what rtnetlink says; if some of it was lost, reads everything anew."""
        stale = False
        with suppress(BlockingIOError):
            while self._socket is not None:
                try:
                    data = self._socket.recv(DATAGRAM)
                except BlockingIOError:
                    raise
                except OSError:  # ENOBUFS: it came faster than we listened
                    stale = True
                    continue
                for message in self._marshal.parse(data):
                    stale |= self._around.heard(message)
        if stale and self._routes:
            self._reread()
        else:
            self._soon()

    def _reread(self) -> None:
        """Meanwhile nothing is heard: what comes waits in the socket, and is applied to the new reading."""
        loop = asyncio.get_running_loop()
        if self._socket is not None and self._reading is None:
            loop.remove_reader(self._socket)
            self._reading = loop.create_task(self._read_again())

    async def _read_again(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await self._read()
            await asyncio.sleep(min((loop.time() - began) * SHARE, MOST))
        except (OSError, LookupError) as error:
            self._log.warning("routes_unreadable", error=str(error))
        finally:
            self._reading = None
            if self._socket is not None:
                loop.add_reader(self._socket, self._hear)

    async def _read(self) -> None:
        self._around = await asyncio.to_thread(
            Surroundings.read, self._interface, routes=self._routes
        )
        self._publish()

    def _soon(self) -> None:
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(SOON, self._publish)

    def _publish(self) -> None:
        if self._due:
            self._due.cancel()
            self._due = None
        self._ask_on()
        picture = self._paint()
        if picture != self._picture:
            self._tell_mtu(picture.mtu)
            self._picture, self._table = picture, picture.table()
            self._waiting = dict(self._arenas)
            self._pause = AGAIN
            self._give()

    def _give(self) -> None:
        """To each core that can take it; one whose worker is being replaced takes it later."""
        if self._again:
            self._again.cancel()
            self._again = None
        table = self._table
        assert table is not None
        for number in [at for at, memory in self._waiting.items() if table.publish(memory)]:
            del self._waiting[number]
        if self._waiting:
            self._again = asyncio.get_running_loop().call_later(self._pause, self._give)
            self._pause = min(self._pause * 2, 1.0)

    def _paint(self) -> Picture:
        around = self._around
        if not self._routes:
            return Picture(around.mtu)
        routes = [self._route(way) for way in around.ways]
        own = self._watch.own.network if self._watch.own else None
        if own and all(way.network != own or not way.ours for way in around.ways):
            routes = [route for route in routes if route.network != own]
            routes.append(Route(own, link=True))
        hops = [(host, one.mac) for host, one in around.neighbours.items() if one.usable]
        if len(routes) > ROUTES_MOST:
            self._once("routes_left_out", routes=len(routes), most=ROUTES_MOST)
            return Picture(around.mtu, around.mac)
        if len(hops) > HOPS_MOST:
            self._once("neighbours_left_out", neighbours=len(hops), most=HOPS_MOST)
        return Picture(around.mtu, around.mac, tuple(routes), tuple(hops[:HOPS_MOST]))

    def _route(self, way: Any) -> Route:
        if not way.ours or not way.plain:
            return Route(way.network)
        if way.gateway is None:
            return Route(way.network, link=True)
        known = self._around.neighbours.get(way.gateway)
        if known is not None and known.usable:
            return Route(way.network, mac=known.mac)
        self._ask(way.gateway, look_for)  # Linux itself may never send there
        return Route(way.network)

    def _tell_mtu(self, mtu: int) -> None:
        before = self._picture.mtu if self._picture else 0
        if mtu > self._watch.slot and mtu != before:
            self._log.warning("mtu_too_large", mtu=mtu, most=self._watch.slot)
        elif before and mtu != before:
            self._log.info("mtu_changed", mtu=mtu, before=before)

    def _once(self, event: str, **fields: Any) -> None:
        if event not in self._said:
            self._said.add(event)
            self._log.warning(event, **fields)

    def _ask(self, hop: IPv4Address, question: Callable[..., None], *words: Any) -> None:
        now = asyncio.get_running_loop().time()
        self._asked = {
            (one, of): when
            for (one, of), when in self._asked.items()
            if now - when < (SOUGHT if of is look_for else ASKED)
        }
        if (hop, question) not in self._asked:
            self._asked[hop, question] = now
            self._errand(question, hop, *words)

    def _ask_on(self) -> None:
        """Who is not at its MAC any more is asked for by broadcast."""
        for hop, question in list(self._asked):
            known = self._around.neighbours.get(hop)
            if question is look_again and known is not None and known.failed:
                self._ask(hop, look_for)

    def _errand(self, question: Callable[..., None], *words: Any) -> None:
        """Asks Linux, in a thread; without the right to, replies go where they went."""

        async def go() -> None:
            with suppress(OSError):
                await asyncio.to_thread(question, self._interface, *words)

        task = asyncio.get_running_loop().create_task(go())
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)


class RouteWatches:
    """Every interface of a runtime, watched as long as the `async with` lasts."""

    def __init__(self, held: Holdings, log: Any) -> None:
        self._log = log
        self._watches: list[RouteWatch] = []
        self._of_core: dict[int, RouteWatch] = {}
        for name, front in held.fronts.items():
            cores = [core for core in held.cores if core.order.group == name]
            watch = RouteWatch(front.watch, [core.arena.memory for core in cores], log)
            self._watches.append(watch)
            self._of_core |= {core.order.number: watch for core in cores}

    def doubt(self, core: int, event: NeighbourEvent) -> None:
        """What a core says of its next hop."""
        if core in self._of_core:
            self._of_core[core].doubt(event)

    async def start(self) -> None:
        """Publishes what there is; where Linux says nothing, replies go where the peers' segments come from."""
        for watch in self._watches:
            try:
                await watch.start()
            except (OSError, LookupError) as error:
                self._log.warning("routes_unreadable", error=str(error))

    def stop(self) -> None:
        """Ends them all, before the arenas are unmapped."""
        for watch in self._watches:
            watch.stop()
