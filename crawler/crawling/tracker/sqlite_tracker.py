"""The tracker in SQLite: in memory, or in a file that survives `kill -9`."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from crawling.exceptions import ConfigError, Unavailable
from crawling.tracker import (
    sqlite_audit,
    sqlite_submit,
    sqlite_sweep,
    sqlite_views,
    sqlite_workers,
)
from crawling.tracker.sqlite_books import Step
from crawling.tracker.sqlite_lease import Lending
from crawling.tracker.sqlite_queues import boost_lanes, open_domain
from crawling.tracker.sqlite_settle import settle
from crawling.tracker.sqlite_store import SqliteStore
from crawling.tracker.throttle import scaled
from crawling.tracker.tracker import FailedPage, Tracker, place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crawling.tracker.findings import Finding
    from crawling.tracker.tracker import (
        CrawlId,
        CrawlOptions,
        CrawlStatus,
        DomainCounts,
        DomainStatus,
        Entry,
        Event,
        Held,
        Lease,
        Leased,
        Offer,
        Outcome,
        QueuedIn,
        Source,
        State,
        Submitted,
        Trace,
        TrackerConfig,
        Treatment,
        Vitals,
        WorkerStatus,
    )

#: How long an idle worker may miss what another process put into the same file.
POLL_INTERVAL = 0.5
#: More rows than there are.
LARGEST = 2**53

_Result = TypeVar("_Result")


class SqliteTracker(Tracker):
    """All requests in one SQLite database, for the workers of one host.

    Every operation is one transaction, run in a thread of its own: the event loop never
    waits for the disk.  Several processes may open the same file.
    """

    def __init__(self, url: str, config: TrackerConfig) -> None:
        super().__init__(config)
        if sqlite3.sqlite_version_info < (3, 24):
            raise ConfigError("TRACKER", f"needs SQLite 3.24, not {sqlite3.sqlite_version}")
        self._store = SqliteStore(url)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tracker")
        self._deaths = sqlite_workers.Deaths()
        self._options: dict[int, CrawlOptions] = {}
        self._activity = asyncio.Event()
        self._incarnation = uuid4().hex
        self._calls = 0
        #: Worker and token of leases whose caller went away before it had them.
        self._lost: list[tuple[str, str]] = []

    async def open(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store.open)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store.close)
        self._thread.shutdown()

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
        def take(step: Step) -> Submitted:
            return sqlite_submit.submit(
                step, crawl, offers, options, entry=entry, source=source, hold=hold
            )

        return await self._change(take)

    async def lease(self, worker: str, limit: int, spiderid: str) -> Leased:
        self._activity.clear()
        self._calls += 1
        token = f"{self._incarnation}:{self._calls}"

        lost, self._lost = self._lost, []

        def lend(step: Step) -> Leased:
            for who, lost_token in lost:
                sqlite_workers.give_back(step, who, lost_token)
            sqlite_workers.register(step, worker)
            return Lending(step, worker, spiderid, token).lend(limit)

        try:
            return await self._run(lend)
        except (asyncio.CancelledError, Unavailable):
            # The thread may lend all the same; nobody would ever settle that.
            self._lost += [*lost, (worker, token)]
            raise

    async def settle(self, worker: str, outcomes: Sequence[Outcome]) -> list[bool]:
        return await self._change(lambda step: settle(step, worker, outcomes))

    async def renew(
        self,
        worker: str,
        trouble: str = "",
        held: Sequence[Lease] | None = None,
        *,
        vitals: Vitals | None = None,
    ) -> bool:
        # Nothing that a file has confirmed is taken back while its workers live.
        del held
        return await self._run(lambda step: sqlite_workers.renew(step, worker, trouble, vitals))

    async def leave(self, worker: str) -> int:
        return await self._change(lambda step: sqlite_workers.leave(step, worker))

    async def reclaim(self) -> int:
        return await self._change(lambda step: sqlite_workers.reclaim(step, self._deaths))

    async def sweep(self) -> bool:
        return await self._change(sqlite_sweep.sweep)

    async def idle(self, timeout: float) -> None:
        # A wake-up that another worker of this process used up costs one interval too.
        try:
            await asyncio.wait_for(self._activity.wait(), min(timeout, POLL_INTERVAL))
        except asyncio.TimeoutError:
            return

    async def stop(self, crawl: CrawlId) -> int:
        return await self._end(crawl, "stopped")

    async def expire(self, crawl: CrawlId) -> int:
        return await self._end(crawl, "expired")

    async def pause(self, crawl: CrawlId) -> bool:
        def pause(step: Step) -> bool:
            books = step.find(crawl)
            if books is None or books.state != "running":
                return False
            books.state = "paused"
            return True

        return await self._change(pause)

    async def resume(self, crawl: CrawlId) -> bool:
        def resume(step: Step) -> bool:
            books = step.find(crawl)
            if books is None or books.state != "paused":
                return False
            books.state = "running"
            sqlite_sweep.unpark(step, books.run)
            return True

        return await self._change(resume)

    async def forget(self, crawl: CrawlId) -> bool:
        # What a stop has left goes first: it could not be found without the crawl.
        while await self.sweep():
            pass
        return await self._change(lambda step: sqlite_sweep.forget(step, crawl))

    async def retry(self, crawl: CrawlId, reason: str = "", domain: str = "") -> int:
        queued, after = await self._retry_step(crawl, reason, domain, 0)
        while after:
            more, after = await self._retry_step(crawl, reason, domain, after)
            queued += more
        return queued

    async def prioritize(self, crawl: CrawlId, boost: int) -> bool:
        def prioritize(step: Step) -> bool:
            books = step.find(crawl)
            if books is None or books.state not in {"running", "paused"}:
                return False
            boost_lanes(step.db, books.run, boost - books.boost)
            books.boost = boost
            return True

        return await self._change(prioritize)

    async def crawl(self, crawl: CrawlId) -> CrawlStatus | None:
        def status(step: Step) -> CrawlStatus | None:
            books = step.find(crawl)
            return step.status(books) if books else None

        return await self._run(status)

    async def statuses(self, crawls: Sequence[CrawlId]) -> list[CrawlStatus]:
        def statuses(step: Step) -> list[CrawlStatus]:
            return [step.status(books) for books in map(step.find, crawls) if books]

        return await self._run(statuses)

    async def crawls(self, spiderid: str = "", appid: str = "") -> list[CrawlId]:
        return await self._run(lambda step: sqlite_views.crawls(step, spiderid, appid))

    async def queued(self, crawl: CrawlId) -> list[QueuedIn]:
        def queued(step: Step) -> list[QueuedIn]:
            books = step.find(crawl)
            return sqlite_views.queued(step, books) if books else []

        return await self._run(queued)

    async def treatment(self) -> Treatment:
        return await self._run(sqlite_views.treatment)

    async def domains(self, spiderid: str, limit: int = 100) -> list[DomainStatus]:
        return await self._run(lambda step: sqlite_views.domains(step, spiderid, limit))

    async def all_domains(self, spiderid: str) -> list[DomainStatus]:
        return await self.domains(spiderid, LARGEST)

    async def count_domains(self, spiderid: str) -> DomainCounts:
        return await self._run(lambda step: sqlite_views.count_domains(step, spiderid))

    async def oldest_queued(self, spiderid: str) -> float | None:
        return await self._run(lambda step: sqlite_views.oldest_queued(step, spiderid))

    async def workers(self) -> list[WorkerStatus]:
        return await self._run(sqlite_views.workers)

    async def held(self, worker: str, limit: int = 100) -> list[Held] | None:
        return await self._run(lambda step: sqlite_views.held(step, worker, limit))

    async def failed(
        self,
        crawl: CrawlId,
        limit: int = 100,
        *,
        reason: str = "",
        domain: str = "",
        after: str = "",
    ) -> FailedPage:
        last, _ = place_of(after)

        def failed(step: Step) -> FailedPage:
            books = step.find(crawl)
            if books is None:
                return FailedPage([], "")
            return sqlite_views.failed(
                step, books, limit, reason=reason, domain=domain, after=last
            )

        return await self._run(failed)

    async def trace(self, crawl: CrawlId, fingerprint: bytes) -> Trace:
        return await self._run(lambda step: sqlite_views.trace(step, crawl, fingerprint))

    async def limit(self, domain: str, hits: int, window: float, scale: float = 1.0) -> None:
        limit = scaled(hits, window, scale)

        def override(step: Step) -> None:
            step.db.execute(
                "INSERT INTO domains (domain, hits, window, given) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET hits = excluded.hits, window = excluded.window, "
                "given = excluded.given",
                (domain, *limit, json.dumps([hits, window, scale])),
            )
            open_domain(step.db, domain)

        await self._change(override)

    async def block(self, domain: str, *, blocked: bool = True) -> None:
        def block(step: Step) -> None:
            step.db.execute(
                "INSERT INTO domains (domain, blocked) VALUES (?, ?) "
                "ON CONFLICT DO UPDATE SET blocked = excluded.blocked",
                (domain, blocked),
            )
            open_domain(step.db, domain)

        await self._change(block)

    async def defer(self, domain: str, delay: float) -> None:
        def push_back(step: Step) -> None:
            step.db.execute(
                "INSERT INTO domains (domain, deferred) VALUES (?, ?) "
                "ON CONFLICT DO UPDATE SET deferred = excluded.deferred",
                (domain, step.now + delay),
            )
            step.db.execute("UPDATE sequence SET deferrals = deferrals + 1")
            open_domain(step.db, domain)

        await self._change(push_back)

    async def audit(
        self, crawl: CrawlId | None = None, *, repair: bool = False
    ) -> list[Finding]:
        def audit_crawl(step: Step, name: CrawlId) -> list[Finding]:
            books = step.find(name)
            return sqlite_audit.audit_crawl(step, books, repair=repair) if books else []

        found = await self._change(lambda step: sqlite_audit.audit_rest(step, repair=repair))
        for name in await self.crawls() if crawl is None else [crawl]:
            found += await self._change(partial(audit_crawl, name=name))
        return found

    async def events(self, after: str = "", limit: int = 100) -> list[Event]:
        return await self._run(lambda step: sqlite_views.events(step, after, limit))

    async def _retry_step(
        self, crawl: CrawlId, reason: str, domain: str, after: int
    ) -> tuple[int, int]:
        return await self._change(
            lambda step: sqlite_submit.retry(step, crawl, reason, domain, after)
        )

    async def _end(self, crawl: CrawlId, state: State) -> int:
        def end(step: Step) -> int:
            books = step.find(crawl)
            return step.end(books, state) if books else 0

        return await self._change(end)

    async def _change(self, operation: Callable[[Step], _Result]) -> _Result:
        """Run what may make something leasable."""
        result = await self._run(operation)
        self._activity.set()
        return result

    async def _run(self, operation: Callable[[Step], _Result]) -> _Result:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._transact, operation)

    def _transact(self, operation: Callable[[Step], _Result]) -> _Result:
        try:
            with self._store.transaction() as db:
                step = Step(db, self.config, self._options)
                result = operation(step)
                step.save()
        except BaseException:
            # Options that this step wrote never were, and their number is free again.
            self._options.clear()
            raise
        return result
