"""Domains counted by what keeps them: the same as looking at each, at the cost of a few."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crawling.tracker.idleness import of_domain
from crawling.tracker.tracker import DomainCounts
from tests.integration.redis_fleet import redis_tracker
from tests.integration.tracking import CRAWL, OTHER, lease, offer, offers, settle, submit

if TYPE_CHECKING:
    from redis import Redis

    from crawling.tracker.tracker import Tracker
    from tests.integration.tracking import MakeTracker

#: What a look at a domain says of it, and where it is counted.
COUNTED = {
    "ready": "ready",
    "throttled": "resting",
    "deferred": "resting",
    "blocked": "blocked",
    "elsewhere": "capped",
}


async def looked_at(tracker: Tracker) -> DomainCounts:
    """Return the counts that follow from a look at each domain that has something queued."""
    counts = dict.fromkeys(DomainCounts._fields, 0)
    for domain in await tracker.all_domains("link"):
        if domain.queued > domain.paused:
            counts[COUNTED[of_domain(domain).why]] += 1
    return DomainCounts(**counts)


async def counted(tracker: Tracker) -> DomainCounts:
    counts = await tracker.count_domains("link")
    assert counts == await looked_at(tracker)
    return counts


async def test_where_there_is_nothing_nothing_is_counted(tracker: Tracker) -> None:
    assert await counted(tracker) == (0, 0, 0, 0)
    await submit(tracker, *offers(2))
    assert await tracker.count_domains("id") == (0, 0, 0, 0)


async def test_more_than_a_thousand_domains_are_counted(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(hits=1, window=1000.0)
    names = [f"{number}.example" for number in range(1201)]
    await tracker.submit(CRAWL, [offer(path, name) for path in "ab" for name in names])
    assert await counted(tracker) == (1201, 0, 0, 0)

    leases, _ = await tracker.lease("worker-1", 100, "link")

    resting = len({each.domain for each in leases})
    assert await counted(tracker) == (1201 - resting, resting, 0, 0)


async def test_domains_at_rest_are_counted_until_they_may_be_asked(
    make_tracker: MakeTracker,
) -> None:
    tracker = await make_tracker(hits=1, window=100.0)
    for name in ("a.example", "b.example", "c.example"):
        await submit(tracker, *offers(2, name))
    assert await counted(tracker) == (3, 0, 0, 0)
    leases = await lease(tracker)
    assert await counted(tracker) == (0, 3, 0, 0)

    for each in leases:
        await settle(tracker, each)
    await tracker.limit("a.example", 1000, 1.0)

    assert await counted(tracker) == (1, 2, 0, 0)


async def test_a_domain_that_was_pushed_back_rests(tracker: Tracker) -> None:
    await submit(tracker, *offers(3), *offers(2, "b.example"))
    [held] = await lease(tracker, 1)
    await settle(tracker, held, "retry", busy=True, retry_after=50.0)

    await lease(tracker)

    assert await counted(tracker) == (0, 1, 0, 0)


async def test_what_is_blocked_is_counted_apart(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(concurrency=1)
    await submit(tracker, *offers(2), *offers(2, "b.example"), *offers(2, "c.example"))
    await tracker.block("a.example")
    assert len(await lease(tracker)) == 2
    assert await counted(tracker) == (0, 0, 1, 2)

    await tracker.block("a.example", blocked=False)

    assert await counted(tracker) == (1, 0, 0, 2)


async def test_a_domain_at_its_cap_is_counted_until_a_lease_ends(
    make_tracker: MakeTracker,
) -> None:
    tracker = await make_tracker(concurrency=2)
    await submit(tracker, *offers(5), *offers(1, "b.example"))
    leases = await lease(tracker)
    assert await counted(tracker) == (0, 0, 0, 1)

    await settle(tracker, next(each for each in leases if each.domain == "a.example"))

    assert await counted(tracker) == (1, 0, 0, 0)


async def test_what_is_paused_is_no_longer_counted_once_it_was_met(tracker: Tracker) -> None:
    await submit(tracker, *offers(3), *offers(2, "b.example"))
    await submit(tracker, *offers(1, "b.example", priority=9), crawl=OTHER)
    await tracker.pause(CRAWL)
    [other] = await lease(tracker)
    await settle(tracker, other)
    assert await counted(tracker) == (0, 0, 0, 0)

    await tracker.resume(CRAWL)

    assert await counted(tracker) == (2, 0, 0, 0)


async def test_by_address_those_are_told_who_may_ask_most(redis: Redis, redis_url: str) -> None:
    how: dict[str, Any] = {"hits": 1, "window": 100.0}
    async with (
        redis_tracker(redis_url, ip="10.0.0.1", **how) as one,
        redis_tracker(redis_url, ip="10.0.0.2", **how) as two,
        redis_tracker(redis_url, ip="10.0.0.9", **how) as monitor,
    ):
        for name in ("a.example", "b.example", "c.example"):
            await submit(monitor, *offers(9, name))
        assert await monitor.count_domains("link") == (3, 0, 0, 0)

        await lease(one)
        assert await monitor.count_domains("link") == (0, 3, 0, 0)

        await lease(two, 1, worker="worker-2")
        assert await monitor.count_domains("link") == (2, 1, 0, 0)
        await submit(monitor, *offers(1, "d.example"))
        assert await monitor.count_domains("link") == (3, 1, 0, 0)


async def test_a_count_costs_redis_the_same_however_many_there_are(
    redis: Redis, redis_url: str
) -> None:
    async def commands(tracker: Tracker) -> int:
        redis.config_resetstat()
        await tracker.count_domains("link")
        calls: Any = redis.info("commandstats")
        return sum(calls[name]["calls"] for name in calls if name != "cmdstat_info")

    async with redis_tracker(redis_url, hits=1, window=100.0) as tracker:
        await submit(tracker, *offers(2))
        await tracker.count_domains("link")
        few = await commands(tracker)
        names = [f"{number}.example" for number in range(2000)]
        await tracker.submit(CRAWL, [offer(path, name) for path in "ab" for name in names])
        await tracker.lease("worker-1", 200, "link")

        assert await commands(tracker) == few < 12
