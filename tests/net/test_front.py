"""What keeps an interface from serving: each is produced, said by name with its reason, and gone after the command that
the error gives."""

import ctypes
import mmap
import os
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from serving import FRONT, PEER, PORT, echo, examples, refused, serving, toml
from splitplane.nic.afxdp import Steering, audit, open_queue, section_bytes, sends
from splitplane.nic.interface import Merging, read_interface
from splitplane.runtime import front_look
from splitplane.runtime.errors import Problem
from splitplane.runtime.front import loopback, probe
from splitplane.runtime.front_look import Look
from splitplane.runtime.layout import Layout
from splitplane.runtime.machine import read_machine
from wires import OURS, Client, ip, veth

LOWER = "splitlower"


@pytest.fixture
def client() -> Iterator[Client]:
    """A client behind an interface of two queues, of which one is used."""
    with veth(FRONT, queues=2) as made:
        made.run("ethtool", "-L", PEER, "rx", "1", "tx", "1")
        sh(f"ethtool -L {FRONT} rx 1 tx 1")
        yield made


def sh(line: str) -> None:
    """Runs a command line, which must succeed."""
    subprocess.run(line, shell=True, check=True, capture_output=True)


def look(text: str = "") -> Look:
    """At the interface of a layout."""
    layout = Layout.model_validate(tomllib.loads(text or toml()))
    return Look(layout.located(Path(), "layout.toml"), "web", read_machine())


def the_one(problems: list[Problem]) -> Problem:
    """The only problem."""
    (problem,) = problems
    return problem


def mend(problem: Problem, **words: str) -> None:
    """Does what the problem says."""
    line = problem.remedy.split(", or")[0]
    for word, value in words.items():
        line = line.replace(word, value)
    sh(line)


@pytest.mark.parametrize(
    ("spoil", "layout", "said"),
    [
        (f"ip link set {FRONT} down", {}, "the interface is down"),
        (f"ip link set {FRONT} mtu 9000", {}, "its MTU of 9000 bytes is more than a frame's slot"),
        ("true", {"cpus": "0, 1"}, "it has 1 queues for 2 cores"),
        (f"ip address flush dev {FRONT}", {}, "no IPv4 address to share"),
    ],
)
def test_said_and_mended(client: Client, spoil: str, layout: dict[str, str], said: str) -> None:
    """One thing wrong with the interface is one problem, which names it; the command that it gives mends it."""
    text = toml(**layout)
    sh(spoil)
    found = the_one(look(text).problems)
    assert f'layout.toml: nic.front.interface = "{FRONT}": ' in str(found)
    assert said in str(found)
    mend(found)
    assert look(text).problems == []


