"""A look at the tracker that all who ask share; less often when it takes long."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from crawling.exceptions import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Found = TypeVar("Found")

#: The part of its time that a process may spend on one kind of look.
SHARE = 0.1
#: Seconds that a look may be old, however long it took: it may have been the machine.
OLDEST = 30.0
#: Seconds of a look for which everybody waits.  While one goes on that takes longer, what was
#: found before is good, until it is so old.
QUICK, LATEST = 0.5, 60.0


class SharedLook(Generic[Found]):
    """What *look* has found, lately."""

    def __init__(self, look: Callable[[], Awaitable[Found]]) -> None:
        self._look = look
        self._found: list[Found] = []
        self._ended, self._cost = float("-inf"), 0.0
        #: How much was changed, and how much of that was seen by the last look.
        self._changes = self._seen = 0
        self._lock = asyncio.Lock()
        self._renewing: asyncio.Task[None] | None = None

    def touch(self) -> None:
        """Let the next to ask look anew: something was changed through this process."""
        self._changes += 1

    async def fresh(self) -> Found:
        is_known = bool(self._found) and self._seen == self._changes
        if not is_known or self._cost <= QUICK or self._age > LATEST:
            return await self._renewed()
        if self._is_due and not self._lock.locked():
            self._renewing = asyncio.create_task(self._renew())
        return self._found[0]

    @property
    def _age(self) -> float:
        return time.monotonic() - self._ended

    @property
    def _is_due(self) -> bool:
        return self._seen != self._changes or self._age > min(self._cost / SHARE, OLDEST)

    async def _renew(self) -> None:
        # Who asks when all is too old is told.
        with suppress(Unavailable):
            await self._renewed()

    async def _renewed(self) -> Found:
        async with self._lock:
            if self._found and self._is_due:
                # However much is changed, half of the time is for other work.
                await asyncio.sleep(min(self._cost, OLDEST) - self._age)
            if not self._found or self._is_due:
                # What changes while it looks may be missing from what it finds.
                began, changes = time.monotonic(), self._changes
                found = await self._look()
                self._ended = time.monotonic()
                self._found, self._seen = [found], changes
                self._cost = self._ended - began
            return self._found[0]
