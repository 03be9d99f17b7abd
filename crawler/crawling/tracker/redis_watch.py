"""Telling dead workers from a Redis that was away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from crawling.tracker.redis_records import text
from crawling.tracker.scripts import redis_errors

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.connection import AbstractConnection

    from crawling.tracker.keys import Keys


async def read_deadlines(redis: Redis, keys: Keys) -> list[tuple[str, int]]:
    """Return (worker, deadline ms) of all workers."""
    pairs: Any = await redis.zrange(keys.workers, 0, -1, withscores=True)
    return [(text(worker), int(deadline)) for worker, deadline in pairs]


class DeathWatch:
    """Which workers have not renewed for as long as a lease lasts.

    Deadlines alone do not tell: after Redis was away, or moved to a host with another
    clock, all of them have passed.  So a worker counts as dead when its deadline was seen
    unchanged for that long on one connection, by this process's own clock.
    """

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis.client()
        self._keys = keys
        #: (worker, deadline) -> when it was first seen
        self._seen: dict[tuple[str, int], float] = {}

    async def suspects(self, timeout: float) -> list[tuple[str, int]]:
        """Return (worker, deadline) of all workers whose deadline stood still."""
        with redis_errors():
            await self._listen_for_reconnects()
            pairs = await read_deadlines(self._redis, self._keys)
        now = time.monotonic()
        self._seen = {pair: self._seen.get(pair, now) for pair in pairs}
        return [pair for pair, since in self._seen.items() if now - since >= timeout]

    async def close(self) -> None:
        await self._redis.aclose()

    async def _listen_for_reconnects(self) -> None:
        await self._redis.initialize()
        if self._redis.connection is not None:
            self._redis.connection.register_connect_callback(self._forget)  # type: ignore[no-untyped-call]  # redis-py's

    async def _forget(self, _: AbstractConnection) -> None:
        """Start over on a new connection: what happened in between was not seen."""
        self._seen.clear()
