"""splitplane: a multi-core actor runtime: data-plane actors own connections, asyncio controls them.

Everything here is imported when it is first used. The integers and arrays of states and messages are in
`splitplane.types`, parsers for handlers in `splitplane.protocols`, unit tests of actors in `splitplane.testing`.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from .runtime import types

if TYPE_CHECKING:
    from .runtime.actor import (
        CloseReason,
        Connection,
        ControlActor,
        DataActor,
        Endpoint,
        Sender,
        Writer,
        on,
    )
    from .runtime.attached import Attached, attach
    from .runtime.config import Config
    from .runtime.layout import Layout
    from .runtime.message import Message, Request
    from .runtime.runtime import Runtime, start
    from .runtime.state import State
    from .runtime.view import View

__version__ = "0.1.0"

# An alias: a file types.py here would shadow the standard library's for whoever runs Python in the tree.
sys.modules[__name__ + ".types"] = types

WHERE = {
    "Attached": "runtime.attached",
    "CloseReason": "runtime.actor",
    "Config": "runtime.config",
    "Connection": "runtime.actor",
    "ControlActor": "runtime.actor",
    "DataActor": "runtime.actor",
    "Endpoint": "runtime.actor",
    "Layout": "runtime.layout",
    "Message": "runtime.message",
    "Request": "runtime.message",
    "Runtime": "runtime.runtime",
    "Sender": "runtime.actor",
    "State": "runtime.state",
    "View": "runtime.view",
    "Writer": "runtime.actor",
    "attach": "runtime.attached",
    "on": "runtime.actor",
    "start": "runtime.runtime",
}

__all__ = [
    "Attached",
    "CloseReason",
    "Config",
    "Connection",
    "ControlActor",
    "DataActor",
    "Endpoint",
    "Layout",
    "Message",
    "Request",
    "Runtime",
    "Sender",
    "State",
    "View",
    "Writer",
    "attach",
    "on",
    "start",
]


def __getattr__(name: str) -> Any:
    if name not in WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{WHERE[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *WHERE])
