"""A web site that answers each path with bytes of the test's choice, right or wrong."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.servers.threaded import ThreadedServer

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Iterable, Mapping


class RawSite(ThreadedServer):
    """Sends the chunks of a path until they end, or nobody listens, and hangs up."""

    def __init__(self, answers: Mapping[str, Iterable[bytes]]) -> None:
        super().__init__()
        self._answers = answers

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self) -> None:
        await self._listen(self._connected)

    async def _connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode("ascii")
            for chunk in self._answers.get(path, [b"HTTP/1.1 404 Not Found\r\n\r\n"]):
                writer.write(chunk)
                await writer.drain()
        writer.close()
