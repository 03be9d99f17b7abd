from __future__ import annotations

from typing import Any, ClassVar

from crawling.messages import replies
from crawling.tracker.urls import fingerprint
from redis_monitor.plugins.base_monitor import BaseMonitor, crawl_of


class CrawlMonitor(BaseMonitor):
    """Does with crawls what Scrapy Cluster could not."""

    answers: ClassVar = frozenset({"pause", "resume", "retry", "trace", "prioritize"})

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        crawl, tracker = crawl_of(request), self.tracker
        match request["action"]:
            case "pause":
                return replies.acted(request, changed=await tracker.pause(crawl))
            case "resume":
                return replies.acted(request, changed=await tracker.resume(crawl))
            case "prioritize":
                changed = await tracker.prioritize(crawl, request["priority"])
                return replies.acted(request, priority=request["priority"], changed=changed)
            case "retry":
                reason, domain = request.get("reason", ""), request.get("domain", "")
                retried = await tracker.retry(crawl, reason, domain)
                return replies.acted(request, total_retried=retried)
        try:
            seen_as = fingerprint(request["url"])
        except ValueError as error:
            return replies.failed(request, f"url: not a URL ({error})")
        return replies.traced(request, await tracker.trace(crawl, seen_as))
