"""One process of a service among its like: its sign of life, and what it has done."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from redis.exceptions import RedisError

from crawling.service.counters import RedisCounts, RollingCounts
from crawling.service.windows import WINDOWS
from crawling.tracker.redis_connect import redis_client, tag_of

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

#: Seconds after which a node that is gone also leaves the index of nodes.  Who reads the
#: index asks for the sign of life itself, which Redis forgets on time.
FORGET = 86400.0


def heartbeat_key(name: str, node: str) -> str:
    return f"stats:{name}:self:{node}"


def nodes_key(name: str) -> str:
    """Return the key of the index: a sorted set of nodes by their last sign of life."""
    return f"stats:{name}:nodes"


class Node:
    """A process of the service *name*, from `open` to `close`.

    Its heartbeat lies in `stats:<name>:self:<host>:<uuid>` and expires HEARTBEAT_TIMEOUT
    after its end.  What it counts is added to `stats:<name>:<counter>:<window>` every
    STATS_CYCLE.  Without Redis it goes on, and counts are written later.
    """

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        self.name = name
        self.id = f"{socket.gethostname()}:{uuid4().hex[-12:]}"
        timeout: float = settings["REDIS_SOCKET_TIMEOUT"]
        url = settings["TRACKER"]
        self._tag = tag_of(url)
        self._redis = redis_client(url, tag=self._tag, timeout=timeout, connections=1)
        self._timeout: float = settings["HEARTBEAT_TIMEOUT"]
        self._cycle: float = min(settings["STATS_CYCLE"], self._timeout / 3)
        self._dump: float = settings["STATS_DUMP"]
        self._counts_requests: bool = settings["STATS_TOTAL"]
        self._counts_plugins: bool = settings["STATS_PLUGINS"]
        self._plugins: set[str] = set()
        #: For Prometheus: what was served and what failed, since the process began.
        self.requests = {"served": 0, "failed": 0}
        self._counts = RollingCounts([WINDOWS[time] for time in settings["STATS_TIMES"]])
        self._shared = RedisCounts(settings["TRACKER"], f"stats:{name}", timeout=timeout)
        self._closing = asyncio.Event()
        self._living: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self._beat()
        self._living = asyncio.create_task(self._live())

    async def close(self) -> None:
        assert self._living is not None
        self._closing.set()
        await self._living
        await self._shared.write(self._counts)
        await self._leave()
        await self._shared.close()
        await self._redis.aclose()

    def succeeded(self, *plugins: str) -> None:
        """Count a request that was served, by these classes."""
        self.requests["served"] += 1
        self._count_request("total")
        for plugin in plugins if self._counts_plugins else ():
            self._plugins.add(plugin)
            self._counts.count(plugin)

    def failed(self) -> None:
        """Count a request that nobody could serve."""
        self.requests["failed"] += 1
        self._count_request("total")
        self._count_request("fail")

    def totals(self) -> dict[str, int]:
        """Return what this process has counted, flat, under the names of Scrapy Cluster."""
        return {
            f"{f'plugin_{name}' if name in self._plugins else name}_{window}": count
            for name, totals in self._counts.totals().items()
            for window, count in totals.items()
        }

    def _count_request(self, counter: str) -> None:
        if self._counts_requests:
            self._counts.count(counter)

    async def _live(self) -> None:
        dumped = 0.0
        while not self._closing.is_set():
            if self._dump and time.time() // self._dump != dumped:
                dumped = time.time() // self._dump
                title = self.name.replace("-", " ").title()
                logger.info("%s Stats Dump", title, extra={"action": "stats", **self.totals()})
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._cycle)
            await self._beat()
            await self._shared.write(self._counts)

    async def _beat(self) -> None:
        now = time.time()
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.set(
            self._tag + heartbeat_key(self.name, self.id), now, px=round(self._timeout * 1000)
        )
        pipeline.zadd(self._tag + nodes_key(self.name), {self.id: now})
        pipeline.zremrangebyscore(self._tag + nodes_key(self.name), 0, now - FORGET)
        try:
            await pipeline.execute()
        except RedisError as error:
            self._warn("No sign of life written", error)

    async def _leave(self) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.delete(self._tag + heartbeat_key(self.name, self.id))
        pipeline.zrem(self._tag + nodes_key(self.name), self.id)
        try:
            await pipeline.execute()
        except RedisError as error:
            self._warn("Sign of life left behind", error)

    def _warn(self, text: str, error: RedisError) -> None:
        logger.warning(
            text, extra={"action": "heartbeat", "node": self.id, "error": str(error)}
        )
