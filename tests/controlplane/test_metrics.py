"""The OpenMetrics endpoint: read by prometheus-client's parser and by a real Prometheus; few series, whoever comes."""

import asyncio
import json
import re
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from processes import eventually, layout
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from seen import Seen, attached, seen, unique
from splitplane.controlplane import metrics as module
from splitplane.controlplane.figures import drops
from splitplane.controlplane.metrics import Metrics
from splitplane.runtime.attached import Attached
from splitplane.runtime.errors import MachineError
from splitplane.runtime.layout import Layout
from splitplane.runtime.runtime import Runtime

ROOT = Path(__file__).parents[2]
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def world() -> Iterator[Seen]:
    with seen(2000) as made:
        yield made


@contextmanager
def endpoint(it: Attached, port: int) -> Iterator[str]:
    made = Metrics(it, f"127.0.0.1:{port}")
    try:
        yield f"http://127.0.0.1:{port}/metrics"
    finally:
        made.close()


def scrape(url: str, accept: str = OPENMETRICS) -> str:
    asked = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(asked, timeout=20) as answer:
        return str(answer.read().decode())


def series(text: str) -> Series:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of_core(found: Series, name: str, **labels: str) -> float:
    return found[name, tuple(sorted({"group": "web", "core": "0", **labels}.items()))]


def test_what_is_told_is_what_was_counted(world: Seen, free_port: Callable[[], int]) -> None:
    """Every counter, pool, ring and histogram is there with its value, parsed as OpenMetrics by the library's parser."""
    world.handle_data(consume=True)
    for number in range(5):
        world.send(world.connect(number), b"x" * 10)
    world.core.turn()
    with attached(world) as it, endpoint(it, free_port()) as url:
        it.words.set_core(0, stalls=3, outage=5_000_000)
        it.words.set_mailbox("reporter", waiting=4, limit=9)
        found = series(scrape(url))
        counters = it.counters(0)
        assert of_core(found, "splitplane_handler_calls_total") == counters["handler_calls"] == 5
        assert of_core(found, "splitplane_received_bytes_total") == 50
        assert of_core(found, "splitplane_pool_connections") == 5
        assert of_core(found, "splitplane_pool_connections_limit") == 2000
        assert of_core(found, "splitplane_ring_cells_limit", ring="to_control") == 64
        assert of_core(found, "splitplane_worker_stalls_total") == 3
        assert of_core(found, "splitplane_worker_outage_seconds") == 0.005
        assert found["splitplane_mailbox_waiting", (("mailbox", "reporter"),)] == 4
        told = {
            dict(labels)["reason"] for name, labels in found if name == "splitplane_drops_total"
        }
        assert told == set(drops(counters))
        for name in counters:
            title = module.SECONDS.get(name, name)
            assert f"splitplane_{title}_total" in {key for key, _ in found} or name in (
                *module.LOSSES,
                *(f"drop_{reason}" for reason in told),
            )


def test_histograms_are_cumulated(world: Seen, free_port: Callable[[], int]) -> None:
    """Buckets grow with their bound, the last is all, and the sum is the time that passed in them."""
    world.core.pointer.virtual_clock = 0
    world.handle_data(consume=True)
    peer = world.connect(1)
    for _ in range(1000):
        world.send(peer, b"x")
        world.core.turn()
    with attached(world) as it, endpoint(it, free_port()) as url:
        found = series(scrape(url))
        turn = it.histogram(0, "turn")
        buckets = [
            (float(dict(labels)["le"]), value)
            for (name, labels), value in found.items()
            if name == "splitplane_turn_seconds_bucket"
        ]
        assert [value for _, value in buckets] == sorted(value for _, value in buckets)
        assert buckets[-1] == (float("inf"), sum(turn.counts))
        assert of_core(found, "splitplane_turn_seconds_count") == sum(turn.counts) >= 999
        assert abs(of_core(found, "splitplane_turn_seconds_sum") - turn.total) < 1e-9
        for bound, value in buckets[:-1]:
            under = sum(count for end, count in zip(turn.bounds, turn.counts, strict=False) if end <= bound)  # fmt: skip
            assert value == under


def test_no_client_makes_a_series(world: Seen, free_port: Callable[[], int]) -> None:
    """The number of series is the same with no connection and with thousands of peers, and small."""
    with attached(world) as it, endpoint(it, free_port()) as url:
        before = set(series(scrape(url)))
        for number in range(2000):
            world.connect(number)
        after = set(series(scrape(url)))
        assert before == after
        assert len(after) < 250


def test_promtool_has_nothing_to_say(world: Seen, free_port: Callable[[], int]) -> None:
    """Prometheus's own linter finds names, types and help texts in order."""
    with attached(world) as it, endpoint(it, free_port()) as url:
        text = scrape(url, "text/plain")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, text=True, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def ask(port: int, query: str) -> Any:
    """What Prometheus answers, or None while it has nothing."""
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            found = json.loads(answer.read())["data"]["result"]
    except (OSError, urllib.error.URLError):
        return None
    return float(found[0]["value"][1]) if found else None


