"""All crawls at a glance, looked at once for everybody who asks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from crawling.exceptions import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from crawling.tracker.tracker import CrawlId, CrawlStatus, DomainSetting, WorkerStatus
    from rest_service.backends import Backends

logger = logging.getLogger(__name__)

#: Seconds between two looks while somebody listens, and while only the history is kept.
FAST, SLOW = 1.0, 10.0
#: Seconds that a look may be old, however long it took: it may have been the machine.
OLDEST = 10.0
#: The part of its time that a process may spend on looking.
SHARE = 0.05
#: Seconds over which rates are measured, and length and steps of the history.
RATE_OVER, HISTORY, STEP = 30.0, 3600.0, 10.0


@dataclass(frozen=True)
class Snapshot:
    """What all crawls were like at one *time* (Unix seconds); *at* is monotonic.

    Where the tracker is away (not *is_up*) it is what they were like when it last answered.
    """

    time: float = 0.0
    at: float = float("-inf")
    crawls: Mapping[CrawlId, CrawlStatus] = field(default_factory=dict)
    workers: Sequence[WorkerStatus] = ()
    settings: Sequence[DomainSetting] = ()
    #: How often somebody has pushed a domain back: the books do not show it.
    deferrals: int = 0
    is_up: bool = False

    @property
    def alive(self) -> list[WorkerStatus]:
        return [worker for worker in self.workers if worker.deadline > self.time]

    def newest(self) -> list[CrawlStatus]:
        return sorted(self.crawls.values(), key=lambda crawl: -crawl.started)


class Overview:
    """One look at the tracker a second at most, shared by all; less when it takes long."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self.snapshot = Snapshot()
        self._cost = 0.0
        self._lock = asyncio.Lock()
        self._is_stale = False
        self._error: Unavailable | None = None
        self._failed = 0.0
        #: (monotonic time, pages, failures) of each crawl, within RATE_OVER.
        self._ends: dict[CrawlId, deque[tuple[float, int, int]]] = {}
        #: Time, pages a second, failures a second, queued, in flight.
        self.history: deque[tuple[float, float, float, int, int]] = deque(
            maxlen=int(HISTORY / STEP)
        )

    @property
    def age_allowed(self) -> float:
        """Return seconds for which a look is good."""
        return min(max(FAST, self._cost / SHARE), OLDEST)

    def touch(self) -> None:
        """Let the next to ask look anew: something was changed through this process."""
        self._is_stale = True

    async def fresh(self) -> Snapshot:
        """Return a look that is new enough; all who ask meanwhile share one."""
        async with self._lock:
            now = time.monotonic()
            # Raises at once until it was there for the first time; that error is not kept.
            _ = self._backends.tracker
            if self._error is not None and now < self._failed + FAST:
                raise self._error
            is_old = now >= self.snapshot.at + self.age_allowed
            if self._is_stale or not self.snapshot.is_up or is_old:
                self._is_stale = False
                await self._try_to_look()
            return self.snapshot

    async def _try_to_look(self) -> None:
        try:
            await self._look()
        except Unavailable as error:
            # All who wait for this look share its error: each would wait as long again.
            self._error, self._failed = error, time.monotonic()
            if self.snapshot.is_up:
                extra = {"action": "look", "error": str(error)}
                logger.warning("Tracker does not answer", extra=extra)
            self.snapshot = replace(self.snapshot, time=time.time(), is_up=False)
            raise
        self._error = None

    async def run(self, watched: asyncio.Event, publish: Callable[[], None]) -> None:
        """Look again and again, and let *publish* tell of it, until cancelled.

        While *watched* is not set there is less to do; who sets it does not wait.
        """
        kept = 0.0
        while True:
            with suppress(Unavailable):
                await self.fresh()
            if self.snapshot.is_up and time.monotonic() - kept >= STEP:
                kept = time.monotonic()
                self._keep()
            publish()
            if watched.is_set():
                await asyncio.sleep(self.age_allowed)
                continue
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(watched.wait(), max(SLOW, self.age_allowed))

    def rate(self, crawl: CrawlId) -> float:
        """Return pages of the crawl a second, lately."""
        return self._rates(crawl)[0]

    def totals(self) -> dict[str, Any]:
        """Return the sums over all crawls as JSON."""
        snapshot, alive = self.snapshot, self.snapshot.alive
        crawls = snapshot.crawls.values()
        columns = "queued delayed leased done failed dropped duplicates size".split()
        sums = {name: sum(getattr(crawl, name) for crawl in crawls) for name in columns}
        rates = [self._rates(crawl) for crawl in snapshot.crawls]
        kafka = self._backends.kafka
        return {
            "time": snapshot.time,
            "tracker": "up" if snapshot.is_up else "down",
            "kafka": "off" if kafka is None else "up" if kafka.is_up else "down",
            "crawls": dict(Counter(crawl.state for crawl in crawls)),
            **{name: sums[name] for name in columns[:-1]},
            "bytes": sums["size"],
            "pages_per_second": round(sum(pages for pages, _ in rates), 3),
            "failures_per_second": round(sum(failures for _, failures in rates), 3),
            "workers": len(alive),
            "workers_stalled": sum(bool(worker.trouble) for worker in alive),
        }

    def _rates(self, crawl: CrawlId) -> tuple[float, float]:
        ends = self._ends.get(crawl)
        if not ends or ends[-1][0] <= ends[0][0]:
            return 0.0, 0.0
        seconds = ends[-1][0] - ends[0][0]
        return (ends[-1][1] - ends[0][1]) / seconds, (ends[-1][2] - ends[0][2]) / seconds

    async def _look(self) -> None:
        began = time.monotonic()
        tracker = self._backends.tracker
        names = await tracker.crawls()
        statuses = await tracker.statuses(names)
        workers = await tracker.workers()
        treatment = await tracker.treatment()
        self._cost = time.monotonic() - began
        self.snapshot = Snapshot(
            time=time.time(),
            at=time.monotonic(),
            crawls={status.crawl: status for status in statuses},
            workers=workers,
            settings=treatment.settings,
            deferrals=treatment.deferrals,
            is_up=True,
        )
        self._measure()

    def _measure(self) -> None:
        now, crawls = self.snapshot.at, self.snapshot.crawls
        self._ends = {crawl: ends for crawl, ends in self._ends.items() if crawl in crawls}
        for crawl, status in crawls.items():
            ends = self._ends.setdefault(crawl, deque())
            # A crawl that began anew counts from the start.
            if ends and status.done < ends[-1][1]:
                ends.clear()
            ends.append((now, status.done, status.failed))
            while len(ends) > 2 and ends[1][0] <= now - RATE_OVER:
                ends.popleft()

    def _keep(self) -> None:
        totals = self.totals()
        self.history.append(
            (
                round(self.snapshot.time, 1),
                totals["pages_per_second"],
                totals["failures_per_second"],
                totals["queued"] + totals["delayed"],
                totals["leased"],
            )
        )
