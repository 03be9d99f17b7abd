"""The states of a crawl that somebody asks for, where one flag sets them all."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from crawling.tracker.tracker import Tracker

if TYPE_CHECKING:
    from crawling.tracker.tracker import CrawlId, State


class FlaggedTracker(Tracker):
    """The part of a tracker on Redis that ends, pauses and resumes crawls."""

    async def stop(self, crawl: CrawlId) -> int:
        return await self._flag(crawl, "stopped")

    async def expire(self, crawl: CrawlId) -> int:
        return await self._flag(crawl, "expired")

    async def pause(self, crawl: CrawlId) -> bool:
        return bool(await self._flag(crawl, "paused"))

    async def resume(self, crawl: CrawlId) -> bool:
        return bool(await self._flag(crawl, "running"))

    @abstractmethod
    async def _flag(self, crawl: CrawlId, state: State) -> int:
        """Set the state; return how many requests were dropped, or 1 when it was set."""
