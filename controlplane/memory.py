"""`splitplane memory`: each core's arena by section, how much of it is used, and what a connection costs."""

from typing import TYPE_CHECKING, Any

from ..runtime.plan import size_text
from .text import part, table

if TYPE_CHECKING:
    from ..runtime.attached import Attached

USES = {
    "records": ("connections", "connections_most"),
    "index": ("connections", "connections_most"),
    "busy": ("busy", "busy_most"),
    "timers": ("timers", "timers_most"),
    "buffers": ("buffers", "buffers_most"),
    "time_wait": ("time_wait", "time_wait_most"),
    "side_state": ("connections", "connections_most"),
}
"""Sections that fill up: the pool in each (struct peek_fill)."""
EACH = ("records", "index", "timers", "side_state")
"""Sections that grow with the connections a core may have."""


def memory_facts(attached: "Attached") -> dict[str, Any]:
    """For `--json`: bytes by section, parts used, bytes a connection."""
    cores: list[dict[str, Any]] = []
    total = attached.facts.mesh.size
    for facts in attached.facts.cores:
        peek = attached.core(facts.number)
        sections, fill = peek.sections(), peek.fill()
        busy = max(fill["connections"], 1)
        in_use = fill["buffers"] + fill["busy"] * 128
        cores.append(
            {
                "core": facts.number,
                "group": facts.group,
                "bytes": peek.size,
                "page_size": facts.page_size,
                "rung": facts.rung,
                "connections": fill["connections"],
                "bytes_each_connection": sum(sections[name] for name in EACH)
                / max(fill["connections_most"], 1),
                "bytes_busy_each_connection": in_use / busy,
                "sections": {
                    name: {"bytes": size, "used": _used(name, fill)}
                    for name, size in sections.items()
                },
            }
        )
        total += peek.size
    rings = attached.facts.mesh.size
    return {"name": attached.name, "bytes": total, "rings": rings, "cores": cores}


def _used(section: str, fill: dict[str, int]) -> float | None:
    if section not in USES:
        return None
    used, most = USES[section]
    return min(fill[used] / fill[most], 1.0) if fill[most] else None


def memory_text(facts: dict[str, Any]) -> str:
    """The same for people."""
    lines = []
    for core in facts["cores"]:
        rows = [
            (
                name.replace("_", " "),
                size_text(found["bytes"]),
                "" if found["used"] is None else part(found["used"]),
            )
            for name, found in core["sections"].items()
            if found["bytes"]
        ]
        pages = size_text(core["page_size"])
        lines.append(
            f"core {core['core']} (group {core['group']}): {size_text(core['bytes'])} "
            f"in pages of {pages} ({core['rung']})"
        )
        lines += [f"  {line}" for line in table(("section", "size", "used"), rows)]
        lines.append(
            f"  {core['connections']} connections: {core['bytes_each_connection']:.1f} B each, and now "
            f"{core['bytes_busy_each_connection']:.1f} B each in busy blocks and buffers"
        )
        lines.append("")
    lines.append(f"rings {size_text(facts['rings'])}; everything {size_text(facts['bytes'])}")
    return "\n".join(lines)
