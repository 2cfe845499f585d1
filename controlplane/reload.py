"""`splitplane reload`: asks a running layout of this user to read its file again, and says what became of it.

The door is an abstract unix socket, `splitplane/reload/UID/NAME`, which ends with its process. Both sides look at whom
they talk to (SO_PEERCRED): the runtime hears its own user and root, the command talks to its own user's, as root to any.
"""

import argparse
import asyncio
import json
import os
import re
import socket
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runtime.errors import Problem, RegistryError, SplitplaneError
from ..runtime.private import keep_private

if TYPE_CHECKING:
    from ..runtime.runtime import Runtime

PREFIX = "splitplane/reload/"
TIMEOUT = 30.0
CREDENTIALS = struct.Struct("=iII")


class Door:
    """Where a runtime hears that it shall reload. Lives in the runtime's event loop."""

    def __init__(
        self, runtime: "Runtime", server: asyncio.Server, listening: socket.socket
    ) -> None:
        self._server, self._listening = server, listening
        self._runtime = runtime
        keep_private(self)

    @classmethod
    async def open(cls, runtime: "Runtime") -> "Door | None":
        """None when a runtime of this name and user has one already: that one is reloaded, this one can't be."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.bind(f"\0{PREFIX}{os.geteuid()}/{runtime.layout.name}")
        except OSError:
            listening.close()
            return None
        server = await asyncio.start_unix_server(
            lambda reader, writer: _answer(runtime, reader, writer), sock=listening
        )
        return cls(runtime, server, listening)

    @property
    def private(self) -> tuple[int, ...]:
        """What a process that this one forks must not keep."""
        return (self._listening.fileno(),) if self._listening.fileno() >= 0 else ()

    def forked(self) -> None:
        """In such a process: nothing to do, its descriptor leads nowhere."""

    def close(self) -> None:
        """Hears no more."""
        self._server.close()


async def _answer(
    runtime: "Runtime", _: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        if _peer(writer.get_extra_info("socket")) not in (0, os.geteuid()):
            return
        try:
            reply: dict[str, Any] = {"changed": await runtime.reload()}
        except SplitplaneError as error:
            reply = {"problems": [one.as_dict() for one in error.problems]}
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            reply = {"problems": [{"file": "", "problem": str(error)}]}
        writer.write(json.dumps(reply, default=str).encode() + b"\n")
        await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


def _peer(connection: Any) -> int:
    """The user at the other end."""
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    return int(CREDENTIALS.unpack(packed)[1])


def add_command(commands: Any) -> None:
    """Adds `reload` to the command line's."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "reload", help="have a running layout read its file again", allow_abbrev=False
    )
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME|LAYOUT",
        help="the runtime's name, or its file; none: the only one",
    )
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    parser.set_defaults(body=_reload)


def _reload(options: argparse.Namespace) -> int:
    reply = ask(_chosen(options.name))
    if options.json:
        print(json.dumps(reply))
    else:
        for key in reply.get("changed", ()):
            print(f"changed: {key}")
        if not reply.get("changed") and "problems" not in reply:
            print("nothing has changed")
        for problem in reply.get("problems", ()):
            print(Problem(**problem), file=sys.stderr)
    return 1 if "problems" in reply else 0


def _chosen(name: str | None) -> str:
    if name is not None and (name.endswith(".toml") or "/" in name):
        from ..runtime.load import load_layout

        return load_layout(Path(name)).name
    if name is not None:
        return name
    names = running()
    if len(names) == 1:
        return names[0]
    text = f"several layouts run: {', '.join(names)}" if names else "no layout of yours runs"
    raise RegistryError([Problem("", text, remedy="splitplane reload NAME" if names else "")])


def running() -> list[str]:
    """Names of the runtimes of this user that can be asked."""
    text = Path("/proc/net/unix").read_text()
    found = re.findall(rf"@{PREFIX}{os.geteuid()}/(\S+)$", text, re.MULTILINE)
    return sorted(set(found))


def ask(name: str) -> dict[str, Any]:
    """What the runtime of that name says to a reload. RegistryError if there is none, or it doesn't answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.settimeout(TIMEOUT)
        try:
            door.connect(f"\0{PREFIX}{os.geteuid()}/{name}")
            if _peer(door) not in (0, os.geteuid()):
                raise ConnectionError
            said = door.makefile("rb").read()
        except OSError as error:
            known = f"running: {', '.join(running())}" if running() else "splitplane run LAYOUT"
            why = "does not answer" if isinstance(error, TimeoutError) else "does not run"
            raise RegistryError([Problem("", f"layout {name!r} {why}", remedy=known)]) from None
    reply: dict[str, Any] = (
        json.loads(said) if said else {"problems": [{"file": "", "problem": "refused"}]}
    )
    return reply
