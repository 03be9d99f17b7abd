"""How often each status was met, per host and spider."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from scrapy import signals
from scrapy.utils.defer import deferred_from_coro
from twisted.internet.task import LoopingCall

from crawling.service.config import read, tracker_url
from crawling.service.counters import RedisCounts, RollingCounts
from crawling.service.windows import WINDOWS

if TYPE_CHECKING:
    from scrapy import Spider
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from twisted.internet.defer import Deferred

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
        self._shared: RedisCounts | None = None
        self._writing = LoopingCall(self._write)
        if self._statuses:
            crawler.signals.connect(self._opened, signals.spider_opened)
            crawler.signals.connect(self._closed, signals.spider_closed)

    def count(self, status: int) -> None:
        if status in self._statuses:
            self._rolling.count(str(status))

    def totals(self) -> dict[str, dict[str, int]]:
        return self._rolling.totals()

    def _opened(self, spider: Spider) -> None:
        if self._url.partition("://")[0] in {"redis", "rediss", "unix"}:
            prefix = f"stats:crawler:{socket.gethostname()}:{spider.name}"
            self._shared = RedisCounts(self._url, prefix, timeout=self._timeout)
            self._writing.start(self._cycle, now=False)

    def _write(self) -> Deferred[None]:
        assert self._shared is not None
        return deferred_from_coro(self._shared.write(self._rolling))

    async def _closed(self) -> None:
        for status, totals in self.totals().items():
            for window, count in totals.items():
                self._stats.set_value(f"status/{status}/{window}", count)
        if self._shared is not None:
            self._writing.stop()
            await self._shared.write(self._rolling)
            await self._shared.close()


class RedisStatsMiddleware:
    """Counts what the spider gets to see."""

    def __init__(self, counts: StatusCounts) -> None:
        self._counts = counts

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> RedisStatsMiddleware:
        return cls(status_counts(crawler))

    def process_spider_input(self, response: Response) -> None:
        self._counts.count(response.status)
