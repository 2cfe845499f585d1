"""`splitplane run --interpret`: the first core of every group, uncompiled, in this process and its one thread.

So breakpoint() and print work in handlers and in control actors, and everything waits while the debugger does. Nothing
is pinned, nothing replaces a core that crashes.
"""

import asyncio
import os
import pdb  # noqa: T100 - what breakpoint() opens
import signal
import sys
from contextlib import suppress
from typing import Any

from ..dataplane.calls import raise_escaped
from ..dataplane.core import Core
from ..dataplane.core_state import DRAINING, STOPPED
from ..runtime.assemble import assemble, attach
from ..runtime.holdings import Holding, Holdings
from ..runtime.layout import Layout
from ..runtime.program import Interpreted
from ..runtime.runtime import make_service, watch_routes
from ..runtime.schema import schema_of
from .run import ended

IDLE = 0.001
"""Seconds between two looks when nothing happens."""


def foreground(layout: Layout, log: Any) -> int:
    """Runs it until Ctrl-C; the exit code, 0."""
    groups = {
        name: group.model_copy(update={"cpus": group.cpus[:1]})
        for name, group in layout.group.items()
    }
    if sys.breakpointhook is sys.__breakpointhook__ and "PYTHONBREAKPOINT" not in os.environ:
        sys.breakpointhook = _debug
    small = layout.model_copy(update={"group": groups})
    with Holdings(small, pinned=False) as holdings:
        with suppress(KeyboardInterrupt):  # a second Ctrl-C: the cores have stopped at once
            asyncio.run(_serve(holdings, log))
        ended(len(small.cores), lambda core: holdings.cores[core].state.counters(), log)
    return 0


def _debug() -> None:
    """breakpoint() without pdb's own Ctrl-C, which would go on taking it after `c`: it ends the run, as without pdb."""
    pdb.Pdb(nosigint=True).set_trace(sys._getframe().f_back)


async def _serve(holdings: Holdings, log: Any) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    service = make_service(holdings)
    await service.start()
    routes = await watch_routes(holdings, service)
    try:
        cores = [_open(holdings, held) for held in holdings.cores]
        for held in holdings.cores:
            ports = [listener.port for listener in held.order.listeners]
            log.info("started", core=held.order.number, group=held.order.group, ports=ports)
        log.info("running", name=holdings.layout.name, mode="interpreted")
        try:
            await _turns(cores)
        except (asyncio.CancelledError, KeyboardInterrupt):
            log.info("stopping")
            task.uncancel()
            await _drain(holdings, cores)
        finally:
            for core in cores:
                core.close()
    finally:
        routes.stop()
        await service.stop()


def _open(holdings: Holdings, held: Holding) -> Core:
    order = held.order
    schema = schema_of(holdings.actors.all, holdings.layout.cores_of, holdings.actors.messages)
    core = Core(
        held.arena.memory,
        number=order.number,
        drain_milliseconds=order.drain_milliseconds,
        half_open_limit=order.half_open_limit,
        local_address=order.local_address,
        mtu=order.mtu,
    )
    program = Interpreted(schema)
    assemble(core, order, holdings.layout, holdings.actors, schema, program, holdings.mesh)
    attach(core, order)
    core.start()
    return core


async def _turns(cores: list[Core]) -> None:
    while True:
        worked = sum(core.turn() for core in cores)
        raise_escaped()
        await asyncio.sleep(0 if worked else IDLE)


async def _drain(holdings: Holdings, cores: list[Core]) -> None:
    """Until every core has stopped; another Ctrl-C makes that at once."""
    for held in holdings.cores:
        held.state.wanted = DRAINING
    while any(held.state.run != STOPPED for held in holdings.cores):
        try:
            for held, core in zip(holdings.cores, cores, strict=True):
                if held.state.run != STOPPED:
                    core.run(1)
            raise_escaped()
            await asyncio.sleep(IDLE)
        except (asyncio.CancelledError, KeyboardInterrupt):
            for held in holdings.cores:
                held.state.wanted = STOPPED
