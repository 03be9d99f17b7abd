"""The tracker of a fleet: every operation is one Lua script on one Redis."""

from __future__ import annotations

import logging
import time
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from crawling.tracker import keys as names
from crawling.tracker.flags import FlaggedTracker
from crawling.tracker.mailbox import CLAIM_AFTER, Mailbox
from crawling.tracker.redis_audit import RedisAudit
from crawling.tracker.redis_records import (
    MOST_OFFERS,
    Granted,
    RedisClock,
    batches,
    jitter,
    pack,
    submission_row,
    text,
    together,
    unpack_crawl_id,
    unpack_options,
    unpack_request,
    vitals_text,
)
from crawling.tracker.redis_wake import WakeUp
from crawling.tracker.redis_watch import DeathWatch
from crawling.tracker.throttle import LEAD, scaled
from crawling.tracker.tracker import Lease, Leased, Submitted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crawling.tracker.redis_connect import Histories
    from crawling.tracker.tracker import (
        CrawlId,
        CrawlOptions,
        Entry,
        Offer,
        Outcome,
        Source,
        State,
        Submission,
        TrackerConfig,
        Vitals,
    )

logger = logging.getLogger(__name__)

#: Leases that one call lends.
MOST_LEASES = 256
#: Requests of dead workers that one call puts back, and steps of one sweep.
STEP = 500
#: Seconds for which the crawl stays open between two calls of one submission.
SUBMIT_HOLD = 60.0
#: How often Redis's clock is read at the start, where one slow answer would mislead.
CLOCK_READINGS = 5
#: Crawls whose options are kept at hand.
MOST_CRAWLS = 1000


class Known(NamedTuple):
    """What all requests of a crawl share, as of one revision; and in what it is just now."""

    revision: int
    crawl: CrawlId
    options: CrawlOptions
    epoch: int = 0
    era: str = ""


