"""Trying again while a server is away."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from crawling.exceptions import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

#: Seconds before the first and at most before every later try.
FIRST_RETRY, LAST_RETRY = 0.25, 8.0


async def until_done(work: Callable[[], Awaitable[None]], stopping: asyncio.Event) -> bool:
    """Do *work*, again and again while a server is away; False when it is time to stop."""
    delay = FIRST_RETRY
    while True:
        try:
            await work()
        except Unavailable as error:
            logger.warning("Waiting", extra={"action": "wait", "error": str(error)})
        else:
            return True
        await pause(delay, stopping)
        if stopping.is_set():
            return False
        delay = min(2 * delay, LAST_RETRY)


async def pause(seconds: float, stopping: asyncio.Event) -> None:
    """Sleep for about *seconds*, not longer than until *stopping*."""
    with suppress(asyncio.TimeoutError):
        spread = random.uniform(0.75, 1.25)  # noqa: S311 not all at once
        await asyncio.wait_for(stopping.wait(), seconds * spread)


class Patience:
    """How long somebody who only looks waits for a server that is away."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None

    def met(self) -> None:
        self._since = None

    def lost(self, error: Unavailable) -> None:
        """Raise *error* when the server has been away for too long."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if now - self._since >= self._seconds:
            raise error
