"""The launcher's way to its first fork, step by step: how long each took, and whether it left threads behind.

A fork copies only the caller's thread, so any other would be lost in it.
"""

import os
import threading
import time

from . import system
from .boot import Lines
from .errors import ActorError, Problem


class Steps:
    """The steps before the first fork: how long each took, and which of them left threads behind."""

    def __init__(self, controller: Lines) -> None:
        self.controller = controller
        self.culprits: dict[str, int] = {}
        self._known = len(system.thread_names(os.getpid()))
        self._began = time.monotonic()

    def done(self, step: str) -> None:
        """`step` ends now, as `import hello` or `compile`: what has passed since the last one was its."""
        now = time.monotonic()
        self.controller.send(event="step", step=step, seconds=now - self._began)
        threads = len(system.thread_names(os.getpid()))
        if threads > self._known:
            self.culprits[step] = threads - self._known
        self._known = threads
        self._began = time.monotonic()

    def refuse_threads(self) -> None:
        """Raises ActorError, naming threads and who started them, when a fork would lose any."""
        names = system.thread_names(os.getpid())
        others = [name for thread, name in names.items() if thread != os.getpid()]
        if not others:
            return
        python = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
        culprits = (
            ", ".join(f"`{step}`" for step in self.culprits) or "the start of the interpreter"
        )
        raise ActorError(
            Problem(
                file="launcher",
                problem=f"{len(others)} other thread(s) run before the fork and would be lost in it: "
                f"{', '.join(python or others)}, started by {culprits}",
                remedy="start threads in the on_start of a control actor, not when the module is imported",
            )
        )
