"""A site that is a tree: page n leads to 2n+1 and 2n+2."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class TreeSite(ThreadingHTTPServer):
    """Serves *pages* pages, each with *size* bytes beside its links, and counts them."""

    def __init__(self, pages: int, size: int) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.pages = pages
        self.padding = b"x" * size
        self.served = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class _Page(BaseHTTPRequestHandler):
    server: TreeSite

    def do_GET(self) -> None:
        self.server.served += 1
        number = int(self.path.strip("/") or 0)
        links = (
            child for child in (2 * number + 1, 2 * number + 2) if child < self.server.pages
        )
        body = "".join(f'<a href="/{child}">{child}</a>' for child in links).encode()
        body += self.server.padding
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Leave standard error to pytest."""


@contextmanager
def tree_site(pages: int, size: int = 0) -> Iterator[TreeSite]:
    with TreeSite(pages, size) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
