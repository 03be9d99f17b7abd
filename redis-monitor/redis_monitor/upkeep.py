"""What has to be done now and then, by any of the monitors."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from redis_monitor.census import Census

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from crawling.service.statistics import Statistics
    from crawling.tracker.tracker import Tracker

logger = logging.getLogger(__name__)

#: Seconds between two sweeps, and steps of one; between two trims of the statistics.
SWEEP, MOST_SWEEPS, TRIM = 1.0, 100, 3600.0
#: How often in a LEASE_TIMEOUT dead workers are looked for.
RECLAIMS = 12


class Upkeep:
    """Gives back what dead workers held, clears what is over, tells the log how it is."""

    def __init__(
        self, tracker: Tracker, statistics: Statistics, settings: Mapping[str, Any]
    ) -> None:
        self._tracker = tracker
        self._statistics = statistics
        self._census = Census(tracker, statistics)
        self._dump: float = settings["STATS_DUMP"]
        self._dumps = {
            "Crawler Stats Dump": (settings["STATS_DUMP_CRAWL"], self._census.crawler_dump),
            "Queue Stats Dump": (settings["STATS_DUMP_QUEUE"], self._census.queue_dump),
        }

    def steps(self) -> list[tuple[Callable[[], Awaitable[None]], float]]:
        """Return each step with the seconds after which it is to be repeated."""
        steps: list[tuple[Callable[[], Awaitable[None]], float]] = [
            (self._reclaim, self._tracker.config.lease_timeout / RECLAIMS),
            (self._sweep, SWEEP),
            (self._statistics.trim, TRIM),
        ]
        return [*steps, (self._tell, self._dump)] if self._dump else steps

    async def _reclaim(self) -> None:
        if count := await self._tracker.reclaim():
            logger.info("Leases reclaimed", extra={"action": "reclaim", "count": count})

    async def _sweep(self) -> None:
        for _ in range(MOST_SWEEPS):
            if not await self._tracker.sweep():
                return

    async def _tell(self) -> None:
        for title, (wanted, dump) in self._dumps.items():
            if wanted:
                logger.info(title, extra={"action": "stats", **await dump()})
