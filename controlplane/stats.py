"""`splitplane stats`, and `top` where there is no live terminal: figures as plain text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..runtime.facts import CONTROL_COUNTERS, CONTROL_LEVELS
from .figures import drops
from .text import amount, fill, part, span, table

if TYPE_CHECKING:
    from .figures import CoreFigures, Figures, Rates

CORE_HEADS = (
    "core",
    "group",
    "cpu",
    "worker",
    "busy",
    "handlers",
    "calls/s",
    "p99 call",
    "p99 turn",
    "in/s",
    "out/s",
    "in B/s",
    "out B/s",
    "conns",
    "new/s",
    "table",
    "buffers",
    "ring",
    "drops/s",
    "died",
    "stalls",
)


def head_lines(figures: "Figures") -> list[str]:
    """Who it is, and what is wrong with it as a whole."""
    lines = [f"{figures.name}  pid {figures.pid}  splitplane {figures.version}"]
    if not figures.alive:
        lines.append("THE RUNTIME HAS ENDED: these are its last figures")
    elif figures.orphaned:
        launcher = figures.words["launcher"]
        lines.append(
            f"CONTROLLER DEAD: launcher {launcher} serves on alone, `kill {launcher}` ends it; "
            "messages to control actors are lost"
        )
    elif figures.silent:
        lines.append(
            f"CONTROL PLANE SILENT for {span(figures.silent)}: something blocks its event loop"
        )
    if figures.words["launcher_deaths"]:
        lines.append(f"launcher died {figures.words['launcher_deaths']} times")
    lines += [
        f"mailbox {name}: {box['waiting']} of {box['limit']} messages wait, "
        f"{box['handled']} handled, {box['failed']} failed{_full(box['full'])}"
        for name, box in figures.mailboxes.items()
    ]
    words = figures.words
    for name, many in (("spawned actors", "spawned"), ("iterations", "iterations")):
        if words[many]:
            waiting, full = words[f"{many}_waiting"], words[f"{many}_full"]
            text = f", {full} FULL: tells to them are refused" if full else ""
            lines.append(f"{name}: {words[many]}, {waiting} messages wait{text}")
    return lines


def _full(cores: int) -> str:
    return f", FULL: {cores} cores refuse tells to it" if cores else ""


def core_cells(rates: "Rates") -> list[str]:
    """One core as the row of a table under CORE_HEADS."""
    core = rates.after
    calls, turns = rates.times("handler"), rates.times("turn")
    frames = core.facts.driver != "kernel"
    ring = max((used / cells for used, cells, _ in core.rings.values()), default=0.0)
    worker = str(core.words["pid"]) if core.run == "running" and core.words["pid"] else "none"
    return [
        str(core.facts.number),
        core.facts.group,
        str(core.facts.cpu),
        worker if core.run == "running" else core.run,
        part(rates.utilisation),
        part(rates.handlers),
        amount(rates.by_second("handler_calls")),
        span(calls.quantile(0.99)),
        span(turns.quantile(0.99)),
        amount(rates.by_second("rx_frames")) if frames else "-",
        amount(rates.by_second("tx_frames")) if frames else "-",
        amount(rates.by_second("rx_bytes")),
        amount(rates.by_second("tx_bytes")),
        amount(core.fill["connections"]),
        amount(rates.by_second("opened")),
        fill(core.fill["connections"], core.fill["connections_most"]),
        fill(core.fill["buffers"], core.fill["buffers_most"]),
        part(ring),
        amount(sum(rates.drops().values())),
        str(core.words["deaths"]),
        str(core.words["stalls"]),
    ]


def cores_text(figures: "Figures", rates: Sequence["Rates"]) -> list[str]:
    """A snapshot of `top`: head, cores, drops by reason."""
    lines = [*head_lines(figures), ""]
    lines += table(CORE_HEADS, [core_cells(one) for one in rates], left=2)
    dropped = [
        (reason, str(one.after.facts.number), amount(by_second), str(total))
        for one in rates
        for reason, total in drops(one.after.counters).items()
        if total and (by_second := one.drops().get(reason, 0.0)) >= 0
    ]
    if dropped:
        lines += ["", *table(("dropped or lost", "core", "/s", "in all"), dropped)]
    return lines


def stats_text(figures: "Figures") -> str:
    """Every counter that moved and every pool, core beside core."""
    cores = figures.cores
    heads = ["", *(f"core {core.facts.number}" for core in cores)]
    counters = [
        [name, *(str(core.counters[name]) for core in cores)]
        for name in cores[0].counters
        if any(core.counters[name] for core in cores)
    ]
    pools = [
        [name.replace("_", " "), *(_pool(core, name) for core in cores)]
        for name in cores[0].fill
        if not name.endswith("_most")
    ]
    rings = [
        [f"ring {name.replace('_', ' ')}", *(_ring(core.rings[name]) for core in cores)]
        for name in cores[0].rings
    ]
    times = [
        [f"{name} p50, p99", *(_times(core, name) for core in cores)] for name in cores[0].times
    ]
    about = [
        ["group", *(core.facts.group for core in cores)],
        ["cpu", *(str(core.facts.cpu) for core in cores)],
        ["worker", *(str(core.words["pid"] or "none") for core in cores)],
        ["loop", *(core.run for core in cores)],
        ["worker died", *(str(core.words["deaths"]) for core in cores)],
        ["stalled", *(str(core.words["stalls"]) for core in cores)],
    ]
    rows = [*about, *pools, *rings, *times, *counters]
    names = (*CONTROL_COUNTERS, *CONTROL_LEVELS)
    control = [(name, str(figures.words[name])) for name in names if figures.words[name]]
    lines = [*head_lines(figures), "", *table(heads, rows)]
    return "\n".join([*lines, "", *table(("control plane", ""), control)])


def _pool(core: "CoreFigures", name: str) -> str:
    used = core.fill[name]
    most = core.fill.get(f"{name}_most")
    return f"{used} of {most}" if most else str(used)


def _ring(level: tuple[int, int, int]) -> str:
    used, cells, refused = level
    return f"{used} of {cells}" + (f", {refused} refused" if refused else "")


def _times(core: "CoreFigures", name: str) -> str:
    found = core.times[name]
    return f"{span(found.quantile(0.5))}, {span(found.quantile(0.99))}"
