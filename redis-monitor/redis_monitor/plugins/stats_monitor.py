from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from crawling.messages import replies
from redis_monitor.census import Census
from redis_monitor.plugins.base_monitor import BaseMonitor

if TYPE_CHECKING:
    from collections.abc import Mapping


class StatsMonitor(BaseMonitor):
    """Tells what the fleet does, summed over all its hosts."""

    answers: ClassVar = frozenset({"stats"})

    def setup(self, settings: Mapping[str, Any]) -> None:
        self._census = Census(self.tracker, self.statistics)

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        return replies.statistics(request, await self._of(request["stats"]))

    async def _of(self, kind: str) -> dict[str, Any]:
        if kind == "all":
            names = ("kafka-monitor", "redis-monitor", "crawler", "rest")
            return {name: await self._of(name) for name in names}
        if kind == "crawler":
            # Scrapy Cluster's name is "queue" here, and "queues" where they are alone.
            queues = (await self._of("queue"))["queues"]
            return {**await self._of("spider"), **await self._of("machine"), "queue": queues}
        census = self._census
        parts = {
            "spider": ("spiders", census.spiders),
            "machine": ("machines", census.machines),
            "queue": ("queues", census.queues),
        }
        if kind in parts:
            name, part = parts[kind]
            return {name: await part()}
        return await census.monitor(kind)