def test_everything_at_once(client: Client, tmp_path: Path) -> None:
    """`splitplane check` says in one go all that is wrong with an interface, its ports, and the rest of the layout."""
    ip("link", "set", FRONT, "down", "mtu", "9000")
    sh(f"ip address add 10.77.0.9/24 dev {FRONT}")
    examples(tmp_path)
    path = tmp_path / "layout.toml"
    path.write_text(toml(cpus="0, 1", more='address = "10.77.0.9/24"') + "typo = 1\n")
    with Steering(1) as steering:
        steering.attach(read_interface(FRONT).index)
        words = [sys.executable, "-m", "splitplane", "check", str(path)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    for part in (
        "typo = 1: there is no such key",
        f'nic.front.address = "10.77.0.9/24": Linux has that address itself, on {FRONT}',
        "the interface is down",
        "its MTU of 9000 bytes",
        "it has 1 queues for 2 cores",
        "is attached to it already",
    ):
        assert part in done.stderr, done.stderr


def test_port_of_linux(client: Client) -> None:
    """A port that a program of Linux's has is found without starting anything."""
    with socket.socket() as listener:
        listener.bind((OURS, PORT))
        listener.listen()
        found = the_one(look().problems)
    assert "group.web.listen[0].port" in str(found)
    assert "Linux holds that port" in str(found)
    assert look().problems == []


def test_program_of_somebody_else(client: Client) -> None:
    """An XDP program that is there already is named by its number, and left in peace."""
    with Steering(1) as steering:
        steering.attach(read_interface(FRONT).index)
        found = the_one(look().problems)
        number = read_interface(FRONT).xdp_program
        assert f"XDP program {number} is attached to it already" in str(found)
    assert look().problems == []


def test_another_namespace(client: Client) -> None:
    """An interface of another network namespace is said to be there, with the words that start us there."""
    found = the_one(look(toml().replace(FRONT, PEER)).problems)
    assert "it is in another network namespace" in str(found)
    words = found.remedy.split()
    assert words[0] == "nsenter"
    done = subprocess.run([*words[:2], "ip", "link", "show", PEER], check=True, capture_output=True)
    assert PEER.encode() in done.stdout


def test_no_ethernet() -> None:
    """The loopback interface, which has no Ethernet, is refused with the driver that serves there."""
    found = the_one(look(toml().replace(FRONT, "lo")).problems)
    assert "no Ethernet frames" in str(found)
    assert 'driver = "kernel"' in found.remedy


def test_no_carrier(client: Client) -> None:
    """A link whose other end is down is a warning, for it may come up."""
    assert look().warnings == []
    client.run("ip", "link", "set", PEER, "down")
    seen = look()
    assert seen.problems == []
    assert "no carrier" in str(the_one(seen.warnings))


def test_both_ends_in_one_namespace() -> None:
    """A veth whose other end has an address in the same namespace is warned of, and the command moves it away."""
    ip("link", "add", FRONT, "type", "veth", "peer", "name", PEER)
    client = Client()
    try:
        for name, address in ((FRONT, OURS), (PEER, "10.77.0.2")):
            ip("address", "add", f"{address}/24", "dev", name)
            ip("link", "set", name, "up")
        found = the_one(look().warnings)
        assert f"its other end {PEER} has an address in this same namespace" in str(found)
        mend(found, NAME=str(client.holder.pid))
        client.run("ip", "link", "set", PEER, "up")
        assert look().warnings == []
    finally:
        ip("link", "del", FRONT)
        client.close()


def test_path_filter_without_a_route(client: Client) -> None:
    """With rp_filter and no route out of the interface Linux answers no ARP there, so nobody reaches the shared address:
    said, and mended by the route."""
    sh(f"ip address flush dev {FRONT}; ip address add {OURS}/32 dev {FRONT}")
    assert look().problems == []
    sh(f"echo 1 >/proc/sys/net/ipv4/conf/{FRONT}/rp_filter")
    client.run("sh", "-c", f"! ping -c 1 -W 1 {OURS}")
    found = the_one(look().problems)
    assert "rp_filter is 1 and no route leads out of it" in str(found)
    mend(found, CLIENTS="10.77.0.0")
    assert look().problems == []
    client.run("ping", "-c", "1", "-W", "5", OURS)


def test_merging_is_named() -> None:
    """Hardware that merges frames is named with the command that stops it, or where it can't be stopped."""
    with veth(FRONT):
        whole = read_interface(FRONT)
        lro, fixed = Merging(FRONT, "rx-lro", fixed=False), Merging(FRONT, "rx-gro-hw", fixed=True)
        seen = look()
        said = dict(seen._path(replace(whole, merging=(lro, fixed))))
    assert f"ethtool -K {FRONT} lro off" in said.values()
    assert any("rx-gro-hw" in text and "can't be switched off" in text for text in said)


@pytest.fixture
def standing(client: Client) -> Iterator[Client]:
    """FRONT as a macvlan, whose driver has no XDP, on a veth; the client sends no segments larger than frames."""
    ip("link", "set", FRONT, "down")
    ip("link", "set", FRONT, "name", LOWER)
    try:
        ip("link", "set", LOWER, "up")
        ip("link", "add", FRONT, "link", LOWER, "type", "macvlan", "mode", "bridge")
        ip("link", "set", FRONT, "up")
        client.run("ethtool", "-K", PEER, "tso", "off", "gso", "off")
        yield client
    finally:
        ip("link", "del", LOWER)


APART = 'address = "10.77.0.9/24"'


def test_merging_below(standing: Client) -> None:
    """GRO of the interface that ours stands on makes frames too large for us: named, and mended."""
    assert look(toml(more=APART)).problems == []
    sh(f"ethtool -K {LOWER} gro on")
    found = the_one(look(toml(more=APART)).problems)
    assert f"rx-gro of {LOWER} merges frames" in str(found)
    mend(found)
    assert look(toml(more=APART)).problems == []


def test_generic(standing: Client, tmp_path: Path) -> None:
    """On a driver without XDP the generic one serves, and a warning says what it costs; there is nothing to busy-poll."""
    with serving(tmp_path, toml(more=APART)) as running:
        assert echo(standing, 100_000, address="10.77.0.9") == "same\n"
        assert any("no XDP of its own" in one["text"] for one in running.seen("warning"))
        assert "xdpgeneric" in ip("-d", "link", "show", FRONT)
    found = the_one(look(toml(more=f"{APART}\nbusy_poll_microseconds = 20")).problems)
    assert "there is no NAPI to poll" in str(found)


def test_more_sending_queues_at_the_other_end(client: Client, tmp_path: Path) -> None:
    """A veth's other end that sends on more queues than ours receives on is seen when the program is attached: refused,
    and mended there."""
    client.run("ethtool", "-L", PEER, "tx", "2")
    said = refused(tmp_path, toml())
    assert f'nic.front.interface = "{FRONT}": its other end sends on more queues than the 1' in said
    assert "ethtool -L PEER tx 1 at the other end" in said
    client.run("ethtool", "-L", PEER, "tx", "1")
    with serving(tmp_path, toml()):
        assert echo(client, 1000) == "same\n"


def test_each_queue_is_proved(client: Client) -> None:
    """The proof sees whether the program gives a queue's frames to a socket, whether a live one comes out of it, and
    whether one goes out; no frame is lost to it."""
    sh(f"ethtool -L {FRONT} rx 2")
    interface = read_interface(FRONT)
    region = mmap.mmap(-1, section_bytes(64, 1))
    address = ctypes.addressof(ctypes.c_char.from_buffer(region))
    frame = probe(interface.mac, OURS, PORT)
    with Steering(2) as steering:
        steering.take(OURS, PORT)
        steering.attach(interface.index)
        descriptor, _ = open_queue(interface.index, 0, 64, address)
        assert not steering.takes(interface.index, 0, frame)
        steering.socket(0, descriptor)
        assert [steering.takes(interface.index, number, frame) for number in (0, 1)] == [
            True,
            False,
        ]
        for _ in range(100):
            assert steering.receives(interface.index, descriptor, address, frame)
            assert sends(descriptor, address, loopback(interface.mac))
        found = audit(descriptor, address)
        assert (found.fill, found.owned, found.twice, found.lost) == (32, 32, 0, 0)
        os.close(descriptor)


ADMIN = ("sys_admin",)


@pytest.mark.parametrize(
    ("dropped", "name"),
    [
        (("net_admin", *ADMIN), "CAP_NET_ADMIN"),
        (("bpf", *ADMIN), "CAP_BPF"),
        (("perfmon", *ADMIN), "CAP_PERFMON"),
        (("net_raw",), "CAP_NET_RAW"),
    ],
)
def test_missing_capability(
    client: Client, tmp_path: Path, dropped: tuple[str, ...], name: str
) -> None:
    """Each right that is missing is named."""
    less = ",".join(f"-{one}" for one in dropped)
    words = ("setpriv", f"--bounding-set={less}", f"--inh-caps={less}", "--")
    said = refused(tmp_path, toml(), *words)
    assert f"AF_XDP is not permitted: {name} missing: run as root" in said


def only(*rights: str) -> tuple[str, ...]:
    """Words that run a command with these rights alone."""
    few = ",".join(("-all", *(f"+{one}" for one in ("dac_override", *rights))))
    return ("setpriv", f"--bounding-set={few}", f"--inh-caps={few}", "--")


def test_rights_that_suffice(client: Client, tmp_path: Path) -> None:
    """The rights that the documentation names are all that is wanted, with leave to lock the frames; without that the
    error says how much."""
    rights = ("net_admin", "net_raw", "bpf", "perfmon")
    said = refused(tmp_path, toml(), *only(*rights), "prlimit", "--memlock=65536:65536")
    assert "16384 KiB of frames must be locked, and this user may lock 64: ulimit -l 16384" in said
    with serving(tmp_path, toml(), prefix=only(*rights, "ipc_lock")):
        assert echo(client, 1000) == "same\n"


def test_tap_without_rights() -> None:
    """A user who may make no TAP interface is told before the start, and how root can make it for him."""
    text = toml(more=APART).replace('"afxdp"', '"tap"').replace(FRONT, "splittap9")
    layout = Layout.model_validate(tomllib.loads(text))
    found = the_one(Look(layout, "web", replace(read_machine(), capabilities=0)).problems)
    assert "ip tuntap add splittap9 mode tap user $USER" in found.remedy
    assert Look(layout, "web", read_machine()).problems == []


def test_user_namespace(tmp_path: Path) -> None:
    """Root of a user namespace has the rights by name only, and is told so."""
    said = refused(tmp_path, toml(), "unshare", "-Urn")
    assert "this is a user namespace" in said
    assert 'driver = "tap"' in said


def test_kernel_without_af_xdp(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without AF_XDP is said to be one."""
    none: Callable[[], bool] = lambda: False
    monkeypatch.setattr(front_look.Look, "_has_sockets", staticmethod(none))
    assert "this kernel has no AF_XDP" in str(the_one(look().problems))
