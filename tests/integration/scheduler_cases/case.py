"""What a case is, and the spider and pipeline that most cases vary."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scrapy import Request, Spider

from crawling.tracker.tracker import CrawlId, TrackerConfig
from tests.integration.scheduler_cases.recording import (
    RecordingTracker,
    child_url,
    lease_in_context,
    recorder,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from typing_extensions import Self

#: No throttle, and retries at once: what is tested is when a lease ends.
FAST = TrackerConfig(hits=0, concurrency=100, retry_delay=0.02, defer_max=0.1)
#: What three pages with two links each come to, when nothing goes wrong.
PAGES = ("/page/1", "/page/2", "/page/3")


class CaseSpider(Spider):
    """A page is two items and two links; the pages behind the links are one item each."""

    name = "case"

    def parse(self, response: Response) -> Any:
        yield self.item(response)
        yield self.child(response, "1")
        yield self.item(response, 2)
        yield self.child(response, "2")

    def leaf(self, response: Response) -> Any:
        yield self.item(response)

    def item(self, response: Response, n: int = 0) -> dict[str, Any]:
        return {"page": _leased_url(response), "n": n}

    def child(self, response: Response, name: str, **kwargs: Any) -> Request:
        return self.child_of(_leased_url(response), name, **kwargs)

    def child_of(self, page: str, name: str, **kwargs: Any) -> Request:
        return Request(self.note_child(page, name), callback=self.leaf, **kwargs)

    def note_child(self, page: str, name: str) -> str:
        url = child_url(page, name)
        recorder(self.crawler).note("child", page, child=url)
        return url


class NotingPipeline:
    """Notes when an item comes and goes; it takes its time, as a saver does."""

    delay = 0.03

    def __init__(self, crawler: Crawler) -> None:
        self.crawler = crawler

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    async def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        tracker = recorder(self.crawler)
        tracker.note("item", item["page"], n=item["n"], seen=lease_in_context())
        await asyncio.sleep(self.delay)
        try:
            await self.handle(item)
        finally:
            tracker.note("item end", item["page"], n=item["n"])
        return item

    async def handle(self, item: dict[str, Any]) -> None:
        """Do what the case is about."""


@dataclass(frozen=True)
class Case:
    """One crawl, and how its leases are to end.

    *kinds* counts the outcomes of all leases, *reasons* what the books then say (None:
    the reason is Scrapy's affair).  Children whose URL contains *refused* never get as
    far as the scheduler.  *unwatched*: the engine's own set of requests in progress says
    nothing about this case.  *prepare* is awaited before the spider starts;
    *tracker_url* may name a `{folder}` of the case's own.
    """

    name: str
    spider: type[CaseSpider]
    kinds: Mapping[str, int]
    seeds: tuple[str, ...] = PAGES
    reasons: Mapping[str, int] | None = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    errback: str = ""
    refused: str = "nothing"
    unwatched: bool = False
    tracker: type[RecordingTracker] = RecordingTracker
    tracker_url: str = "sqlite://"
    config: TrackerConfig = FAST
    prepare: Callable[[RecordingTracker, CrawlId, str], Awaitable[None]] | None = None


def pipeline(component: type[NotingPipeline]) -> dict[str, Any]:
    return {"ITEM_PIPELINES": {component: 1}}


def downloader_middleware(component: type, order: int = 10) -> dict[str, Any]:
    return {"DOWNLOADER_MIDDLEWARES": {component: order}}


def spider_middleware(component: type) -> dict[str, Any]:
    return {"SPIDER_MIDDLEWARES": {component: 500}}


def extension(component: type) -> dict[str, Any]:
    return {"EXTENSIONS": {component: 1}}


async def await_something_cancelled() -> None:
    """Raise CancelledError as a closed client or a cancelled future does."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


def _leased_url(response: Response) -> str:
    assert response.request is not None
    return response.request.url
