"""Downloads that are nobody's lease: robots.txt, media, and what a callback asks for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from scrapy import Request

from crawling.redis_retry_middleware import GaveUp
from tests.integration.scheduler_cases.callbacks import Nothing
from tests.integration.scheduler_cases.case import Case, CaseSpider, NotingPipeline, pipeline
from tests.integration.scheduler_cases.items import ManyItems

if TYPE_CHECKING:
    from scrapy.core.engine import ExecutionEngine
    from scrapy.crawler import Crawler
    from scrapy.http import Response


class Downloading(NotingPipeline):
    async def handle(self, item: dict[str, Any]) -> None:
        if item["n"] == 0:
            media = Request(urljoin(item["page"], "/slow/media"))
            await _engine(self.crawler).download_async(media)


class WithFiles(CaseSpider):
    def parse(self, response: Response) -> Any:
        files = ("/slow/file", "/redirect/file", "/drop/file")
        urls = [response.urljoin(path) for path in files]
        yield {**self.item(response), "file_urls": urls}


class Inline(CaseSpider):
    async def parse(self, response: Response) -> Any:
        await _engine(self.crawler).download_async(Request(response.urljoin("/slow/inline")))
        yield self.item(response)
        yield self.child(response, "1")


class InlineAgain(CaseSpider):
    """Downloads its own request again: the engine's books then end too early."""

    async def parse(self, response: Response) -> Any:
        assert response.request is not None
        yield self.item(response)
        await _engine(self.crawler).download_async(response.request)
        await asyncio.sleep(0.1)
        yield self.item(response, 2)
        yield self.child(response, "1")


class InlineAgainFails(CaseSpider):
    async def parse(self, response: Response) -> Any:
        assert response.request is not None
        try:
            await _engine(self.crawler).download_async(response.request)
        except GaveUp:
            yield self.item(response)


def _engine(crawler: Crawler) -> ExecutionEngine:
    assert crawler.engine is not None
    return crawler.engine


CASES = [
    Case(
        "robots.txt allows one and forbids one",
        Nothing,
        {"done": 1, "dropped": 1},
        seeds=("/page/1", "/private/2"),
        reasons={"robots": 1},
        settings={"ROBOTSTXT_OBEY": True},
    ),
    Case("pipeline downloads", ManyItems, {"done": 3}, settings=pipeline(Downloading)),
    Case(
        "files pipeline with a slow, a redirected and a failing file",
        WithFiles,
        {"done": 1},
        seeds=("/page/1",),
        settings={
            "ITEM_PIPELINES": {
                "scrapy.pipelines.files.FilesPipeline": 1,
                NotingPipeline: 2,
            },
            "MEDIA_ALLOW_REDIRECTS": True,
            "RETRY_TIMES": 0,
        },
    ),
    Case("callback downloads", Inline, {"done": 6}),
    Case(
        "callback downloads its own request again",
        InlineAgain,
        {"done": 2},
        seeds=("/page/1",),
        unwatched=True,
    ),
    Case(
        "callback downloads its own request again, in vain",
        InlineAgainFails,
        {"done": 1},
        seeds=("/once/1",),
        settings={"RETRY_TIMES": 0},
        unwatched=True,
    ),
]
