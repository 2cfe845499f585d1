"""Two servers on uvloop for kernel_http.py: `python http_uvloop.py PORT hello|bare`.

`hello` does what examples/hello does: method, target, headers, body, keep-alive, pipelining, 404 and 400. `bare` looks
for the end of a head and nothing else: the fastest that Python can answer at all.
"""

import asyncio
import sys
from typing import Any

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n"


class Bare(asyncio.Protocol):
    """Answers every empty line."""

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.WriteTransport = transport
        self.kept = b""

    def data_received(self, data: bytes) -> None:
        *heads, self.kept = (self.kept + data).split(b"\r\n\r\n")
        self.transport.write(ANSWER * len(heads))


class Hello(Bare):
    """GET / says hello, POST /echo gives the body back, the rest is 404."""

    def data_received(self, data: bytes) -> None:
        self.kept += data
        answers: list[bytes] = []
        keep = True
        while keep and (end := self.kept.find(b"\r\n\r\n")) >= 0:
            try:
                keep, used = self.answer(end, answers)
            except (ValueError, KeyError):
                answers.append(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                keep, used = False, len(self.kept)
            if not used:
                break
            self.kept = self.kept[used:]
        if answers:
            self.transport.write(b"".join(answers))
        if not keep:
            self.transport.close()

    def answer(self, end: int, answers: list[bytes]) -> tuple[bool, int]:
        """One request, whose head ends at `end`: whether the connection stays, and bytes used (0: body incomplete)."""
        first, *lines = self.kept[:end].split(b"\r\n")
        method, target, version = first.split(b" ")
        headers = {}
        for line in lines:
            name, value = line.split(b":", 1)
            headers[name.lower()] = value.strip()
        length = int(headers.get(b"content-length", 0))
        used = end + 4 + length
        if len(self.kept) < used:
            return True, 0
        if target == b"/" and method == b"GET":
            answers.append(ANSWER)
        elif target == b"/echo" and method == b"POST":
            answers.append(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
            answers.append(self.kept[end + 4 : used])
        else:
            answers.append(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        wanted = headers.get(b"connection", b"").lower()
        return wanted == b"keep-alive" or (version == b"HTTP/1.1" and wanted != b"close"), used


async def main(port: int, protocol: type[asyncio.Protocol]) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), {"hello": Hello, "bare": Bare}[sys.argv[2]]))
