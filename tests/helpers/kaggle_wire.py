"""The bytes of the stand-in: an HTTP/1.1 proxy server that serves two names of its own and nothing else."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

API, STORAGE = "localhost", "storage.standin"


@dataclass(frozen=True)
class Request:
    """What came in. `name` is the API method, or "zip", "output", "upload" for files."""

    verb: str
    host: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def name(self) -> str:
        return self.path.split("/")[4] if self.host == API else self.path.split("/")[1]

    @property
    def json(self) -> Any:
        return json.loads(self.body or b"{}")


@dataclass(frozen=True)
class Reply:
    """What goes out. `cut_at` closes the connection after that many bytes of the body, `stall_seconds` later."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_seconds: float = 0.0
    cut_at: int | None = None
    stall_seconds: float = 0.0


@dataclass(frozen=True)
class Dropped:
    """The connection closes without an answer; with `after`, the call has taken effect."""

    after: bool = False


DROP = Dropped()
Answer = Callable[[Request], Reply | Dropped]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:  # a client that was killed, or went away on its own
            self.close_connection = True

    def do_CONNECT(self) -> None:
        self.server.leaks.append(f"CONNECT {self.path}")
        self._send(Reply(403, {"Content-Type": "text/plain"}, b"no way out of the tests"))

    def _do(self) -> None:
        address = urlsplit(self.path)
        body = self._body()
        if address.scheme != "http" or address.hostname not in (API, STORAGE):
            self.server.leaks.append(f"{self.command} {self.path}")
            self._send(Reply(403, {"Content-Type": "text/plain"}, b"no way out of the tests"))
            return
        request = Request(self.command, address.hostname, unquote(address.path), dict(self.headers), body)
        reply = self.server.answer(request)
        if isinstance(reply, Dropped):
            self.close_connection = True
            return
        time.sleep(reply.delay_seconds)
        self._send(reply)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _do  # noqa: N815

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body[: reply.cut_at])
        if reply.cut_at is not None:
            self.wfile.flush()
            time.sleep(reply.stall_seconds)
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr: the requests are kept as objects."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Answer, leaks: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer, self.leaks = answer, leaks


@contextmanager
def serve(answer: Answer, leaks: list[str]) -> Iterator[str]:
    """Serve until the block ends; gives the proxy's address, "http://127.0.0.1:<port>"."""
    server = _Server(answer, leaks)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
