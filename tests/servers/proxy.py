"""A TCP proxy that cuts, delays and swallows what goes through it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.servers.threaded import ThreadedServer

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Callable


class Proxy(ThreadedServer):
    """Forwards a free port to *target*."""

    def __init__(self, target: int) -> None:
        super().__init__()
        self._target = target
        self._delay = 0.0
        self._refusing = False
        self._ends: set[StreamWriter] = set()

    def cut(self, *, refusing: bool) -> None:
        """Reset all connections, and also those to come while *refusing*."""

        def act() -> None:
            self._refusing = refusing
            self._reset()

        self._call(act)

    def delay(self, seconds: float) -> None:
        """Have every piece arrive later by so much, in both directions."""
        self._delay = seconds

    def swallow(self, *, swallowing: bool) -> None:
        """Let nothing through, and close nothing; what was held arrives in the end."""
        self._call(self._passing.clear if swallowing else self._passing.set)

    def _call(self, function: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(function)

    async def _serve(self) -> None:
        self._passing = asyncio.Event()
        self._passing.set()
        await self._listen(self._connected)
        self._reset()
        self._passing.set()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    def _reset(self) -> None:
        for end in self._ends:
            end.transport.abort()

    async def _connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            there, onward = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, onward}
        self._ends |= ends
        await asyncio.gather(self._pump(reader, onward), self._pump(there, writer))
        self._ends -= ends

    async def _pump(self, reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await asyncio.sleep(self._delay)
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
