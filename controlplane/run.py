"""`splitplane run`: a layout until SIGINT or SIGTERM; the second of them stops it at once.

Events and counters go through structlog's logger `splitplane`: for people on standard error, with `--json` as one JSON
object a line on standard output.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from ..runtime.errors import SplitplaneError
from ..runtime.layout import Layout
from ..runtime.runtime import Runtime


def run(
    layout: Layout, *, interpret: bool = False, verbose: bool = False, as_json: bool = False
) -> int:
    """Runs it; the exit code, 0. Raises MachineError or ActorError before it starts, StartError when it fails later."""
    _standard_streams()
    log = _logger(as_json=as_json)
    if interpret:
        from .foreground import foreground

        return foreground(layout, log)
    return asyncio.run(_run(layout, log, verbose=verbose))


def _standard_streams() -> None:
    """Where a standard stream was closed (some daemons do), /dev/null: else the next descriptor would take its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    # They stay open to the end of the process, like those they stand in for.
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _logger(*, as_json: bool) -> Any:
    import structlog

    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    if as_json:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        processors.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout if as_json else sys.stderr),
    )
    return structlog.get_logger("splitplane")


class _Signals:
    """What Ctrl-C means: the first ends the start or the run, the second the waiting for connections."""

    def __init__(self, runtime: Runtime, log: Any) -> None:
        self.asked = asyncio.Event()
        self.running = False
        self._runtime, self._log = runtime, log
        self._main: Any = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._take, number)

    def _take(self, number: int) -> None:
        if self.asked.is_set():
            self._log.warning("stopping_at_once", signal=signal.Signals(number).name)
            self._runtime.stop_at_once()
            return
        self._log.info("stopping", signal=signal.Signals(number).name)
        self.asked.set()
        if not self.running:
            self._main.cancel()


async def _run(layout: Layout, log: Any, *, verbose: bool) -> int:
    runtime = Runtime(layout, verbose=verbose, alone=True)
    signals = _Signals(runtime, log)
    try:
        async with runtime:
            signals.running = True
            started(runtime, log)
            await _first(signals.asked.wait(), runtime.wait())
    except asyncio.CancelledError:
        if not signals.asked.is_set():
            raise
    ended(len(layout.cores), runtime.counters, log)
    return 0


async def _first(*waits: Any) -> None:
    """Until one of them is through; its error passes on."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def started(runtime: Runtime, log: Any) -> None:
    """Says what runs where."""
    layout = runtime.layout
    for warning in runtime.warnings:
        log.warning("warning", text=warning)
    for worker in runtime.workers:
        group = layout.group[worker.group]
        log.info(
            "started",
            core=worker.core,
            cpu=worker.cpu,
            pid=worker.pid,
            group=worker.group,
            driver=layout.nic[group.nic].driver,
            ports=[listen.port for listen in group.listen],
        )
    log.info(
        "running", name=layout.name, launcher=runtime.launcher_pid, page_size=runtime.page_size
    )


def ended(cores: int, counters: Callable[[int], dict[str, int]], log: Any) -> None:
    """Says what each core counted, zeros left out."""
    for core in range(cores):
        try:
            counted = {name: count for name, count in counters(core).items() if count}
        except (RuntimeError, SplitplaneError):
            return  # it never started
        log.info("counters", core=core, **counted)
    log.info("stopped")
