"""Runs the benchmarks beside this file with --json and writes one Markdown page, and plots: `python page.py [NAME...]`.

A benchmark prints one JSON object: `machine`, `floor`, `ratios`, and whatever raw figures it has. With names only these
are measured, and the page keeps what it says of the others.
"""

import argparse
import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

import plots

HERE = Path(__file__).parent
OURSELVES = {"page"}
HEAD = """# Benchmarks

Written by `./dev bench`. Peers and the hardware's floor run in the same minute.
Ratios hold; absolute times move with the machine.

"""
RAW = {"raw", "runs"}
"""What a benchmark's object has for programs only: every single run."""
LIMIT = 1800
"""Seconds for one benchmark."""


def scripts(names: list[str]) -> list[Path]:
    """The benchmarks asked for, or all that are programs."""
    found = [
        path
        for path in sorted(HERE.glob("*.py"))
        if path.stem not in OURSELVES and "--json" in path.read_text()
    ]
    unknown = set(names) - {path.stem for path in found}
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(sorted(unknown))}")
    return [path for path in found if not names or path.stem in names]


def measured(path: Path) -> dict[str, Any]:
    """What one benchmark prints; its failure is shown in its place."""
    print(f"{path.name} …", file=sys.stderr, flush=True)
    command = [sys.executable, str(path), "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
        if done.returncode:
            return {"failed": done.stderr.strip().splitlines()[-3:]}
        found: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        return {"failed": [str(error)]}
    return found


def number(value: object) -> str:
    """A figure with three digits that count."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def rows(value: Any, path: str = "") -> list[tuple[str, str]]:
    """Every leaf of nested figures as (dotted name, text)."""
    if isinstance(value, dict):
        inner = [
            rows(part, f"{path}.{name}" if path else str(name)) for name, part in value.items()
        ]
        return [row for part in inner for row in part]
    if isinstance(value, list):
        return [(path, ", ".join(number(part) for part in value))]
    return [(path, number(value))]


def table(title: str, figures: dict[str, Any]) -> list[str]:
    """A Markdown table."""
    lines = [f"| {title} | |", "|---|---:|"]
    return [*lines, *(f"| {name} | {text} |" for name, text in rows(figures)), ""]


def section(name: str, result: dict[str, Any]) -> str:
    """What the page says of one benchmark, from its second line on."""
    words = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text())) or ""
    lines = [words, ""]
    for key in ("ratios", "floor", "machine"):
        if isinstance(result.get(key), dict) and result[key]:
            lines += table(key, result[key])
    known = {"ratios", "floor", "machine", *RAW}
    lines += table("figures", {key: value for key, value in result.items() if key not in known})
    return "\n".join(lines).strip()


def sections(text: str) -> dict[str, str]:
    """What a page says, by benchmark."""
    _, *parts = re.split(r"(?m)^## (\w+)\n", text)
    return dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))


def pictures(folder: Path) -> str:
    """All plots that are there, as the page shows them."""
    return "".join(
        f"![{text}]({folder.name}/{name}.svg)\n\n"
        for name, (_, _, text) in plots.PLOTS.items()
        if (folder / f"{name}.svg").exists()
    )


def page(said: dict[str, str], folder: Path) -> str:
    """The plots and all sections as one page."""
    parts = [f"## {name}\n\n{said[name]}\n" for name in sorted(said)]
    return HEAD + pictures(folder) + "\n".join(parts)


def main() -> None:
    """Measures, draws, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="which benchmarks; all without names")
    parser.add_argument("--json", action="store_true", help="the raw objects on stdout, no page")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "benchmarks.md")
    options = parser.parse_args()
    results = {path.stem: measured(path) for path in scripts(options.names)}
    if options.json:
        print(json.dumps(results))
    else:
        out: Path = options.out
        folder = out.parent / "plots"
        plots.draw(results, folder)
        known = sections(out.read_text()) if options.names and out.exists() else {}
        said = known | {name: section(name, result) for name, result in results.items()}
        out.write_text(page(said, folder))
        print(options.out)
    sys.exit(any("failed" in result for result in results.values()))


if __name__ == "__main__":
    main()
