"""What must fit together between the parts of a layout: names, ports, CPUs, drivers.

Works on the raw tables, so that it can speak even where a field is wrong in itself. Knows no machine.
"""

import difflib
import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any

from .errors import Problem

FRAME_DRIVERS = ("memory", "afxdp", "tap")
INTERFACE_DRIVERS = ("afxdp", "tap")


def reference_problems(data: dict[str, Any]) -> list[Problem]:
    """Every reference that leads nowhere and every pair that can't stand together. `file` is left empty."""
    plain = _plain(data)
    groups, nics = _tables(plain, "group"), _tables(plain, "nic")
    controls = _tables(plain, "control")
    checks = (
        _addresses(nics),
        _interfaces(nics),
        _group_nics(groups, nics),
        _cpus(groups),
        _ports(groups),
        _controls(groups, controls),
        _listeners(groups),
        _rings(plain),
        _empty(plain),
    )
    return [problem for check in checks for problem in check]


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean "x"?`, or the list of what there is."""
    names = sorted(known)
    match = difflib.get_close_matches(name, names, 1, 0.6)
    if match:
        return f'did you mean "{match[0]}"?'
    return f"known here: {', '.join(names)}" if names else ""


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump()
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value


def _tables(data: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    tables = data.get(name)
    if not isinstance(tables, dict):
        return {}
    return {key: part for key, part in tables.items() if isinstance(part, dict)}


def _listens(group: dict[str, Any]) -> list[dict[str, Any]]:
    listens = group.get("listen")
    if not isinstance(listens, list):
        return []
    return [part if isinstance(part, dict) else {} for part in listens]


def _addresses(nics: dict[str, dict[str, Any]]) -> Iterator[Problem]:
    for name, nic in nics.items():
        key, driver, address = f"nic.{name}", nic.get("driver"), nic.get("address", "shared")
        if driver in ("memory", "tap") and address == "shared":
            yield Problem(
                "",
                f"driver {driver} has no Linux to share an address with",
                f"{key}.address",
                address,
                'give it one of its own: address = "10.0.0.1/24"',
            )
        if driver == "kernel" and address != "shared":
            yield Problem(
                "",
                "driver kernel listens at Linux's own addresses",
                f"{key}.address",
                address,
                f'leave it out, and say which one with bind = "{str(address).partition("/")[0]}"',
            )
        if driver in FRAME_DRIVERS and nic.get("bind", "0.0.0.0") != "0.0.0.0":
            yield Problem(
                "",
                "only driver kernel binds",
                f"{key}.bind",
                nic["bind"],
                "leave it out, or use address",
            )


def _interfaces(nics: dict[str, dict[str, Any]]) -> Iterator[Problem]:
    for name, nic in nics.items():
        key, driver = f"nic.{name}", nic.get("driver")
        if driver in INTERFACE_DRIVERS and not nic.get("interface"):
            yield Problem(
                "",
                f"driver {driver} needs one",
                f"{key}.interface",
                None,
                'e.g. interface = "eth0"',
            )
        if driver != "afxdp" and nic.get("busy_poll_microseconds"):
            yield Problem(
                "",
                "only driver afxdp has a NAPI to poll",
                f"{key}.busy_poll_microseconds",
                nic["busy_poll_microseconds"],
                "leave it out",
            )
        if driver in ("kernel", "memory") and nic.get("interface"):
            yield Problem(
                "",
                f"driver {driver} has no interface",
                f"{key}.interface",
                nic["interface"],
                "leave it out",
            )


def _group_nics(
    groups: dict[str, dict[str, Any]], nics: dict[str, dict[str, Any]]
) -> Iterator[Problem]:
    taken: dict[str, str] = {}
    for name, group in groups.items():
        nic, key = group.get("nic"), f"group.{name}.nic"
        if not isinstance(nic, str):
            continue
        if nic not in nics:
            yield Problem("", f"there is no [nic.{nic}]", key, nic, nearest(nic, nics))
            continue
        interface = nics[nic].get("interface")
        if not isinstance(interface, str) or str(nics[nic].get("driver")) not in INTERFACE_DRIVERS:
            continue
        if interface in taken:
            text = f"group {taken[interface]} has all queues of {interface} already"
            remedy = "one group an interface: more cpus and more listeners there"
            yield Problem("", text, key, nic, remedy)
        taken.setdefault(interface, name)


def _cpus(groups: dict[str, dict[str, Any]]) -> Iterator[Problem]:
    owner: dict[int, str] = {}
    total = 0
    for name, group in groups.items():
        cpus = group.get("cpus")
        if not isinstance(cpus, list):
            continue
        total += len(cpus)
        for cpu in cpus:
            if not isinstance(cpu, int) or isinstance(cpu, bool):
                continue
            if cpu in owner:
                yield Problem(
                    "",
                    f"CPU {cpu} is already a core of group {owner[cpu]}",
                    f"group.{name}.cpus",
                    cpus,
                    "a CPU is one core",
                )
            owner.setdefault(cpu, name)
    if total > 64:
        yield Problem("", f"{total} cores in all, 64 at most", "group", None, "name fewer cpus")


def _ports(groups: dict[str, dict[str, Any]]) -> Iterator[Problem]:
    taken: dict[tuple[str, str], str] = {}
    for name, group in groups.items():
        for number, listen in enumerate(_listens(group)):
            nic, port = group.get("nic"), listen.get("port")
            if not isinstance(nic, str) or not isinstance(port, str):
                continue
            key = f"group.{name}.listen[{number}].port"
            if (nic, port) in taken:
                yield Problem(
                    "",
                    f"{taken[nic, port]} listens there on nic {nic} already",
                    key,
                    port,
                    "one actor a port",
                )
            taken.setdefault((nic, port), f"group.{name}.listen[{number}]")


def _controls(
    groups: dict[str, dict[str, Any]], controls: dict[str, dict[str, Any]]
) -> Iterator[Problem]:
    for name, group in groups.items():
        for number, listen in enumerate(_listens(group)):
            target = listen.get("reports_to")
            if isinstance(target, str) and target not in controls:
                yield Problem(
                    "",
                    f"there is no [control.{target}]",
                    f"group.{name}.listen[{number}].reports_to",
                    target,
                    nearest(target, controls),
                )
    if len(controls) > 255:
        yield Problem("", f"{len(controls)} control actors, 255 at most", "control")


def _listeners(groups: dict[str, dict[str, Any]]) -> Iterator[Problem]:
    for name, group in groups.items():
        buffers = group.get("buffers", 64 * 2**20)
        for number, listen in enumerate(_listens(group)):
            for field in ("max_unconsumed", "reply_reserve"):
                size = listen.get(field, 0)
                if isinstance(size, int) and isinstance(buffers, int) and size > buffers // 4 > 0:
                    yield Problem(
                        "",
                        f"more than a quarter of the core's {buffers} bytes of buffers",
                        f"group.{name}.listen[{number}].{field}",
                        size,
                        f"raise group.{name}.buffers",
                    )


def _rings(data: dict[str, Any]) -> Iterator[Problem]:
    rings = data.get("rings")
    for field, cells in rings.items() if isinstance(rings, dict) else ():
        if isinstance(cells, int) and 64 <= cells <= 2**20 and cells & (cells - 1):
            power = 1 << (cells - 1).bit_length()
            yield Problem(
                "", "a ring has a power of two of cells", f"rings.{field}", cells, f"e.g. {power}"
            )


def _empty(data: dict[str, Any]) -> Iterator[Problem]:
    if data.get("group") == {}:
        yield Problem("", "a layout has at least one group", "group", None, "add [group.web]")
    for name, group in _tables(data, "group").items():
        for field, sample in (("cpus", "[1]"), ("listen", '[{ port = "tcp:80", actor = "m:A" }]')):
            if group.get(field) == []:
                key = f"group.{name}.{field}"
                yield Problem("", "at least one is wanted", key, [], f"e.g. {field} = {sample}")
    for nic in _tables(data, "nic").values():
        address = nic.get("address", "shared")
        if not isinstance(address, str) or "/" not in address:
            continue
        try:
            interface = ipaddress.IPv4Interface(address)
        except ValueError:
            continue
        if interface.network.prefixlen < 31 and interface.ip in (
            interface.network.network_address,
            interface.network.broadcast_address,
        ):
            yield Problem("", "the network's own or its broadcast address", "nic.address", address)
