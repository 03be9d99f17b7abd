"""Run cases in a reactor of their own: `python -m tests.integration.scheduler_cases.run NAME...`.

One line of JSON for each case goes to standard output: what was noted, and the books.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from scrapy import Request, signals
from scrapy.crawler import AsyncCrawlerRunner, Crawler
from scrapy.settings import Settings
from scrapy.utils.defer import deferred_from_coro
from scrapy.utils.reactor import install_reactor

from crawling.distributed_scheduler import DistributedScheduler
from crawling.request_record import extras_of
from crawling.settings import ASYNCIO_EVENT_LOOP, TWISTED_REACTOR
from crawling.tracker.connect import close_tracker
from crawling.tracker.tracker import CrawlId, CrawlOptions, Offer
from crawling.tracker.urls import domain_of, fingerprint
from tests.integration.scheduler_cases.case import NotingPipeline
from tests.integration.scheduler_cases.recording import RecordingTracker, share, trackers
from tests.integration.scheduler_cases.table import CASES, TIMING
from tests.servers.nasty_site import NastySite

if TYPE_CHECKING:
    from crawling.tracker.tracker import CrawlStatus
    from tests.integration.scheduler_cases.case import Case

#: Seconds until a spider that has not closed never will.
LIMIT = 15.0
#: Cases at the same time: most of them mostly wait.
TOGETHER = 6


class Watched(set[Request]):
    """The engine's own set of requests in progress: the control of what we find."""

    def __init__(self, tracker: RecordingTracker, scheduler: DistributedScheduler) -> None:
        super().__init__()
        self.tracker = tracker
        self.scheduler = scheduler

    def remove(self, request: Request) -> None:
        held = self.scheduler._in_flight.held(request) is not None
        self.tracker.note("removed", request.url, held=held)
        super().remove(request)


async def main(names: list[str]) -> None:
    places = asyncio.Semaphore(TOGETHER)

    async def report(name: str) -> None:
        async with places:
            with NastySite() as site, tempfile.TemporaryDirectory() as folder:
                facts = await run({**CASES, **TIMING}[name], site, folder)
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()

    await asyncio.gather(*map(report, names))


async def run(case: Case, site: NastySite, folder: str) -> dict[str, Any]:
    crawl = CrawlId("case", "tests", case.name)
    tracker = case.tracker(case.tracker_url.format(folder=folder), case.config)
    await tracker.open()
    url = f"sqlite://{case.name}"
    trackers[url] = tracker
    share(url, tracker)
    if case.seeds:
        offers = [_seed(site.url + path, case) for path in case.seeds]
        await tracker.submit(crawl, offers, CrawlOptions())
    if case.prepare is not None:
        await case.prepare(tracker, crawl, site.url)
    runner = AsyncCrawlerRunner(_settings(case, url, folder))
    crawler = runner.create_crawler(case.spider)
    crawler.signals.connect(lambda: _watch(crawler, tracker), signals.spider_opened, weak=False)

    spider = runner.crawl(crawler, base=site.url)
    await asyncio.wait([spider], timeout=LIMIT)

    closed = spider.done()
    tracker.note("closed")
    status = await tracker.crawl(crawl)
    await close_tracker(url)
    return {
        "name": case.name,
        "scrapy": sys.modules["scrapy"].__version__,
        "closed": closed,
        "error": repr(spider.exception()) if closed and spider.exception() else "",
        "finish_reason": crawler.stats.get_value("finish_reason") if crawler.stats else None,
        "notes": tracker.notes,
        "hits": site.hits,
        "books": None if status is None else _books(status),
    }


def _books(status: CrawlStatus) -> dict[str, Any]:
    return {
        "state": status.state,
        "balanced": status.balanced,
        "outstanding": status.outstanding,
        "leased": status.leased,
        "done": status.done,
        "reasons": dict(status.reasons),
    }


def _watch(crawler: Crawler, tracker: RecordingTracker) -> None:
    assert crawler.engine is not None
    slot = crawler.engine._slot
    assert slot is not None
    assert isinstance(slot.scheduler, DistributedScheduler)
    slot.inprogress = Watched(tracker, slot.scheduler)


def _settings(case: Case, tracker_url: str, folder: str) -> Settings:
    settings = Settings()
    settings.setmodule("crawling.settings", priority="project")
    own: dict[str, Any] = {
        "TRACKER": tracker_url,
        "CRAWL": f"case/tests/{case.name.replace(' ', '%20')}",
        "ITEM_PIPELINES": {NotingPipeline: 1},
        "ROBOTSTXT_OBEY": False,
        "ALLOW_PRIVATE_ADDRESSES": True,
        "RETRY_DELAY": case.config.retry_delay,
        "DOWNLOAD_TIMEOUT": 10,
        "SC_LOG_LEVEL": "ERROR",
        "FILES_STORE": folder,
    }
    for name, value in {**own, **case.settings}.items():
        merged = name in {"DOWNLOADER_MIDDLEWARES", "SPIDER_MIDDLEWARES", "EXTENSIONS"}
        settings.set(name, {**settings[name], **value} if merged else value, priority="cmdline")
    return settings


def _seed(url: str, case: Case) -> Offer:
    errback = getattr(case.spider, case.errback) if case.errback else None
    extras = extras_of(Request(url, errback=errback), case.spider)
    return Offer(url, domain_of(url), fingerprint(url), priority=50, depth=0, extras=extras)


if __name__ == "__main__":
    install_reactor(TWISTED_REACTOR, ASYNCIO_EVENT_LOOP)
    from twisted.internet.task import react

    react(lambda _: deferred_from_coro(main(sys.argv[1:])))
