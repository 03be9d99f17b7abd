"""Trackers in trouble: the real one, slower or further away."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from crawling.exceptions import Unavailable
from tests.integration.scheduler_cases.recording import RecordingTracker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crawling.tracker.tracker import CrawlId, CrawlStatus, Leased, Outcome, TrackerConfig

#: Seconds that the tracker, another worker or the output lets us wait.
TROUBLE = 1.0


class SlowTracker(RecordingTracker):
    async def lease(self, worker: str, limit: int, spiderid: str) -> Leased:
        await self.be_slow()
        return await super().lease(worker, limit, spiderid)

    async def settle(self, worker: str, outcomes: Sequence[Outcome]) -> list[bool]:
        await self.be_slow()
        return await super().settle(worker, outcomes)

    async def be_slow(self) -> None:
        self.note("slow")
        await asyncio.sleep(TROUBLE)
        self.note("slow end")


class AwayTracker(RecordingTracker):
    """Answers every second call of a kind; of the others some are heard all the same."""

    def __init__(self, url: str, config: TrackerConfig) -> None:
        super().__init__(url, config)
        self.calls: Counter[str] = Counter()

    async def lease(self, worker: str, limit: int, spiderid: str) -> Leased:
        self.be_away("lease")
        return await super().lease(worker, limit, spiderid)

    async def settle(self, worker: str, outcomes: Sequence[Outcome]) -> list[bool]:
        answers = await super().settle(worker, outcomes)
        self.be_away("settle")
        return answers

    async def crawl(self, crawl: CrawlId) -> CrawlStatus | None:
        self.be_away("crawl")
        return await super().crawl(crawl)

    def be_away(self, call: str) -> None:
        self.calls[call] += 1
        if self.calls[call] % 2:
            raise Unavailable("the cable is out")


class LeasesWereLate(RecordingTracker):
    """The first leases were on their way for longer than their slots wait."""

    #: Seconds that the slots of the first leases still wait.
    left = -1.0
    first_answer = True

    async def lease(self, worker: str, limit: int, spiderid: str) -> Leased:
        leased = await super().lease(worker, limit, spiderid)
        if not leased.leases or not self.first_answer:
            return leased
        self.first_answer = False
        latest = time.monotonic() + self.left
        return leased._replace(leases=[replace(one, latest=latest) for one in leased.leases])


class LeasesGrowLate(LeasesWereLate):
    left = TROUBLE
