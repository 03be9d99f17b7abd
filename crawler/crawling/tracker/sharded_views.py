"""Looking at a tracker over shards: what each knows, put together."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, TypeVar
from zlib import crc32

from crawling.tracker import keys as names
from crawling.tracker.tracker import (
    DomainCounts,
    Event,
    FailedPage,
    Failure,
    Trace,
    Tracker,
    Treatment,
    WorkerStatus,
    longest_first,
    place_of,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping, Sequence

    from crawling.tracker.findings import Finding
    from crawling.tracker.shard import Book, Shard
    from crawling.tracker.tracker import (
        CrawlId,
        CrawlStatus,
        DomainStatus,
        Held,
        Offer,
        QueuedIn,
        TrackerConfig,
    )

Result = TypeVar("Result")
Books = dict["Shard", "Book | None"]


async def of_all(awaited: Iterable[Awaitable[Result]]) -> list[Result]:
    """Return all results; raise the first error when all have come to an end."""
    results = await asyncio.gather(*awaited, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results  # type: ignore[return-value]  # no exception is among them


class ShardedViews(Tracker):
    """The part of the tracker over shards that reads."""

    def __init__(self, config: TrackerConfig, shards: Sequence[Shard]) -> None:
        super().__init__(config)
        self.shards = shards

    async def open(self) -> None:
        await of_all(shard.open() for shard in self.shards)

    async def close(self) -> None:
        await of_all(shard.close() for shard in self.shards)

    async def breaks(self) -> int:
        # All of them count together.
        return max(await of_all(shard.breaks() for shard in self.shards))

    async def crawl(self, crawl: CrawlId) -> CrawlStatus | None:
        return self._merged(crawl, await self._books(crawl))

    async def crawls(self, spiderid: str = "", appid: str = "") -> list[CrawlId]:
        found = await of_all(shard.crawls(spiderid, appid) for shard in self.shards)
        return list(dict.fromkeys(crawl for crawls in found for crawl in crawls))

    async def queued(self, crawl: CrawlId) -> list[QueuedIn]:
        found = await of_all(shard.queued(crawl) for shard in self.shards)
        return [domain for domains in found for domain in domains]

    async def domains(self, spiderid: str, limit: int = 100) -> list[DomainStatus]:
        found = await of_all(shard.domains(spiderid, limit) for shard in self.shards)
        domains = [domain for part in found for domain in part]
        return sorted(domains, key=lambda domain: domain.opens or 0.0)[:limit]

    async def all_domains(self, spiderid: str) -> list[DomainStatus]:
        found = await of_all(shard.all_domains(spiderid) for shard in self.shards)
        return [domain for part in found for domain in part]

    async def count_domains(self, spiderid: str) -> DomainCounts:
        return DomainCounts.sum(
            await of_all(shard.count_domains(spiderid) for shard in self.shards)
        )

    async def oldest_queued(self, spiderid: str) -> float | None:
        found = await of_all(shard.oldest_queued(spiderid) for shard in self.shards)
        return min((since for since in found if since is not None), default=None)

    async def treatment(self) -> Treatment:
        found = await of_all(shard.treatment() for shard in self.shards)
        settings = sorted(setting for part in found for setting in part.settings)
        return Treatment(settings, sum(part.deferrals for part in found))

    async def workers(self) -> list[WorkerStatus]:
        workers: dict[str, WorkerStatus] = {}
        for part in await of_all(shard.workers() for shard in self.shards):
            for worker in part:
                known = workers.get(worker.worker, WorkerStatus(worker.worker, 0.0, 0))
                workers[worker.worker] = WorkerStatus(
                    worker.worker,
                    max(known.deadline, worker.deadline),
                    known.leased + worker.leased,
                    known.trouble or worker.trouble,
                    # The most pages are the latest: one that leased there since is not told yet.
                    max(known.vitals, worker.vitals),
                )
        return sorted(workers.values(), key=lambda worker: worker.deadline)

    async def held(self, worker: str, limit: int = 100) -> list[Held] | None:
        parts = await of_all(shard.held(worker, limit) for shard in self.shards)
        known = [part for part in parts if part is not None]
        return longest_first(chain.from_iterable(known))[:limit] if known else None

    async def failed(
        self,
        crawl: CrawlId,
        limit: int = 100,
        *,
        reason: str = "",
        domain: str = "",
        after: str = "",
    ) -> FailedPage:
        """Go through one shard after the other; *after* begins with the shard's number."""
        number, _, inner = (after or "0.").partition(".")
        first, _ = place_of(f"{number}.0")
        found = list[Failure]()
        for index, shard in enumerate(self.shards):
            if index < first:
                continue
            page = await shard.failed(
                crawl,
                limit - len(found),
                reason=reason,
                domain=domain,
                after=inner if index == first else "",
            )
            found += page.failures
            if page.after:
                return FailedPage(found, f"{index}.{page.after}")
            if len(found) == limit and index + 1 < len(self.shards):
                return FailedPage(found, f"{index + 1}.")
        return FailedPage(found, "")

    async def trace(self, crawl: CrawlId, fingerprint: bytes) -> Trace:
        unseen = Trace("unseen")
        for _ in self.shards:
            found = await of_all(shard.trace_here(crawl, fingerprint) for shard in self.shards)
            traces = [trace for trace in found if isinstance(trace, Trace) and trace != unseen]
            moved = [trace for trace in found if isinstance(trace, bytes)]
            if traces or not moved:
                return traces[0] if traces else unseen
            fingerprint = moved[0]
        return unseen

    async def audit(
        self, crawl: CrawlId | None = None, *, repair: bool = False
    ) -> list[Finding]:
        found = await of_all(shard.audit(crawl, repair=repair) for shard in self.shards)
        return [finding for part in found for finding in part]

    async def events(self, after: str = "", limit: int = 100) -> list[Event]:
        """Return events by Redis's time; an id is that of the stream, a dot, and the shard."""
        start, _, last = after.partition(".")

        async def of(index: int, shard: Shard) -> list[tuple[tuple[int, int, int], Event]]:
            # What has the same id was told before if its shard comes before.
            found = await shard.events(start and _before(start, index > int(last)), limit)
            return [
                (
                    (*map(int, event.id.split("-")), index),
                    Event(f"{event.id}.{index}", event.body),
                )  # type: ignore[misc]  # two numbers
                for event in found
            ]

        parts = await of_all(of(index, shard) for index, shard in enumerate(self.shards))
        events = sorted((event for part in parts for event in part), key=lambda each: each[0])
        return [event for _, event in events][:limit]

    def _shard_of(self, domain: str) -> Shard:
        return self.shards[crc32(domain.encode("utf-8", "surrogatepass")) % len(self.shards)]

    def _by_shard(self, offers: Sequence[Offer]) -> dict[Shard, list[Offer]]:
        parts = defaultdict["Shard", "list[Offer]"](list)
        for offer in offers:
            parts[self._shard_of(offer.domain)].append(offer)
        return parts

    def _home(self, crawl: CrawlId) -> Shard:
        """Return the shard that decides about the crawl."""
        return self._shard_of(names.crawl_name(crawl))

    def _others(self, crawl: CrawlId) -> list[Shard]:
        home = self._home(crawl)
        return [shard for shard in self.shards if shard is not home]

    async def _books(self, crawl: CrawlId) -> Books:
        books = await of_all(shard.book(crawl) for shard in self.shards)
        return dict(zip(self.shards, books, strict=True))

    def _merged(self, crawl: CrawlId, books: Books) -> CrawlStatus | None:
        """Return the sum of the books; the home says the rest, if it knows the epoch."""
        known = [book.status for book in books.values() if book]
        if not known:
            return None
        epoch = max(status.epoch for status in known)
        newest = [status for status in known if status.epoch == epoch]
        home = books[self._home(crawl)]
        first = home.status if home and home.status in newest else newest[0]
        state = first.state
        if state in {"running", "paused"} and any(each.state == "expired" for each in newest):
            state = "expired"
        columns = "accepted queued delayed leased done failed dropped duplicates size".split()
        return replace(
            first,
            state=state,
            **{column: sum(getattr(each, column) for each in known) for column in columns},
            started=min(each.started for each in newest),
            reasons=_sum(each.reasons for each in known),
            statuses=_sum(each.statuses for each in known),
            by_depth=dict(sorted(_sum(each.by_depth for each in known).items())),
        )


def epoch_of(books: Books) -> int:
    return max(book.status.epoch for book in books.values() if book)


Key = TypeVar("Key")


def _sum(counts: Iterable[Mapping[Key, int]]) -> dict[Key, int]:
    total = Counter[Key]()
    for count in counts:
        total.update(count)
    return dict(total)


def _before(event: str, is_inclusive: bool) -> str:
    """Return the id behind which a stream is to be read to get *event* too, or not."""
    milliseconds, number = map(int, event.split("-"))
    if not is_inclusive:
        return event
    if number:
        return f"{milliseconds}-{number - 1}"
    return f"{milliseconds - 1}-{2**64 - 1}"
