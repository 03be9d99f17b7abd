"""The servers behind the REST service: it starts without them, and waits for their return."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from crawling.exceptions import ConfigError, Unavailable
from crawling.service.config import tracker_config
from crawling.service.node import Node
from crawling.service.patience import until_done
from crawling.service.statistics import Statistics
from crawling.service.windows import WINDOWS
from crawling.tracker.connect import close_tracker, open_tracker
from crawling.tracker.redis_connect import is_redis, redis_client, tag_of
from rest_service.kafka_link import KafkaLink

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis.asyncio import Redis

    from crawling.tracker.tracker import Tracker

logger = logging.getLogger(__name__)

#: Seconds until a server that does not answer a probe counts as away.
PROBE_TIMEOUT = 5.0


class Backends:
    """The tracker, and what a cluster has beside it: Redis's statistics, and Kafka.

    *redis*, *statistics* and *kafka* are None where there is to be none: with SQLite
    nobody else works on the crawls, and with `KAFKA_HOSTS=none` there is no Kafka.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings
        self._url: str = settings["TRACKER"]
        self._tracker: Tracker | None = None
        self._stack = AsyncExitStack()
        self._opening: asyncio.Task[bool] | None = None
        self._stopping = asyncio.Event()
        self.redis: Redis | None = None
        self.statistics: Statistics | None = None
        self.kafka: KafkaLink | None = None
        self.node: Node | None = None
        self.tag = ""
        if self._url == "sqlite://":
            raise ConfigError("TRACKER", "say which: sqlite:///FILE or redis://HOST:PORT/DB")
        if is_redis(self._url):
            self._make_cluster()

    def _make_cluster(self) -> None:
        settings, timeout = self.settings, self.settings["REDIS_SOCKET_TIMEOUT"]
        self.tag = tag_of(self._url)
        self.redis = redis_client(self._url, tag=self.tag, timeout=timeout, connections=8)
        windows = [WINDOWS[name] for name in settings["STATS_TIMES"]]
        self.statistics = Statistics(self._url, windows, timeout=timeout)
        # Prometheus is told what it counts.
        quiet = {"STATS_TOTAL": False, "STATS_PLUGINS": False, "STATS_DUMP": 0}
        self.node = Node("rest", {**settings, **quiet})
        if settings["KAFKA_HOSTS"]:
            self.kafka = KafkaLink(settings)

    @property
    def tracker(self) -> Tracker:
        """Return the tracker; raise `Unavailable` until it was there once."""
        if self._tracker is None:
            raise Unavailable("TRACKER: no answer yet")
        return self._tracker

    async def open(self) -> None:
        """Begin to connect; raise `ConfigError` for what can never be."""
        self._opening = asyncio.create_task(until_done(self._open_tracker, self._stopping))
        if not is_redis(self._url):
            await self._opening
        if self.node is not None:
            await self.node.open()
            self._stack.push_async_callback(self.node.close)
        if self.kafka is not None:
            await self.kafka.open()
            self._stack.push_async_callback(self.kafka.close)

    async def _open_tracker(self) -> None:
        self._tracker = await open_tracker(self._url, tracker_config(self.settings))
        self._stack.push_async_callback(close_tracker, self._url)

    async def close(self) -> None:
        self._stopping.set()
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        await self._stack.aclose()
        if self.statistics is not None:
            await self.statistics.close()
        if self.redis is not None:
            await self.redis.aclose()

    def failed(self) -> BaseException | None:
        """Return the error that will keep the tracker from ever being opened."""
        opening = self._opening
        if opening is None or not opening.done() or opening.cancelled():
            return None
        return opening.exception()

    async def tracker_is_up(self) -> bool:
        try:
            await asyncio.wait_for(self.tracker.domain_settings(), PROBE_TIMEOUT)
        except (Unavailable, asyncio.TimeoutError):
            return False
        return True
