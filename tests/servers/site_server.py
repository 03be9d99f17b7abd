"""A small fast HTTP server for many loopback addresses on one port."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from tests.servers.site_pages import Visit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from tests.servers.site_pages import Reply


#: Connections that wait to be answered: a crawler opens hundreds at once.
BACKLOG = 1024


class Site(Protocol):
    @property
    def hosts(self) -> Sequence[str]: ...

    def reply(self, visit: Visit) -> Reply: ...


def bind(hosts: Sequence[str], port: int = 0) -> list[socket.socket]:
    """Listen on every host at one port, a free one if *port* is 0."""
    while True:
        sockets: list[socket.socket] = []
        chosen = port
        try:
            for host in hosts:
                sockets.append(_bind(host, chosen))
                chosen = sockets[0].getsockname()[1]
        except OSError:
            for bound in sockets:
                bound.close()
            if port:
                raise
        else:
            return sockets


def _bind(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


async def serve(site: Site, sockets: Sequence[socket.socket], log: TextIO | None) -> None:
    """Answer until cancelled; *log* gets a line of JSON for each request."""
    loop = asyncio.get_running_loop()
    answering = Answering(site, log)
    servers = [
        await loop.create_server(lambda: Connection(answering), sock=bound, backlog=BACKLOG)
        for bound in sockets
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


class Answering:
    """What all connections share: the site, how often each URL was asked, the log."""

    def __init__(self, site: Site, log: TextIO | None) -> None:
        self._site = site
        self._log = log
        self._counts: Counter[tuple[str, str]] = Counter()

    def answer(self, head: bytes, arrived: float) -> Reply:
        start, *lines = head.decode("latin-1").split("\r\n")
        path = start.split(" ", 2)[1]
        headers = dict(line.lower().split(": ", 1) for line in lines)
        host = headers["host"].partition(":")[0]
        visit = Visit(host, path, self._counts[host, path])
        self._counts[host, path] += 1
        reply = self._site.reply(visit)
        if self._log:
            record = {
                "time": round(arrived, 6),
                "host": host,
                "path": path,
                "status": reply.status,
                "agent": headers.get("user-agent", ""),
            }
            self._log.write(json.dumps(record) + "\n")
        return reply


class Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        arrived = time.monotonic()
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
            reply = self._answering.answer(head, arrived)
            if reply.delay:
                asyncio.get_running_loop().call_later(reply.delay, self._send, reply)
            else:
                self._send(reply)

    def _send(self, reply: Reply) -> None:
        if reply.reset:
            # Linger 0: the kernel sends RST in place of FIN.
            linger = struct.pack("ii", 1, 0)
            wire = self.transport.get_extra_info("socket")
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.transport.abort()
            return
        if reply.pace:
            self._dribble(reply.encode(), reply.pace)
            return
        self.transport.write(reply.encode())
        if reply.cut is not None:
            self.transport.close()

    def _dribble(self, data: bytes, pace: float) -> None:
        if data and not self.transport.is_closing():
            self.transport.write(data[:1])
            asyncio.get_running_loop().call_later(pace, self._dribble, data[1:], pace)
