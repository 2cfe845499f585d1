"""The kernel transport under real clients: Linux's sockets, a core's loop in a thread of this process."""

import contextlib
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from clients import Server, listening, read_all, read_exactly

HELLO = {"ON_DATA": "hello_data"}
ECHO = {"ON_DATA": "echo_data"}
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n"


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_a_request_in_single_bytes(serve: Callable[..., Server]) -> None:
    """Bytes that arrive one by one make the same answer."""
    server = serve(HELLO)
    with server.connect() as client:
        for byte in REQUEST:
            client.send(bytes([byte]))
            time.sleep(0.0005)
        assert read_exactly(client, len(ANSWER)) == ANSWER


def test_pipelined_requests_are_all_answered(serve: Callable[..., Server]) -> None:
    """Far more requests in flight than one turn takes: every one is answered."""
    server = serve(HELLO, {"calls_per_turn": 16})
    with server.connect() as client, ThreadPoolExecutor() as pool:
        sending = pool.submit(client.sendall, REQUEST * 20_000)
        assert read_exactly(client, 20_000 * len(ANSWER)) == ANSWER * 20_000
        sending.result()
    assert server.rig.counter("faults") == 0


def test_echo_of_megabytes_with_a_slow_reader(serve: Callable[..., Server]) -> None:
    """A client that reads late gets every byte in order; meanwhile the server stops reading, and another is served."""
    server = serve(ECHO, buffer_bytes=16 << 20)
    payload = os.urandom(1 << 20) * 24
    with server.connect() as client, ThreadPoolExecutor() as pool:
        sending = pool.submit(client.sendall, payload)
        time.sleep(0.3)
        assert not sending.done(), "back-pressure never reached the sender"
        with server.connect() as other:
            other.sendall(b"still here")
            assert read_exactly(other, 10) == b"still here"
        assert read_exactly(client, len(payload)) == payload
        sending.result()


def test_half_close_is_answered_in_full(serve: Callable[..., Server]) -> None:
    """A client that shuts down its sending side still gets every answer, then the end."""
    server = serve(HELLO)
    with server.connect() as client:
        client.sendall(REQUEST * 500)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == ANSWER * 500
    server.wait(lambda: server.live() == 0)


def test_close_by_the_actor_delivers_everything_first(serve: Callable[..., Server]) -> None:
    """close() after a large send: the client reads all of it, then the end, though it kept sending."""
    server = serve(limits={"reply_reserve": 65_536})  # a command sends up to 65 280 bytes
    with server.connect() as client:
        client.sendall(b"*\xff" * 100 + b"." + b"later bytes" * 1000)
        assert read_all(client) == b"x" * (100 * 255 * 256)
    server.wait(lambda: server.live() == 0)
    log = server.rig.handlers.log
    assert [e.argument for e in log if e.handler == server.lib.ON_CLOSE] == [server.lib.CLOSE_LOCAL]


def test_a_slow_reader_gets_the_last_answer(serve: Callable[..., Server]) -> None:
    """After close() a client that lets more than the lingering time pass before it reads still gets every byte."""
    server = serve(limits={"reply_reserve": 65_536})  # a command sends up to 65 280 bytes
    with server.connect() as client:
        client.sendall(b"*\xff" * 10 + b"." + b"later bytes" * 1000)
        time.sleep(6.5)  # KERNEL_LINGER is 5 s
        assert read_all(client) == b"x" * (10 * 255 * 256)


def test_abort_and_fault_send_a_reset(serve: Callable[..., Server]) -> None:
    """abort() and a failing handler reach the client as RST."""
    server = serve()
    for command in (b"x", b"!"):
        with server.connect() as client:
            client.sendall(command)
            with pytest.raises(ConnectionResetError):
                client.recv(1)
    server.wait(lambda: server.live() == 0)
    assert server.rig.counter("faults") == 1


