"""The talk with the tracker: everything that waits for a network is here."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from crawling.exceptions import Unavailable
from crawling.pulse import Pulse
from crawling.request_record import names_of
from crawling.tracker.connect import close_tracker, open_tracker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from scrapy.statscollectors import StatsCollector

    from crawling.tracker.tracker import (
        CrawlId,
        Lease,
        Offer,
        Outcome,
        Tracker,
        TrackerConfig,
    )

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Seconds that an idle worker sleeps at most: a wake-up message may get lost.
MAX_REST = 5.0
#: Seconds until a worker that has no room looks again, should nothing wake it.
HELD_BACK = 0.5
#: Seconds for which outcomes are collected while others are in flight.
LINGER = 0.02
#: Outcomes in one settle.
MAX_BATCH = 100
#: Seconds before the tracker is asked again when it was away: first and longest.
FIRST_BACKOFF, MAX_BACKOFF = 0.1, 5.0
#: Seconds between two looks at a crawl that may have ended, while others keep us busy.
END_CHECK = 1.0
#: Seconds between two rounds of background work, and steps of it in one round.
SWEEP, MAX_SWEEPS = 1.0, 20
#: How often in a LEASE_TIMEOUT leases are renewed, and dead workers looked for.
RENEWALS, RECLAIMS = 3, 12
#: Seconds for which a killed worker waits for the tracker (a second SIGTERM).
EMERGENCY_LIMIT = 3.0
#: Seconds for which a stopping worker waits for the tracker; what it could not settle by
#: then is given back after LEASE_TIMEOUT.
CLOSE_LIMIT = 10.0


@dataclass(frozen=True)
class Post:
    """Where a worker works: which tracker, under which name, for which kind of spider."""

    url: str
    config: TrackerConfig
    worker: str
    spiderid: str
    #: The one crawl whose end is the worker's end; None: it serves until it is stopped.
    crawl: CrawlId | None = None


class Holder(Protocol):
    """Who works on the leases."""

    def room(self) -> int:
        """Return how many requests could start now, and a few."""

    def take(self, leases: Sequence[Lease]) -> None: ...

    def settled(self, outcomes: Sequence[Outcome], accepted: Sequence[bool]) -> None:
        """Hear which of *outcomes* the tracker has booked."""

    def answered(self, call: str, seconds: float) -> None:
        """Hear how long the tracker took for `lease` or `settle`."""

    def holds(self, crawl: CrawlId | None) -> bool:
        """Whether a lease of *crawl* (None: of any) is held."""

    def leases(self) -> list[Lease]:
        """Return all leases that are held."""

    def trouble(self) -> str:
        """Return why nothing is leased, for who looks at the workers; "" if nothing is wrong."""

    def lose(self) -> None:
        """Let go of what has not begun: all leases went to other workers."""

    def wake(self) -> None:
        """Go on: there may be work, or there is none any more."""

    def give_up(self) -> None:
        """Close the spider: the pump is broken."""


class LeasePump:
    """Leases, settles, renews and cleans up, in tasks that outlive any outage.

    An outcome leaves the outbox when the tracker has confirmed it; it may be sent twice,
    which its lease's token makes harmless.
    """

    def __init__(self, post: Post, holder: Holder, stats: StatsCollector) -> None:
        self._post = post
        self._holder = holder
        self._stats = stats
        self._tracker: Tracker | None = None
        self._outbox: list[Outcome] = []
        self._seeds: list[tuple[CrawlId, Offer]] = []
        self._filled = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._stopped: asyncio.Future[None] = loop.create_future()
        self._woken: asyncio.Future[None] = loop.create_future()
        self._idle: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None
        self._end_checked = 0.0
        self._pulse = Pulse()
        #: What a call that is on its way has lent is not held yet.
        self._leasing = False
        #: The crawl has ended; False for ever without one.
        self.ended = False

    @property
    def tracker(self) -> Tracker:
        assert self._tracker is not None
        return self._tracker

    @property
    def stopping(self) -> bool:
        return self._stopped.done()

    @property
    def unsent(self) -> bool:
        return bool(self._outbox or self._seeds)

    async def start(self) -> None:
        """Open the tracker and begin; a tracker that is away is waited for."""
        try:
            await self._open()
        except Unavailable as error:
            _warn(error)
        self._spawn(self._run())

    async def _open(self) -> None:
        if self._tracker is None:
            self._tracker = await open_tracker(self._post.url, self._post.config)

    def settle(self, outcome: Outcome) -> None:
        self._outbox.append(outcome)
        self._filled.set()

    def seed(self, crawl: CrawlId, offer: Offer) -> None:
        self._seeds.append((crawl, offer))
        self.ended = False
        self._filled.set()

    def wake(self) -> None:
        if not self._woken.done():
            self._woken.set_result(None)

    def tell(self) -> None:
        """Let the tracker know of the trouble, or that it is over, now."""
        self._spawn(self._patiently(self._renew))

    def stop(self) -> None:
        """Lease no more; what is being leased at this moment is still taken."""
        if not self.stopping:
            self._stopped.set_result(None)
        self.wake()
        self._filled.set()

    async def close(self, limit: float = CLOSE_LIMIT) -> None:
        """Settle everything, give back the rest, and leave the tracker."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(limit))
        # A second SIGTERM may come while the first one's close is on its way.
        done, _ = await asyncio.wait({self._closing}, timeout=limit + 1)
        for task in done:
            task.result()

    async def _close(self, limit: float) -> None:
        end = time.monotonic() + limit
        self.stop()
        await self._end_tasks(limit)
        if self._tracker is None:
            return
        try:
            await self._depart(max(1.0, end - time.monotonic()))
        finally:
            await close_tracker(self._post.url)

    async def _depart(self, limit: float) -> None:
        try:
            await asyncio.wait_for(self._hand_in(), limit)
        except asyncio.TimeoutError:
            logger.error(  # noqa: TRY400 - our traceback says nothing
                "Leases are left to run out",
                extra={"action": "leave", "outcomes": len(self._outbox)},
            )

    async def _hand_in(self) -> None:
        while True:
            try:
                await self._flush()
            except Unavailable as error:
                _warn(error)
                await asyncio.sleep(FIRST_BACKOFF)
            else:
                break
        try:
            await self.tracker.leave(self._post.worker)
        except Unavailable as error:
            # Nothing is lost: others will find the worker dead.
            _warn(error)

    async def _run(self) -> None:
        await self._patiently(self._open)
        if self.stopping:
            return
        timeout = self._post.config.lease_timeout
        self._spawn(self._lease_loop())
        self._spawn(self._settle_loop())
        self._spawn(self._every(timeout / RENEWALS, self._renew))
        self._spawn(self._every(timeout / RECLAIMS, self._reclaim))
        self._spawn(self._every(SWEEP, self._sweep))

    async def _lease_loop(self) -> None:
        while not self.stopping:
            room = 0 if self.ended else self._holder.room()
            wait = await self._lease(room) if room > 0 else HELD_BACK
            await self._check_end()
            if wait:
                await self._rest(wait, listen=room > 0)

    async def _lease(self, room: int) -> float:
        """Fetch up to *room* leases; return the seconds after which to ask again."""
        worker, spiderid = self._post.worker, self._post.spiderid
        self._leasing, began = True, time.monotonic()
        try:
            answer = await self._patiently(lambda: self.tracker.lease(worker, room, spiderid))
        finally:
            self._leasing = False
        if answer is None:
            return 0.0
        self._holder.answered("lease", time.monotonic() - began)
        if answer.leases:
            self._stats.inc_value("fleet/leased", len(answer.leases))
            self._holder.take(answer.leases)
            if len(answer.leases) == room:
                return 0.0
        return MAX_REST if answer.wait is None else min(answer.wait, MAX_REST)

    async def _rest(self, seconds: float, *, listen: bool) -> None:
        """Sleep until woken; with *listen* also by the tracker, should work appear."""
        waited: set[asyncio.Future[None]] = {self._woken}
        if listen:
            if self._idle is None:
                self._idle = asyncio.create_task(self.tracker.idle(MAX_REST))
            waited.add(self._idle)
        await asyncio.wait(waited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if self._woken.done():
            self._woken = asyncio.get_running_loop().create_future()
        if self._idle is not None and self._idle.done():
            idle, self._idle = self._idle, None
            try:
                idle.result()
            except Unavailable as error:
                _warn(error)
                await self._pause(FIRST_BACKOFF)

    async def _check_end(self) -> None:
        """Find out whether the crawl has ended, once nothing of it is in our hands."""
        crawl, now = self._post.crawl, time.monotonic()
        if crawl is None or self._busy(crawl):
            return
        if self._holder.holds(None) and now < self._end_checked + END_CHECK:
            return
        self._end_checked = now
        status = await self._patiently(lambda: self.tracker.crawl(crawl))
        if self.stopping or self._busy(crawl):
            return
        # Nobody has submitted anything: there is nothing to wait for either.
        self.ended = status is None or (
            not status.outstanding and status.state in {"finished", "stopped", "expired"}
        )
        if self.ended:
            self._holder.wake()

    def _busy(self, crawl: CrawlId) -> bool:
        return self.unsent or self._holder.holds(crawl)

    async def _settle_loop(self) -> None:
        try:
            while not self.stopping:
                await self._filled.wait()
                self._filled.clear()
                if self._holder.holds(None):
                    await self._pause(LINGER)
                await self._patiently(self._flush)
        except asyncio.CancelledError:
            # Without a reactor, the second SIGTERM cancels every task there is.
            if self._closing is None:
                self._holder.lose()
                await self._depart(EMERGENCY_LIMIT)
            raise

    async def _flush(self) -> None:
        # Seeds first: what a page scheduled must be known before the page is done.
        while self._seeds:
            crawl, together = next(groupby(self._seeds[:MAX_BATCH], key=itemgetter(0)))
            offers = [offer for _, offer in together]
            await self.tracker.submit(crawl, offers)
            del self._seeds[: len(offers)]
        while self._outbox:
            batch = self._outbox[:MAX_BATCH]
            began = time.monotonic()
            accepted = await self.tracker.settle(self._post.worker, batch)
            self._holder.answered("settle", time.monotonic() - began)
            del self._outbox[: len(batch)]
            for outcome, was_ours in zip(batch, accepted, strict=True):
                self._count(outcome, was_ours=was_ours)
            self._holder.settled(batch, accepted)
        self.wake()

    def _count(self, outcome: Outcome, *, was_ours: bool) -> None:
        name = f"settled/{outcome.kind}" if was_ours else "refused"
        self._stats.inc_value(f"fleet/{name}")
        self._pulse.pages += was_ours and outcome.kind == "done"
        level = logging.DEBUG if was_ours else logging.WARNING
        if not logger.isEnabledFor(level):
            return
        extra = {
            "action": "settle",
            "url": outcome.lease.url,
            **names_of(outcome.lease),
            "kind": outcome.kind,
            "reason": outcome.reason,
        }
        logger.log(level, "Request settled" if was_ours else "Lease was lost", extra=extra)

    async def _renew(self) -> None:
        held = [*self._holder.leases(), *(outcome.lease for outcome in self._outbox)]
        worker, trouble = self._post.worker, self._holder.trouble()
        known, vitals = None if self._leasing else held, self._pulse.take()
        renewed = await self.tracker.renew(worker, trouble, known, vitals=vitals)
        if trouble and not renewed and not held:
            # It has leased nothing yet: who looks at the workers is to see why.
            await self.tracker.lease(worker, 0, self._post.spiderid)
            renewed = await self.tracker.renew(worker, trouble, vitals=vitals)
        if not renewed and self._holder.holds(None):
            self._stats.inc_value("fleet/declared_dead")
            logger.warning("Worker was declared dead", extra={"action": "renew"})
            self._holder.lose()

    async def _reclaim(self) -> None:
        count = await self.tracker.reclaim()
        if count:
            self._stats.inc_value("fleet/reclaimed", count)
            logger.info("Leases reclaimed", extra={"action": "reclaim", "count": count})
            self.wake()

    async def _sweep(self) -> None:
        for _ in range(MAX_SWEEPS):
            if not await self.tracker.sweep():
                return

    async def _every(self, seconds: float, step: Callable[[], Awaitable[None]]) -> None:
        while not self.stopping:
            await self._pause(seconds * random.uniform(0.8, 1.0))  # noqa: S311 - spreads load
            await self._patiently(step)

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """Repeat *call* until the tracker answers; None when the worker stops first."""
        delay = FIRST_BACKOFF
        while not self.stopping:
            try:
                return await call()
            except Unavailable as error:
                _warn(error)
            await self._pause(delay * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load
            delay = min(2 * delay, MAX_BACKOFF)
        return None

    async def _pause(self, seconds: float) -> None:
        await asyncio.wait([self._stopped], timeout=seconds)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.critical(
                "Scheduler broke", extra={"action": "stop"}, exc_info=task.exception()
            )
            self._holder.give_up()

    async def _end_tasks(self, limit: float) -> None:
        """Await the tasks, which know that they must end; cancel what still runs then.

        Not cancelled at once: a lease on its way would be nobody's, and before Python
        3.12 a cancellation can get lost.
        """
        if self._idle is not None:
            self._idle.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=limit)
            for task in late:
                task.cancel()


def _warn(error: Unavailable) -> None:
    logger.warning("Tracker unavailable", extra={"action": "wait", "reason": str(error)})
