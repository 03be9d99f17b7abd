"""Group commit: what comes together is written, and made safe, in one go."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from crawling.exceptions import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

T = TypeVar("T")

#: Seconds that the first entry of a group waits for others.  One fsync takes about as
#: long, so a page alone is hardly later, and a busy crawl writes tens of pages at once.
LINGER = 0.005
#: A group is full with so many entries or bytes: it is encoded in memory.
GROUP_ENTRIES = 256
GROUP_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class _Waiting(Generic[T]):
    entry: T
    size: int
    safe: asyncio.Future[None]


class Grouping(Generic[T]):
    """Hands entries to *write* in groups, one group at a time.

    All entries are safe when *write* returns, none when it raises.  Unless the output is
    away, the entries are then written one by one: what is wrong with one of them must
    not fail the others.
    """

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: list[_Waiting[T]] = []
        self._writer: asyncio.Task[None] | None = None

    async def add(self, entry: T, size: int) -> None:
        """Return when *entry*, of about *size* bytes, is safe."""
        safe: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(entry, size, safe))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_groups())
        await safe

    async def close(self) -> None:
        """Return when everything that was added is written or refused."""
        while self._writer is not None:
            await asyncio.wait([self._writer])

    async def _write_groups(self) -> None:
        try:
            await asyncio.sleep(LINGER)
            while group := self._next_group():
                await self._write_group(group)
        finally:
            self._writer = None
            # Somebody still waits only when this task was cancelled.
            for waiting in self._waiting:
                _answer(waiting, Unavailable("the saver was stopped"))
            self._waiting.clear()

    def _next_group(self) -> list[_Waiting[T]]:
        self._waiting = [one for one in self._waiting if not one.safe.done()]
        count = size = 0
        for one in self._waiting[:GROUP_ENTRIES]:
            size += one.size
            if count and size > GROUP_BYTES:
                break
            count += 1
        return self._waiting[:count]

    async def _write_group(self, group: list[_Waiting[T]]) -> None:
        writing = asyncio.ensure_future(self._write([one.entry for one in group]))
        await asyncio.wait([writing])
        error = writing.exception()
        if error and len(group) > 1 and not isinstance(error, Unavailable):
            for one in group:
                await self._write_group([one])
            return
        for one in group:
            _answer(one, error)


def _answer(waiting: _Waiting[T], problem: BaseException | None) -> None:
    if waiting.safe.done():
        return
    if problem is None:
        waiting.safe.set_result(None)
    else:
        waiting.safe.set_exception(problem)
