"""`splitplane stats|top|connections|memory|why`: a runtime of this user, seen from another process.

Each takes the runtime's NAME; without one it looks at the only one that runs.
"""

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from ..runtime.errors import RegistryError

if TYPE_CHECKING:
    from ..runtime.attached import Attached

INTERVAL = 1.0
"""Seconds between the two looks that a rate is taken from."""


def add_commands(commands: Any) -> None:
    """Adds them to the command line's."""
    _stats(commands.add_parser("stats", help="what a running layout has counted", **_STRICT))
    _top(commands.add_parser("top", help="a running layout's cores, live", **_STRICT))
    _connections(
        commands.add_parser("connections", help="its connections, filtered and sorted", **_STRICT)
    )
    _memory(commands.add_parser("memory", help="what its memory is used for", **_STRICT))
    _why(commands.add_parser("why", help="what one connection waits for", **_STRICT))


_STRICT: dict[str, Any] = {"allow_abbrev": False}


def _name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="the runtime; none: the only one that runs"
    )


def _stats(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    parser.set_defaults(body=_stats_body)


def _top(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    parser.add_argument(
        "--interval", type=_positive, default=INTERVAL, metavar="SECONDS", help="between two looks"
    )
    parser.add_argument("--once", action="store_true", help="one look, as when piped")
    parser.set_defaults(body=_top_body)


def _memory(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    parser.set_defaults(body=_memory_body)


def _why(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", metavar="HANDLE", help="a connection's handle, or its peer as ADDRESS:PORT"
    )
    _name(parser)
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    parser.set_defaults(body=_why_body)


def _connections(parser: argparse.ArgumentParser) -> None:
    from .connections import add_arguments

    _name(parser)
    add_arguments(parser)
    parser.set_defaults(body=_connections_body)


def _positive(text: str) -> float:
    value = float(text)
    if not 0.05 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text}: 0.05 to 3600 seconds")
    return value


def _attach(name: str | None) -> "Attached":
    from ..runtime.attached import attach

    return attach(name)


def _stats_body(options: argparse.Namespace) -> int:
    from .figures import Figures
    from .stats import stats_text

    with _attach(options.name) as attached:
        figures = Figures.of(attached)
    print(json.dumps(figures.as_dict()) if options.json else stats_text(figures))
    return 0


def _top_body(options: argparse.Namespace) -> int:
    with _attach(options.name) as attached:
        if options.once or not sys.stdout.isatty() or not sys.stdin.isatty() or _is_dumb():
            return _top_once(attached, options.interval)
        from .top import top

        return top(attached, options.interval)


def _is_dumb() -> bool:
    import os

    return os.environ.get("TERM", "dumb") in {"dumb", ""}


def _top_once(attached: "Attached", interval: float) -> int:
    from .figures import Figures, rates
    from .stats import cores_text

    before = Figures.of(attached)
    time.sleep(interval)
    after = Figures.of(attached)
    print("\n".join(cores_text(after, rates(before, after))))
    return 0 if after.alive else 3


def _memory_body(options: argparse.Namespace) -> int:
    from .memory import memory_facts, memory_text

    with _attach(options.name) as attached:
        facts = memory_facts(attached)
    print(json.dumps(facts) if options.json else memory_text(facts))
    return 0


def _connections_body(options: argparse.Namespace) -> int:
    from .connections import connections

    with _attach(options.name) as attached:
        return connections(attached, options)


def _why_body(options: argparse.Namespace) -> int:
    from .connections import handles_of, titled

    with _attach(options.name) as attached:
        found: list[dict[str, Any]] = []
        for handle in handles_of(attached, options.what):
            try:
                row, text = attached.connection(handle), attached.why(handle)
            except LookupError as error:
                raise RegistryError(str(error).strip("'\"")) from None
            title = titled(row) if row is not None else str(handle)
            found.append({"handle": handle, "connection": title, "why": text})
    for one in found:
        print(json.dumps(one) if options.json else f"{one['connection']}  waits for: {one['why']}")
    return 0
