"""The configs of a core's actors as changed while they run (dataplane/configure.h), from the control plane's side."""

from typing import Any

from .native import ffi, lib
from .sections import arena_section

__all__ = ["Configuration"]


class Configuration:
    """The config section of one core's mapped arena. Use it while the arena is mapped."""

    def __init__(self, memory: Any) -> None:
        self._memory = ffi.from_buffer(memory, require_writable=True)
        offset, _ = arena_section(memory, "config")
        self._pointer = ffi.cast("struct configuration *", self._memory + offset)

    @property
    def taken(self) -> bool:
        """Whether the core has taken over what was put last."""
        return bool(lib.configure_taken(self._pointer))

    def put(self, image: bytes) -> bool:
        """The configs that hold from now on, as config_offsets places them. False: the core has yet to take the last."""
        return bool(lib.configure_put(self._pointer, image, len(image)))

    def close(self) -> None:
        """Lets the memory go."""
        ffi.release(self._memory)
