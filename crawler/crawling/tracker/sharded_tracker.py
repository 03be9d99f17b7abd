"""The tracker over several Redis: each domain is in one shard, each crawl in all of them.

docs/explanation/shards.md goes through what two processes, a crash and a slow network do
to each operation.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from crawling.exceptions import RequestError, Unavailable
from crawling.tracker.flags import FlaggedTracker
from crawling.tracker.mailbox import CLAIM_AFTER
from crawling.tracker.redis_connect import Histories, tag_of
from crawling.tracker.redis_tracker import SUBMIT_HOLD
from crawling.tracker.shard import Shard
from crawling.tracker.sharded_endings import ShardedEndings
from crawling.tracker.sharded_views import epoch_of, of_all
from crawling.tracker.tracker import (
    CrawlId,
    CrawlOptions,
    Lease,
    Leased,
    Offer,
    Submission,
    Submitted,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from crawling.tracker.mailbox import Mailbox
    from crawling.tracker.shard import Book, Entered
    from crawling.tracker.tracker import Entry, Outcome, Source, State, TrackerConfig, Vitals

logger = logging.getLogger(__name__)

#: Seconds for which a shard that did not answer is not asked for leases.
AWAY = 2.0
#: Submissions that are on their way at once.
MOST_AT_ONCE = 32


class ShardedTracker(ShardedEndings, FlaggedTracker):
    """Many `Shard`s as one tracker."""

    def __init__(self, url: str, config: TrackerConfig) -> None:
        n = config.shards
        part = replace(config, max_queued=-(-config.max_queued // n))
        # Links of a page may be in any shard.
        histories = Histories()
        tags = [tag_of(url, index, n) for index in range(n)]
        shards = [Shard(url, part, tag=tag, histories=histories) for tag in tags]
        super().__init__(config, shards)
        self._turns = count(int(time.time()))
        self._away: dict[Shard, float] = {}
        #: Worker -> shards in which it may have leases.
        self._leased_in: dict[str, set[Shard]] = defaultdict(set)
        #: Token and request of redirects that another shard has, not settled here yet.
        self._moved: set[tuple[str, bytes]] = set()

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
        if options is not None and options.max_pages is not None:
            raise RequestError(
                "max_pages", "max_pages is not possible with TRACKER_SHARDS above 1"
            )
        home = self._home(crawl)
        parts = self._by_shard(offers) or {home: []}
        if source is not None and await self._have_taken(source, parts):
            return Submitted(0, repeated=True)
        if parts.keys() == {home}:
            done = await home.enter(
                crawl, offers, options, entry=entry, source=source, hold=hold
            )
            if done.changed and options is not None:
                await self._tell_options(crawl, options, done.revision)
            queued = done.queued
        else:
            submission = Submission(crawl, offers, options, entry, source)
            queued = await self._submit_widely(submission, parts, hold)
        if not queued and not hold:
            await self._end(crawl)
        return Submitted(queued, repeated=False)

    async def _submit_widely(
        self, submission: Submission, parts: dict[Shard, list[Offer]], hold: float
    ) -> int:
        crawl, _, options, entry, source = submission
        home = self._home(crawl)
        begun = await home.enter(crawl, (), options, hold=max(hold, SUBMIT_HOLD))
        if options is None:
            book = await home.book(crawl)
            options = book.status.options if book else CrawlOptions()
        if begun.changed:
            await self._tell_options(crawl, options, begun.revision)
        entered = await of_all(
            shard.enter(
                crawl,
                part,
                options,
                entry=entry,
                source=source,
                epoch=0 if shard is home else begun.epoch,
                revision=begun.revision,
            )
            for shard, part in parts.items()
        )
        await home.enter(crawl, hold=hold, epoch=_reached(entered))
        return sum(each.queued for each in entered)

    async def submit_all(self, submissions: Sequence[Submission]) -> list[Submitted]:
        """Do the submissions; those of one crawl are done in order."""
        crawls = defaultdict[CrawlId, list[int]](list)
        for index, each in enumerate(submissions):
            crawls[each.crawl].append(index)
        done: dict[int, Submitted] = {}
        room = asyncio.Semaphore(MOST_AT_ONCE)

        async def submit(indices: list[int]) -> None:
            async with room:
                for index in indices:
                    crawl, offers, options, entry, source = submissions[index]
                    done[index] = await self.submit(
                        crawl, offers, options, entry=entry, source=source
                    )

        await of_all(map(submit, crawls.values()))
        return [done[index] for index in range(len(submissions))]

    async def lease(self, worker: str, limit: int, spiderid: str) -> Leased:
        """Ask the shards in turn; one that is away does not keep the others."""
        leases, waits = list[Lease](), list[float]()
        failure = None
        for shard in self._in_turn():
            try:
                granted = await shard.lease(worker, limit - len(leases), spiderid)
            except Unavailable as error:
                failure = error
                self._away[shard] = time.monotonic() + AWAY
                logger.warning(
                    "A shard is away",
                    extra={"action": "lease", "shard": shard.keys.tag, "reason": str(error)},
                )
                continue
            # Not before the shard knows the worker: a renewal meanwhile would find it dead.
            self._leased_in[worker].add(shard)
            leases += granted.leases
            if granted.wait is not None:
                waits.append(granted.wait)
            if len(leases) >= limit:
                return Leased(leases, 0.0)
        if failure is not None and len(self._away) == len(self.shards):
            raise failure
        if self._away:
            waits.append(AWAY)
        return Leased(leases, min(waits, default=None))

    async def settle(self, worker: str, outcomes: Sequence[Outcome]) -> list[bool]:
        """Add links of other shards first, then settle each lease where it is."""
        outcomes = list(outcomes)
        await self._hand_over(worker, outcomes)
        parts = defaultdict[Shard, list[int]](list)
        for index, outcome in enumerate(outcomes):
            parts[self._shard_of(outcome.lease.domain)].append(index)
        accepted = [False] * len(outcomes)

        async def settle(shard: Shard, indices: list[int]) -> None:
            settled, is_quiet = await shard.settle_here(
                worker, [outcomes[index] for index in indices]
            )
            for index, was_ours in zip(indices, settled, strict=True):
                accepted[index] = was_ours
            if is_quiet:
                await self._end_quiet(shard)

        await of_all(settle(shard, indices) for shard, indices in parts.items())
        self._moved -= {(each.lease.token, each.lease.rid) for each in outcomes}
        return accepted

    async def _hand_over(self, worker: str, outcomes: list[Outcome]) -> None:
        """Give to other shards what is theirs, and leave the rest in *outcomes*."""
        links = defaultdict[tuple[Shard, CrawlId, str], list[Offer]](list)
        sample: dict[tuple[Shard, CrawlId, str], Outcome] = {}
        for index in await self._that_reach_out(worker, outcomes):
            outcome, lease = outcomes[index], outcomes[index].lease
            here, local = self._shard_of(lease.domain), list[Offer]()
            for link in outcome.links:
                shard = self._shard_of(link.domain)
                if shard is here:
                    local.append(link)
                else:
                    key = (shard, lease.crawl, lease.spiderid)
                    links[key].append(link)
                    newest = sample.setdefault(key, outcome)
                    if lease.revision > newest.lease.revision:
                        sample[key] = outcome
            outcomes[index] = replace(outcome, links=local)
            if outcome.next and self._shard_of(outcome.next.domain) is not here:
                outcomes[index] = await self._redirected(outcomes[index], outcome.next)
        await of_all(
            self._enter_from(sample[key], key[0], offers, "link")
            for key, offers in links.items()
        )

    async def _that_reach_out(self, worker: str, outcomes: Sequence[Outcome]) -> list[int]:
        """Return which outcomes have something for other shards, and a lease that holds."""
        found = defaultdict[Shard, list[int]](list)
        for index, outcome in enumerate(outcomes):
            here = self._shard_of(outcome.lease.domain)
            offers = [*outcome.links, *filter(None, [outcome.next])]
            if any(self._shard_of(offer.domain) is not here for offer in offers):
                found[here].append(index)
        held = await of_all(
            shard.still_leased(worker, [outcomes[index].lease for index in indices])
            for shard, indices in found.items()
        )
        return [
            index
            for indices, answers in zip(found.values(), held, strict=True)
            for index, is_held in zip(indices, answers, strict=True)
            if is_held
        ]

    async def _redirected(self, outcome: Outcome, to: Offer) -> Outcome:
        """Let another shard take the request; return how it ends in this one."""
        lease = outcome.lease
        to = to._replace(priority=lease.priority, depth=lease.depth)
        if (lease.token, lease.rid) not in self._moved:
            shard = self._shard_of(to.domain)
            taken = await self._enter_from(outcome, shard, [to], "redirect")
            if not taken.queued:
                return replace(outcome, kind="dropped", reason="duplicate", next=None)
            self._moved.add((lease.token, lease.rid))
        return replace(outcome, kind="moved")  # type: ignore[arg-type]  # settle.lua's own

    async def _enter_from(
        self, outcome: Outcome, shard: Shard, offers: Sequence[Offer], entry: str
    ) -> Entered:
        lease = outcome.lease
        return await shard.enter(
            lease.crawl,
            offers,
            lease.options,
            entry=entry,
            epoch=lease.epoch,
            revision=lease.revision,
            spiderid=lease.spiderid,
            attempts=lease.attempts if entry == "redirect" else 0,
        )

    async def renew(
        self,
        worker: str,
        trouble: str = "",
        held: Sequence[Lease] | None = None,
        *,
        vitals: Vitals | None = None,
    ) -> bool:
        """Renew in every shard; dead in one of them, the worker is dead in all."""
        # The count is read now: what is lent from here on is not in *held*.
        shards = [(shard, shard.called) for shard in self._leased_in.get(worker, ())]
        renewed = await of_all(
            shard.renew_as_of(called, worker, trouble, held, vitals) for shard, called in shards
        )
        if shards and not all(renewed):
            await self.leave(worker)
        return bool(shards) and all(renewed)

    async def leave(self, worker: str) -> int:
        self._leased_in.pop(worker, None)
        given_back = sum(await of_all(shard.leave(worker) for shard in self.shards))
        if given_back:
            await self._end_all()
        return given_back

    async def reclaim(self) -> int:
        given_back = sum(await of_all(shard.reclaim() for shard in self.shards))
        if given_back:
            await self._end_all()
        return given_back

    async def sweep(self) -> bool:
        more = await of_all(shard.sweep() for shard in self.shards)
        await self._end_all()
        await self._forget_old()
        return any(more)

    async def forget(self, crawl: CrawlId) -> bool:
        if not await self._home(crawl).age(crawl, "over"):
            return False
        await self._forget_old()
        return True

    async def idle(self, timeout: float) -> None:
        waiting = [asyncio.ensure_future(shard.idle(timeout)) for shard in self.shards]
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
        for task in done:
            task.result()

    async def _flag(self, crawl: CrawlId, state: State) -> int:
        """Let the home decide, then tell the others, who may never have heard of the crawl."""
        books = await self._books(crawl)
        home = self._home(crawl)
        book = books[home]
        if book is None:
            return 0
        epoch = epoch_of(books)
        if book.fin >= epoch:
            return 0
        was_set, number = await home.flag_here(crawl, state, epoch)
        total = was_set + await self._tell_flag(crawl, state, book, epoch, number)
        if state in {"stopped", "expired"}:
            await self._end(crawl)
            return total
        return was_set

    async def _tell_flag(
        self, crawl: CrawlId, state: str, book: Book, epoch: int, number: int
    ) -> int:
        async def tell(shard: Shard) -> int:
            options, revision = book.status.options, book.revision
            await shard.enter(crawl, (), options, epoch=epoch, revision=revision)
            count, _ = await shard.flag_here(crawl, state, epoch, number)
            return count

        return sum(await of_all(map(tell, self._others(crawl)))) if number else 0

    async def _tell_options(self, crawl: CrawlId, options: CrawlOptions, revision: int) -> None:
        await of_all(
            shard.enter(crawl, (), options, revision=revision, must_exist=True)
            for shard in self._others(crawl)
        )

    async def prioritize(self, crawl: CrawlId, boost: int) -> bool:
        home = self._home(crawl)
        book = await home.book(crawl)
        if book is None or not await home.prioritize(crawl, boost):
            return False

        async def tell(shard: Shard) -> None:
            status = book.status
            await shard.enter(
                crawl, (), status.options, epoch=status.epoch, revision=book.revision
            )
            await shard.prioritize(crawl, boost)

        await of_all(map(tell, self._others(crawl)))
        return True

    async def retry(self, crawl: CrawlId, reason: str = "", domain: str = "") -> int:
        home = self._home(crawl)
        if await home.book(crawl) is None:
            return 0
        begun = await home.enter(crawl, hold=SUBMIT_HOLD)
        shards = [self._shard_of(domain)] if domain else self.shards
        queued = sum(
            await of_all(
                shard.retry_here(crawl, reason, domain, epoch=begun.epoch) for shard in shards
            )
        )
        await home.enter(crawl, hold=0.0, epoch=begun.epoch if queued else 0)
        if not queued:
            await self._end(crawl)
        return queued

    async def limit(self, domain: str, hits: int, window: float, scale: float = 1.0) -> None:
        await self._shard_of(domain).limit(domain, hits, window, scale)

    async def block(self, domain: str, *, blocked: bool = True) -> None:
        await self._shard_of(domain).block(domain, blocked=blocked)

    async def defer(self, domain: str, delay: float) -> None:
        await self._shard_of(domain).defer(domain, delay)

    def mailboxes(
        self, consumer: str, *, claim_after: float = CLAIM_AFTER
    ) -> Sequence[Mailbox]:
        """Return the letters of all shards; requests are in the first one alone."""
        return [
            mailbox
            for shard in self.shards
            for mailbox in shard.mailboxes(consumer, claim_after=claim_after)
        ]

    async def _have_taken(self, source: Source, parts: dict[Shard, list[Offer]]) -> bool:
        return all(await of_all(shard.has_taken(source, part) for shard, part in parts.items()))

    def _in_turn(self) -> Iterator[Shard]:
        """Yield the shards that answer, each call beginning with another one."""
        now, first = time.monotonic(), next(self._turns)
        self._away = {shard: until for shard, until in self._away.items() if until > now}
        for turn in range(len(self.shards)):
            shard = self.shards[(first + turn) % len(self.shards)]
            if shard not in self._away:
                yield shard


def _reached(entered: Iterable[Entered]) -> int:
    """Return the epoch in which something was queued, 0 when nothing was."""
    return max((each.epoch for each in entered if each.queued), default=0)
