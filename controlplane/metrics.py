"""The OpenMetrics endpoint: `[metrics] listen = "127.0.0.1:9464"`, for Prometheus and whatever reads its format.

A thread of the controller answers, so a control plane that hangs is still measured, and seen to hang. Labels are a
runtime's groups, cores, mailboxes and a closed list of drop reasons: no peer, no connection and no user's text makes
another series.
"""

import socketserver
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from ..dataplane.peek import Histogram
from ..runtime.errors import MachineError, Problem
from ..runtime.facts import CONTROL_COUNTERS, CONTROL_LEVELS, MAILBOX_WORDS
from ..runtime.private import keep_private
from .figures import DROP, LOSSES, CoreFigures, Figures, drops

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from ..runtime.attached import Attached

PREFIX = "splitplane_"
PATIENCE = 10.0
"""Seconds that a client may take to ask."""
CLIENTS_MOST = 8
"""Clients answered at a time; more are turned away."""
BOUNDS_EVERY = 2
"""Of the powers of two that a core counts in, every second one is told."""
Cores = tuple[CoreFigures, ...]
SECONDS = {"busy_nanoseconds": "busy_seconds", "slept_nanoseconds": "slept_seconds"}


def library_problem(file: str, listen: str) -> Problem | None:
    """What is wrong when the library for it is missing."""
    from importlib.util import find_spec

    if find_spec("prometheus_client") is not None:
        return None
    text = "the endpoint needs prometheus-client, which is not installed"
    return Problem(file, text, "metrics.listen", listen, "pip install prometheus-client")


class Metrics:
    """The endpoint, answering from now on until it is closed."""

    def __init__(self, attached: "Attached", listen: str, file: str = "") -> None:
        """Listens at ADDRESS:PORT. Raises MachineError when that can't be had or the library is missing."""
        problem = library_problem(file, listen)
        if problem:
            raise MachineError(problem)
        from prometheus_client import CollectorRegistry, make_wsgi_app

        self._lock = threading.Lock()
        self._attached: Attached | None = attached
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        address, _, port = listen.rpartition(":")
        try:
            self._server = _Server((address, int(port)), _Asked)
        except OSError as error:
            text = f"can't listen there: {error.strerror}"
            raise MachineError(
                Problem(file, text, "metrics.listen", listen, "choose another port")
            ) from error
        self._server.set_app(make_wsgi_app(registry))
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="splitplane-metrics"
        )
        self._thread.daemon = True
        self._thread.start()
        keep_private(self)

    @property
    def private(self) -> tuple[int, ...]:
        """The port is no business of a process that this one forks."""
        return (self._server.fileno(),) if self._attached else ()

    def forked(self) -> None:
        """In such a process nobody answers."""
        self._attached = None

    def collect(self) -> "Iterator[Metric]":
        """All series, as of now; for prometheus-client."""
        with self._lock:
            if self._attached is None:
                return
            figures = Figures.of(self._attached)
        yield from _families(figures)

    def close(self) -> None:
        """Ends it; once it returns, nothing looks at the memory any more. Safe to repeat."""
        with self._lock:
            attached, self._attached = self._attached, None
        if attached:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


class _Asked(WSGIRequestHandler):
    """One client, who may not keep its thread for ever."""

    timeout = PATIENCE

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nobody reads who scraped."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, *arguments: Any) -> None:
        self._places = threading.Semaphore(CLIENTS_MOST)
        super().__init__(*arguments)

    def server_bind(self) -> None:
        """Without asking a name server who we are, as HTTPServer does."""
        socketserver.TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), port
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread, if one is left."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The thread's life."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""


def _families(figures: Figures) -> "Iterator[Metric]":
    from prometheus_client.core import InfoMetricFamily

    yield InfoMetricFamily(
        f"{PREFIX}runtime",
        "The runtime.",
        {"name": figures.name, "version": figures.version},
    )
    yield from _control(figures)
    yield from _counters(figures.cores)
    yield from _pools(figures.cores)
    yield from _processes(figures.cores)
    for name in figures.cores[0].times:
        yield _histogram(name, figures.cores)


def _labels(core: CoreFigures) -> list[str]:
    return [core.facts.group, str(core.facts.number)]


def _each(kind: Any, name: str, text: str, cores: Cores, values: Iterable[float]) -> "Metric":
    """A family with one value a core."""
    made: Any = kind(PREFIX + name, text, labels=["group", "core"])
    for core, value in zip(cores, values, strict=True):
        made.add_metric(_labels(core), value)
    return cast("Metric", made)