def test_reset_in_the_middle_of_a_request(serve: Callable[..., Server]) -> None:
    """A client's RST ends in on_close(CLOSE_RESET) exactly once a connection, whatever was under way."""
    server = serve()
    for _ in range(50):
        client = server.connect()
        client.sendall(b"@\x01=\x40half of it")
        reset(client)
    server.wait(lambda: server.rig.counter("opened") == 50 and server.live() == 0)
    log = server.rig.handlers.log
    reasons = [e.argument for e in log if e.handler == server.lib.ON_CLOSE]
    assert reasons == [server.lib.CLOSE_RESET] * 50
    assert len({e.handle for e in log if e.handler == server.lib.ON_CLOSE}) == 50


def test_two_thousand_connections(serve: Callable[..., Server]) -> None:
    """2000 open connections are each answered, idle ones hold no buffer, and all are gone after they close."""
    server = serve(HELLO)
    free = server.lib.buffer_free_bytes(server.core)
    clients = [server.connect() for _ in range(2000)]
    for client in clients:
        client.sendall(REQUEST)
    for client in clients:
        assert read_exactly(client, len(ANSWER)) == ANSWER
    assert server.live() == 2000
    server.wait(lambda: server.lib.buffer_free_bytes(server.core) == free)
    for client in clients:
        client.close()
    server.wait(lambda: server.live() == 0)
    assert server.rig.counter("closed") == 2000


def test_no_record_free_leaves_clients_waiting_not_lost(serve: Callable[..., Server]) -> None:
    """Connections beyond the table wait in Linux's backlog and are served once others end."""
    server = serve(HELLO, connections=8)
    clients = [server.connect() for _ in range(12)]
    for client in clients:
        client.sendall(REQUEST)
    for client in clients[:8]:
        assert read_exactly(client, len(ANSWER)) == ANSWER
    assert server.rig.counter("accept_refused") >= 1
    for client in clients[:8]:
        client.close()
    for client in clients[8:]:
        assert read_exactly(client, len(ANSWER)) == ANSWER
        client.close()


def test_no_descriptor_free_does_not_spin(serve: Callable[..., Server]) -> None:
    """Out of descriptors, the others are served, the loop sleeps, and accepting goes on when one is free."""
    server = serve(HELLO)
    first = server.connect()
    first.sendall(REQUEST)
    assert read_exactly(first, len(ANSWER)) == ANSWER
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as second:
        second.settimeout(10)
        resource.setrlimit(resource.RLIMIT_NOFILE, (second.fileno() + 1, hard))
        try:
            second.connect(("127.0.0.1", server.port))
            second.sendall(REQUEST)
            server.wait(lambda: server.rig.counter("accept_refused") >= 2)
            before = server.rig.counter("accept_refused")
            first.sendall(REQUEST)
            assert read_exactly(first, len(ANSWER)) == ANSWER
            time.sleep(0.2)
            assert server.rig.counter("accept_refused") - before < 20
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert read_exactly(second, len(ANSWER)) == ANSWER
    first.close()


def test_flood_of_faults_does_not_stop_others(serve: Callable[..., Server]) -> None:
    """Connections that fail at once and come again leave another one's echo alone; all are counted."""
    server = serve()
    stop = threading.Event()

    def bad() -> None:
        while not stop.is_set():
            with server.connect() as client:
                client.sendall(b"!")
                with contextlib.suppress(ConnectionResetError):
                    client.recv(1)

    with ThreadPoolExecutor() as pool, server.connect() as good:
        floods = [pool.submit(bad) for _ in range(4)]
        for number in range(200):
            message = b"=\x04%04d" % number
            good.sendall(message)
            assert read_exactly(good, 4) == message[2:]
        stop.set()
        for flood in floods:
            flood.result()
    assert server.rig.counter("faults") > 20


def test_draining_finishes_what_is_under_way(serve: Callable[..., Server]) -> None:
    """Draining closes idle connections with the end, lets a busy one finish, takes no new one, then stops."""
    server = serve()
    idle, busy = server.connect(), server.connect()
    for client in (idle, busy):
        client.sendall(b"=\x01a")
        assert read_exactly(client, 1) == b"a"
    busy.sendall(b"=\x05ab")
    time.sleep(0.05)
    server.core.config.drain_milliseconds = 5000
    server.core.state.wanted = server.lib.CORE_DRAINING
    assert read_all(idle) == b""
    idle.close()
    busy.sendall(b"cde")
    assert read_exactly(busy, 5) == b"abcde"
    assert read_all(busy) == b""
    busy.close()
    server.thread.join(10)
    assert server.core.state.run == server.lib.CORE_STOPPED
    reasons = [e.argument for e in server.rig.handlers.log if e.handler == server.lib.ON_CLOSE]
    assert reasons == [server.lib.CLOSE_SHUTDOWN] * 2


