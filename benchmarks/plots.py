"""The benchmarks' figures as plots: SVG, of what table.py, connections.py and latency.py print.

Colours are of middle lightness on no background, so that they read on a light page and on a dark one. Needs matplotlib,
which is loaded when something is drawn.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

OURS, THEIRS, FLOOR, TEXT, GRID = "#2f88e0", "#d9822b", "#8a929c", "#7c8691", "#8a929c40"
SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "splitplane",  # the same figures make the same file
    "font.family": "sans-serif",
    "font.size": 12,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "ytick.major.pad": 8,
}
SIZE = (7.6, 4.0)
"""Inches."""


def short(count: float) -> str:
    """10 k, 1 M."""
    for limit, unit in ((1e6, " M"), (1e3, " k")):
        if count >= limit:
            return f"{count / limit:g}{unit}"
    return f"{count:g}"


def duration(microseconds: float) -> str:
    """2.7 µs, 131 ms."""
    value, unit = (microseconds / 1000, "ms") if microseconds >= 1000 else (microseconds, "µs")
    return f"{value:.0f} {unit}" if value >= 10 else f"{value:.2g} {unit}"


def figure(title: str, under: str) -> tuple[Any, Any]:
    """A figure with its title and what was measured, and its axes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams.update(SETTINGS)
    made, axes = pyplot.subplots(figsize=SIZE)
    made.subplots_adjust(left=0.09, right=0.74, top=0.80, bottom=0.13)
    made.text(0.02, 0.93, title, size=15, weight="bold")
    made.text(0.02, 0.865, under, size=11)
    return made, axes


def save(made: Any, path: Path) -> None:
    """Writes it, without the day it was made on."""
    from matplotlib import pyplot

    metadata = {"Date": None, "Creator": None} if path.suffix == ".svg" else None
    made.savefig(path, transparent=True, metadata=metadata)
    pyplot.close(made)
    if path.suffix == ".svg":  # nobody's editor leaves blanks at the end of lines
        path.write_text("".join(f"{line.rstrip()}\n" for line in path.read_text().splitlines()))


def line(
    axes: Any, xs: Sequence[float], ys: Sequence[float], text: str, color: str, rise: float = 0
) -> None:
    """A curve with its name at its end, so many points above it."""
    axes.plot(xs, ys, color=color, linewidth=2.4, marker="o", markersize=5)
    axes.annotate(
        text, (xs[-1], ys[-1]), (10, rise), textcoords="offset points", va="center", color=color
    )


def lookup(results: dict[str, Any]) -> Any:
    """Nanoseconds of a look-up and an update against how many connections there are."""
    found, floor = results["table"]["nanoseconds"], results["table"]["floor"]
    sizes = sorted(int(size) for size in found)
    under = "Nanoseconds for one look-up and update, in bursts of 32, random order, 2 MiB pages"
    made, axes = figure("Finding a connection among many", under)

    def values(name: str) -> list[float]:
        return [found[str(size)][name] for size in sizes]

    line(
        axes,
        sizes,
        values("find_theirs"),
        f"DPDK rte_hash  {values('find_theirs')[-1]:.0f} ns",
        THEIRS,
    )
    line(axes, sizes, values("find_ours"), f"splitplane  {values('find_ours')[-1]:.0f} ns", OURS)
    least = [floor[f"record_read_and_written_at_{size}"] for size in sizes]
    line(axes, sizes, least, f"memory alone  {least[-1]:.0f} ns", FLOOR)
    axes.set_xscale("log")
    axes.set_xticks(sizes, [short(size) for size in sizes])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("connections in the table")
    axes.grid(axis="y")
    return made


def memory(results: dict[str, Any]) -> Any:
    """Bytes of an idle connection, as bars."""
    found = results["connections"]["bytes_per_connection"]
    under = "Bytes of the server's end, kernel and process together, without payload"
    made, axes = figure("What an idle connection takes", under)
    bars = [
        ("asyncio", found["asyncio"], THEIRS),
        ("nginx", found["nginx"], THEIRS),
        ("Linux socket alone", found["linux"], FLOOR),
        ("splitplane", found["ours"], OURS),
    ]
    names = [name for name, _, _ in bars]
    axes.barh(
        names, [size for _, size, _ in bars], color=[color for *_, color in bars], height=0.62
    )
    for place, (_, size, color) in enumerate(bars):
        times = "" if place == 3 else f"   {size / found['ours']:.0f} ×"
        axes.annotate(
            f"{size:,.0f}{times}",
            (size, place),
            (8, 0),
            textcoords="offset points",
            va="center",
            color=color,
            weight="bold",
        )
    made.subplots_adjust(left=0.23, right=0.80)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.set_xlabel("bytes a connection")
    axes.grid(axis="x")
    return made


def latency(results: dict[str, Any]) -> Any:
    """How long an answer takes against the load."""
    found = results["latency"]["by_part_of_the_most"]
    parts = sorted(found, key=float)
    loads = [found[part]["load"] / 1e6 for part in parts]
    most = results["latency"]["most_requests_per_s"] / 1e6
    under = f"From when a request was due; at most {most:.2f} million are answered a second"
    made, axes = figure("How long an answer takes as the load grows", under)
    for name, text, color, rise in (
        ("p999_us", "p99.9", FLOOR, 7),  # the two may end at one place
        ("p99_us", "p99", THEIRS, -7),
        ("p50_us", "median", OURS, 0),
    ):
        times = [found[part][name] for part in parts]
        line(axes, loads, times, f"{text}  {duration(times[-1])}", color, rise)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: duration(value))
    axes.minorticks_off()
    axes.set_ylim(bottom=0.5)
    made.subplots_adjust(left=0.12)
    axes.set_xlim(left=0)
    axes.set_xlabel("million requests a second")
    axes.grid(axis="y")
    return made


PLOTS: dict[str, tuple[str, Callable[[dict[str, Any]], Any], str]] = {
    "lookup": ("table", lookup, "Cost of a look-up against the size of the table"),
    "memory": ("connections", memory, "Bytes of an idle connection against Linux, nginx, asyncio"),
    "latency": ("latency", latency, "Latency against load"),
}
"""By file name: whose figures they are, what draws them, and what a reader who sees no picture is told."""


def draw(results: dict[str, Any], folder: Path, suffix: str = "svg") -> list[tuple[str, str]]:
    """Draws what there are figures for into `folder`; (file name, description) of each."""
    drawn = []
    for name, (benchmark, plot, text) in PLOTS.items():
        if "failed" in results.get(benchmark, {"failed": True}):
            continue
        folder.mkdir(exist_ok=True)
        save(plot(results), folder / f"{name}.{suffix}")
        drawn.append((f"{name}.{suffix}", text))
    return drawn
