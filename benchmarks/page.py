"""Runs every benchmark beside this file with --json and writes one Markdown page: `python page.py [PAGE] [NAME...]`.

A benchmark prints one JSON object: `machine`, `floor`, `ratios`, and whatever raw figures it has.
"""

import argparse
import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OURSELVES = {"page"}
RAW = {"raw", "runs"}
"""What a benchmark's object has for programs only: every single run."""
LIMIT = 600


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


def page(results: dict[str, dict[str, Any]]) -> str:
    """All results as one page."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `./dev bench`. Peers and the hardware's floor run in the same minute.",
        "Ratios hold; absolute times move with the machine.",
        "",
    ]
    for name, result in results.items():
        words = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text())) or ""
        lines += [f"## {name}", "", words, ""]
        for key in ("ratios", "floor", "machine"):
            if isinstance(result.get(key), dict) and result[key]:
                lines += table(key, result[key])
        rest = {
            key: value
            for key, value in result.items()
            if key not in {"ratios", "floor", "machine", *RAW}
        }
        lines += table("figures", rest)
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Measures, writes the page and, beside it, the raw objects."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="which benchmarks; all without names")
    parser.add_argument("--json", action="store_true", help="the raw objects on stdout, no page")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "benchmarks.md")
    options = parser.parse_args()
    results = {path.stem: measured(path) for path in scripts(options.names)}
    if options.json:
        print(json.dumps(results))
    else:
        options.out.write_text(page(results))
        print(options.out)
    sys.exit(any("failed" in result for result in results.values()))


if __name__ == "__main__":
    main()