def test_draining_resets_at_the_deadline(serve: Callable[..., Server]) -> None:
    """A connection that never finishes is reset when the deadline is past."""
    server = serve()
    server.core.config.drain_milliseconds = 200
    client = server.connect()
    client.sendall(b"=\x05ab")
    server.wait(lambda: server.rig.counter("handler_calls") >= 2)
    server.core.state.wanted = server.lib.CORE_DRAINING
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    client.close()
    server.thread.join(10)
    assert not server.thread.is_alive()


@pytest.mark.parametrize(
    "command",
    [
        ["curl", "-sS", "--max-time", "10", "-d", "", "http://127.0.0.1:{port}/"],
        ["ab", "-q", "-k", "-c", "16", "-n", "3000", "http://127.0.0.1:{port}/"],
        ["ab", "-q", "-c", "4", "-n", "300", "http://127.0.0.1:{port}/"],
        ["wrk", "-t", "1", "-c", "64", "-d", "1s", "http://127.0.0.1:{port}/"],
    ],
    ids=["curl", "ab", "ab-close", "wrk"],
)
def test_ordinary_clients(serve: Callable[..., Server], command: list[str]) -> None:
    """curl, ab and wrk are content: no error, no failed request."""
    assert shutil.which(command[0]), f"{command[0]} is needed"
    server = serve(HELLO)
    words = [word.format(port=server.port) for word in command]
    # A sanitizer preloaded into this process is not meant for the client.
    plain = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=plain)
    assert done.returncode == 0, done.stderr
    assert "Failed requests:        0" in done.stdout or command[0] != "ab"
    assert "Socket errors" not in done.stdout
    assert "Non-2xx" not in done.stdout
    server.wait(lambda: server.live() == 0)
    assert server.rig.counter("handler_calls") >= {"curl": 1, "ab": 300, "wrk": 100}[command[0]]


def test_an_idle_core_sleeps(serve: Callable[..., Server]) -> None:
    """With idle = adaptive, a core without work takes a small part of a CPU, and none of its connections is lost."""
    server = serve(HELLO)
    with server.connect() as client:
        client.sendall(REQUEST)
        read_exactly(client, len(ANSWER))
        time.sleep(0.1)
        before, start = time.process_time(), time.monotonic()
        time.sleep(0.5)
        share = (time.process_time() - before) / (time.monotonic() - start)
        assert share < 0.3
        client.sendall(REQUEST)
        assert read_exactly(client, len(ANSWER)) == ANSWER


