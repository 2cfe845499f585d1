"""The demo's client: ordinary HTTP/1.1 over Linux's own sockets, first one request at a time, then pipelined.

Knows nothing of splitplane.
"""

import http.client
import socket
import time
from dataclasses import dataclass, field

PIPELINE = 16
BODY_MAX = 1 << 20


@dataclass(slots=True)
class Visit:
    """What came of it; `microseconds` has one entry for each request that was sent by itself."""

    requests: int = 0
    errors: int = 0
    microseconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    first_body: str = ""

    @property
    def p50_us(self) -> float:
        """The median."""
        return quantile(self.microseconds, 0.5)

    @property
    def p99_us(self) -> float:
        """One in a hundred took longer."""
        return quantile(self.microseconds, 0.99)


def quantile(values: list[float], part: float) -> float:
    """The smallest of `values` that at least `part` of them don't exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)] if ordered else 0.0


def visit(address: str, port: int, requests: int, connections: int = 8) -> Visit:
    """Half of `requests` one at a time over kept connections, the other half pipelined, 16 in flight."""
    found = Visit()
    began = time.perf_counter()
    _one_by_one(found, address, port, requests - requests // 2, connections)
    _pipelined(found, address, port, requests // 2, connections)
    found.seconds = time.perf_counter() - began
    return found


def _one_by_one(found: Visit, address: str, port: int, requests: int, connections: int) -> None:
    clients = [http.client.HTTPConnection(address, port, timeout=10) for _ in range(connections)]
    for number in range(requests):
        client = clients[number % connections]
        began = time.perf_counter()
        try:
            client.request("GET", "/")
            response = client.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            client.close()
            found.errors += 1
            continue
        found.microseconds.append((time.perf_counter() - began) * 1e6)
        found.requests += 1
        found.errors += response.status != 200
        found.first_body = found.first_body or body.decode("latin-1")
    for client in clients:
        client.close()


def _pipelined(found: Visit, address: str, port: int, requests: int, connections: int) -> None:
    request = f"GET / HTTP/1.1\r\nHost: {address}:{port}\r\n\r\n".encode()
    each = -(-requests // connections)
    for _ in range(connections):
        wanted = min(each, requests)
        requests -= wanted
        try:
            with socket.create_connection((address, port), timeout=10) as stream:
                while wanted:
                    batch = min(PIPELINE, wanted)
                    stream.sendall(request * batch)
                    good = _responses(stream, batch)
                    found.requests += good
                    found.errors += batch - good
                    wanted -= batch
        except (OSError, ValueError):
            found.errors += wanted


def _responses(stream: socket.socket, count: int) -> int:
    """Reads `count` responses; how many said 200. Raises ValueError for anything that isn't HTTP."""
    kept, good = b"", 0
    for _ in range(count):
        while b"\r\n\r\n" not in kept:
            kept += _more(stream)
        head, _, kept = kept.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in lines[1:])
        length = int(fields[b"content-length"])
        if not 0 <= length <= BODY_MAX:
            raise ValueError(f"a body of {length} bytes")
        while len(kept) < length:
            kept += _more(stream)
        kept = kept[length:]
        good += lines[0] == b"HTTP/1.1 200 OK"
    return good


def _more(stream: socket.socket) -> bytes:
    piece = stream.recv(65536)
    if not piece:
        raise ValueError("the server closed in the middle")
    return piece
