from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from crawling.messages import replies
from redis_monitor.plugins.base_monitor import BaseMonitor, crawl_of

if TYPE_CHECKING:
    from crawling.messages.replies import Pending
    from crawling.tracker.tracker import CrawlId


class InfoMonitor(BaseMonitor):
    """Tells what a crawl, or each crawl of an application, has still to fetch."""

    answers: ClassVar = frozenset({"info"})

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        if "crawlid" in request:
            return replies.crawl_info(request, await self._pending(crawl_of(request)))
        crawls = await self.tracker.crawls(request["spiderid"], request["appid"])
        found = [await self._pending(crawl) for crawl in crawls]
        return replies.application_info(request, [each for each in found if each])

    async def _pending(self, crawl: CrawlId) -> Pending | None:
        status = await self.tracker.crawl(crawl)
        if status is None:
            return None
        domains = await self.tracker.queued(crawl) if status.queued else []
        return replies.pending(status, domains)
