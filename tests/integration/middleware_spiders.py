"""Spiders that show what the middlewares did."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from scrapy import Request, signals

from crawling.redis_retry_middleware import GaveUp
from crawling.spiders.link_spider import LinkSpider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from twisted.python.failure import Failure
    from typing_extensions import Self


class WatchedSpider(LinkSpider):
    """The link spider; its statistics are kept for the test."""

    stats: Mapping[str, Any] = {}

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.watch, signals.spider_opened)
        return spider

    def watch(self) -> None:
        assert self.crawler.stats is not None
        WatchedSpider.stats = self.crawler.stats.get_stats()

    def _show(self, name: str, value: str) -> None:
        assert self.crawler.stats is not None
        self.crawler.stats.set_value(name, value)


class CookieSpider(WatchedSpider):
    """Asks for /own with a cookie of its own, and then for /after without."""

    def parse(self, response: Response) -> Any:
        if response.url.endswith("/start"):
            yield Request(
                response.urljoin("/own"),
                cookies={"own": "1"},
                callback=self.parse,
            )
        if response.url.endswith("/own"):
            yield Request(response.urljoin("/after"), callback=self.parse)


class InlineSpider(WatchedSpider):
    """Fetches /inline, which is no lease, while it parses."""

    async def parse(self, response: Response) -> Any:  # type: ignore[override]  # Scrapy takes both
        if response.url.endswith("/"):
            assert self.crawler.engine is not None
            request = Request(response.urljoin("/inline"), meta=dict(response.meta))
            await self.crawler.engine.download_async(request)


class FailureSpider(WatchedSpider):
    """Shows why /bad was given up, and which status /once had that is not to be retried."""

    def parse(self, response: Response) -> Any:
        yield Request(response.urljoin("/bad"), errback=self.note)
        yield Request(
            response.urljoin("/once"), meta={"dont_retry": True}, callback=self.parse_once
        )

    def parse_once(self, response: Response) -> None:
        self._show("once", str(response.status))

    def note(self, failure: Failure) -> None:
        assert isinstance(failure.value, GaveUp)
        self._show("gave up", f"{failure.value.reason} {failure.value.response}")


class MetaSpider(WatchedSpider):
    """Shows in the statistics what meta the page got, and its child before it is queued."""

    def watch(self) -> None:
        super().watch()
        self.crawler.signals.connect(self.note, signals.request_scheduled)

    def note(self, request: Request) -> None:
        if request.url.endswith("/child") and "child" not in self.stats:
            self._show("child", json.dumps(request.meta))

    def parse(self, response: Response) -> Any:
        if not response.url.endswith("/child"):
            self._show("page", json.dumps(response.meta))
            yield Request(response.urljoin("/child"), callback=self.parse)


class CancelRobots:
    """A downloader middleware that lets the first robots.txt end as nobody should end it."""

    def __init__(self) -> None:
        self._cancelled = False

    async def process_request(self, request: Request) -> None:
        if request.url.endswith("/robots.txt") and not self._cancelled:
            self._cancelled = True
            # So that others wait for it by now.
            await asyncio.sleep(0.2)
            raise asyncio.CancelledError
