"""A web site of a few answers, in a thread of the test that asks for it."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class Answer(NamedTuple):
    status: int = 200
    body: bytes = b"<html></html>"
    headers: Mapping[str, str] = {}


class Asked(NamedTuple):
    """One request as the site saw it; *host* without the port, *time* of its monotonic clock."""

    host: str
    path: str
    headers: Mapping[str, str]
    time: float


@dataclass
class SmallSite:
    """Answers by path, 404 for any other; a list is given out one by one, its last for ever."""

    port: int = 0
    answers: dict[str, Answer | list[Answer] | Callable[[Asked], Answer]] = field(
        default_factory=dict
    )
    asked: list[Asked] = field(default_factory=list)
    #: Paths whose answers the client did not let end.
    cut: list[str] = field(default_factory=list)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def paths(self) -> list[str]:
        return [request.path for request in self.asked]

    def answer(self, request: Asked) -> Answer:
        self.asked.append(request)
        answer = self.answers.get(request.path, Answer(404))
        if isinstance(answer, list):
            return answer.pop(0) if len(answer) > 1 else answer[0]
        return answer(request) if callable(answer) else answer


@contextmanager
def small_site() -> Iterator[SmallSite]:
    """Serve on every address of 127.0.0.0/8."""
    site = SmallSite()
    server = ThreadingHTTPServer(("", 0), _handler(site))
    server.daemon_threads = True
    site.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(site: SmallSite) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            host = self.headers.get("Host", "").partition(":")[0]
            answer = site.answer(Asked(host, self.path, dict(self.headers), time.monotonic()))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            try:
                self.wfile.write(answer.body)
            except ConnectionError:
                site.cut.append(self.path)
                self.close_connection = True

        def handle(self) -> None:
            # A client that has enough may hang up.
            with suppress(ConnectionError):
                super().handle()

        def log_message(self, *_args: object) -> None:
            """Write nothing: the test looks at what was asked."""

    return Handler