def fork_worker(rig: Callable[..., Any], listener: socket.socket, memory: Any, adopt: bool) -> int:
    """Forks a worker over this arena that serves until killed; its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            one = rig(connections=100, busy_blocks=100, memory=memory, adopt=adopt)
            one.actor(listener.fileno(), listener.getsockname()[1])
            one.attach("kernel")
            assert one.lib.loop_start(one.core, int(adopt)) == 0
            one.lib.loop_run(one.core, 0)
        finally:
            os._exit(0)
    return pid


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_killed_worker_is_adopted(rig: Callable[..., Any]) -> None:
    """SIGKILL: each live connection is closed once (CLOSE_WORKER_LOST) and its record free again; the next worker serves
    at once."""
    watch = rig(connections=100, busy_blocks=100)
    lib = watch.lib
    buffers = lib.buffer_free_bytes(watch.core)
    with listening() as listener:
        for round_number in range(5):
            pid = fork_worker(rig, listener, watch.memory, adopt=round_number > 0)
            clients = [
                socket.create_connection(listener.getsockname(), timeout=10) for _ in range(20)
            ]
            for client in clients:
                client.sendall(b"=\x02ok=\x09half")
                assert read_exactly(client, 2) == b"ok"
            assert watch.counter("connections_lost") == 20 * round_number
            assert watch.counter("closed") == 20 * round_number
            assert watch.core.state.live == 20
            kill(pid)
            for client in clients:
                with contextlib.suppress(ConnectionResetError):
                    assert client.recv(1) == b""
                client.close()
        one = rig(connections=100, busy_blocks=100, memory=watch.memory, adopt=True)
        one.actor(listener.fileno(), listener.getsockname()[1])
        one.attach("kernel")
        one.handlers.reset()
        assert lib.loop_start(one.core, 1) == 0
        lib.loop_turn(one.core)
        log = one.handlers.log
        closed = [entry for entry in log if entry.handler == lib.ON_CLOSE]
        assert [entry.argument for entry in closed] == [lib.CLOSE_WORKER_LOST] * 20
        assert len({entry.handle for entry in closed}) == 20
        assert log[0].handler == lib.ON_CLOSE
        assert log[-1].handler == lib.ON_START
        assert one.core.state.live == 0
        assert lib.buffer_free_bytes(one.core) == buffers


@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0"])
def test_a_record_knows_both_ends(serve: Callable[..., Server], bound: str) -> None:
    """The flow of a connection is the addresses and ports of its socket, also behind a listener of any address."""
    server = serve(HELLO, bound=bound)
    with server.connect() as client:
        client.sendall(REQUEST)
        read_exactly(client, len(ANSWER))
        (record,) = [
            server.core.records[index]
            for index in range(1, server.core.state.record_fresh)
            if server.core.records[index].state == server.lib.STATE_ESTABLISHED
        ]
        flow = record.flow
        loopback = int.from_bytes(socket.inet_aton("127.0.0.1"), "little")
        assert (flow.local_address, flow.remote_address) == (loopback, loopback)
        assert socket.ntohs(flow.local_port) == server.port
        assert socket.ntohs(flow.remote_port) == client.getsockname()[1]


def test_a_record_knows_when_it_was_opened(serve: Callable[..., Server]) -> None:
    """`opened` lies between the core's clock before the client came and after it was answered, and stays; each in the
    order of their coming."""
    server = serve(HELLO)
    between: list[tuple[int, int]] = []
    with contextlib.ExitStack() as stack:
        clients: list[socket.socket] = []
        for _ in range(5):
            before = server.core.state.now
            clients.append(stack.enter_context(server.connect()))
            clients[-1].sendall(REQUEST)
            read_exactly(clients[-1], len(ANSWER))
            between.append((before, server.core.state.now))
        for client in clients:
            client.sendall(REQUEST)
            read_exactly(client, len(ANSWER))
        opened = sorted(
            server.core.records[index].opened
            for index in range(1, server.core.state.record_fresh)
            if server.core.records[index].state == server.lib.STATE_ESTABLISHED
        )
        ticks = [(before // 10**6, after // 10**6) for before, after in between]
        assert len(opened) == 5
        assert all(low <= at <= high for at, (low, high) in zip(opened, ticks, strict=True))


def test_draining_ends_a_client_that_never_pauses(serve: Callable[..., Server]) -> None:
    """A client that asks without end is closed between two answers before the deadline, not reset in the middle."""
    server = serve()
    server.core.config.drain_milliseconds = 2000
    client = server.connect()
    client.sendall(b"=\x01a")
    assert read_exactly(client, 1) == b"a"
    server.core.state.wanted = server.lib.CORE_DRAINING
    start = time.monotonic()
    answered = 0
    while time.monotonic() - start < 10:
        try:
            client.sendall(b"=\x01a")
            if not client.recv(1):
                break
        except BrokenPipeError:
            break
        answered += 1
    client.close()
    server.thread.join(10)
    assert not server.thread.is_alive()
    assert answered > 10
    reasons = [e.argument for e in server.rig.handlers.log if e.handler == server.lib.ON_CLOSE]
    assert reasons == [server.lib.CLOSE_SHUTDOWN]
    assert server.rig.counter("reset_sent") == 0
