"""How the fleet is, as Scrapy Cluster's statistics tell it, summed over all hosts."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from crawling.service.statistics import add_up

if TYPE_CHECKING:
    from crawling.service.statistics import Statistics, Sums
    from crawling.tracker.tracker import Tracker

CRAWLER = "stats:crawler:"
#: Domains of one spider type that are told one by one.
MOST_DOMAINS = 10_000


class Census:
    def __init__(self, tracker: Tracker, statistics: Statistics) -> None:
        self._tracker = tracker
        self._statistics = statistics

    async def monitor(self, service: str) -> dict[str, Any]:
        """Return the nodes and counts of a service; what there is none of is left out."""
        counts = await self._statistics.counts(f"stats:{service}")
        plugins = {name: sums for name, sums in counts.items() if name not in {"total", "fail"}}
        found = {
            "nodes": await self._statistics.nodes(service),
            "total": counts.get("total"),
            "fail": counts.get("fail"),
            "plugins": plugins,
        }
        return {name: value for name, value in found.items() if value}

    async def spiders(self) -> dict[str, Any]:
        living = await self._living_spiders()
        spiders: dict[str, dict[str, Any]] = {name: {"count": n} for name, n in living.items()}
        for (_, spider), statuses in (await self._statuses()).items():
            known = spiders.setdefault(spider, {"count": 0})
            for status, sums in statuses.items():
                known[status] = add_up([known.get(status, {}), sums])
        return {
            **spiders,
            "unique_spider_count": len(living),
            "total_spider_count": living.total(),
        }

    async def machines(self) -> dict[str, Any]:
        machines: dict[str, dict[str, Sums]] = defaultdict(dict)
        for (host, _), statuses in (await self._statuses()).items():
            for status, sums in statuses.items():
                machines[host][status] = add_up([machines[host].get(status, {}), sums])
        return {**machines, "count": len(machines)}

    async def queues(self) -> dict[str, Any]:
        """Return the backlog of each spider type, with its domains."""
        queues: dict[str, Any] = {}
        for spider in sorted({crawl.spiderid for crawl in await self._tracker.crawls()}):
            domains = [
                {"domain": each.domain, "backlog": each.queued}
                for each in await self._tracker.domains(spider, MOST_DOMAINS)
                if each.queued
            ]
            if domains:
                queues[f"queue_{spider}"] = {
                    "spider_backlog": sum(each["backlog"] for each in domains),
                    "num_domains": len(domains),
                    "domains": domains,
                }
        total = sum(queue["spider_backlog"] for queue in queues.values())
        return {**queues, "total_backlog": total}

    async def crawler_dump(self) -> dict[str, Any]:
        """Return the statistics of spiders, flat, as the log has them."""
        spiders = await self.spiders()
        totals = {
            name: spiders.pop(name) for name in ("unique_spider_count", "total_spider_count")
        }
        flat = {
            f"{spider}_spider_count": known.pop("count") for spider, known in spiders.items()
        }
        for spider, statuses in spiders.items():
            for status, sums in statuses.items():
                flat |= {f"{spider}_{status}_{window}": n for window, n in sums.items()}
        return {**flat, **totals}

    async def queue_dump(self) -> dict[str, Any]:
        queues = await self.queues()
        for queue in queues.values():
            if isinstance(queue, dict):
                del queue["domains"]
        return queues

    async def _living_spiders(self) -> Counter[str]:
        now = time.time()
        return Counter(
            worker.spiderid
            for worker in await self._tracker.workers()
            if worker.spiderid and worker.deadline > now
        )

    async def _statuses(self) -> dict[tuple[str, str], dict[str, Sums]]:
        """Return (host, spider) -> status -> sums."""
        found = {}
        for prefix in await self._statistics.prefixes(CRAWLER):
            host, _, spider = prefix.removeprefix(CRAWLER).partition(":")
            found[host, spider] = await self._statistics.counts(prefix)
        return found
