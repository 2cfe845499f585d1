"""Real kernel clients across a veth, served by our TCP over AF_XDP, beside everything Linux serves there itself."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest
from processes import eventually
from serving import FRONT, PEER, PORT, echo, refused, serving, toml
from wires import OURS, Client, ip, veth


@pytest.fixture
def client() -> Iterator[Client]:
    """A client behind one queue."""
    with veth(FRONT) as made:
        yield made


def program() -> bool:
    """Whether an XDP program is on the interface."""
    return "prog/xdp" in ip("-d", "link", "show", FRONT)


def test_hundred_megabytes_each_way(client: Client, tmp_path: Path) -> None:
    """100 MB from a kernel client and back have the same SHA-256, and no frame of the queue is lost on the way."""
    with serving(tmp_path, toml()) as running:
        assert echo(client, 100_000_000) == "same\n"
        assert program()
        assert running.end() == 0
    assert not program()


def test_linux_keeps_its_own(client: Client, tmp_path: Path) -> None:
    """On the shared address ping is answered by Linux, and its TCP and UDP services go on beside ours."""
    with socket.socket() as listener, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        listener.bind((OURS, 2222))
        listener.listen()
        datagrams.bind((OURS, 5353))
        datagrams.settimeout(10)
        with serving(tmp_path, toml()):
            tell = f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'hi', ('{OURS}', 5353))"
            client.run("python3", "-c", tell)
            assert datagrams.recv(10) == b"hi"
            ask = f"import socket; print(socket.create_connection(('{OURS}', 2222), 10).recv(9))"
            answer = threading.Thread(target=lambda: listener.accept()[0].send(b"from linux"[:9]))
            answer.start()
            assert "from linu" in client.run("python3", "-c", ask)
            answer.join()
            client.run("ping", "-c", "3", "-i", "0.2", OURS)
            assert echo(client, 10_000) == "same\n"


def test_the_port_is_reserved(client: Client, tmp_path: Path) -> None:
    """While we serve a port no program of Linux can take it, and Linux itself has no listener there."""
    with serving(tmp_path, toml()):
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((OURS, PORT))
        listeners = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True)
        assert f":{PORT}" not in listeners.stdout
        assert echo(client, 1000) == "same\n"


def test_transfers_survive_kills(client: Client, tmp_path: Path) -> None:
    """kill -9 of the worker again and again under a transfer: the same connection goes on and every byte is right."""
    with serving(tmp_path, toml()) as running:
        said: list[str] = []

        def talk() -> None:
            with suppress(AssertionError):  # a reset: below, whether it had to be
                said.append(echo(client, 60_000_000))

        transfer = threading.Thread(target=talk)
        transfer.start()
        kills = 0
        while transfer.is_alive() and kills < 20:
            time.sleep(0.05)
            with suppress(ProcessLookupError):
                os.kill(running.worker(), signal.SIGKILL)
                kills += 1
                running.seen("worker_replaced", kills)
        transfer.join()
        caught = [one for one in running.events if one["event"] == "worker_lost" and one["record"]]
        assert said == ["same\n"] or caught, running.events
        assert kills >= 3


def test_nothing_stays_after_a_kill_of_the_controller(client: Client, tmp_path: Path) -> None:
    """kill -9 of the controller detaches everything within a second: frames are Linux's again."""
    with serving(tmp_path, toml()) as running:
        assert program()
        os.kill(running.pid, signal.SIGKILL)
        assert eventually(lambda: not program(), 2)
        client.run("ping", "-c", "1", OURS)


def test_several_queues_on_one_core(tmp_path: Path) -> None:
    """Four queues of one interface are served by one core, whichever of them a flow arrives at."""
    with veth(FRONT, queues=4) as client, serving(tmp_path, toml()):
        for seed in range(8):
            assert echo(client, 200_000, seed) == "same\n"


def test_own_address(client: Client, tmp_path: Path) -> None:
    """With an address of our own we answer ARP and echo for it, and Linux keeps the other one."""
    own = toml(more='address = "10.77.0.9/24"')
    with serving(tmp_path, own):
        client.run("ping", "-c", "2", "-i", "0.2", "10.77.0.9")
        client.run("ping", "-c", "1", OURS)
        fetch = "import socket; s = socket.create_connection(('10.77.0.9', 8080), 10); s.send(b'x'); print(s.recv(1))"
        assert "b'x'" in client.run("python3", "-c", fetch)


def test_missing_interface(tmp_path: Path) -> None:
    """An interface that isn't there is refused by its name."""
    said = refused(tmp_path, toml().replace(FRONT, "splitabsent"))
    assert 'nic.front.interface = "splitabsent": this machine has no such interface' in said


def test_interface_down(client: Client, tmp_path: Path) -> None:
    """An interface that is down is refused with the command that brings it up."""
    ip("link", "set", FRONT, "down")
    assert f"ip link set {FRONT} up" in refused(tmp_path, toml())


def test_jumbo_frames(client: Client, tmp_path: Path) -> None:
    """An MTU larger than a frame's slot is refused."""
    ip("link", "set", FRONT, "mtu", "9000")
    assert f"ip link set {FRONT} mtu 1500" in refused(tmp_path, toml())


def test_no_address(client: Client, tmp_path: Path) -> None:
    """A shared address needs one on the interface."""
    ip("address", "flush", "dev", FRONT)
    assert "no IPv4 address to share" in refused(tmp_path, toml())


def test_port_of_linux(client: Client, tmp_path: Path) -> None:
    """A port at which Linux listens on that address is refused."""
    with socket.socket() as listener:
        listener.bind((OURS, PORT))
        listener.listen()
        assert "Linux holds that port" in refused(tmp_path, toml())


