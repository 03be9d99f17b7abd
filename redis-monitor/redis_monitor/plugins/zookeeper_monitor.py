from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from crawling.exceptions import ConfigError
from crawling.messages import replies
from crawling.service.patterns import registered_domain
from redis_monitor.plugins.base_monitor import BaseMonitor

if TYPE_CHECKING:
    from collections.abc import Mapping


class ZookeeperMonitor(BaseMonitor):
    """Changes how a domain is treated, from the next lease on and in every worker.

    The name is Scrapy Cluster's; what is set lives in the tracker.
    """

    answers: ClassVar = frozenset(
        {"domain-update", "domain-remove", "blacklist-update", "blacklist-remove"}
    )

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            await self._change(request, registered_domain(request["domain"]))
        except ConfigError as error:
            return replies.domain_changed(request, str(error))
        return replies.domain_changed(request)

    async def _change(self, request: Mapping[str, Any], domain: str) -> None:
        match request["action"]:
            case "domain-update":
                limit = (request["hits"], float(request["window"]), float(request["scale"]))
                await self.tracker.limit(domain, *limit)
            case "domain-remove":
                await self.tracker.limit(domain, 0, 0.0)
            case "blacklist-update":
                await self.tracker.block(domain)
            case "blacklist-remove":
                await self.tracker.block(domain, blocked=False)
