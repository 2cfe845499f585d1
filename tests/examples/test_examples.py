"""The examples do what they say: on the bench in both modes, and for clients that others wrote."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import command, free_cpus
from splitplane.testing import Bench, Mode

ROOT = Path(__file__).parent.parent.parent
NAMES = ("hello", "echo", "counters", "resp", "push")
LINES = {"resp": 150, "push": 150}


@pytest.fixture(scope="module", params=["interpreted", "compiled"])
def mode(request: pytest.FixtureRequest) -> Mode:
    """Both modes."""
    found: Mode = request.param
    return found


@pytest.fixture(scope="module", autouse=True)
def modules() -> Iterator[dict[str, Any]]:
    """The examples' modules, imported as `splitplane run` does: from beside their layouts."""
    folders = [str(ROOT / "examples" / name) for name in NAMES]
    sys.path[:0] = folders
    yield {name: import_module(name) for name in NAMES}
    for folder in folders:
        sys.path.remove(folder)
    for name in NAMES:
        del sys.modules[name]


def command_of(*words: bytes) -> bytes:
    """A RESP command."""
    return b"*%d\r\n" % len(words) + b"".join(
        b"$%d\r\n%s\r\n" % (len(word), word) for word in words
    )


def test_they_are_short() -> None:
    """An example is at most 60 lines, resp and push 150."""
    for name in NAMES:
        text = (ROOT / "examples" / name / f"{name}.py").read_text()
        assert len(text.splitlines()) <= LINES.get(name, 60), name


def test_hello(modules: dict[str, Any], mode: Mode) -> None:
    """Pipelined, cut anywhere, with a body, unknown, malformed: each request has its answer; every n-th is told."""
    hello = modules["hello"]
    with Bench(hello.Hello, mode=mode, config={"report_every": 2}) as bench:
        get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        post = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
        ran = bench.split_everywhere(get + post + b"GET /no HTTP/1.0\r\n\r\n" + get)
        assert ran.received == (
            b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        assert ran.status == "ended"
        assert bench.told[-1].requests == bench.core.served // 2 * 2  # type: ignore[attr-defined]
        peer = bench.connect()
        peer.send(post.replace(b"Host", b"Expect: 100-continue\r\nHost").removesuffix(b"body"))
        assert peer.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.send(b"body")
        assert peer.take().endswith(b"body")
        for bad, status in ((b"\x00", b"400"), (post.replace(b": 4", b": 99999"), b"413")):
            peer = bench.connect()
            peer.send(bad)
            assert (peer.received[9:12], peer.status) == (status, "ended")
        assert not bench.faults


@settings(max_examples=40)
@given(st.binary(min_size=1, max_size=300), st.lists(st.integers(1, 299), max_size=5))
def test_echo(modules: dict[str, Any], data: bytes, cuts: list[int]) -> None:
    """What comes goes back, however it was cut."""
    with Bench(modules["echo"].Echo) as bench:
        peer = bench.connect()
        peer.send(data, split=cuts)
        assert peer.received == data


def test_echo_of_much(modules: dict[str, Any], mode: Mode) -> None:
    """A peer that sends more than the buffers hold and reads late gets all of it; a silent one is closed after a minute."""
    with Bench(modules["echo"].Echo, mode=mode) as bench:
        peer = bench.connect()
        peer.read(1000)
        data = bytes(range(256)) * 6000
        peer.send(data, split=60_000)
        assert peer.unsent > 0
        peer.read(None)
        assert peer.received == data
        bench.advance(milliseconds=59_999)
        assert peer.status == "open"
        bench.advance(milliseconds=2)
        assert peer.status == "ended"


def test_counters(modules: dict[str, Any], mode: Mode) -> None:
    """Lines add to the core's sum, which the control plane can ask for; an endless line is reset."""
    counters = modules["counters"]
    with Bench(counters.Counters, mode=mode, tick_milliseconds=1000) as bench:
        assert bench.split_everywhere(b"add 2\r\nnonsense\nadd x\n").received == b""
        lines = bench.core.lines
        peer = bench.connect()
        peer.send(b"add 40\nsum\n")
        assert int(peer.received) == bench.core.sum == bench.ask(counters.GetTotals()).sum
        assert bench.core.lines == lines + 2
        bench.advance(milliseconds=2500)
        assert len(bench.told) == 2
        peer.send(b"x" * 65)
        assert peer.status == "reset"


KEYS = st.sampled_from([b"a", b"b", b"key", b"k" * 64])
VALUES = st.one_of(st.binary(max_size=20), st.integers(0, 1200).map(lambda number: b"%d" % number))
STEPS = st.one_of(
    st.tuples(st.just(b"SET"), KEYS, VALUES),
    st.tuples(st.just(b"SET"), KEYS, VALUES, st.just(b"EX"), st.just(b"2")),
    st.tuples(st.sampled_from([b"GET", b"get", b"DEL", b"INCR"]), KEYS),
    st.tuples(st.just(b"EXPIRE"), KEYS, st.sampled_from([b"1", b"3"])),
    st.just((b"wait",)),
)


class Model:
    """A cache that answers as the example should."""

    def __init__(self) -> None:
        self.now = 0.0
        self.values: dict[bytes, tuple[bytes, float]] = {}

    def run(self, step: tuple[bytes, ...]) -> bytes:
        """The answer to one command."""
        name, key = step[0].upper(), step[1]
        self.values = {name: pair for name, pair in self.values.items() if pair[1] > self.now}
        value, until = self.values.get(key, (None, float("inf")))
        if name == b"SET":
            self.values[key] = (step[2], self.now + 2 if len(step) > 3 else float("inf"))
            return b"+OK\r\n"
        if name == b"GET":
            return b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value)
        if name == b"INCR":
            if value is not None and value != b"" and not (value.isdigit() and len(value) <= 18):
                return b"-ERR value is not an integer or out of range\r\n"
            number = int(value or b"0") + 1
            width = len(value or b"0")
            text = b"%0*d" % (width, number)
            self.values[key] = (text, until)
            return b":%d\r\n" % number
        if name == b"DEL":
            return b":%d\r\n" % (self.values.pop(key, None) is not None)
        if value is not None:
            self.values[key] = (value, self.now + int(step[2]))
        return b":%d\r\n" % (value is not None)


