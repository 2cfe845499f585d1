"""The way back: replies follow what Linux knows of routes and neighbours, and segments fit the path, while connections
live. Kernel clients, in namespaces; Linux serves its own on the same address meanwhile."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import pytest
from networks import CLIENT, PORT, SERVER, Host, Talk, beside, forwards, hosts, join, link
from processes import Command, command, eventually, free_cpus

ECHO = (files("splitplane") / "examples" / "echo" / "echo.py").read_text()


def toml(address: str = "shared") -> str:
    """One core behind `front`."""
    return f"""
name = "routes{os.getpid()}"
[supervision]
drain_seconds = 1.0
[nic.front]
driver = "afxdp"
interface = "front"
address = "{address}"
[group.web]
cpus = [{free_cpus()[0]}]
nic = "front"
connections = 1000
buffers = "16 MiB"
[[group.web.listen]]
port = "tcp:{PORT}"
actor = "echo:Echo"
"""


@contextmanager
def serving(server: Host, tmp_path: Path, address: str = "shared") -> Iterator[Command]:
    """An echo server in that namespace."""
    (tmp_path / "echo.py").write_text(ECHO)
    path = tmp_path / "layout.toml"
    path.write_text(toml(address))
    with command(path, prefix=server.prefix) as running:
        running.seen("running")
        yield running
        running.end()


def counters(running: Command) -> dict[str, int]:
    """What the core had counted at its end."""
    assert running.end() == 0, running.errors
    return dict(running.seen("counters")[0])


@pytest.fixture
def pair() -> Iterator[tuple[Host, Host]]:
    """Server and client on one wire: `front` here, `back` there."""
    with hosts(2) as (server, client):
        link(server, "front", f"{SERVER}/24", client, "back", f"{CLIENT}/24")
        yield server, client


def test_the_clients_mac_changes(pair: tuple[Host, Host], tmp_path: Path) -> None:
    """A client that gets another MAC in the middle of a transfer goes on with the same connection, and so do the TCP, UDP
    and ping that Linux serves on that address."""
    server, client = pair
    with serving(server, tmp_path) as running, beside(server, client), Talk(client) as talk:
        for number in range(3):
            talk.goes_on()
            client.ip("link", "set", "back", "address", f"02:00:00:00:00:0{number}")
        talk.goes_on()
        talk.end()
        assert counters(running)["routes_taken"] >= 4


def test_the_clients_mac_changes_at_an_address_of_our_own(
    pair: tuple[Host, Host], tmp_path: Path
) -> None:
    """The same at an address that Linux doesn't have, although Linux knows the client by its old MAC and doesn't hear it
    ask for ours."""
    server, client = pair
    server.run("ping", "-qc1", CLIENT)
    with serving(server, tmp_path, "10.0.0.9/24") as running:
        with Talk(client, address="10.0.0.9") as talk:
            for number in range(3):
                talk.goes_on()
                client.ip("link", "set", "back", "address", f"02:00:00:00:00:0{number}")
            talk.goes_on()
            talk.end()
        assert counters(running)["neighbour_doubted"] >= 1


def neighbour(host: Host, address: str) -> str:
    """The MAC that Linux has there; empty: none that it would use."""
    found = json.loads(host.ip("-j", "neigh", "show", "to", address))
    return found[0].get("lladdr", "") if found and found[0]["state"] != ["FAILED"] else ""


def test_silent_next_hops_are_asked_for_again(pair: tuple[Host, Host], tmp_path: Path) -> None:
    """When nothing is heard of a client any more, because Linux has a wrong MAC of it, Linux is made to find the right
    one, and the transfer goes on."""
    server, client = pair
    with serving(server, tmp_path), Talk(client, 500_000) as talk:
        talk.goes_on()
        server.ip(
            "neigh",
            "replace",
            CLIENT,
            "lladdr",
            "02:00:00:00:00:99",
            "dev",
            "front",
            "nud",
            "stale",
        )
        assert eventually(lambda: neighbour(server, CLIENT) in ("", client.mac("back")), 60)
        talk.goes_on()
        talk.end()


def grows(router: Host) -> None:
    """Waits until replies come by this router."""
    before = router.received("near")
    assert eventually(lambda: router.received("near") > before + 100, 30)


def test_replies_go_to_the_gateway(tmp_path: Path) -> None:
    """Behind two routers: replies go to the gateway of Linux's route, to the other one as soon as the route says so, and
    when that one is dead, to where the client's segments come from."""
    with hosts(5) as (server, client, first, second, switch):
        join(switch, "one", server, "front", f"{SERVER}/24")
        join(switch, "two", client, "back", "10.0.1.2/24")
        for number, router in enumerate((first, second)):
            forwards(router)
            join(switch, "one", router, "near", f"10.0.0.1{number + 1}/24")
            join(switch, "two", router, "far", f"10.0.1.1{number + 1}/24")
        client.ip("route", "add", "default", "via", "10.0.1.11")
        server.ip("route", "add", "default", "via", "10.0.0.12")
        with serving(server, tmp_path), Talk(client) as talk:
            grows(second)
            server.ip("route", "replace", "default", "via", "10.0.0.11")
            grows(first)
            before = second.received("near")
            talk.goes_on(10)
            assert second.received("near") - before < 100
            server.ip("route", "replace", "default", "via", "10.0.0.12")
            grows(second)
            second.ip("link", "set", "near", "down")
            grows(first)
            talk.goes_on()
            talk.end()


