"""A worker to be stopped by SIGTERM, for `scrapy runspider` and to be run with a mode.

python -m tests.integration.scheduler_cases.stopping MODE -s NAME=VALUE...
"""

from __future__ import annotations

import asyncio
import atexit
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrapy.crawler import AsyncCrawlerProcess, CrawlerProcess
from scrapy.utils.defer import deferred_from_coro, maybe_deferred_to_future
from scrapy.utils.project import get_project_settings

from crawling.distributed_scheduler import DistributedScheduler
from tests.integration.scheduler_cases.case import FAST, CaseSpider, NotingPipeline
from tests.integration.scheduler_cases.recording import RecordingTracker, share, trackers

if TYPE_CHECKING:
    from scrapy import Spider
    from scrapy.http import Response
    from twisted.internet.defer import Deferred


class RecordedScheduler(DistributedScheduler):
    """Has its tracker recorded; the notes go to the file NOTES when the process ends."""

    def open(self, spider: Spider) -> Deferred[None]:
        return deferred_from_coro(self._open_recorded(spider))

    async def _open_recorded(self, spider: Spider) -> None:
        url = spider.settings["TRACKER"]
        tracker = trackers[url] = RecordingTracker(url, FAST)
        await tracker.open()
        share(url, tracker)
        notes = Path(spider.settings["NOTES"])
        atexit.register(lambda: notes.write_text(json.dumps(tracker.notes), "utf-8"))
        opened = super().open(spider)
        if opened is not None:
            await maybe_deferred_to_future(opened)


class SlowPipeline(NotingPipeline):
    delay = 0.4


class Stopped(CaseSpider):
    custom_settings = {  # noqa: RUF012 - Scrapy's own way to say it
        "SCHEDULER": RecordedScheduler,
        "ITEM_PIPELINES": {SlowPipeline: 1},
        "ROBOTSTXT_OBEY": False,
        "ALLOW_PRIVATE_ADDRESSES": True,
        "SHUTDOWN_GRACE": 0.5,
        # The tests wait for what Scrapy says about signals.
        "LOG_ENABLED": True,
        "LOG_LEVEL": "INFO",
    }

    async def parse(self, response: Response) -> Any:
        yield self.item(response)
        if "/page/stuck" in response.url:
            await asyncio.Event().wait()
        yield self.child(response, "1")


def main(mode: str, *arguments: str) -> None:
    settings = get_project_settings()
    for assignment in arguments[1::2]:
        name, _, value = assignment.partition("=")
        settings.set(name, value, priority="cmdline")
    process = (CrawlerProcess if mode == "CrawlerProcess" else AsyncCrawlerProcess)(settings)
    process.crawl(Stopped)
    process.start()


if __name__ == "__main__":
    main(*sys.argv[1:])
