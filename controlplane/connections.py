"""`splitplane connections`: like ss, for millions. Looks at pieces of 65 536 records, so it needs memory for one piece
and for what `--limit` lets through, however many there are.
"""

import argparse
import contextlib
import ipaddress
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..dataplane.peek import NEVER, ROW_FIELDS, STATES, row_dtype
from ..runtime.errors import RegistryError
from .text import span

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..runtime.attached import Attached, Rows

    Mask = npt.NDArray[np.bool_]

SORTED_LIMIT = 100
"""Rows that --sort shows unless told how many."""
DERIVED: dict[str, Callable[["Rows"], Any]] = {
    "bytes": lambda rows: rows["kept"].astype("u8") + rows["queued"],
}
"""Names for --sort that are no field of a row."""
_HEADS = ("STATE", "RECV-Q", "SEND-Q", "LOCAL", "PEER", "AGE", "IDLE", "RTT", "CORE")
_LINE = "{:<12} {:>9} {:>9} {:>21} {:>21} {:>7} {:>7} {:>7} {:>4} {}\n"
_UNITS = {"": 1, "k": 1000, "m": 10**6, "kib": 2**10, "mib": 2**20, "b": 1}
_SPANS = {"": 1000, "s": 1000, "ms": 1, "m": 60_000, "min": 60_000, "h": 3_600_000}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its options."""
    add = parser.add_argument
    add("--group", help="of this group's cores")
    add("--peer", type=place, metavar="ADDRESS[/BITS][:PORT]", help="of this peer or network")
    add("--local", type=place, metavar="ADDRESS[/BITS][:PORT]", help="at this address of ours")
    add("--port", type=_port, help="with this port at either end")
    add("--state", type=_state, action="append", metavar="STATE", help="in this state (repeatable)")
    add("--idle-over", type=_span, metavar="TIME", help="nothing heard for longer, e.g. 30s, 2h")
    add("--idle-under", type=_span, metavar="TIME", help="something heard since")
    add("--age-over", type=_span, metavar="TIME", help="open for longer, e.g. 12h")
    add("--age-under", type=_span, metavar="TIME", help="opened since")
    add("--bytes-over", type=_size, metavar="SIZE", help="with more bytes kept and queued")
    add("--sort", type=_field, metavar="FIELD", help=f"largest first: {', '.join(_sortable())}")
    add("--reverse", action="store_true", help="with --sort: smallest first")
    add(
        "--limit",
        type=_limit,
        metavar="N",
        help=f"at most so many; 0: all. Without it all, with --sort {SORTED_LIMIT}",
    )
    add("--count", action="store_true", help="only how many, by state")
    add("--json", action="store_true", help="one object a line")


@dataclass(frozen=True, slots=True)
class Place:
    """Addresses `bits` of which are like `address`'s, and a port; 0 bits or port 0: any."""

    address: int = 0
    bits: int = 0
    port: int = 0

    def mask(self, addresses: Any, ports: Any) -> Any:
        """Which of them are of this place."""
        network = (0xFFFFFFFF << (32 - self.bits)) & 0xFFFFFFFF
        fits = (addresses & network) == (self.address & network)
        return fits & (ports == self.port) if self.port else fits


def place(text: str) -> Place:
    """`10.0.0.1`, `10.0.0.0/8`, `10.0.0.1:80`, `:80`."""
    address, _, port = text.partition(":")
    try:
        number = _port(port) if port else 0
        if not address:
            return Place(port=number)
        network = ipaddress.IPv4Network(address, strict=False)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None
    return Place(int(ipaddress.IPv4Address(address.partition("/")[0])), network.prefixlen, number)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text}: ports are 1 to 65535")
    return int(text)


def _state(text: str) -> int:
    name = text.lower().replace("_", "-")
    if name not in STATES:
        raise argparse.ArgumentTypeError(f"{text}: one of {', '.join(STATES[1:])}")
    return STATES.index(name)


def _measure(text: str, units: dict[str, int]) -> int:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", text.lower())
    if not match or match[2] not in units:
        known = ", ".join(filter(None, units))
        raise argparse.ArgumentTypeError(f"{text}: a number, with a unit if need be ({known})")
    return int(float(match[1]) * units[match[2]])


def _span(text: str) -> int:
    return _measure(text, _SPANS)


def _size(text: str) -> int:
    return _measure(text, _UNITS)


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text}: a number, 0 for all")
    return int(text)


def _sortable() -> tuple[str, ...]:
    return (*DERIVED, *(name for name in ROW_FIELDS if name not in {"flags", "handle"}))


def _field(text: str) -> str:
    name = text.replace("-", "_")
    if name not in _sortable():
        raise argparse.ArgumentTypeError(f"{text}: one of {', '.join(_sortable())}")
    return name


def chosen(rows: "Rows", options: argparse.Namespace) -> "Rows":
    """Those that every given filter lets through."""
    masks: list[Any] = []
    if options.peer:
        masks.append(options.peer.mask(rows["remote_address"], rows["remote_port"]))
    if options.local:
        masks.append(options.local.mask(rows["local_address"], rows["local_port"]))
    if options.port:
        masks.append((rows["local_port"] == options.port) | (rows["remote_port"] == options.port))
    if options.state:
        import numpy as np

        masks.append(np.isin(rows["state"], options.state))
    masks += _measured(rows, options)
    if not masks:
        return rows
    keep: Mask = masks[0]
    for mask in masks[1:]:
        keep = keep & mask
    kept: Rows = rows[keep]
    return kept


