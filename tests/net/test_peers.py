"""Programs that people really use, served over AF_XDP; and what others see of it: on the wire, and on this machine."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import children, eventually, traced
from serving import FRONT, PEER, PORT, serving, toml
from wires import OURS, Client, veth

REPORTER = """config = { report_every = 1_000_000_000 }
reports_to = "reporter"
[control.reporter]
actor = "hello:Reporter"
"""
HELLO = toml(actor="hello:Hello") + REPORTER


@pytest.fixture
def client() -> Iterator[Client]:
    """A client behind one queue."""
    with veth(FRONT) as made:
        yield made


def test_redis_benchmark(client: Client, tmp_path: Path) -> None:
    """redis-cli and redis-benchmark, pipelined and not, take resp over AF_XDP for a Redis."""
    with serving(tmp_path, toml(actor="resp:Resp")) as running:
        at = ("-h", OURS, "-p", str(PORT))
        assert client.run("redis-cli", *at, "set", "k", "41").strip() == "OK"
        assert client.run("redis-cli", *at, "incr", "k").strip() == "42"
        for pipeline in ("1", "16"):
            words = ("-t", "get,set", "-P", pipeline, "-c", "50", "-n", "8000", "--csv")
            said = client.run("redis-benchmark", *at, *words)
            assert said.count('"SET"') == said.count('"GET"') == 1
        assert running.end() == 0
        assert running.seen("counters")[0]["received_bytes"] > 4 * 8000 * 20


def test_curl(client: Client, tmp_path: Path) -> None:
    """curl gets its page, its own body back, and a 404 where there is nothing."""
    with serving(tmp_path, HELLO):
        url = f"http://{OURS}:{PORT}/"
        assert client.run("curl", "-sS", url) == "hello\n"
        assert client.run("curl", "-sS", "-d", "x" * 5000, f"{url}echo") == "x" * 5000
        words = ("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}")
        assert client.run(*words, f"{url}no") == "404"


FLOWS = """
import socket
streams = [socket.create_connection(("10.77.0.1", 8080), timeout=20) for _ in range(64)]
for number, stream in enumerate(streams):
    stream.sendall(bytes([number]))
for number, stream in enumerate(streams):
    assert stream.recv(2) == bytes([number])
print("same")
"""


def arrived(queue: int) -> int:
    """Frames that a queue of FRONT has given to its socket, as its driver counts them."""
    told = subprocess.run(["ethtool", "-S", FRONT], capture_output=True, text=True, check=True)
    found = re.search(rf"rx_queue_{queue}_xdp_redirect: (\d+)", told.stdout)
    assert found, told.stdout
    return int(found[1])


@pytest.mark.parametrize(("queues", "cpus"), [(4, ""), (2, "0, 1")])
def test_every_queue_serves(tmp_path: Path, queues: int, cpus: str) -> None:
    """Four queues on one core, two on two: frames of 64 connections arrive at each of them, and all are answered."""
    with veth(FRONT, queues=queues) as client, serving(tmp_path, toml(cpus=cpus)) as running:
        assert client.run("python3", "-c", FLOWS) == "same\n"
        assert all(arrived(queue) for queue in range(queues))
        assert running.end() == 0
        opened = [one.get("opened", 0) for one in running.seen("counters", 2 if cpus else 1)]
    assert sum(opened) == 64
    assert all(opened)


def test_busy_poll(client: Client, tmp_path: Path) -> None:
    """With busy_poll_microseconds the core asks its queue for frames each time it looks; what is answered is the same."""
    path = tmp_path / "calls"
    more = "busy_poll_microseconds = 20"
    with serving(
        tmp_path, HELLO.replace(f'interface = "{FRONT}"', f'interface = "{FRONT}"\n{more}')
    ) as running:
        lines = traced(
            running.worker(),
            path,
            lambda: client.run("ab", "-q", "-k", "-c", "8", "-n", "500", f"http://{OURS}:{PORT}/"),
        )
        assert running.end() == 0
        assert running.seen("counters")[0]["handler_calls"] == 500
    assert "recvfrom" in named(lines)[0]


ASK = """
import http.client
for _ in range(4):
    client = http.client.HTTPConnection("10.77.0.1", 8080, timeout=20)
    for _ in range(50):
        client.request("GET", "/")
        assert client.getresponse().read() == b"hello\\n"
    client.close()
