"""Numbers as people read them, and plain tables of them: for terminals without any graces, and for pipes."""

from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"


def amount(value: float) -> str:
    """`0`, `812`, `12.3k`, `4.50M`: at most six characters."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size * 0.9995:
            scaled = value / size
            return f"{scaled:.2f}{unit}" if scaled < 9.995 else f"{scaled:.1f}{unit}"
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def part(value: float) -> str:
    """`42%`; less than one percent with a digit more."""
    return f"{value * 100:.0f}%" if value >= 0.0995 or not value else f"{value * 100:.1f}%"


def span(seconds: float) -> str:
    """`0`, `850ns`, `12µs`, `3.4ms`, `2.0s`, `5m`, `3h`, `2d`."""
    if seconds <= 0:
        return "0"
    for unit, size, most in (
        ("ns", 1e-9, 1e-6),
        ("µs", 1e-6, 1e-3),
        ("ms", 1e-3, 1),
        ("s", 1, 120),
    ):
        if seconds < most:
            value = seconds / size
            return f"{value:.1f}{unit}" if value < 9.95 and unit != "ns" else f"{value:.0f}{unit}"
    if seconds < 7200:
        return f"{seconds / 60:.0f}m"
    return f"{seconds / 3600:.0f}h" if seconds < 172_800 else f"{seconds / 86_400:.0f}d"


def fill(used: int, most: int) -> str:
    """How full: `37%`, `-` where there is no room at all."""
    return part(used / most) if most else "-"


def spark(values: Sequence[float], top: float = 0.0) -> str:
    """A line of bars, the newest last; `top` is a full bar's value, 0: the largest there is."""
    most = top or max(values, default=0.0)
    if most <= 0:
        return BARS[0] * len(values)
    steps = len(BARS) - 1
    return "".join(BARS[min(round(value / most * steps), steps)] for value in values)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Lines of columns; the first `left` columns are aligned to the left."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if at < left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (heads, *rows)
    ]