def evaluate(port: int) -> None:
    """Every expression of the dashboard, its variables left out, is one that Prometheus understands."""
    for expression in expressions():
        plain = re.sub(r"\{instance=~[^}]*\}", "", expression).replace("$__rate_interval", "1m")
        query = urllib.parse.urlencode({"query": plain})
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=10
        ) as answer:
            assert json.loads(answer.read())["status"] == "success", expression


def test_a_real_prometheus_scrapes_it(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """Debian's Prometheus, pointed at `[metrics] listen`, knows the core's connections and evaluates every expression
    of the dashboard."""
    port, metrics, own = free_port(), free_port(), free_port()
    more = f'[metrics]\nlisten = "127.0.0.1:{metrics}"\n'
    made = layout(port, driver="kernel", more=more).model_copy(update={"name": unique("p")})
    targets = [{"targets": [f"127.0.0.1:{metrics}"]}]
    job = {"job_name": "it", "scrape_interval": "1s", "static_configs": targets}
    config = {"scrape_configs": [job]}
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))

    def look() -> None:
        command = ["prometheus", "--log.level=error"]
        command += [
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
        ]
        command += [f"--web.listen-address=127.0.0.1:{own}"]
        process = subprocess.Popen(command)
        try:
            assert eventually(lambda: ask(own, "splitplane_pool_connections") == 3, 90)
            assert ask(own, 'splitplane_runtime_info{name!=""}') == 1
            assert ask(own, "up") == 1
            evaluate(own)
        finally:
            process.terminate()
            process.wait(60)

    async def scenario() -> None:
        async with Runtime(made):
            clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
            await asyncio.to_thread(look)
            for client in clients:
                client.close()
        with pytest.raises(OSError, match="refused"):
            await asyncio.to_thread(scrape, f"http://127.0.0.1:{metrics}/metrics")

    asyncio.run(scenario())


def expressions() -> list[str]:
    board = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text())
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def test_the_dashboard_shows_what_there_is(world: Seen, free_port: Callable[[], int]) -> None:
    """Every series that the Grafana dashboard names is told by the endpoint; its panels don't overlap."""
    with attached(world) as it, endpoint(it, free_port()) as url:
        told = {name for name, _ in series(scrape(url))}
    named = {name for text in expressions() for name in re.findall(r"splitplane_\w+", text)}
    assert named
    assert named <= told, named - told
    board = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text())
    cells = [
        (x, y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_clients_that_misbehave_are_borne(
    world: Seen, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent, half-way, talking nonsense, gone at once, and more of them than are answered: others are served, and
    closing waits for none."""
    monkeypatch.setattr(module._Asked, "timeout", 0.5)
    port = free_port()
    with attached(world) as it:
        made = Metrics(it, f"127.0.0.1:{port}")
        held = [
            socket.create_connection(("127.0.0.1", port)) for _ in range(module.CLIENTS_MOST * 3)
        ]
        held[0].sendall(b"GET /metrics HT")
        held[1].sendall(b"\0\xff\r\n\r\n" * 100)
        held[2].close()

        def served() -> bool:
            try:
                return "splitplane_turns" in scrape(f"http://127.0.0.1:{port}/metrics")
            except OSError:
                return False

        assert eventually(served, 60)
        for one in held:
            one.close()
        silent = socket.create_connection(("127.0.0.1", port))
        started = time.monotonic()
        made.close()
        made.close()
        assert time.monotonic() - started < 30
        silent.close()


def test_closing_while_it_is_asked(world: Seen, free_port: Callable[[], int]) -> None:
    """Scrapes under way when it closes get an answer or none; nothing looks at memory that is no longer mapped."""
    for _ in range(5):
        with attached(world) as it:
            port = free_port()
            made = Metrics(it, f"127.0.0.1:{port}")
            over = threading.Event()

            def ask_on(port: int = port, over: threading.Event = over) -> None:
                while not over.is_set():
                    try:
                        scrape(f"http://127.0.0.1:{port}/metrics")
                    except OSError:
                        return

            threads = [threading.Thread(target=ask_on) for _ in range(4)]
            for thread in threads:
                thread.start()
            time.sleep(0.05)
            made.close()
            it.close()
            over.set()
            for thread in threads:
                thread.join()


def test_a_port_that_is_taken_is_named(world: Seen, free_port: Callable[[], int]) -> None:
    """Taken by another program: `check` and the start say which key, which port and who; nothing is left behind."""
    port = free_port()
    made = layout(free_port(), driver="kernel", more=f'[metrics]\nlisten = "127.0.0.1:{port}"\n')

    async def start(layout: Layout) -> None:
        async with Runtime(layout):
            pass

    with socket.create_server(("127.0.0.1", port)):
        with pytest.raises(MachineError, match=r"metrics\.listen.*held by"):
            asyncio.run(start(made))
        with attached(world) as it, pytest.raises(MachineError, match=r"metrics\.listen"):
            Metrics(it, f"127.0.0.1:{port}")
    with pytest.raises(MachineError, match="no such address"):
        asyncio.run(
            start(made.model_copy(update={"metrics": type(made.metrics)(listen="203.0.113.9:1")}))
        )
