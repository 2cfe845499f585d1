"""`splitplane bench`: its options, and what it prints."""

import argparse
import asyncio
import json
import math
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

SECONDS = 30.0
LIVES = 50_000_000
"""At more than a million a second, half a minute of them."""
INTERRUPTED = 130
"""The exit code, as shells have it."""


def _within(
    kind: type[int] | type[float], least: float, most: float = math.inf
) -> Callable[[str], int | float]:
    """An option's type: a number from `least` to `most`."""
    wanted = f"{least:,} or more" if most == math.inf else f"{least:,} to {most:,}"

    def read(text: str) -> int | float:
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text}: {wanted}")
        return value

    read.__name__ = kind.__name__  # argparse names it
    return read


RATE = _within(float, 0, 10**9)


def bench_arguments(parser: argparse.ArgumentParser) -> None:
    """Puts the four measurements under `splitplane bench`."""
    kinds = parser.add_subparsers(title="measurements", required=True, metavar="WHAT")
    for name, text, add in (
        ("connections", "open so many, ask each once more, close them", _connections),
        ("frames", "requests over live connections, as fast as answered", _frames),
        ("churn", "open, ask, answer, close", _churn),
        ("latency", "requests at a rate", _latency),
    ):
        kind = kinds.add_parser(name, help=text, allow_abbrev=False)
        add(kind)
        kind.add_argument("--payload", type=int, default=64, help="bytes of a request (64)")
        kind.add_argument(
            "--driver",
            choices=("memory", "afxdp", "tap"),
            default="memory",
            help="between the two cores: a virtual wire (memory), AF_XDP on a veth pair (afxdp, as root), or TAP",
        )
        kind.add_argument("--json", action="store_true", help="one object on stdout")


def _connections(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=int, default=1_000_000, help="how many (1 000 000)")
    parser.add_argument(
        "--rate", type=RATE, default=0, help="new ones a second (0: as fast as answered)"
    )
    parser.add_argument(
        "--beside", type=int, default=0, help="open so many before, unmeasured; they stay (0)"
    )
    parser.set_defaults(body=_body, measure=_measure_connections)


def _live(parser: argparse.ArgumentParser, default: int, least: int = 1) -> None:
    parser.add_argument(
        "--connections",
        "--count",
        type=_within(int, least),
        default=default,
        dest="count",
        metavar="COUNT",
        help=f"live ones ({default:,})",
    )


def _seconds(parser: argparse.ArgumentParser) -> None:
    seconds = _within(float, 0.1, 10**6)
    parser.add_argument("--seconds", type=seconds, default=SECONDS, help="how long (30)")


def _frames(parser: argparse.ArgumentParser) -> None:
    _live(parser, 1_000_000)
    _seconds(parser)
    parser.add_argument(
        "--order",
        choices=("random", "hot", "robin"),
        default="random",
        help="random over all, random over a hundredth of them, or one after the other",
    )
    parser.set_defaults(body=_body, measure=_measure_frames)


def _churn(parser: argparse.ArgumentParser) -> None:
    _live(parser, 0, least=0)
    lives = _within(int, 1, 4 * 10**9)  # clients are told apart by numbers of 32 bits
    parser.add_argument("--lives", type=lives, default=LIVES, help="how many (50 000 000)")
    parser.add_argument(
        "--closer",
        choices=("client", "server"),
        default="client",
        help="whose FIN comes first; the server's leaves TIME-WAIT with the server",
    )
    parser.set_defaults(body=_body, measure=_measure_churn)


def _latency(parser: argparse.ArgumentParser) -> None:
    _live(parser, 100_000)
    _seconds(parser)
    parser.add_argument(
        "--rate",
        type=RATE,
        default=100_000,
        help="requests a second (100 000; 0: as fast as answered)",
    )
    parser.set_defaults(body=_body, measure=_measure_latency)


Measured = Coroutine[Any, Any, dict[str, Any]]


def _measure_connections(options: argparse.Namespace, phases: Any, road: Any) -> Measured:
    from .bench import connections

    count, beside = options.count, options.beside
    return connections(count, beside, options.rate, options.payload, phases, road)


def _measure_frames(options: argparse.Namespace, phases: Any, road: Any) -> Measured:
    from .bench import frames

    return frames(options.count, options.order, options.seconds, options.payload, phases, road)


def _measure_churn(options: argparse.Namespace, phases: Any, road: Any) -> Measured:
    from .bench import churn

    lives, closer = options.lives, options.closer
    return churn(options.count, lives, closer, options.payload, phases, road)


def _measure_latency(options: argparse.Namespace, phases: Any, road: Any) -> Measured:
    from .bench import latency

    return latency(options.count, options.rate, options.seconds, options.payload, phases, road)


def _body(options: argparse.Namespace) -> int:
    from .road import road
    from .show import Phases, table

    try:
        way = road(
            options.driver
        )  # while this process has one thread: a namespace of its user's wants that
        result = asyncio.run(_measured(options, Phases(silent=options.json), way))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("interrupted: nothing is left", file=sys.stderr)
        return INTERRUPTED
    print(json.dumps(result) if options.json else table(result))
    return 1 if result["errors"] else 0


async def _measured(options: argparse.Namespace, phases: Any, way: Any) -> dict[str, Any]:
    """What was asked for; SIGTERM ends it as Ctrl-C does."""
    running: Any = asyncio.current_task()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    measure: Callable[[argparse.Namespace, Any, Any], Measured] = options.measure
    return await measure(options, phases, way)
