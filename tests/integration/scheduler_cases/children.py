"""Whose child a request is, by whatever way it reaches the scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy import Request, signals
from scrapy.exceptions import IgnoreRequest

from crawling.links import LinkBatch
from tests.integration.scheduler_cases.case import (
    Case,
    CaseSpider,
    NotingPipeline,
    extension,
    pipeline,
)
from tests.integration.scheduler_cases.recording import lease_in_context, recorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from twisted.python.failure import Failure
    from typing_extensions import Self


class CopiesMeta(CaseSpider):
    def parse(self, response: Response) -> Any:
        assert response.request is not None
        for n in range(3):
            yield self.child(response, str(n), meta=response.meta)
        url = self.note_child(response.request.url, "replaced")
        yield response.request.replace(url=url, callback=self.leaf)


class YieldsDuplicates(CaseSpider):
    def parse(self, response: Response) -> Any:
        for n in range(3):
            yield self.child(response, "same", dont_filter=n == 2)


class YieldsUnknownScheme(CaseSpider):
    def parse(self, response: Response) -> Any:
        yield Request("foo://x/y", callback=self.leaf)


class CrawlsFromThePipeline(NotingPipeline):
    async def handle(self, item: dict[str, Any]) -> None:
        spider, engine = self.crawler.spider, self.crawler.engine
        if item["n"] == 2 and isinstance(spider, CaseSpider) and engine is not None:
            engine.crawl(spider.child_of(item["page"], "from-pipeline"))


class Orphan(CaseSpider):
    """Leaves a task behind that asks for a page when its own has long been settled."""

    async def parse(self, response: Response) -> Any:
        if "/slow/" not in response.url:
            recorder(self.crawler).beside(self.crawl_later(response))
        yield self.item(response)

    async def crawl_later(self, response: Response) -> None:
        tracker, engine = recorder(self.crawler), self.crawler.engine
        assert engine is not None
        await tracker.first["settled 1"].wait()
        engine.crawl(Request(response.urljoin("/leaf/late"), callback=self.leaf))


class Starts(CaseSpider):
    base = ""  # an argument of the spider

    async def start(self) -> AsyncIterator[Any]:
        for n in range(3):
            yield Request(f"{self.base}/page/{n}", callback=self.leaf)
        yield {"page": "", "n": 1}


class YieldsBatch(CaseSpider):
    def parse(self, response: Response) -> Any:
        yield self.item(response)
        if "/leaf/" not in response.url:
            yield self.batch_of(response.request.url if response.request else "")

    def failed(self, failure: Failure) -> Any:
        yield self.batch_of(failure.request.url)  # type: ignore[attr-defined]  # Scrapy sets it

    def batch_of(self, page: str) -> LinkBatch:
        return LinkBatch([self.note_child(page, str(n)) for n in range(50)])


class RefusesScheduling:
    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        extension = cls()
        crawler.signals.connect(extension.request_scheduled, signals.request_scheduled)
        return extension

    def request_scheduled(self, request: Request) -> None:
        if "/leaf/1" in request.url or "target" in request.url:
            raise IgnoreRequest("refused here")


class NotesContext:
    """Notes which lease a signal handler sees, for the signals where it is known."""

    def __init__(self, crawler: Crawler) -> None:
        self.crawler = crawler
        crawler.signals.connect(self.item_scraped, signals.item_scraped)
        crawler.signals.connect(self.reached, signals.request_reached_downloader)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    def item_scraped(self, response: Response) -> None:
        assert response.request is not None
        self.note("item_scraped", response.request)

    def reached(self, request: Request) -> None:
        self.note("request_reached_downloader", request)

    def note(self, signal: str, request: Request) -> None:
        tracker = recorder(self.crawler)
        tracker.note("signal", request.url, signal=signal, seen=lease_in_context())


CASES = [
    Case(
        "children carry their parent's meta, or are made from its request",
        CopiesMeta,
        {"done": 5},
        seeds=("/page/1",),
    ),
    Case(
        "the same child three times, once with dont_filter",
        YieldsDuplicates,
        {"done": 3},
        seeds=("/page/1",),
    ),
    Case(
        "child is refused by a request_scheduled handler",
        CaseSpider,
        {"done": 6},
        refused="/leaf/1",
        settings=extension(RefusesScheduling),
    ),
    Case(
        "redirect is refused by a request_scheduled handler",
        CaseSpider,
        {"dropped": 1},
        seeds=("/redirect/1",),
        reasons=None,
        settings=extension(RefusesScheduling),
        unwatched=True,
    ),
    Case(
        "child of an unknown scheme",
        YieldsUnknownScheme,
        {"done": 1},
        seeds=("/page/1",),
        reasons={"scheme": 1},
    ),
    Case(
        "pipeline asks the engine for a page",
        CaseSpider,
        {"done": 4},
        seeds=("/page/1",),
        settings=pipeline(CrawlsFromThePipeline),
    ),
    Case(
        "task that outlives its page asks the engine for a page",
        Orphan,
        {"done": 3},
        seeds=("/page/1", "/slow/1"),
    ),
    Case("start() yields requests and an item", Starts, {"done": 3}, seeds=()),
    Case("batch of 50 links", YieldsBatch, {"done": 51}, seeds=("/page/1",)),
    Case(
        "batch of 50 links, without any spider middleware",
        YieldsBatch,
        {"done": 51},
        seeds=("/page/1",),
        settings={"SPIDER_MIDDLEWARES_BASE": {}},
    ),
    Case(
        "batch of 50 links from an errback",
        YieldsBatch,
        {"failed": 1, "done": 50},
        seeds=("/drop/1",),
        errback="failed",
        reasons={"reset": 1},
        settings={"RETRY_TIMES": 0},
    ),
    Case(
        "signal handlers see the lease",
        CaseSpider,
        {"done": 30},
        seeds=tuple(f"/page/{n}" for n in range(10)),
        settings={**extension(NotesContext), "CONCURRENT_REQUESTS_PER_DOMAIN": 1},
    ),
]