@settings(max_examples=60)
@given(st.lists(STEPS, max_size=12))
def test_resp_is_a_cache(modules: dict[str, Any], steps: list[tuple[bytes, ...]]) -> None:
    """Commands in any order answer as a dict with deadlines does, in both modes."""
    for mode in ("interpreted", "compiled"):
        model = Model()
        with Bench(modules["resp"].Resp, mode=mode) as bench:
            peer = bench.connect()
            for step in steps:
                if step == (b"wait",):
                    bench.advance(milliseconds=700)
                    model.now += 0.7
                    continue
                peer.send(command_of(*step))
                assert peer.take() == model.run(step), step


def test_resp_protocol(modules: dict[str, Any], mode: Mode) -> None:
    """Pipelined, cut anywhere, inline, unknown and malformed commands have their answers."""
    with Bench(modules["resp"].Resp, mode=mode) as bench:
        data = (
            command_of(b"PING")
            + b"ping\r\n"
            + command_of(b"WHAT", b"x")
            + command_of(b"GET", b"none")
        )
        assert bench.split_everywhere(data).received == (
            b"+PONG\r\n+PONG\r\n-ERR unknown command\r\n$-1\r\n"
        )
        for bad in (
            b"*0\r\n",
            b"*x\r\n",
            b"*99\r\n",
            b"*1\r\n:3\r\n",
            b"*1\r\n$-1\r\n",
            b"*" * 2000,
        ):
            peer = bench.connect()
            peer.send(bad)
            assert (peer.received, peer.status) == (b"-ERR Protocol error\r\n", "ended"), bad
        peer = bench.connect()
        peer.send(command_of(b"SET", b"k" * 65, b"v") + command_of(b"SET", b"k", b"v" * 129))
        assert peer.received.count(b"-ERR too long") == 2
        assert not bench.faults


