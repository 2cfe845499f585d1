"""What a program does to a runtime's connections and actors while it runs: pushes, and changes of configs."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from .embedding import Embedding

if TYPE_CHECKING:
    from .configure import Configurer
    from .holdings import Holdings


class Live(Embedding):
    """The part of a Runtime that sends to connections and changes actors' configs."""

    _configurer: Configurer | None = None

    def send(self, handle: int, data: bytes) -> Awaitable[None]:
        """Sends `data` to the connection of that handle: see Pushes.send."""
        return self._running.pushes.send(handle, data)

    def broadcast(
        self, group: str, data: bytes, *, port: str | int | None = None
    ) -> Awaitable[None]:
        """Sends `data` to every connection of a group, or of one port of it, once: see Pushes.broadcast."""
        return self._running.pushes.broadcast(group, data, port=port)

    def publish(
        self, topic: int | str | bytes, data: bytes, *, group: str | None = None
    ) -> Awaitable[None]:
        """Sends `data` to every connection that has subscribed to `topic`, once: see Pushes.publish."""
        return self._running.pushes.publish(topic, data, group=group)

    async def configure(self, group: str, /, **values: Any) -> None:
        """Changes fields of the `Config` of a group's actors while they run: `await runtime.configure("web", greeting=4)`.

        Each core takes the change over between two turns, for all its listeners at once; a worker that takes over from a
        dead one has it too. Every listener whose Config has a field of that name gets it. Raises KeyError for an unknown
        group, ActorError with every value that does not fit (nothing is changed then), QuarantineError for a group that
        was given up, TimeoutError when a core does not run: it takes the change when it does, unless an earlier one still
        waits; then it says that this one was not made.
        """
        await self._configs.change(group, values)

    async def reload(self) -> list[str]:
        """Reads the layout's file again, with the same overrides, and applies what may change live: actors' configs.

        Returns the keys that changed. Raises LayoutError with everything else that differs, ActorError for a config that
        does not fit; then nothing has changed. RuntimeError for a layout that came from no file.
        """
        from .load import load_layout

        if self.layout.source is None:
            raise RuntimeError("this layout came from no file: change it with runtime.configure")
        file, overrides = self.layout.source
        return await self._configs.reload(load_layout(file, overrides))

    @property
    def _configs(self) -> Configurer:
        from .configure import Configurer

        if self._configurer is None:
            self._configurer = Configurer(self._held, self._running)
        return self._configurer

    @property
    def _held(self) -> Holdings:
        raise NotImplementedError