"""


@contextmanager
def recorded(client: Client, path: Path) -> Iterator[None]:
    """What passes the client's end meanwhile, as tcpdump writes it to a file."""
    options = [
        "-n",
        "-U",
        "--immediate-mode",
        "-B",
        "8192",
        "-s",
        "2000",
        "-w",
        str(path),
        "-i",
        PEER,
    ]
    words = [*client.prefix, "tcpdump", *options, "tcp"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as record:
        assert record.stderr
        assert eventually(lambda: "listening" in record.stderr.readline(), 10)  # type: ignore[union-attr]
        yield
        record.send_signal(signal.SIGINT)


def messages(path: Path, source: str, start: bytes) -> set[tuple[int, int]]:
    """Port and sequence number of each segment from there that begins so; its checksum is good if it is ours."""
    from scapy.layers.inet import IP, TCP
    from scapy.utils import PcapReader

    found = set()
    with PcapReader(str(path)) as packets:
        for packet in packets:
            if packet[IP].src != source:
                continue
            if source == OURS:
                again = packet[IP].copy()
                del again.chksum, again[TCP].chksum
                again = IP(bytes(again))
                assert (packet[IP].chksum, packet[TCP].chksum) == (again.chksum, again[TCP].chksum)
            if bytes(packet[TCP].payload).startswith(start):
                found.add((packet[TCP].sport, packet[TCP].dport, packet[TCP].seq))
    return found


def test_as_many_answers_as_requests(client: Client, tmp_path: Path) -> None:
    """What tcpdump sees at the client's end: an answer for each request, as many as the handler was called for, and no
    bad checksum."""
    path = tmp_path / "wire.pcap"
    with serving(tmp_path, HELLO) as running:
        with recorded(client, path):
            client.run("python3", "-c", ASK)
            answers = lambda: messages(path, OURS, b"HTTP/1.1 200 OK")
            assert eventually(lambda: len(answers()) == 200), len(answers())
        assert len(messages(path, "10.77.0.2", b"GET / HTTP/1.1")) == 200
        assert running.end() == 0
        assert running.seen("counters")[0]["handler_calls"] == 200


@contextmanager
def demo() -> Iterator[tuple[subprocess.Popen[str], dict[str, int]]]:
    """The demo as root, still serving, and the object that it has printed."""
    words = [sys.executable, "-m", "splitplane", "demo", "--serve", "--json", "--requests", "100"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        found = json.loads(process.stdout.readline())
        assert found["driver"] == "afxdp"
        try:
            yield process, found
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def space(pid: int) -> int:
    """The network namespace of a process."""
    return os.stat(f"/proc/{pid}/ns/net").st_ino


def test_the_demo_from_outside(tmp_path: Path) -> None:
    """While the demo serves, Linux shows the program on the interface, no listener at the port, and hugepages in the
    worker's memory; the busy worker calls Linux for its doorbell only, on its queue's socket, and reads its own bell
    after it slept."""
    with demo() as (process, found):
        inside = ("nsenter", f"--net=/proc/{process.pid}/ns/net")
        shown = subprocess.run([*inside, "ip", "-d", "link", "show", "front"], stdout=-1, text=True)
        assert "prog/xdp" in shown.stdout
        assert "splitplane" in shown.stdout
        listening = subprocess.run([*inside, "ss", "-Hltn"], stdout=-1, text=True, check=True)
        assert ":8080" not in listening.stdout
        worker = found["worker_pid"]
        if found["page_size"] == 2 << 20:
            assert huge(Path(f"/proc/{worker}/smaps").read_text())
        (visitor,) = (pid for pid in children(process.pid) if space(pid) != space(process.pid))
        load = ["nsenter", f"--net=/proc/{visitor}/ns/net", "wrk", "-t", "1", "-c", "16", "-d", "3"]
        with subprocess.Popen([*load, f"http://{OURS}:8080/"], stdout=-1) as busy:
            path = tmp_path / "calls"
            calls, descriptors = named(traced(worker, path, lambda: rung(path, 50)))
            assert busy.wait(30) == 0
        assert calls
        assert calls <= {"sendto", "recvfrom", "ppoll", "read"}
        (queue,) = descriptors
        assert os.readlink(f"/proc/{worker}/fd/{queue}").startswith("socket:")
        # /proc as that process has it mounted: /proc/PID/net there is of its own namespace.
        links = f"/proc/{process.pid}/root/proc/{process.pid}/net/unix"
        number = os.readlink(f"/proc/{worker}/fd/{queue}")[8:-1]
        assert number not in Path(links).read_text().split()


def huge(smaps: str) -> bool:
    """Whether the arena stands on 2 MiB pages, of hugetlb or collapsed."""
    arenas = re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", smaps)
    ours = [one for one in arenas if "memfd:splitplane" in one]
    return any(
        "KernelPageSize:     2048 kB" in one or re.search(r"ShmemPmdMapped: +[1-9]", one)
        for one in ours
    )


def named(lines: list[str]) -> tuple[set[str], set[int]]:
    """The system calls in strace's lines, and the descriptors that they name."""
    text = "\n".join(lines)
    calls = set(re.findall(r"(?m)^\d+ +(\w+)\(", text)) - {"restart_syscall"}
    found = re.findall(r"(?m)^\d+ +(?:sendto\(|recvfrom\(|ppoll\(\[\{fd=)(\d+)", text)
    return calls, set(map(int, found))


def rung(path: Path, times: int) -> bool:
    """Whether strace has seen so many doorbells; waits for them."""
    return eventually(lambda: path.exists() and path.read_text().count("sendto(") > times)
