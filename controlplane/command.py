"""The command line: `splitplane run|check|plan|demo|bench`, and `stats|top|connections|memory|why` (see.py), `reload`.
Each command's body is a module of its own, imported when asked.

Exit codes: 0 done; 1 something is wrong with the layout, the machine or the actors, or the demo or bench saw an error;
2 the command line itself; 3 the runtime failed while it ran.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from ..loadgen.command import bench_arguments
from ..runtime.errors import Problem, SplitplaneError, StartError
from . import reload, see


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.body(options))
    except SplitplaneError as error:
        _complain(error.problems, as_json=getattr(options, "json", False))
        return 3 if isinstance(error, StartError) else 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="splitplane", description="Python actors on cores of their own.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"splitplane {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _run(
        commands.add_parser("run", help="run a layout until SIGINT or SIGTERM", allow_abbrev=False)
    )
    _check(commands.add_parser("check", help="say everything that is wrong, start nothing"))
    _plan(commands.add_parser("plan", help="the memory a layout takes, by section"))
    _demo(commands.add_parser("demo", help="serve examples/hello and send it real requests"))
    see.add_commands(commands)
    reload.add_command(commands)
    bench_arguments(
        commands.add_parser("bench", help="load one core with millions of connections, measured")
    )
    return parser


def _layout_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("layout", type=Path, help="the layout, a TOML file")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="put a value over the layout's, e.g. group.web.cpus=[2] (repeatable)",
    )


def _run(parser: argparse.ArgumentParser) -> None:
    _layout_arguments(parser)
    parser.add_argument(
        "--interpret",
        action="store_true",
        help="one core in this process, uncompiled: breakpoint() and print work",
    )
    parser.add_argument("--verbose", action="store_true", help="show the compiler's own trace")
    parser.add_argument("--json", action="store_true", help="events and counters as JSON lines")
    parser.set_defaults(body=_run_body)


def _check(parser: argparse.ArgumentParser) -> None:
    _layout_arguments(parser)
    parser.add_argument("--verbose", action="store_true", help="show the compiler's own trace")
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    parser.set_defaults(body=_check_body)


def _plan(parser: argparse.ArgumentParser) -> None:
    _layout_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    parser.set_defaults(body=_plan_body)


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--serve", action="store_true", help="keep serving until interrupted")
    parser.add_argument("--json", action="store_true", help="one object on stdout, nothing else")
    parser.add_argument("--port", type=int, default=0, help="8080, or a free one if that is taken")
    parser.add_argument(
        "--driver",
        choices=("kernel", "afxdp", "tap"),
        help="afxdp (root), tap: our TCP, in a network of its own. kernel: Linux's, on 127.0.0.1. "
        "None: the first of these that can be had here",
    )
    parser.add_argument("--requests", type=int, default=4000, help="how many to send (4000)")
    parser.set_defaults(body=_demo_body)


def _run_body(options: argparse.Namespace) -> int:
    from ..runtime.load import load_layout
    from .run import run

    layout = load_layout(options.layout, options.overrides)
    return run(layout, interpret=options.interpret, verbose=options.verbose, as_json=options.json)


def _check_body(options: argparse.Namespace) -> int:
    from ..runtime.check import check

    found = check(options.layout, options.overrides, verbose=options.verbose)
    if options.json:
        parts = {
            "ok": not found.problems,
            "problems": [problem.as_dict() for problem in found.problems],
            "warnings": [problem.as_dict() for problem in found.warnings],
        }
        print(json.dumps(parts, default=str))
        return 1 if found.problems else 0
    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if found.problems:
        _complain(found.problems, as_json=False)
        return 1
    print(f"{options.layout}: ok")
    return 0


def _plan_body(options: argparse.Namespace) -> int:
    from ..runtime.boot_line import boot_line
    from ..runtime.load import load_layout
    from ..runtime.plan import plan, plan_text

    layout = load_layout(options.layout, options.overrides)
    planned = plan(layout)
    line = boot_line(layout, planned, planned.machine)
    if options.json:
        print(json.dumps(planned.as_dict() | {"boot_line": line}))
        return 0
    print(plan_text(planned))
    print(f"boot line: {line}")
    return 0


def _demo_body(options: argparse.Namespace) -> int:
    from .demo import demo

    return demo(
        serve=options.serve,
        as_json=options.json,
        port=options.port,
        requests=options.requests,
        driver=options.driver,
    )


def _complain(problems: Sequence[Problem], *, as_json: bool) -> None:
    if as_json:
        parts = {"ok": False, "problems": [problem.as_dict() for problem in problems]}
        print(json.dumps(parts, default=str))
        return
    for problem in problems:
        print(problem, file=sys.stderr)
    if len(problems) > 1:
        print(f"{len(problems)} problems", file=sys.stderr)
