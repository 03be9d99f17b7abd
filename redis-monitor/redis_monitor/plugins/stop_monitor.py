from __future__ import annotations

from typing import Any, ClassVar

from crawling.messages import replies
from redis_monitor.plugins.base_monitor import BaseMonitor, crawl_of


class StopMonitor(BaseMonitor):
    """Ends crawls: nothing of them is leased from here on."""

    answers: ClassVar = frozenset({"stop"})

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        return replies.stopped(request, await self.tracker.stop(crawl_of(request)))