def _measured(rows: "Rows", options: argparse.Namespace) -> Iterator[Any]:
    """Masks of the times and bytes asked for."""
    for name in ("idle", "age"):
        over, under = (getattr(options, f"{name}_{side}") for side in ("over", "under"))
        if over is not None:
            yield rows[name] > over
        if under is not None:
            yield rows[name] < under
    if options.bytes_over is not None:
        yield DERIVED["bytes"](rows) > options.bytes_over


def connections(attached: "Attached", options: argparse.Namespace) -> int:
    """Prints them; the exit code, 0. Raises RegistryError when there is no such group."""
    if options.group and options.group not in attached.groups:
        raise RegistryError(f"no group {options.group}: there are {', '.join(attached.groups)}")
    if options.count:
        return _count(attached, options)
    pieces = _sorted(attached, options) if options.sort else _streamed(attached, options)
    if not options.json:
        sys.stdout.write(_LINE.format(*_HEADS, "HANDLE"))
    for rows in pieces:
        lines = _json_lines(rows) if options.json else _lines(rows)
        sys.stdout.write("".join(lines))
    return 0


def _streamed(attached: "Attached", options: argparse.Namespace) -> "Iterator[Rows]":
    left = options.limit or None
    for block in attached.blocks(options.group):
        rows = chosen(block, options)[:left]
        yield rows
        if left is not None:
            left -= len(rows)
            if not left:
                return


def _sorted(attached: "Attached", options: argparse.Namespace) -> "Iterator[Rows]":
    """Keeps the best `limit` of what was seen so far."""
    import numpy as np

    limit = SORTED_LIMIT if options.limit is None else options.limit

    def order(rows: "Rows") -> Any:
        key = DERIVED[options.sort](rows) if options.sort in DERIVED else rows[options.sort]
        return key.astype("i8") if options.reverse else -key.astype("i8")

    best: Rows = np.empty(0, row_dtype())
    pieces: list[Rows] = []
    for block in attached.blocks(options.group):
        rows = chosen(block, options)
        if not limit:
            pieces.append(rows.copy())
            continue
        best = np.concatenate((best, rows))
        if len(best) > limit:
            best = best[np.argpartition(order(best), limit - 1)[:limit]]
    if pieces:
        best = np.concatenate(pieces)
    yield best[np.argsort(order(best), kind="stable")]


def _count(attached: "Attached", options: argparse.Namespace) -> int:
    import numpy as np

    counts = np.zeros(len(STATES), "i8")
    for block in attached.blocks(options.group):
        counts += np.bincount(chosen(block, options)["state"], minlength=len(STATES))
    found = {name: int(count) for name, count in zip(STATES, counts, strict=True) if count}
    if options.json:
        print(json.dumps({"connections": int(counts.sum()), "states": found}))
        return 0
    for name, count in found.items():
        print(f"{name:<12} {count:>12}")
    print(f"{'in all':<12} {int(counts.sum()):>12}")
    return 0


def endpoint(address: int, port: int) -> str:
    """`10.0.0.1:80`"""
    parts = address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255
    return "{}.{}.{}.{}:{}".format(*parts, port)


def _lines(rows: "Rows") -> Iterator[str]:
    places = ("local_address", "local_port", "remote_address", "remote_port")
    names = ("state", "kept", "queued", *places, "age", "idle", "round_trip", "core", "handle")
    columns = (rows[name].tolist() for name in names)
    for state, kept, queued, at, port, peer, far, age, idle, trip, core, handle in zip(
        *columns, strict=True
    ):
        ends = endpoint(at, port), endpoint(peer, far)
        times = span(age / 1000), span(idle / 1000), span(trip / 1e6) if trip else "-"
        yield _LINE.format(STATES[state], kept, queued, *ends, *times, core, handle)


def as_dict(row: Any) -> dict[str, Any]:
    """A row for `--json`: endpoints and state as text, timers that are not set as null."""
    found: dict[str, Any] = {name: int(row[name]) for name in ROW_FIELDS}
    for name in ("local", "remote"):
        found[name] = endpoint(found.pop(f"{name}_address"), found.pop(f"{name}_port"))
    found["state"] = STATES[found["state"]]
    return {
        name: None if name.endswith("_due") and value == NEVER else value
        for name, value in found.items()
    }


def _json_lines(rows: "Rows") -> Iterator[str]:
    for row in rows:
        yield json.dumps(as_dict(row)) + "\n"


def titled(row: Any) -> str:
    """`10.0.0.9:4711 → 10.0.0.1:80 established, 3h old`"""
    peer = endpoint(int(row["remote_address"]), int(row["remote_port"]))
    local = endpoint(int(row["local_address"]), int(row["local_port"]))
    return f"{peer} → {local} {STATES[int(row['state'])]}, {span(int(row['age']) / 1000)} old"


def handles_of(attached: "Attached", text: str) -> list[int]:
    """The connections that a person means: a handle, or a peer's ADDRESS:PORT. Raises RegistryError if none is."""
    with contextlib.suppress(ValueError):
        return [int(text, 0)]
    try:
        wanted = place(text)
    except argparse.ArgumentTypeError as error:
        raise RegistryError(f"no handle and no ADDRESS:PORT: {error}") from None
    if not wanted.port or not wanted.bits:
        raise RegistryError(
            f"{text}: a handle (splitplane connections shows them), or ADDRESS:PORT"
        )
    found = [
        handle
        for block in attached.blocks()
        for handle in block["handle"][
            wanted.mask(block["remote_address"], block["remote_port"])
        ].tolist()
    ]
    if not found:
        raise RegistryError(f"no connection from {text}")
    return found
