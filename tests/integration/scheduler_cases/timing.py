"""When leases are asked for and sent, and what the scheduler does about time and trouble."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

from scrapy import signals
from scrapy.exceptions import CloseSpider
from twisted.internet.task import LoopingCall

from crawling import signals as fleet_signals
from crawling.tracker.tracker import Offer, Outcome, TrackerConfig
from crawling.tracker.urls import domain_of, fingerprint
from tests.integration.scheduler_cases.callbacks import Nothing
from tests.integration.scheduler_cases.case import (
    Case,
    CaseSpider,
    NotingPipeline,
    extension,
    pipeline,
)
from tests.integration.scheduler_cases.recording import recorder
from tests.integration.scheduler_cases.troubled import (
    TROUBLE,
    AwayTracker,
    LeasesGrowLate,
    LeasesWereLate,
    SlowTracker,
)

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler
    from typing_extensions import Self

    from crawling.tracker.tracker import CrawlId
    from tests.integration.scheduler_cases.recording import RecordingTracker

TEN_PAGES = tuple(f"/page/{n}" for n in range(10))


class Ticking:
    """Notes that the reactor turns."""

    def __init__(self, crawler: Crawler) -> None:
        self.tracker = recorder(crawler)
        self.clock = LoopingCall(self.tracker.note, "tick")
        crawler.signals.connect(self.opened, signals.spider_opened)
        crawler.signals.connect(self.closed, signals.spider_closed)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    def opened(self) -> None:
        self.clock.start(0.05)

    def closed(self) -> None:
        self.clock.stop()


class NotesSending:
    def __init__(self, crawler: Crawler) -> None:
        self.tracker = recorder(crawler)
        crawler.signals.connect(self.reached, signals.request_reached_downloader)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    def reached(self, request: Request) -> None:
        self.tracker.note("sent", request.url)


class OutputBreaksDown(NotingPipeline):
    """The output is away for a while from the first item on."""

    delay = 0.0
    down = False

    async def handle(self, item: dict[str, Any]) -> None:
        if not self.down:
            self.down = True
            recorder(self.crawler).note("down")
            self.crawler.signals.send_catch_log(
                fleet_signals.output_down, saver="disk", reason="the disk is full"
            )
            asyncio.get_running_loop().call_later(TROUBLE, self.recover)

    def recover(self) -> None:
        recorder(self.crawler).note("up")
        self.crawler.signals.send_catch_log(fleet_signals.output_up, saver="disk")


class StopsItsCrawl(CaseSpider):
    async def leaf(self, response: Any) -> Any:
        tracker = recorder(self.crawler)
        for crawl in await tracker.crawls():
            await tracker.stop(crawl)
        yield self.item(response)


class ClosesItself(CaseSpider):
    def parse(self, response: Any) -> Any:
        yield self.item(response)
        raise CloseSpider("enough")


async def lock_the_database(tracker: RecordingTracker, crawl: CrawlId, site: str) -> None:
    """Keep the file locked for a second from the first lease on, as a backup does."""

    def lock() -> None:
        other = sqlite3.connect(tracker.url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        tracker.note("locked")
        time.sleep(TROUBLE)
        tracker.note("unlocked")
        other.execute("COMMIT")
        other.close()

    async def wait_and_lock() -> None:
        await tracker.first["lease"].wait()
        threading.Thread(target=lock).start()

    tracker.beside(wait_and_lock())


async def lease_one_elsewhere(tracker: RecordingTracker, crawl: CrawlId, site: str) -> None:
    """Let another worker have a request until all others have long been settled."""
    (lease,) = (await tracker.lease("other", 1, crawl.spiderid)).leases

    async def settle() -> None:
        await tracker.first["settled 6"].wait()
        await asyncio.sleep(TROUBLE)
        await tracker.settle("other", [Outcome(lease, "done", status=200)])

    tracker.beside(settle())


async def declare_dead(tracker: RecordingTracker, crawl: CrawlId, site: str) -> None:
    """Take its leases from the worker while it works on them, as a reclaim does."""

    async def take_away() -> None:
        await tracker.first["item"].wait()
        for status in await tracker.workers():
            await tracker.leave(status.worker)

    tracker.beside(take_away())


async def submit_later(tracker: RecordingTracker, crawl: CrawlId, site: str) -> None:
    async def submit() -> None:
        await asyncio.sleep(TROUBLE)
        url = f"{site}/page/1"
        await tracker.submit(crawl, [Offer(url, domain_of(url), fingerprint(url), 50, 0)])

    tracker.beside(submit())


CASES = [
    Case(
        "slow tracker",
        CaseSpider,
        {"done": 9},
        tracker=SlowTracker,
        settings=extension(Ticking),
    ),
    Case(
        "locked database",
        CaseSpider,
        {"done": 9},
        tracker_url="sqlite:///{folder}/crawl.db",
        prepare=lock_the_database,
        settings=extension(Ticking),
    ),
    Case("tracker is away", CaseSpider, {"done": 9}, tracker=AwayTracker),
    Case("worker is declared dead", CaseSpider, {}, prepare=declare_dead),
    Case(
        "another worker holds a request",
        CaseSpider,
        {"done": 7},
        prepare=lease_one_elsewhere,
    ),
    Case(
        "seed for an idle worker",
        ClosesItself,
        {"done": 1},
        seeds=(),
        prepare=submit_later,
        settings={"CRAWL": ""},
    ),
    Case(
        "crawl is stopped",
        StopsItsCrawl,
        {},
        seeds=(*TEN_PAGES, "/slow/1"),
        settings={"CONCURRENT_REQUESTS": 1},
    ),
    Case("late leases", CaseSpider, {"released": 3, "done": 9}, tracker=LeasesWereLate),
    Case(
        "leases that grow late in the downloader",
        Nothing,
        {"released": 2, "done": 3},
        tracker=LeasesGrowLate,
        settings={"DOWNLOAD_DELAY": 2 * TROUBLE, "RANDOMIZE_DOWNLOAD_DELAY": False},
    ),
    Case(
        "throttled leases",
        CaseSpider,
        {"done": 9},
        config=TrackerConfig(hits=5, window=1.0, ahead=0.5, retry_delay=0.02),
    ),
    Case(
        "output breaks down",
        CaseSpider,
        {"done": 30},
        seeds=TEN_PAGES,
        settings={
            **pipeline(OutputBreaksDown),
            **extension(NotesSending),
            "CONCURRENT_REQUESTS": 1,
        },
    ),
]
