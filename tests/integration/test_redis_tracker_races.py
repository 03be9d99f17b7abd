"""Many workers at once on one Redis."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from crawling.tracker.tracker import CrawlId, CrawlOptions, Outcome
from tests.integration.redis_fleet import LASTING, all_keys, redis_tracker
from tests.integration.tracking import CRAWL, balanced, books, offer, offers, submit, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from crawling.tracker.redis_tracker import RedisTracker
    from crawling.tracker.tracker import Lease, Offer

WINDOW = 1.0


@pytest.mark.parametrize(
    ("hits", "moderated"),
    [
        pytest.param(40, True, id="moderated"),
        pytest.param(20, False, id="window"),
        pytest.param(100, False, id="window of slots"),
    ],
)
async def test_no_window_holds_more_hits_than_the_limit_whoever_asks(
    redis: Redis, redis_url: str, hits: int, moderated: bool
) -> None:
    politeness: dict[str, Any] = {"hits": hits, "window": WINDOW, "moderated": moderated}
    async with redis_tracker(redis_url) as tracker:
        await submit(tracker, *offers(500))

    with ThreadPoolExecutor(max_workers=6) as workers:
        names = [f"worker-{number}" for number in range(6)]
        results = workers.map(
            lambda name: asyncio.run(ask_for(2.6 * WINDOW, name, redis_url, politeness)), names
        )
        moments, errors = zip(*results, strict=True)

    sent = sorted(moment for of_one in moments for moment in of_one)
    # More than one window's worth, and less than the rate: the machine may be busy.
    assert len(sent) > hits
    gaps = [after - before for before, after in pairs_at(hits, sent)]
    # A worker may be wrong about Redis's clock by one trip.
    assert min(gaps) >= WINDOW - max(errors) - 0.001


def pairs_at(distance: int, moments: list[float]) -> Iterator[tuple[float, float]]:
    return zip(moments, moments[distance:], strict=False)


async def ask_for(
    seconds: float, worker: str, url: str, politeness: dict[str, Any]
) -> tuple[list[float], float]:
    """Send what is granted as a worker should; return when each was sent, and the error."""
    end, sent = time.monotonic() + seconds, list[float]()
    async with redis_tracker(url, **politeness) as tracker:
        # Redis is on this host, so its clock is ours; readings only get better.
        error = tracker.clock.monotonic(time.time()) - time.monotonic()
        while time.monotonic() < end:
            leases, wait = await tracker.lease(worker, 3, "link")
            outcomes = [await send(lease, sent) for lease in leases]
            await tracker.settle(worker, outcomes)
            if not leases:
                await asyncio.sleep(min(wait or 0.01, 0.05))
    return sent, error


async def send(lease: Lease, sent: list[float]) -> Outcome:
    await asyncio.sleep(max(0.0, lease.start - time.monotonic()))
    moment = time.monotonic()
    if moment > lease.latest:
        return Outcome(lease, "released")
    sent.append(moment)
    return Outcome(lease, "done", status=200)


PAGES = 2000
DOMAINS = 12


class Site:
    """A web of pages with links, and what became of them."""

    def __init__(self, crawl: CrawlId) -> None:
        self.crawl = crawl
        self.ended = Counter[str]()

    def page(self, number: int) -> Offer:
        return offer(str(number), f"{number % DOMAINS}.example", 50 + number % 3)

    def links(self, url: str) -> list[Offer]:
        number = int(url.rpartition("/")[2])
        return [self.page((number * 3 + step) % PAGES) for step in range(1, 6)]


class Worker:
    """A worker that retries, releases, dies, and settles what it was declared dead for."""

    def __init__(self, tracker: RedisTracker, name: str, sites: dict[CrawlId, Site]) -> None:
        self.tracker = tracker
        self.name = name
        self.sites = sites
        self.random = random.Random(name)
        self.lives = 0

    async def work(self) -> None:
        while await self.unfinished():
            worker = f"{self.name}-{self.lives}"
            leases, _ = await self.tracker.lease(worker, self.random.randint(1, 20), "link")
            outcomes = [self.outcome(lease) for lease in leases]
            if outcomes and self.random.random() < 0.05:
                self.lives += 1
                await self.come_back_late(worker, outcomes)
                continue
            self.note(outcomes, await self.tracker.settle(worker, outcomes))
            await self.tracker.renew(worker)

    async def come_back_late(self, worker: str, outcomes: list[Outcome]) -> None:
        luck = self.random.random()
        if luck < 0.3:
            return
        if luck < 0.7:
            await until(lambda: self.is_dead(worker))
        self.note(outcomes, await self.tracker.settle(worker, outcomes))

    async def is_dead(self, worker: str) -> bool:
        return worker not in {status.worker for status in await self.tracker.workers()}

    def outcome(self, lease: Lease) -> Outcome:
        luck = self.random.random()
        if luck < 0.1:
            return Outcome(lease, "released")
        if luck < 0.2 and lease.attempts < 2:
            return Outcome(lease, "retry", "timeout")
        # Not the first page, without which there is no crawl.
        if luck < 0.23 and not lease.url.endswith("/0"):
            return Outcome(lease, "failed", "timeout")
        links = self.sites[lease.crawl].links(lease.url)
        return Outcome(lease, "done", status=200, size=10, links=links)

    def note(self, outcomes: list[Outcome], accepted: list[bool]) -> None:
        for outcome, was_accepted in zip(outcomes, accepted, strict=True):
            if was_accepted and outcome.kind in {"done", "failed"}:
                self.sites[outcome.lease.crawl].ended[outcome.lease.url] += 1

    async def unfinished(self) -> bool:
        return not await are_over(self.tracker, self.sites)


async def are_over(tracker: RedisTracker, sites: dict[CrawlId, Site]) -> bool:
    statuses = [await books(tracker, crawl) for crawl in sites]
    assert all(status.balanced for status in statuses), statuses
    return all(status.ended for status in statuses)


async def test_nothing_is_lost_or_done_twice_among_deaths_and_stops(
    redis: Redis, redis_url: str
) -> None:
    crawls = [CrawlId("link", "tests", name) for name in ("whole", "paused", "stopped")]
    sites = {crawl: Site(crawl) for crawl in crawls}
    async with AsyncExitStack() as stack:
        trackers = [
            await stack.enter_async_context(
                redis_tracker(redis_url, concurrency=8, lease_timeout=0.1)
            )
            for _ in range(5)
        ]
        for crawl, site in sites.items():
            await submit(trackers[0], site.page(0), crawl=crawl, options=CrawlOptions())
        workers = [
            Worker(tracker, f"worker-{number}", sites)
            for number, tracker in enumerate(trackers)
        ]

        await asyncio.wait_for(
            asyncio.gather(
                *(worker.work() for worker in workers),
                look_after(trackers[0], sites),
                interfere(trackers[1], crawls),
            ),
            timeout=60,
        )

        await check_the_end(trackers[0], sites)
    async with redis_tracker(redis_url, dupefilter_timeout=0.0) as tracker:
        await until(lambda: everything_is_forgotten(tracker))
    assert {key for key in all_keys(redis) if not key.startswith("fleet:delayed")} <= LASTING


async def look_after(tracker: RedisTracker, sites: dict[CrawlId, Site]) -> None:
    while not await are_over(tracker, sites):
        await tracker.reclaim()
        await tracker.sweep()
        await asyncio.sleep(0.01)


async def interfere(tracker: RedisTracker, crawls: list[CrawlId]) -> None:
    """Pause one crawl and stop another when a part of it is done."""
    _, paused, stopped = crawls
    await until(lambda: has_done(tracker, paused, PAGES // 4), timeout=60)
    await tracker.pause(paused)
    await until(lambda: has_done(tracker, stopped, PAGES // 4), timeout=60)
    await tracker.stop(stopped)
    await tracker.resume(paused)


async def has_done(tracker: RedisTracker, crawl: CrawlId, pages: int) -> bool:
    return (await books(tracker, crawl)).done >= pages


async def check_the_end(tracker: RedisTracker, sites: dict[CrawlId, Site]) -> None:
    await balanced(tracker)
    events = [event.body["crawlid"] for event in await tracker.events()]
    assert sorted(map(str, events)) == ["paused", "stopped", "whole"]
    for crawl, site in sites.items():
        status = await books(tracker, crawl)
        assert status.outstanding == 0
        assert set(site.ended.values()) == {1}
        assert status.done + status.failed == len(site.ended)
        if crawl.crawlid != "stopped":
            assert status.state == "finished"
            assert len(site.ended) == status.accepted == PAGES


async def everything_is_forgotten(tracker: RedisTracker) -> bool:
    await tracker.reclaim()
    while await tracker.sweep():
        pass
    return not await tracker.crawls()


async def test_together_they_never_exceed_a_page_budget(redis: Redis, redis_url: str) -> None:
    async with AsyncExitStack() as stack:
        trackers = [await stack.enter_async_context(redis_tracker(redis_url)) for _ in range(8)]
        await asyncio.gather(
            *(
                tracker.submit(
                    CRAWL,
                    [offer(f"{number}-{n}") for n in range(50)],
                    CrawlOptions(domain_max_pages=30),
                )
                for number, tracker in enumerate(trackers)
            )
        )

        status = await books(trackers[0])

    assert (status.accepted, status.queued, status.dropped) == (400, 30, 370)
