"""Starting, ordering and ending the load generator's process, from the process that wants the load."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Self

from ..runtime.errors import StartError
from .clients import Order, Report, Target
from .end import End

PATIENCE = 60.0
"""Seconds within which the process must come up."""
Progress = Callable[[Report], None]


class Generator:
    """A process at one end of a road, pinned to a CPU: clients of `target`, or without one a mirror in its place.

    Enter it with `async with`. Every method raises StartError when the process is gone.
    """

    def __init__(self, end: End, cpu: int, target: Target | None = None) -> None:
        self._boot = {
            "parent": os.getpid(),
            "cpu": cpu,
            "end": asdict(end),
            "target": None if target is None else _plain(target),
        }
        self._inherited = (end.descriptor,) if end.descriptor >= 0 else ()
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        command = ("-m", "splitplane.loadgen.process", json.dumps(self._boot))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=self._inherited,
            limit=1 << 22,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(PATIENCE):
                await self._line()
        except BaseException:
            await self.end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()

    @property
    def pid(self) -> int:
        """The process."""
        return self._alive.pid

    async def order(self, order: Order, progress: Progress | None = None) -> Report:
        """Carries `order` out to its end; `progress` hears each report on the way."""
        await self._tell({"begin": asdict(order)})
        return await self._until_done(progress)

    async def order_for(
        self, order: Order, seconds: float, progress: Progress | None = None, *, stop: bool = False
    ) -> Report:
        """Carries an order without an end out for so long, then to the end of its round.

        `stop`: ends at once instead, after which the connections differ in how often they were asked.
        """
        await self._tell({"begin": asdict(order)})
        word = b'{"stop": true}\n' if stop else b'{"finish": true}\n'
        timer = asyncio.get_running_loop().call_later(seconds, self._say, word)
        try:
            return await self._until_done(progress)
        finally:
            timer.cancel()

    async def spin_gaps(self, seconds: float, microseconds: float) -> int:
        """How often a spinning loop on that CPU stands still for longer: only without a target."""
        await self._tell({"spin": seconds, "gap": microseconds})
        return int((await self._line())["done"]["gaps"])

    async def mirrored(self) -> int:
        """Frames that have come to a mirror so far."""
        await self._tell({})
        return int((await self._line())["done"]["frames"])

    async def end(self) -> None:
        """Ends the process and waits for that. Safe to repeat."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(1):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    @property
    def _alive(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise StartError("the load generator isn't running")
        return self._process

    def _say(self, word: bytes) -> None:
        if self._process and self._process.stdin:
            self._process.stdin.write(word)

    async def _tell(self, line: dict[str, Any]) -> None:
        stdin = self._alive.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(line).encode() + b"\n")
            await stdin.drain()
        except ConnectionError:
            await self._gone()

    async def _until_done(self, progress: Progress | None) -> Report:
        while True:
            line = await self._line()
            if "done" in line:
                found = line["done"]
                found["latency"] = [(least, count) for least, count in found["latency"]]
                return Report(**found)
            if progress:
                progress(Report(**line["so_far"]))

    async def _line(self) -> dict[str, Any]:
        stdout = self._alive.stdout
        assert stdout is not None
        text = await stdout.readline()
        if not text:
            await self._gone()
        return dict(json.loads(text))

    async def _gone(self) -> None:
        code = await self._alive.wait()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise StartError(f"the load generator ended: {how}")


def _plain(target: Target) -> dict[str, Any]:
    return asdict(target) | {"server_mac": target.server_mac.hex()}
