"""A server of the tests on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from typing_extensions import Self

    Connected = Callable[[StreamReader, StreamWriter], Awaitable[None] | None]


class ThreadedServer:
    """Serves from `with` to the end of the block, in an event loop of its own."""

    def __init__(self) -> None:
        self.port = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        await self._serve()

    async def _listen(self, connected: Connected) -> None:
        """Give each connection to a free port to *connected*, until `_over` is set."""
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()

    async def _serve(self) -> None:
        """Listen, set `_ready`, and end when `_over` is set."""
        raise NotImplementedError