def test_two_runtimes(client: Client, tmp_path: Path) -> None:
    """A second runtime on the interface is refused; the first goes on."""
    with serving(tmp_path, toml()):
        folder = tmp_path / "second"
        folder.mkdir()
        other = toml().replace('"tested"', '"second"')
        assert "is attached to it already" in refused(folder, other)
        assert echo(client, 1000) == "same\n"


def test_without_rights(client: Client, tmp_path: Path) -> None:
    """Without CAP_NET_RAW and CAP_BPF the refusal says which rights are wanted, and the driver that needs none."""
    tmp_path.chmod(0o755)
    said = refused(tmp_path, toml(), "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--")
    assert 'driver = "kernel"' in said


MOVED = """
import fcntl, socket, struct, ctypes
def channels(interface, count):
    words = (ctypes.c_uint32 * 9)(0x3D, 0, 0, 0, 0, 2, count, 0, 0)  # ETHTOOL_SCHANNELS: rx, tx
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        fcntl.ioctl(asked, 0x8946, struct.pack("16sP16x", interface, ctypes.addressof(words)))
def turn(data):
    for stream in streams:
        stream.sendall(data)
        got = b""
        while len(got) < len(data):
            got += stream.recv(65536)
        assert got == data
streams = [socket.create_connection(("10.77.0.1", 8080), timeout=20) for _ in range(16)]
turn(bytes(range(256)) * 30)
channels(b"splitfrontpeer", 1)
for _ in range(20):
    turn(bytes(range(255, -1, -1)) * 30)
print("same")
"""


def test_flows_that_move_to_another_core(tmp_path: Path) -> None:
    """When the sender's frames come by another queue, and so at another core, the connections go on: their frames are
    handed to the core that has them."""
    with veth(FRONT, queues=2) as client, serving(tmp_path, toml(cpus="0, 1")) as running:
        assert client.run("python3", "-c", MOVED) == "same\n"
        assert running.end() == 0
        counted = running.seen("counters", 2)
        assert all(one.get("opened") for one in counted), counted
        assert sum(one.get("handed_on", 0) for one in counted) > 0
        assert sum(one.get("handed_in", 0) for one in counted) > 0


HOLD = """
import resource, socket
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
streams = [socket.create_connection(("10.77.0.1", 8080), timeout=60) for _ in range(10_000)]
for number, stream in enumerate(streams):
    stream.sendall(number.to_bytes(4, "big"))
for number, stream in enumerate(streams):
    assert stream.recv(4, socket.MSG_WAITALL) == number.to_bytes(4, "big"), number
print("same")
"""


def test_ten_thousand_connections(client: Client, tmp_path: Path) -> None:
    """Ten thousand kernel connections are held at once, and each gets its own bytes back."""
    with serving(tmp_path, toml()):
        assert client.run("python3", "-c", HOLD, seconds=120) == "same\n"


def test_a_link_that_goes_down_and_up(client: Client, tmp_path: Path) -> None:
    """A transfer outlives its link being taken down for a second and brought up again."""
    with serving(tmp_path, toml()):
        said: list[str] = []
        transfer = threading.Thread(target=lambda: said.append(echo(client, 100_000_000)))
        transfer.start()
        time.sleep(0.2)
        ip("link", "set", FRONT, "down")
        time.sleep(1)
        ip("link", "set", FRONT, "up")
        transfer.join()
        assert said == ["same\n"]


def until(stream: IO[str], words: str) -> list[str]:
    """The lines up to the one with these words, or all there are."""
    lines: list[str] = []
    for line in stream:
        lines.append(line)
        if words in line:
            break
    return lines


def test_what_the_client_sees_on_the_wire(client: Client, tmp_path: Path) -> None:
    """Every frame that we send has a good checksum, as tcpdump at the client's end verifies it."""
    # A slot of tcpdump's ring is as long as -s says: by default eight MiB would hold 32 frames.
    options = ["-vvnl", "--immediate-mode", "-B", "8192", "-s", "2000", "-i", PEER]
    record = subprocess.Popen(
        [*client.prefix, "tcpdump", *options, "src", OURS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert record.stderr
    assert record.stdout
    assert eventually(lambda: "listening" in record.stderr.readline(), 10)
    with serving(tmp_path, toml()):
        assert echo(client, 300_000) == "same\n"
        # tcpdump prints more slowly than we send: it has told all once it has told of our FIN.
        lines = until(record.stdout, "Flags [F")
    record.send_signal(signal.SIGINT)
    seen = "".join(lines) + record.communicate(timeout=20)[0]
    assert seen.count("(correct)") > 100
    assert "incorrect" not in seen
    assert "bad cksum" not in seen


@pytest.mark.parametrize(
    "command",
    [
        ["wrk", "-t", "1", "-c", "64", "-d", "1", f"http://{OURS}:{PORT}/"],
        ["ab", "-q", "-k", "-c", "16", "-n", "5000", f"http://{OURS}:{PORT}/"],
    ],
)
def test_http_clients(client: Client, tmp_path: Path, command: list[str]) -> None:
    """wrk and ab get nothing but good answers, keep-alive and all."""
    quiet = "config = { report_every = 1_000_000_000 }\n"
    reporter = quiet + 'reports_to = "reporter"\n[control.reporter]\nactor = "hello:Reporter"\n'
    with serving(tmp_path, toml(actor="hello:Hello") + reporter) as running:
        said = client.run(*command)
        assert "Socket errors" not in said
        assert "Non-2xx" not in said
        assert running.end() == 0
        assert running.seen("counters")[0]["handler_calls"] > 4000
