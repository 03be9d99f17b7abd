"""A web site on a free port of 127.0.0.1 that answers badly on purpose.

It speaks raw bytes, because an HTTP library would not send most of this.  The first
segment of a path says what happens; what follows only makes URLs different.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from tests.servers.threaded import ThreadedServer

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Awaitable, Callable

#: Seconds that a page below /slow/ takes.
SLOW = 1.0


class Hit(NamedTuple):
    """A request as the site saw it; *at* is `time.monotonic`, the same in all processes."""

    at: float
    path: str


class NastySite(ThreadedServer):
    def __init__(self) -> None:
        super().__init__()
        self.hits: list[Hit] = []
        self._visits: Counter[str] = Counter()
        self._handlers: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def paths(self) -> list[str]:
        return [hit.path for hit in self.hits]

    async def _serve(self) -> None:
        await self._listen(self._connected)
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    def _connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        handler = asyncio.ensure_future(self._converse(reader, writer))
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)

    async def _converse(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await self._answer(head.split(b" ", 2)[1].decode("ascii"), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the crawler hung up, or the answer is to do so
        finally:
            writer.close()

    async def _answer(self, path: str, writer: StreamWriter) -> None:
        self.hits.append(Hit(time.monotonic(), path))
        self._visits[path] += 1
        kind = path.split("/")[1]
        answer = ANSWERS.get(kind, _page)
        if self._visits[path] > 1:
            answer = LATER_ANSWERS.get(kind, answer)
        await answer(path, writer)
        await writer.drain()


async def _page(path: str, writer: StreamWriter) -> None:
    _send(writer, f"<html><body>{path}</body></html>".encode())


async def _slow(path: str, writer: StreamWriter) -> None:
    await asyncio.sleep(SLOW)
    await _page(path, writer)


async def _hang(path: str, writer: StreamWriter) -> None:
    await asyncio.Event().wait()


async def _robots(path: str, writer: StreamWriter) -> None:
    _send(writer, b"User-agent: *\nDisallow: /private/\n", kind="text/plain")


async def _redirect(path: str, writer: StreamWriter) -> None:
    _send(writer, status="302 Found", header="Location: /page/target")


async def _offsite(path: str, writer: StreamWriter) -> None:
    _send(writer, status="302 Found", header="Location: http://offsite.example/")


async def _loop(path: str, writer: StreamWriter) -> None:
    _send(writer, status="302 Found", header=f"Location: {path}x")


async def _refresh(path: str, writer: StreamWriter) -> None:
    _send(
        writer, b'<html><head><meta http-equiv="refresh" content="0;url=/page/target"></head>'
    )


async def _busy(path: str, writer: StreamWriter) -> None:
    _send(writer, b"busy", status="503 Service Unavailable")


async def _missing(path: str, writer: StreamWriter) -> None:
    _send(writer, b"no such page", status="404 Not Found")


async def _drop(path: str, writer: StreamWriter) -> None:
    raise ConnectionAbortedError


async def _large(path: str, writer: StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 10_000)
    await writer.drain()
    await _hang(path, writer)


async def _chunked(path: str, writer: StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0.001)


async def _truncated(path: str, writer: StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 500\r\n\r\nno")
    await writer.drain()
    raise ConnectionAbortedError


async def _garbage(path: str, writer: StreamWriter) -> None:
    writer.write(b"\x00\x01 this is not HTTP\r\n\r\n")
    await writer.drain()
    raise ConnectionAbortedError


ANSWERS: dict[str, Callable[[str, StreamWriter], Awaitable[None]]] = {
    "robots.txt": _robots,
    "slow": _slow,
    "hang": _hang,
    "redirect": _redirect,
    "offsite": _offsite,
    "loop": _loop,
    "refresh": _refresh,
    "busy": _busy,
    "flaky": _busy,
    "missing": _missing,
    "drop": _drop,
    "large": _large,
    "chunked": _chunked,
    "truncated": _truncated,
    "garbage": _garbage,
}
#: What the second and later visits get, where it is something else.
LATER_ANSWERS = {"flaky": _page, "once": _drop}


def _send(
    writer: StreamWriter,
    body: bytes = b"",
    status: str = "200 OK",
    kind: str = "text/html",
    header: str = "X-Served-By: nasty",
) -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}{header}\r\n\r\n".encode() + body)