def test_a_smaller_mtu(pair: tuple[Host, Host], tmp_path: Path) -> None:
    """When the link's MTU falls in the middle of a transfer the segments that follow fit; it may rise again, and one that
    no frame takes is said and counted."""
    server, client = pair
    with serving(server, tmp_path) as running, beside(server, client), Talk(client) as talk:
        for mtu in (1000, 600, 1500):
            talk.goes_on()
            for host, device in ((server, "front"), (client, "back")):
                host.ip("link", "set", device, "mtu", str(mtu))
        talk.goes_on()
        for host, device in ((client, "back"), (server, "front")):
            host.ip("link", "set", device, "mtu", "2500")
        (said,) = running.seen("mtu_too_large")
        assert said["mtu"] == 2500
        talk.goes_on()
        talk.end()
        assert counters(running)["mtu_capped"] == 1


SHA = """
import hashlib, random, socket, threading
data = random.Random(7).randbytes(10_000_000)
stream = socket.create_connection(("10.0.0.1", 8080), timeout=60)
thread = threading.Thread(target=lambda: (stream.sendall(data), stream.shutdown(socket.SHUT_WR)))
thread.start()
got = hashlib.sha256()
while piece := stream.recv(1 << 16):
    got.update(piece)
thread.join()
assert got.digest() == hashlib.sha256(data).digest()
print("same")
"""


def test_a_narrow_path(tmp_path: Path) -> None:
    """A router whose far link takes 1200 bytes says so (RFC 1191): 10 MB come back with the right SHA-256."""
    with hosts(4) as (server, near, far, client):
        link(server, "front", f"{SERVER}/24", near, "left", "10.0.0.11/24")
        link(near, "right", "10.0.1.1/24", far, "left", "10.0.1.2/24")
        link(far, "right", "10.0.2.1/24", client, "back", "10.0.2.2/24")
        for router, device in ((near, "right"), (far, "left")):
            forwards(router)
            router.ip("link", "set", device, "mtu", "1200")
        near.ip("route", "add", "default", "via", "10.0.1.2")
        far.ip("route", "add", "default", "via", "10.0.1.1")
        server.ip("route", "add", "default", "via", "10.0.0.11")
        client.ip("route", "add", "default", "via", "10.0.2.1")
        with serving(server, tmp_path) as running:
            assert client.run("python3", "-c", SHA) == "same\n"
            counted = counters(running)
            assert counted["path_mtu_lowered"] == 1
            assert counted["icmp_errors"] >= 1


TAGGED = """
import socket, sys
port = int(sys.argv[2])
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((sys.argv[1], 0))
there = bytes.fromhex(sys.argv[3].replace(":", ""))
for _ in range(100):
    wire.send(there + b"\\2\\0\\0\\0\\0\\1" + b"\\x81\\0\\0\\5" + b"\\x08\\0\\x45" + bytes(60))
"""
LISTENS = """
import socket
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.settimeout(30)
print("ready", flush=True)
seen = 0
while seen < 100:
    seen += wire.recv(2000)[12:17] in (b"\\x81\\0\\0\\5\\x08", b"\\x08\\0\\x45\\0\\0")
print("all", flush=True)
"""


def test_tagged_frames_are_linuxes(pair: tuple[Host, Host], tmp_path: Path) -> None:
    """Frames with an 802.1Q tag pass to Linux, every one of them, and are counted."""
    server, client = pair
    with serving(server, tmp_path) as running, Talk(client) as talk:
        talk.goes_on()
        with server.script(LISTENS) as listens:
            assert listens.stdout is not None
            assert listens.stdout.readline() == "ready\n"
            client.run("python3", "-c", TAGGED, "back", "5", server.mac("front"))
            assert listens.stdout.readline() == "all\n"
        talk.goes_on()
        talk.end()
        assert counters(running)["vlan_passed"] == 100


def test_partial_checksums(pair: tuple[Host, Host], tmp_path: Path) -> None:
    """With checksum offload on, as a veth pair has it, sums of the pseudo-header alone arrive and are counted; with it
    off none does. Either way every byte is right."""
    server, client = pair
    for offload in ("on", "off"):
        client.run("ethtool", "-K", "back", "tx", offload)
        folder = tmp_path / offload
        folder.mkdir()
        with serving(server, folder) as running, Talk(client) as talk:
            talk.goes_on()
            talk.end()
            assert bool(counters(running).get("partial_checksum")) == (offload == "on")
