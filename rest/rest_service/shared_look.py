"""A look at the tracker that all who ask share; less often when it takes long."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Found = TypeVar("Found")

#: The part of its time that a process may spend on one kind of look.
SHARE = 0.1
#: Seconds that a look may be old, however long it took: it may have been the machine.
OLDEST = 30.0


class SharedLook(Generic[Found]):
    """What *look* has found, lately."""

    def __init__(self, look: Callable[[], Awaitable[Found]]) -> None:
        self._look = look
        self._found: tuple[float, Found] | None = None
        self._is_stale = False
        self._cost = 0.0
        self._lock = asyncio.Lock()

    def touch(self) -> None:
        """Let the next to ask look anew: something was changed through this process."""
        self._is_stale = True

    async def fresh(self) -> Found:
        async with self._lock:
            now = time.monotonic()
            known, oldest = self._found, min(self._cost / SHARE, OLDEST)
            if known is None or self._is_stale or now > known[0] + oldest:
                # What changes while it looks may be missing from what it finds.
                self._is_stale = False
                found = await self._look()
                ended = time.monotonic()
                self._cost, self._found = ended - now, (ended, found)
                return found
            return known[1]
