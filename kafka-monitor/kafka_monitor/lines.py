"""The lines of a pipe or file as they come, without halting everything else meanwhile."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from queue import Queue
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Bytes of one read, and reads that may wait to be taken.
CHUNK, WAITING = 65536, 4


async def lines_of(descriptor: int, stopping: asyncio.Event) -> AsyncIterator[list[bytes]]:
    """Yield the lines that have come, until the end of the input or *stopping*."""
    rest = b""
    async for chunk in _chunks_of(descriptor, stopping):
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            yield lines
    if rest and not stopping.is_set():
        yield [rest]


async def _chunks_of(descriptor: int, stopping: asyncio.Event) -> AsyncIterator[bytes]:
    chunks: Queue[bytes] = Queue(WAITING)
    loop, arrived = asyncio.get_running_loop(), asyncio.Event()

    def read() -> None:
        chunk = None
        while chunk != b"":
            chunk = os.read(descriptor, CHUNK)
            chunks.put(chunk)
            # When the loop is over nobody wants the rest.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(arrived.set)

    # A daemon: nobody can interrupt it while it waits for a terminal or a pipe.
    Thread(target=read, daemon=True).start()
    while not stopping.is_set():
        arrived.clear()
        if chunks.empty():
            await _first(arrived, stopping)
        elif chunk := chunks.get_nowait():
            yield chunk
        else:
            return


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
