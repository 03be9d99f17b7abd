"""When leases are asked for and sent, and what the scheduler does about time and trouble."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrapy import signals
from twisted.internet.task import LoopingCall

from crawling import signals as fleet_signals
from crawling.tracker.tracker import Leased, Outcome, TrackerConfig
from tests.integration.scheduler_cases.case import (
    FAST,
    Case,
    CaseSpider,
    NotingPipeline,
    extension,
    pipeline,
)
from tests.integration.scheduler_cases.recording import RecordingTracker, recorder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrapy import Request
    from scrapy.crawler import Crawler
    from typing_extensions import Self

    from crawling.tracker.tracker import CrawlId

#: Seconds that the tracker, another worker or the output lets us wait.
TROUBLE = 1.0
TEN_PAGES = tuple(f"/page/{n}" for n in range(10))


class SlowTracker(RecordingTracker):
    async def lease(self, worker: str, limit: int, spiderid: str) -> Leased:
        await asyncio.sleep(TROUBLE)
        return await super().lease(worker, limit, spiderid)

    async def settle(self, worker: str, outcomes: Sequence[Outcome]) -> list[bool]:
        await asyncio.sleep(TROUBLE)
        return await super().settle(worker, outcomes)


class FirstLeasesAreLate(RecordingTracker):
    """As if the leases had been on their way for longer than their slots wait."""

    late = True

    async def lease(self, worker: str, limit: int, spiderid: str) -> Leased:
        leased = await super().lease(worker, limit, spiderid)
        if not leased.leases or not self.late:
            return leased
        self.late = False
        passed = time.monotonic() - 1
        return leased._replace(leases=[replace(one, latest=passed) for one in leased.leases])


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


async def lock_the_database(tracker: RecordingTracker, crawl: CrawlId) -> None:
    """Keep the file locked for a second from the first lease on, as a backup does."""

    def lock() -> None:
        with sqlite3.connect(LOCKED, isolation_level=None) as other:
            other.execute("BEGIN EXCLUSIVE")
            tracker.note("locked")
            time.sleep(TROUBLE)
            other.execute("COMMIT")
        other.close()
        tracker.note("unlocked")

    async def wait_and_lock() -> None:
        await tracker.first["sent"].wait()
        threading.Thread(target=lock).start()

    tracker.tasks.append(asyncio.ensure_future(wait_and_lock()))


async def lease_one_elsewhere(tracker: RecordingTracker, crawl: CrawlId) -> None:
    """Let another worker have a request for a while."""
    (lease,) = (await tracker.lease("other", 1, crawl.spiderid)).leases

    async def settle() -> None:
        await asyncio.sleep(TROUBLE)
        await tracker.settle("other", [Outcome(lease, "done", status=200)])

    tracker.tasks.append(asyncio.ensure_future(settle()))


LOCKED = str(Path(tempfile.mkdtemp()) / "locked.db")

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
        tracker_url=f"sqlite:///{LOCKED}",
        prepare=lock_the_database,
        settings={"EXTENSIONS": {Ticking: 1, NotesSending: 2}},
    ),
    Case(
        "another worker holds a request",
        CaseSpider,
        {"done": 7},
        prepare=lease_one_elsewhere,
        unwatched=True,
    ),
    Case(
        "crawl is stopped",
        StopsItsCrawl,
        {},
        seeds=(*TEN_PAGES, "/slow/1"),
        reasons=None,
        settings={"CONCURRENT_REQUESTS": 1},
    ),
    Case(
        "late leases",
        CaseSpider,
        {"released": 3, "done": 9},
        tracker=FirstLeasesAreLate,
        settings=extension(NotesSending),
    ),
    Case(
        "throttled leases",
        CaseSpider,
        {"done": 9},
        config=TrackerConfig(hits=5, window=1.0, ahead=0.5, retry_delay=0.02),
        settings=extension(NotesSending),
    ),
    Case(
        "output breaks down",
        CaseSpider,
        {"done": 30},
        seeds=TEN_PAGES,
        config=FAST,
        settings={
            **pipeline(OutputBreaksDown),
            **extension(NotesSending),
            "CONCURRENT_REQUESTS": 1,
        },
    ),
]
