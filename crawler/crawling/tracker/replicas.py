"""What the replicas of a Redis have: asked before anything else relies on what was written."""

from __future__ import annotations

import itertools
import re
import time
from typing import TYPE_CHECKING, Any

from crawling.tracker.scripts import answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis.asyncio import Redis

#: Milliseconds in which the replicas must have what they are asked to confirm.
CONFIRM_MS = 1000
#: Seconds for which `count` believes how many replicas there are.
BELIEVED = 5.0
#: Seconds without a word after which a replica is not waited for; a living one speaks
#: once a second.
SILENT = 3
#: Rounds after which fewer are waited for: some may be gone for good, or far behind.
ROUNDS = 10


class Replicas:
    """Those that follow one Redis, and keep up.

    Any of them may be the next master, so what must not be taken back is waited for from all.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._count = 0
        self._asked = float("-inf")
        self._followed = 0

    async def count(self) -> int:
        """Return how many there are, or were some seconds ago."""
        if time.monotonic() > self._asked + BELIEVED:
            self._count = await self._ask()
            self._asked = time.monotonic()
        return self._count

    def doubt(self) -> None:
        """Ask anew how many there are."""
        self._asked = float("-inf")

    async def remember(self) -> None:
        """Take note of those that there are, to miss them when they have gone."""
        self._followed = await self._ask()

    async def until_followed(self, meta: str) -> None:
        """Return when all of them, if there are any, have all that was written until now.

        Those that have gone are waited for too, for some rounds: they may follow another
        master by now, beside which this one does not count.  `WAIT` only looks at what its
        own connection wrote, so a field of *meta* is written.
        """
        for number in itertools.count():
            following = await self._ask()
            wanted = max(following, self._followed) if number < ROUNDS else min(following, 1)
            if wanted:
                pipeline = self._redis.pipeline(transaction=False)
                pipeline.hset(meta, "followed", "1")
                pipeline.wait(wanted, CONFIRM_MS)
                _, confirmed = await answer(pipeline.execute())
                if confirmed < wanted:
                    continue
            self._followed = wanted
            return

    async def _ask(self) -> int:
        about = await answer(self._redis.info("replication"))
        keeping_up = sum(map(_keeps_up, _replicas_in(about)))
        # All of them silent is no reason to believe that there are none.
        return max(keeping_up, min(1, int(about["connected_slaves"])))


def _replicas_in(about: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [told for name, told in about.items() if re.fullmatch(r"slave\d+", name)]


def _keeps_up(replica: Mapping[str, Any]) -> bool:
    return bool(replica["state"] == "online" and replica["lag"] <= SILENT)