def _by(
    kind: Any, name: str, text: str, label: str, cores: Cores, values: Iterable[dict[str, int]]
) -> "Metric":
    """A family with several values a core, told apart by one more label."""
    made: Any = kind(PREFIX + name, text, labels=["group", "core", label])
    for core, found in zip(cores, values, strict=True):
        for key, value in found.items():
            made.add_metric([*_labels(core), key], value)
    return cast("Metric", made)


def _counters(cores: Cores) -> "Iterator[Metric]":
    from prometheus_client.core import CounterMetricFamily as Counter

    for name in cores[0].counters:
        if name.startswith(DROP) or name in LOSSES:
            continue
        scale = 1e9 if name in SECONDS else 1
        text = f"Counter {name} of docs/operating.md."
        values = [core.counters[name] / scale for core in cores]
        yield _each(Counter, SECONDS.get(name, name), text, cores, values)
    text = "Frames, connections and messages dropped or lost."
    yield _by(Counter, "drops", text, "reason", cores, [drops(core.counters) for core in cores])


def _pools(cores: Cores) -> "Iterator[Metric]":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    for name in cores[0].fill:
        title = f"{name.removesuffix('_most')}_limit" if name.endswith("_most") else name
        text = f"Pool {name} of docs/operating.md."
        values = [core.fill[name] for core in cores]
        yield _each(GaugeMetricFamily, f"pool_{title}", text, cores, values)
    families = (
        ("ring_cells", "Cells in use.", GaugeMetricFamily),
        ("ring_cells_limit", "Cells there are.", GaugeMetricFamily),
        ("ring_refused", "Messages that found the ring full.", CounterMetricFamily),
    )
    for at, (name, text, kind) in enumerate(families):
        levels = [{ring: level[at] for ring, level in core.rings.items()} for core in cores]
        yield _by(kind, name, text, "ring", cores, levels)


def _processes(cores: Cores) -> "Iterator[Metric]":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    text = "1: the core has a worker, and its loop runs."
    up = [float(core.words["pid"] > 0 and core.run == "running") for core in cores]
    yield _each(GaugeMetricFamily, "worker_up", text, cores, up)
    text = "How long the last replacement of the worker took."
    outages = [core.words["outage"] / 1e9 for core in cores]
    yield _each(GaugeMetricFamily, "worker_outage_seconds", text, cores, outages)
    for name in ("deaths", "stalls"):
        values = [core.words[name] for core in cores]
        yield _each(CounterMetricFamily, f"worker_{name}", f"How often: {name}.", cores, values)


def _control(figures: Figures) -> "Iterator[Metric]":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    words = figures.words
    silent = GaugeMetricFamily(
        f"{PREFIX}control_silent_seconds", "Since the control plane's event loop stands still."
    )
    silent.add_metric([], figures.silent)
    yield silent
    for name in ("launcher_deaths", *CONTROL_COUNTERS, *CONTROL_LEVELS):
        one: Any = GaugeMetricFamily if name in CONTROL_LEVELS else CounterMetricFamily
        title = name if name == "launcher_deaths" else f"control_{name}"
        family = one(PREFIX + title, f"{name} of docs/operating.md.")
        family.add_metric([], words[name])
        yield family
    kinds = dict.fromkeys(("waiting", "limit", "full"), GaugeMetricFamily)
    for key in MAILBOX_WORDS:
        kind = kinds.get(key, CounterMetricFamily)
        box: Any = kind(f"{PREFIX}mailbox_{key}", f"Messages: {key}.", labels=["mailbox"])
        for name, found in figures.mailboxes.items():
            box.add_metric([name], found[key])
        yield box


def _histogram(name: str, cores: Cores) -> "Metric":
    from prometheus_client.core import HistogramMetricFamily

    text = {
        "handler": "How long calls of handlers took; one in about 128 is measured and stands for the rest.",
        "turn": "How long turns of the loop took that found work.",
    }[name]
    made = HistogramMetricFamily(f"{PREFIX}{name}_seconds", text, labels=["group", "core"])
    for core in cores:
        found = core.times[name]
        made.add_metric(_labels(core), _buckets(found), sum_value=found.total)
    return made


def _buckets(found: Histogram) -> list[tuple[str, float]]:
    """Cumulated, as Prometheus wants them."""
    seen, told = 0, []
    for at, count in enumerate(found.counts):
        seen += count
        if at == len(found.bounds):
            told.append(("+Inf", float(seen)))
        elif at % BOUNDS_EVERY == 0:
            told.append((repr(found.bounds[at]), float(seen)))
    return told
