"""What the simulated web answers: a `Reply` per resource and visit."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from tests.servers.site_graph import FORBIDDING, RECOVERING, base_of, hrefs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.servers.site_graph import Resource, SiteGraph

#: Visits that a `flaky` page answers with 500 before it recovers.
FAILURES = 2
#: Every page of this host is compressed.
COMPRESSING = 2
CONTENT_TYPES = {"image": "image/png", "pdf": "application/pdf"}
FILES = {
    "image": b"\x89PNG\r\n\x1a\nURL" + bytes(range(256)) * 8,
    "pdf": b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\nURL\n%%EOF\n",
    "empty": b"",
}
#: `latin1` is declared as UTF-8 all the same; `big` has 5 MB.
INSERTED = {
    "latin1": "<p>Übergröße, déjà vu</p>".encode("latin-1"),
    "big": b"<p>big</p>" * 500_000,
}

REASONS = {
    200: "OK",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True)
class Reply:
    """One answer; *cut* sends only so many bytes of the body, *reset* nothing at all.

    *pace* are seconds between any two bytes.
    """

    status: int = 200
    body: bytes = b""
    kind: str = "text/html; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    cut: int | None = None
    reset: bool = False
    pace: float = 0.0

    def encode(self) -> bytes:
        head = [
            f"HTTP/1.1 {self.status} {REASONS[self.status]}",
            f"Content-Type: {self.kind}",
            f"Content-Length: {len(self.body)}",
            *(f"{name}: {value}" for name, value in self.headers),
            "\r\n",
        ]
        return "\r\n".join(head).encode("latin-1") + self.body[: self.cut]


class Visit(NamedTuple):
    """One request as the server sees it; *earlier* is how often this URL was asked before."""

    host: str
    path: str
    earlier: int


class GraphSite:
    """Answers for a `SiteGraph`."""

    def __init__(self, graph: SiteGraph) -> None:
        self.hosts = graph.hosts
        self._graph = graph

    def reply(self, visit: Visit) -> Reply:
        if visit.path == "/robots.txt":
            return self._robots(visit)
        resource = self._graph.find(visit.host, visit.path)
        if resource is None:
            return Reply(404, b"<h1>Nothing here</h1>")
        reply = reply_of(resource, visit.earlier)
        return _compress(reply) if visit.host == self.hosts[COMPRESSING] else reply

    def _robots(self, visit: Visit) -> Reply:
        number = self.hosts.index(visit.host)
        if number == RECOVERING and visit.earlier == 0:
            return Reply(503)
        if number == FORBIDDING:
            return Reply(200, b"User-agent: *\nDisallow: /private\n", "text/plain")
        if number == RECOVERING:
            return Reply(200, b"User-agent: *\nDisallow:\n", "text/plain")
        return Reply(404)


class FlatSite:
    """A home page with a link to each of so many pages, spread over the hosts."""

    def __init__(self, port: int, pages: int, hosts: int, delay: float = 0.0) -> None:
        self._delay = delay
        self.hosts = [f"127.2.0.{number + 1}" for number in range(hosts)]
        self.urls = [
            f"http://{self.hosts[index % hosts]}:{port}/page/{index}" for index in range(pages)
        ]
        self.start = f"http://{self.hosts[0]}:{port}/"

    def reply(self, visit: Visit) -> Reply:
        if visit.path == "/robots.txt":
            return Reply(404)
        links = self.urls if visit.path == "/" else ()
        return Reply(200, html_page(visit.path, links), delay=self._delay)


def reply_of(resource: Resource, earlier: int) -> Reply:
    """Return the answer to the visit after *earlier* others."""
    trouble = _trouble(resource.kind, earlier)
    if trouble is not None:
        return trouble
    number = zlib.crc32(urlsplit(resource.url).path.encode())
    if resource.kind == "redirect":
        status = (301, 302, 303, 307, 308)[number % 5]
        return Reply(status, headers=(("Location", resource.target),))
    return Reply(
        404 if resource.kind == "missing" else 200,
        body_of(resource),
        CONTENT_TYPES.get(resource.kind, Reply.kind),
        delay=1 + number % 1000 / 1000 if resource.kind == "slow" else 0.0,
    )


def _trouble(kind: str, earlier: int) -> Reply | None:
    if kind == "broken" or (kind == "flaky" and earlier < FAILURES):
        return Reply(500, b"<h1>Sorry</h1>")
    if kind == "limited" and earlier == 0:
        return Reply(429, headers=(("Retry-After", "1"),))
    if kind == "reset":
        return Reply(reset=True)
    if kind == "truncated":
        return Reply(200, b"x" * 5000, cut=1000)
    return None


def body_of(resource: Resource) -> bytes:
    """Return the body as a saver must store it, compression undone."""
    if resource.kind in FILES:
        return FILES[resource.kind].replace(b"URL", resource.url.encode())
    if resource.kind == "malformed":
        return _malformed(resource.url, list(hrefs(resource)))
    base = f'<base href="{base_of(resource)}">' if resource.kind == "based" else ""
    body = html_page(resource.url, list(hrefs(resource)), base)
    return body.replace(b"<body>", b"<body>" + INSERTED.get(resource.kind, b""))


def html_page(title: str, links: Sequence[str], base: str = "") -> bytes:
    anchors = "\n".join(f'<li><a href="{escape(link)}">to there</a>' for link in links)
    return (
        f"<!doctype html><html><head>{base}<title>{escape(title)}</title></head><body>"
        f"<p>{'Some words about nothing. ' * 20}</p><ul>{anchors}</ul></body></html>"
    ).encode()


def _malformed(title: str, links: Sequence[str]) -> bytes:
    """Return what browsers forgive: bare attributes, tags left open and closed twice."""
    forms = (
        "<a href={}>bare<p>",
        "<A HREF='{}' href='/never'>twice</b></a></a>",
        '<div><a\nclass=x href="{}"<i>no end',
        "<table><a href = '{}'>in a table</td>",
    )
    anchors = "".join(forms[i % 4].format(escape(link)) for i, link in enumerate(links))
    return f"<html><html><titel>{escape(title)}<p <b>\0</div>&&nbsp {anchors}</".encode()


def _compress(reply: Reply) -> Reply:
    if reply.status != 200 or reply.cut is not None or reply.reset:
        return reply
    body = gzip.compress(reply.body, mtime=0)
    return replace(reply, body=body, headers=(("Content-Encoding", "gzip"),))