class RedisTracker(RedisAudit, FlaggedTracker):
    """The authority over all requests, shared by all processes of the fleet."""

    def __init__(
        self,
        url: str,
        config: TrackerConfig,
        *,
        tag: str = "",
        histories: Histories | None = None,
    ) -> None:
        super().__init__(url, config, tag=tag, histories=histories)
        self._wake = WakeUp(self._redis, self.keys)
        self._watch = DeathWatch(self._redis, self.keys)
        self.clock = RedisClock()
        self._incarnation = uuid4().hex
        #: How often `lease` was called.
        self.called = 0
        self._crawls: dict[int, Known] = {}
        #: Connections that had been made when these were read.
        self._crawls_as_of = 0
        #: (worker, token, when) of calls whose answer was lost on the way
        self._lost: list[tuple[str, str, float]] = []

    async def open(self) -> None:
        await super().open()
        for _ in range(CLOCK_READINGS):
            seconds, micros = await self._ask("TIME")
            self.clock.observe(int(seconds) + int(micros) / 1e6)

    async def close(self) -> None:
        await self._wake.close()
        await self._watch.close()
        await super().close()

    async def submit(
        self,
        crawl: CrawlId,
        offers: Sequence[Offer],
        options: CrawlOptions | None = None,
        *,
        entry: Entry = "seed",
        source: Source | None = None,
        hold: float = 0.0,
    ) -> Submitted:
        names_, queued, repeated = self._names(crawl), 0, False
        parts = range(0, max(len(offers), 1), MOST_OFFERS)
        for part, begin in enumerate(parts):
            is_last = part == len(parts) - 1
            how = self._how(entry, hold if is_last else max(hold, SUBMIT_HOLD))
            some = offers[begin : begin + MOST_OFFERS]
            row = submission_row(names_, some, None if part else options, source, part)
            [(new, repeated, *_)] = await self._scripts.run("submit", pack(how), pack([row]))
            queued += new
        return Submitted(queued, bool(repeated))

    async def submit_all(self, submissions: Sequence[Submission]) -> list[Submitted]:
        if any(len(each.offers) > MOST_OFFERS for each in submissions):
            return await super().submit_all(submissions)
        calls = [
            (
                pack(self._how(some[0].entry, hold=0.0)),
                pack(list(map(self._row, some))),
            )
            for some in together(submissions)
        ]
        answers = chain.from_iterable(await self._scripts.run_all("submit", calls))
        return [Submitted(queued, bool(repeated)) for queued, repeated, *_ in answers]

    async def lease(self, worker: str, limit: int, spiderid: str) -> Leased:
        await self._wake.listen()
        self.called += 1
        token = f"{self._incarnation}.{self.called}"
        answered = False
        try:
            now, wait, rows, crawls = await self._scripts.run(
                "lease", *self._lease_args(worker, min(limit, MOST_LEASES), spiderid, token)
            )
            self.clock.observe(now / 1000)
            known = await self._learn(crawls)
            answered = True
        finally:
            if not answered:
                self._lost.append((worker, token, time.monotonic()))
        leases = [self._lease(spiderid, token, known, Granted(*row)) for row in rows]
        return Leased(leases, None if wait < 0 else wait / 1000)

    async def settle(self, worker: str, outcomes: Sequence[Outcome]) -> list[bool]:
        accepted, _ = await self.settle_here(worker, outcomes)
        return accepted

    async def settle_here(
        self, worker: str, outcomes: Sequence[Outcome]
    ) -> tuple[list[bool], bool]:
        """Settle; return also whether a crawl over shards has nothing left in this one."""
        accepted, is_quiet = list[bool](), False
        for rows, is_ending in batches(outcomes, self._delay):
            results, quiet = await self._scripts.run(
                "settle", worker, self._settling(), pack(rows)
            )
            is_quiet |= bool(quiet)
            if is_ending:
                accepted += map(bool, results)
        return accepted, is_quiet

    async def renew(
        self,
        worker: str,
        trouble: str = "",
        held: Sequence[Lease] | None = None,
        *,
        vitals: Vitals | None = None,
    ) -> bool:
        return await self.renew_as_of(self.called, worker, trouble, held, vitals)

    async def renew_as_of(
        self,
        called: int,
        worker: str,
        trouble: str,
        held: Sequence[Lease] | None,
        vitals: Vitals | None = None,
    ) -> bool:
        """Renew; *held* is what the worker worked on when `lease` had been called so often."""
        told = held is not None and {
            "incarnation": self._incarnation,
            "called": called,
            "leases": [lease.token.encode() + lease.rid for lease in held],
        }
        renewed, back = await self._scripts.run(
            "renew", worker, self._timeout_ms, trouble, pack(told), vitals_text(vitals)
        )
        if back:
            logger.warning(
                "Leases are back that had ended", extra={"action": "renew", "count": back}
            )
        return bool(renewed)

    async def leave(self, worker: str) -> int:
        held = int(await self._scripts.run("leave", worker))
        await self._put_back([])
        return held

    async def reclaim(self) -> int:
        return await self._put_back(await self._watch.suspects(self.config.lease_timeout))

    async def sweep(self) -> bool:
        return bool(
            await self._scripts.run(
                "sweep",
                STEP,
                round(self.config.dupefilter_timeout * 1000),
                round(self.config.defer_max * 1000),
            )
        )

    async def forget(self, crawl: CrawlId) -> bool:
        if not await self.age(crawl, "ended"):
            return False
        await self.sweep()
        return True

    async def age(self, crawl: CrawlId, kept: str) -> bool:
        """Let a crawl of the set *kept*, of those that have ended, be the first to be forgotten."""
        cno = await self._number(crawl)
        key = f"{self.keys.tag}fleet:{kept}"
        if cno is None or await self._ask("ZSCORE", key, cno) is None:
            return False
        await self._ask("ZADD", key, "XX", 0, cno)
        return True

    async def prioritize(self, crawl: CrawlId, boost: int) -> bool:
        return bool(await self._scripts.run("prioritize", names.crawl_name(crawl), boost))

    async def retry(self, crawl: CrawlId, reason: str = "", domain: str = "") -> int:
        return await self.retry_here(crawl, reason, domain, epoch=0)

    async def retry_here(self, crawl: CrawlId, reason: str, domain: str, *, epoch: int) -> int:
        """Queue again what failed; *epoch* is that of a crawl over shards, else 0."""
        cursor, queued, name = b"0", 0, names.crawl_name(crawl)
        how = pack({**self._limits(), "epoch": epoch})
        while True:
            cursor, new = await self._scripts.run(
                "retry", name, reason, cursor, STEP, how, domain
            )
            queued += new
            if cursor == b"0":
                return int(queued)

    async def limit(self, domain: str, hits: int, window: float, scale: float = 1.0) -> None:
        given = f"{hits} {window!r} {scale!r}"
        hits, window = scaled(hits, window, scale)
        await self._scripts.run("limit", domain, hits, window * 1000, given)

    async def block(self, domain: str, *, blocked: bool = True) -> None:
        await self._scripts.run("block", domain, int(blocked))

    async def defer(self, domain: str, delay: float) -> None:
        await self._scripts.run("defer", domain, round(delay * 1000))

    def mailboxes(
        self, consumer: str, *, claim_after: float = CLAIM_AFTER
    ) -> Sequence[Mailbox]:
        """Return the letters of Redis monitors, as *consumer* gets them.

        There is one mailbox a shard; requests are in the first one alone.
        """
        return [
            Mailbox(
                self._redis,
                self.keys,
                self._scripts,
                replicas=self.replicas,
                consumer=consumer,
                claim_after=claim_after,
            )
        ]

    async def idle(self, timeout: float) -> None:
        await self._wake.wait(timeout)

    async def _put_back(self, suspects: list[tuple[str, int]]) -> int:
        back, more = await self._scripts.run("reclaim", pack(suspects), STEP)
        while more:
            new, more = await self._scripts.run("reclaim", pack([]), STEP)
            back += new
        return int(back)

    async def _flag(self, crawl: CrawlId, state: State) -> int:
        count, _ = await self._scripts.run("flag", names.crawl_name(crawl), state, 0, 0)
        return int(count)

    @property
    def _timeout_ms(self) -> int:
        return round(self.config.lease_timeout * 1000)

    def _names(self, crawl: CrawlId) -> dict[str, str | int]:
        seen, seen_apart = names.dupefilter(crawl)
        return {
            **crawl._asdict(),
            "name": names.crawl_name(crawl),
            "spider": names.escape(crawl.spiderid),
            "seen": seen,
            "seen_apart": seen_apart,
            "spread": 0,
        }

    def _row(self, each: Submission) -> tuple[object, ...]:
        return submission_row(self._names(each.crawl), each.offers, each.options, each.source)

    def _how(self, entry: Entry, hold: float) -> dict[str, object]:
        hold_ms = round(hold * 1000)
        return {"entry": entry, "hold": hold_ms, "epoch": 0, "revision": 0, **self._limits()}

    def _limits(self) -> dict[str, int]:
        page_limit = self.config.page_limit
        return {
            "page_limit": -1 if page_limit is None else page_limit,
            "max_queued": self.config.max_queued,
        }

    def _settling(self) -> bytes:
        return pack(
            {
                **self._limits(),
                "retry_delay": self.config.retry_delay * 1000,
                "defer_max": self.config.defer_max * 1000,
                "jitter": jitter(),
            }
        )

    def _delay(self, outcome: Outcome) -> float:
        """Return seconds until a retry is due."""
        steps = self.config.retry_delay * 2.0 ** min(outcome.lease.attempts, 64)
        return min(
            min(steps, self.config.retry_delay_max) * jitter(), self.config.retry_delay_max
        )

    def _lease_args(
        self, worker: str, limit: int, spiderid: str, token: str
    ) -> tuple[str | bytes | float, ...]:
        config = self.config
        politeness = {
            "hits": config.hits,
            "window": config.window * 1000,
            "moderated": config.moderated,
            "concurrency": config.concurrency,
            "ahead": config.ahead * 1000,
            "lead": min(LEAD, config.ahead) * 1000,
        }
        return (
            worker,
            names.escape(spiderid),
            names.view(spiderid, config),
            names.throttle_prefix(spiderid, config),
            limit,
            token,
            pack(politeness),
            self._timeout_ms,
            self._wake.name,
            pack(self._lost_tokens(worker)),
        )

    def _lost_tokens(self, worker: str) -> list[str]:
        """Return the calls of *worker* that may hold leases it has never heard of.

        Nothing else would ever end those while it goes on renewing.  They are named for
        as long as the lost command may still be on its way.
        """
        oldest = time.monotonic() - max(self.config.lease_timeout, 60.0)
        self._lost = [lost for lost in self._lost if lost[2] > oldest]
        return [token for who, token, _ in self._lost if who == worker]

    async def _learn(self, crawls: list[list[int]]) -> dict[int, Known]:
        """Return name and options of crawls, asking for what is new here or was changed.

        A server with another history may have lost the latest: another change then had
        the same revision, and links that it took are not there.
        """
        breaks = self._histories.breaks
        if len(self._crawls) + len(crawls) > MOST_CRAWLS or self._crawls_as_of != breaks:
            self._crawls.clear()
        self._crawls_as_of = breaks
        known = {}
        for cno, revision, epoch, run in crawls:
            found = self._crawls.get(cno)
            if found is None or found.revision != revision:
                book = await self._ask("HGETALL", self.keys.crawl(cno))
                found = Known(revision, unpack_crawl_id(book), unpack_options(book))
                self._crawls[cno] = found
            era = f"{self.keys.tag}{cno}.{run}.{epoch}.{revision}.{breaks}"
            known[cno] = found._replace(epoch=epoch, era=era)
        return known

    def _lease(
        self,
        spiderid: str,
        token: str,
        known: dict[int, Known],
        granted: Granted,
    ) -> Lease:
        request = unpack_request(granted.member, granted.domain)
        revision, crawl, options, epoch, era = known[granted.cno]
        start, slack = float(granted.start) / 1000, float(granted.slack) / 1000
        begin = self.clock.monotonic(start) if start else 0.0
        return Lease(
            crawl=crawl,
            options=options,
            rid=request.rid,
            token=token,
            url=request.url,
            domain=text(granted.domain),
            fingerprint=request.fingerprint,
            priority=granted.priority,
            depth=request.depth,
            attempts=request.attempts,
            extras=request.extras,
            start=begin,
            latest=begin + slack if slack >= 0 else float("inf"),
            spiderid=spiderid,
            revision=revision,
            epoch=epoch,
            era=era,
        )
