"""How often each status was met, per host and spider."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from scrapy import signals

from crawling.service.config import read, tracker_url
from crawling.service.counters import RedisCounts, RollingCounts
from crawling.service.windows import WINDOWS
from crawling.tracker.redis_connect import is_redis

if TYPE_CHECKING:
    from scrapy import Spider
    from scrapy.crawler import Crawler
    from scrapy.http import Response

_counts: WeakKeyDictionary[Crawler, StatusCounts] = WeakKeyDictionary()


def status_counts(crawler: Crawler) -> StatusCounts:
    """Return the counts of this crawler, the same for all that count."""
    if crawler not in _counts:
        _counts[crawler] = StatusCounts(crawler)
    return _counts[crawler]


class StatusCounts:
    """Counts the statuses of STATS_RESPONSE_CODES.

    In memory, and in Redis where the tracker is there: under
    `stats:crawler:<host>:<spider>:<status>:<window>`.  At the end Scrapy's own statistics
    get this process's share as `status/<status>/<window>`.
    """

    def __init__(self, crawler: Crawler) -> None:
        settings = crawler.settings
        assert crawler.stats is not None
        self._stats = crawler.stats
        self._url = tracker_url(settings)
        self._timeout: float = read(settings, "REDIS_SOCKET_TIMEOUT")
        self._cycle: float = read(settings, "STATS_CYCLE")
        self._statuses: frozenset[int] = frozenset(
            read(settings, "STATS_RESPONSE_CODES")
            if read(settings, "STATS_STATUS_CODES")
            else ()
        )
        self._rolling = RollingCounts([WINDOWS[name] for name in read(settings, "STATS_TIMES")])
        self._closing = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        if self._statuses:
            crawler.signals.connect(self._opened, signals.spider_opened)
            crawler.signals.connect(self._closed, signals.spider_closed)

    def count(self, status: int) -> None:
        if status in self._statuses:
            self._rolling.count(str(status))

    def totals(self) -> dict[str, dict[str, int]]:
        return self._rolling.totals()

    def _opened(self, spider: Spider) -> None:
        if is_redis(self._url):
            prefix = f"stats:crawler:{socket.gethostname()}:{spider.name}"
            shared = RedisCounts(self._url, prefix, timeout=self._timeout)
            self._writing = asyncio.get_running_loop().create_task(self._write(shared))

    async def _write(self, shared: RedisCounts) -> None:
        """Write once a cycle, and what is left at the end."""
        while not self._closing.is_set():
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._cycle)
            await shared.write(self._rolling)
        await shared.close()

    async def _closed(self) -> None:
        for status, totals in self.totals().items():
            for window, count in totals.items():
                self._stats.set_value(f"status/{status}/{window}", count)
        if self._writing is not None:
            self._closing.set()
            await self._writing


class RedisStatsMiddleware:
    """Counts what the spider gets to see."""

    def __init__(self, counts: StatusCounts) -> None:
        self._counts = counts

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> RedisStatsMiddleware:
        return cls(status_counts(crawler))

    def process_spider_input(self, response: Response) -> None:
        self._counts.count(response.status)
