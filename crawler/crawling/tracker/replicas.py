"""What the replicas of a Redis have: asked before anything else relies on what was written."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from crawling.tracker.scripts import answer

if TYPE_CHECKING:
    from redis.asyncio import Redis

#: Milliseconds in which a replica must have what it is asked to confirm.
CONFIRM_MS = 1000
#: Seconds for which it is believed that there are replicas, or none.
BELIEVED = 5.0


class Replicas:
    """Those that follow one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._exist = False
        self._asked = float("-inf")

    async def exist(self) -> bool:
        if time.monotonic() > self._asked + BELIEVED:
            about = await answer(self._redis.info("replication"))
            self._exist = about["connected_slaves"] > 0
            self._asked = time.monotonic()
        return self._exist

    def doubt(self) -> None:
        """Ask anew whether there are any."""
        self._asked = float("-inf")

    async def until_followed(self, meta: str) -> None:
        """Return when one of them, if there are any, has all that was written until now.

        `WAIT` only looks at what its own connection wrote, so a field of *meta* is written.
        """
        while await self.exist():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.hset(meta, "relay", "1")
            pipeline.wait(1, CONFIRM_MS)
            _, confirmed = await answer(pipeline.execute())
            if confirmed:
                return
            self.doubt()
