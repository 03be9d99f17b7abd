"""Scrapy's scheduler, on the tracker: requests are leased, and settled when they are over.

Scrapy asks here without waiting; all talk with the tracker is in `leasing.LeasePump`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from itertools import chain, compress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from scrapy import signals
from scrapy.exceptions import DontCloseSpider
from scrapy.utils.defer import deferred_from_coro
from scrapy.utils.reactor import is_reactor_installed

from crawling.crawl_rules import CrawlRules
from crawling.engine_hooks import EngineHooks
from crawling.exceptions import ConfigError, RequestError
from crawling.held_lease import HeldLease, belong_to, current_lease
from crawling.in_flight import InFlight
from crawling.known_links import KnownLinks
from crawling.lease_buffer import LeaseBuffer
from crawling.leasing import EMERGENCY_LIMIT, LeasePump, Post
from crawling.outcomes import Released, Verdict
from crawling.request_record import names_of, request_of
from crawling.service.config import read, tracker_config, tracker_url
from crawling.signals import (
    leases_settled,
    leases_taken,
    output_down,
    output_up,
    stopping,
    tracker_called,
)
from crawling.sparing import spare
from crawling.tracker.tracker import CrawlId, worker_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrapy import Request, Spider
    from scrapy.core.engine import ExecutionEngine
    from scrapy.crawler import Crawler
    from scrapy.settings import BaseSettings
    from scrapy.statscollectors import StatsCollector
    from twisted.internet.defer import Deferred

    from crawling.tracker.tracker import Lease, Offer, Outcome, TrackerConfig

__all__ = ["DistributedScheduler", "current_lease"]

logger = logging.getLogger(__name__)

#: Seconds between two audits.
AUDIT = 30.0
#: Pages that may wait for callbacks and outputs, as a multiple of CONCURRENT_REQUESTS: an
#: output that stalls holds up what is leased before it counts as down.
WAITING = 8


@dataclass(frozen=True)
class SchedulerConfig:
    """The settings, read once."""

    url: str
    tracker: TrackerConfig
    #: CRAWL: the one crawl to work for until its end; None: serve until SIGTERM.
    crawl: CrawlId | None
    #: CONCURRENT_REQUESTS
    concurrency: int
    #: SHUTDOWN_GRACE: seconds that downloads may still take once the spider closes.
    grace: float
    #: ALLOW_PRIVATE_ADDRESSES
    private_allowed: bool
    #: RETRY_HTTP_CODES
    retry_codes: tuple[int, ...]

    @classmethod
    def from_settings(cls, settings: BaseSettings) -> SchedulerConfig:
        return cls(
            url=tracker_url(settings),
            tracker=tracker_config(settings),
            crawl=_crawl_id(read(settings, "CRAWL")),
            concurrency=settings.getint("CONCURRENT_REQUESTS"),
            grace=read(settings, "SHUTDOWN_GRACE"),
            private_allowed=read(settings, "ALLOW_PRIVATE_ADDRESSES"),
            retry_codes=tuple(read(settings, "RETRY_HTTP_CODES")),
        )

    @property
    def reserve(self) -> int:
        """How many leases to hold beyond what can start, to hide the way to the tracker."""
        return max(2, self.concurrency // 8)


class DistributedScheduler:
    """Set as SCHEDULER: hands out leased requests and keeps the books of their end.

    A request counts as over when its callbacks have ended and all its items are through
    the pipelines.  Duplicates are the tracker's business.
    """

    def __init__(self, crawler: Crawler, config: SchedulerConfig) -> None:
        assert crawler.engine is not None
        assert crawler.spider is not None
        assert crawler.stats is not None
        self._crawler = crawler
        self._engine: ExecutionEngine = crawler.engine
        self._spider: Spider = crawler.spider
        self._stats: StatsCollector = crawler.stats
        self._config = config
        name = self._spider.name
        post = Post(config.url, config.tracker, worker_name(name), name, config.crawl)
        self._known = KnownLinks(config.tracker)
        self._pump = LeasePump(post, self, self._stats)
        self._buffer = LeaseBuffer()
        self._rules = CrawlRules(private_allowed=config.private_allowed)
        self._in_flight = InFlight(
            self._spider,
            self._rules,
            self._known,
            self,
            default_crawl=config.crawl or CrawlId(name, "default", name),
            retry_codes=config.retry_codes,
        )
        self._hooks = EngineHooks(
            self._engine, self._in_flight, grace=config.grace, stop_leasing=self._stop_leasing
        )
        #: Why, by the saver that is down.
        self._down: dict[str, str] = {}
        self._closing = False
        self._alarm: asyncio.TimerHandle | None = None
        self._audits: asyncio.Task[None] | None = None
        self._giving_up: asyncio.Task[None] | None = None
        self._trigger: Any = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> DistributedScheduler:
        return cls(crawler, SchedulerConfig.from_settings(crawler.settings))

    # What Scrapy calls.

    def open(self, spider: Spider) -> Deferred[None]:
        # Scrapy wants a Deferred here and would trip over a coroutine.
        return deferred_from_coro(self._open())

    def close(self, reason: str) -> Deferred[None]:
        return deferred_from_coro(self._close())

    def has_pending_requests(self) -> bool:
        if self._pump.unsent or self._in_flight or self._buffer:
            return True
        # Without a crawl, `_stay_open` keeps the spider; so extensions see it idle.
        return self._config.crawl is not None and not self._pump.ended

    def enqueue_request(self, request: Request) -> bool:
        return self._in_flight.enqueue(request)

    def next_request(self) -> Request | None:
        # The engine was woken by a page, whose work this is not.
        belong_to(None)
        if self._held_back:
            return None
        while (held := self._buffer.pop()) is not None:
            request = self._request_of(held)
            if request is not None:
                if self._buffer.startable < self._config.reserve // 2:
                    self._pump.wake()
                return request
        self._set_alarm()
        return None

    # What the pump calls.

    def room(self) -> int:
        slot = self._engine.scraper.slot
        if self._held_back or slot is None or slot.needs_backout():
            return 0
        if self._buffer.startable >= max(1, self._config.reserve // 2):
            return 0
        active = len(self._engine.downloader.active)
        if len(self._in_flight) - active >= WAITING * self._config.concurrency:
            return 0
        return self._config.concurrency + self._config.reserve - active - len(self._buffer)

    def take(self, leases: Sequence[Lease]) -> None:
        self._crawler.signals.send_catch_log(leases_taken, leases=leases)
        for lease in leases:
            held = HeldLease(lease)
            if logger.isEnabledFor(logging.DEBUG):
                extra = {"action": "lease", "url": lease.url, **names_of(lease)}
                logger.debug("Request leased", extra=extra)
            if self._held_back:
                self._release(held, "the worker stops")
                continue
            try:
                self._rules.of(lease)
            except ConfigError as error:
                self._in_flight.settle(held, Verdict("failed", "spider_error", str(error)))
            else:
                self._buffer.add(held)
        if self._buffer.startable:
            self.wake()
        else:
            self._set_alarm()

    def settled(self, outcomes: Sequence[Outcome], accepted: Sequence[bool]) -> None:
        for outcome in compress(outcomes, accepted):
            self._known.learn(outcome)
        self._crawler.signals.send_catch_log(
            leases_settled, outcomes=outcomes, accepted=accepted
        )

    def answered(self, call: str, seconds: float) -> None:
        self._crawler.signals.send_catch_log(tracker_called, call=call, seconds=seconds)

    def holds(self, crawl: CrawlId | None) -> bool:
        if crawl is None:
            return bool(self._buffer or self._in_flight)
        return any(lease.crawl == crawl for lease in self.leases())

    def leases(self) -> list[Lease]:
        return [held.lease for held in chain(self._buffer, self._in_flight)]

    def lose(self) -> None:
        for held in self._buffer.clear():
            self._release(held, "the worker was declared dead")

    def wake(self) -> None:
        # Scrapy has no public way; without this it looks again within 5 s.
        slot = getattr(self._engine, "_slot", None)
        if slot is not None and slot.closing is None:
            slot.nextcall.schedule()

    def give_up(self) -> None:
        if not self._closing:
            closing = self._engine.close_spider_async(reason="scheduler_error")
            self._giving_up = asyncio.create_task(closing)

    # What the requests in flight call.

    def settle(self, outcome: Outcome) -> None:
        self._pump.settle(outcome)

    def seed(self, crawl: CrawlId, offer: Offer) -> None:
        self._pump.seed(crawl, offer)

    def may_send(self, held: HeldLease) -> None:
        if self._closing:
            raise Released("the worker stops")
        if self._buffer.is_lost(held):
            self._stats.inc_value("fleet/released_late")
            raise Released("too late for its place in the throttle")
        self._buffer.sent(held)

    # Inside.

    async def _open(self) -> None:
        connect = self._crawler.signals.connect
        connect(self._in_flight.spider_error, signals.spider_error)
        connect(self._in_flight.item_error, signals.item_error)
        connect(self._output_down, output_down)
        connect(self._output_up, output_up)
        if self._config.crawl is None:
            connect(self._stay_open, signals.spider_idle)
        if is_reactor_installed():
            self._trigger = _reactor().addSystemEventTrigger(
                "before", "shutdown", self._shut_down
            )
        await self._pump.start()
        spare(self._crawler, self._engine)
        self._audits = asyncio.create_task(self._audit())

    async def _close(self) -> None:
        self._stop_leasing()
        self._release_all("the spider closed")
        if self._audits is not None:
            self._audits.cancel()
        self._hooks.closed()
        await self._pump.close()
        if self._trigger is not None:
            _reactor().removeSystemEventTrigger(self._trigger)

    def _shut_down(self) -> Deferred[None]:
        """Give everything back before the reactor stops: a second SIGTERM closes nothing."""
        self._stop_leasing()
        self._release_all("the worker was killed")
        return deferred_from_coro(self._pump.close(EMERGENCY_LIMIT))

    async def _audit(self) -> None:
        while True:
            await asyncio.sleep(AUDIT)
            self._in_flight.audit(self._engine)

    @property
    def _held_back(self) -> bool:
        return self._closing or bool(self._down)

    def _stay_open(self) -> None:
        raise DontCloseSpider

    def trouble(self) -> str:
        """Return which outputs are down, and why."""
        return "; ".join(f"output {saver} is down: {why}" for saver, why in self._down.items())

    def _output_down(self, saver: object, reason: object) -> None:
        self._down[str(saver)] = str(reason)
        self._pump.tell()
        logger.warning(
            "Output down, leasing stops", extra={"action": "hold", "reason": str(reason)}
        )
        # Another worker's output may be up.
        for held in self._buffer.clear():
            self._release(held, "output down")

    def _output_up(self, saver: object) -> None:
        self._down.pop(str(saver), None)
        self._pump.tell()
        if not self._down:
            logger.info("Output up, leasing goes on", extra={"action": "resume"})
            self._pump.wake()

    def _stop_leasing(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._crawler.signals.send_catch_log(stopping)
        for held in self._buffer.clear():
            self._release(held, "the worker stops")

    def _release_all(self, why: str) -> None:
        for held in self._in_flight:
            self._release(held, f"{why}, {held.phase}")

    def _release(self, held: HeldLease, why: str) -> None:
        self._in_flight.settle(held, Verdict("released", "", why))

    def _request_of(self, held: HeldLease) -> Request | None:
        """Return the Request of a lease, or settle the lease when there is none."""
        if self._buffer.is_lost(held):
            self._stats.inc_value("fleet/released_late")
            self._release(held, "too late for its place in the throttle")
            return None
        try:
            request = request_of(held.lease, self._spider)
        except RequestError as error:
            self._in_flight.settle(held, Verdict("failed", error.reason, str(error)))
            return None
        self._in_flight.begin(held, request)
        return request

    def _set_alarm(self) -> None:
        """Wake the engine when the next lease may start."""
        start = self._buffer.next_start
        if start is None:
            return
        loop = asyncio.get_running_loop()
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = loop.call_later(max(0.0, start - time.monotonic()), self.wake)


def _reactor() -> Any:
    # Importing it installs one, where none is wanted.
    from twisted.internet import reactor  # noqa: PLC0415

    return reactor


def _crawl_id(name: str) -> CrawlId | None:
    """Return the crawl that CRAWL names as `spiderid/appid/crawlid`, percent-escaped."""
    if not name:
        return None
    parts = name.split("/")
    if len(parts) != 3 or not all(parts):
        raise ConfigError("CRAWL", f"must be spiderid/appid/crawlid, not {name!r}")
    return CrawlId(*map(unquote, parts))
