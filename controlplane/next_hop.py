"""The MAC address that a new connection's frames go to, asked of Linux. The cores speak no ARP of their own accord."""

import asyncio
import errno
import socket
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path

WIRE_PEER = b"\x02SPLT\x01"
"""Of the other end of a memory wire (nic/memory.c)."""
NONE = bytes(6)
PATIENCE = 1.0
"""Seconds that Linux has to find a neighbour."""
LOOK = 0.01


async def next_hop(driver: str, interface: str, address: IPv4Address) -> bytes:
    """6 bytes. OSError (EHOSTUNREACH) if nobody answers."""
    if driver == "kernel":
        return NONE
    if driver == "memory":
        return WIRE_PEER
    if driver == "tap":
        return _own_mac(interface)
    gateway = _gateway(interface, address)
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    while (found := _neighbour(interface, gateway)) is None:
        if loop.time() > end:
            text = f"{gateway} does not answer ARP on {interface}: `ip neigh show dev {interface}`"
            raise OSError(errno.EHOSTUNREACH, text)
        _ask(gateway)
        await asyncio.sleep(LOOK)
    return found


def _own_mac(interface: str) -> bytes:
    return _mac(Path(f"/sys/class/net/{interface}/address").read_text())


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.strip().replace(":", ""))


def _gateway(interface: str, address: IPv4Address) -> IPv4Address:
    """Who takes frames for `address`: it, or the router that Linux's table names."""
    best, chosen = -1, address
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        name, destination, gateway, _, _, _, _, mask = line.split()[:8]
        if name != interface:
            continue
        bits, router = _address(mask), _address(gateway)
        if int(address) & int(bits) == int(_address(destination)) and int(bits) > best:
            best, chosen = int(bits), router if int(router) else address
    return chosen


def _address(text: str) -> IPv4Address:
    """As the files of /proc/net write it."""
    return IPv4Address(bytes.fromhex(text)[::-1])


def _neighbour(interface: str, address: IPv4Address) -> bytes | None:
    for line in Path("/proc/net/arp").read_text().splitlines()[1:]:
        ip, _, flags, mac, _, name = line.split()
        if name == interface and ip == str(address) and int(flags, 16) & 2:  # ATF_COM
            return _mac(mac)
    return None


def _ask(address: IPv4Address) -> None:
    """A datagram to it makes Linux look for its MAC."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.setblocking(False)
        probe.sendto(b"", (str(address), 9))