GOOD = {
    "Hello": b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n",
    "Echo": b"anything",
    "Counters": b"add 5\nsum\nadd -3\r\nsum\n",
    "Resp": command_of(b"SET", b"k", b"8") + command_of(b"INCR", b"k") + command_of(b"GET", b"k"),
}


@pytest.fixture(scope="module", params=GOOD)
def pair(request: pytest.FixtureRequest, modules: dict[str, Any]) -> Iterator[tuple[Bench, Bench]]:
    """An example on two benches, one a mode."""
    actor = getattr(modules[request.param.lower()], request.param)
    with Bench(actor) as interpreted, Bench(actor, mode="compiled") as compiled:
        yield interpreted, compiled


@settings(max_examples=80)
@given(st.data())
def test_modes_agree_on_garbage(pair: tuple[Bench, Bench], data: st.DataObject) -> None:
    """Mangled and cut input leaves the same bytes, state, messages and faults in both modes; none faults."""
    text = bytearray(GOOD[pair[0].spec.actor.__name__] * 2)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    cuts = data.draw(st.lists(st.integers(1, 150), max_size=3))
    seen = []
    for bench in pair:
        peer = bench.connect()
        with suppress(OSError):
            peer.send(bytes(text), split=cuts)
        core = bench.core.to_bytes() if bench.spec.core else b""
        seen.append((peer.received, peer.status, core, list(bench.told), bench.faults))
        with suppress(OSError):
            peer.reset()
    assert seen[0] == seen[1]
    assert not seen[0][-1]


def test_http_clients(free_port: Callable[[], int]) -> None:
    """curl gets hello's page, posts a body, is refused what isn't there; wrk and ab find no error."""
    port = free_port()
    more = (
        "--set",
        f'group.web.listen[0].port="tcp:{port}"',
        "--set",
        f"group.web.cpus=[{free_cpus()[0]}]",
    )
    url = f"http://127.0.0.1:{port}/"
    with command(ROOT / "examples" / "hello" / "layout.toml", *more) as run:
        run.seen("running")
        assert output("curl", "-sS", url) == "hello\n"
        assert output("curl", "-sS", "-d", "x" * 5000, f"{url}echo") == "x" * 5000
        assert output("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"{url}no") == "404"
        assert "Failed requests:        0" in output("ab", "-q", "-n", "300", "-c", "8", "-k", url)
        assert run.end() == 0


def test_redis_clients(free_port: Callable[[], int]) -> None:
    """redis-cli and redis-benchmark take resp for a Redis."""
    port = str(free_port())
    more = (
        "--set",
        f'group.cache.listen[0].port="tcp:{port}"',
        "--set",
        f"group.cache.cpus=[{free_cpus()[0]}]",
    )
    with command(ROOT / "examples" / "resp" / "layout.toml", *more) as run:
        run.seen("running")
        cli = ("redis-cli", "-p", port)
        assert output(*cli, "set", "k", "41").strip() == "OK"
        assert output(*cli, "incr", "k").strip() == "42"
        assert output(*cli, "get", "k").strip() == "42"
        assert output(*cli, "del", "k").strip() == "1"
        assert output(*cli, "config", "get", "save").split() == ["none"]
        speeds = output(
            "redis-benchmark", "-p", port, "-t", "get,set", "-P", "16", "-n", "3200", "--csv"
        )
        assert speeds.count('"SET"') == speeds.count('"GET"') == 1
        assert run.end() == 0


def output(*words: str) -> str:
    """What a client prints."""
    assert shutil.which(words[0]), f"{words[0]} is wanted: see CONTRIBUTING.md"
    run = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert "WARNING" not in run.stderr
    return run.stdout
