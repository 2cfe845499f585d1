"""Claims: a CPU or a port is one runtime's at a time, and the second that asks learns who holds it.

A claim is a listening unix socket with an abstract name. The kernel lets only one process bind a name and forgets it
when the last descriptor is gone, so a claim outlives no process, however it died. The controller passes its claims on
to launcher and workers: a CPU counts as held for as long as any of them runs. Abstract names are per network
namespace: runtimes in two containers don't see each other's claims on one CPU.

The holder's name is published by a second, abstract socket, `splitplane/runtime/PID/NAME`, so that a refused one reads
it from /proc/net/unix without the holder's help. A launcher that serves on without its controller publishes
`splitplane/orphan/PID/NAME` instead.
"""

import contextlib
import errno
import os
import re
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from . import system
from .errors import MachineError, Problem

_PREFIX = "splitplane/"
_ASKERS = 4096
"""Refused runtimes whose question nobody answers: they stay in the queue, and a full one names no holder."""
_PATIENCE = 2.0
"""Seconds in which a claim whose controller is dead may still vanish: its workers are being killed."""


class Claims:
    """The CPUs and ports of one runtime. `with Claims("hello") as claims: claims.cpu(1)`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._sockets: dict[str, socket.socket] = {}
        self._take(f"runtime/{os.getpid()}/{id(self):x}/{name}")

    @property
    def descriptors(self) -> tuple[int, ...]:
        """For launcher and workers to inherit; these keep the claims while any of them lives."""
        return tuple(held.fileno() for held in self._sockets.values())

    def cpu(self, cpu: int, key: str = "", value: object = None, file: str = "") -> None:
        """Claims a CPU for a core. Raises MachineError naming the runtime that has it, at `key = value` of `file`."""
        problem = Problem(file, "", key, value, "give the core another CPU")
        self._claim(f"cpu/{cpu}", f"CPU {cpu}", problem)

    def port(self, address: str, port: int, key: str = "", file: str = "") -> None:
        """Claims a TCP port at an address (`0.0.0.0`: all). Raises MachineError naming who has it.

        Asks Linux too, by binding without SO_REUSEPORT: whoever listens there, splitplane or not, is found.
        """
        problem = Problem(file, "", key, f"tcp:{port}", "choose another port")
        self._claim(f"port/tcp/{address}/{port}", f"port tcp:{port}", problem)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
                probe.listen(1)
            except OSError as error:
                raise _refused(problem, _port_refusal(error, address, port)) from error

    def close(self) -> None:
        """Gives up this process's part of all claims."""
        for held in self._sockets.values():
            held.close()
        self._sockets.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _take(self, name: str) -> None:
        held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            held.bind(f"\0{_PREFIX}{name}")
            held.listen(_ASKERS)
        except OSError:
            held.close()
            raise
        self._sockets[name] = held

    def _claim(self, name: str, what: str, problem: Problem) -> None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return self._take(name)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            pid = holder_of(name)
            going = pid is not None and pid != os.getpid() and not Path(f"/proc/{pid}").exists()
            if (going or pid is None) and time.monotonic() < deadline:
                time.sleep(0.02)
                continue
            if pid and pid > 0 and pid != os.getpid():
                remedy = f"`kill {pid}` ends it; or {problem.remedy}"
                problem = replace(problem, remedy=remedy)
            raise _refused(problem, f"{what} is held by {describe_holder(pid, id(self))}")


def take_over(descriptors: Iterable[int], name: str) -> socket.socket:
    """This process answers for inherited claims from now on: the kernel tells whoever is refused the pid of the process
    that listened last (unix(7), SO_PEERCRED). Keep what is returned: it publishes the runtime's name. Raises OSError.
    """
    for number in descriptors:
        with socket.socket(fileno=os.dup(number)) as held:
            held.listen(_ASKERS)
    published = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    published.bind(f"\0{_PREFIX}orphan/{os.getpid()}/{published.fileno():x}/{name}")
    return published


def _refused(problem: Problem, text: str) -> MachineError:
    return MachineError(Problem(problem.file, text, problem.key, problem.value, problem.remedy))


def holder_of(name: str) -> int | None:
    """The pid that took the claim `cpu/1` or `port/tcp/0.0.0.0/80` (SO_PEERCRED); None when nobody has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(f"\0{_PREFIX}{name}")
        except BlockingIOError:
            return 0
        except OSError:
            return None
        credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid: int = struct.unpack("=iii", credentials)[0]
        return pid


def describe_holder(pid: int | None, asking: int = 0) -> str:
    """`splitplane runtime 'hello' (pid 123)`, or as much of it as can be known. `asking`: the id of the Claims that is
    refused, which is not meant; of several other runtimes of one process it may be any.
    """
    if pid is None:
        return "a runtime that has just ended"
    if pid <= 0:
        return "a splitplane runtime of another container or user"
    with contextlib.suppress(OSError):
        table = Path("/proc/net/unix").read_text(errors="replace")
        found = re.findall(rf"@{_PREFIX}(runtime|orphan)/{pid}/([0-9a-f]+)/(\S+)", table)
        own = f"{asking:x}" if pid == os.getpid() else ""
        names = sorted({f"'{name}'" for _, number, name in found if number != own})
        if names:
            alone = ", whose controller was killed" if found[0][0] == "orphan" else ""
            return f"splitplane runtime {' or '.join(names)} (pid {pid}){alone}"
    status = system.process_status(pid)
    if status is None:
        return f"splitplane runtime of pid {pid}, which ended and whose workers did not"
    return f"splitplane runtime in process '{status.name}' (pid {pid})"


def _port_refusal(error: OSError, address: str, port: int) -> str:
    if error.errno == errno.EACCES:
        first = _first_free_port()
        return (
            f"port tcp:{port} is privileged (below {first}) and this user may not bind it: "
            f"sysctl net.ipv4.ip_unprivileged_port_start={port}, or CAP_NET_BIND_SERVICE"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no address {address} (ip address show)"
    if error.errno != errno.EADDRINUSE:
        return f"port tcp:{port} can't be bound: {error.strerror}"
    listeners = port_listeners(port)
    if not listeners:
        return (
            f"port tcp:{port} is held by a process this user can't see "
            f"(as root: ss -ltnp 'sport = :{port}')"
        )
    return f"port tcp:{port} is held by " + ", ".join(
        f"process '{name}' (pid {pid})" for pid, name in sorted(listeners.items())
    )


def _first_free_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024


def port_listeners(port: int) -> dict[int, str]:
    """pid → name of every visible process that listens at a TCP port."""
    import psutil

    found: dict[int, str] = {}
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            local = connection.laddr
            if connection.status != psutil.CONN_LISTEN or not local or local.port != port:
                continue
            if connection.pid is None:
                continue
            with contextlib.suppress(psutil.Error):
                found[connection.pid] = psutil.Process(connection.pid).name()
    return found
