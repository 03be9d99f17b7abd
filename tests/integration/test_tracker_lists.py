"""Lists of a tracker that are read in parts, and crawls that are deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from crawling.exceptions import ConfigError
from crawling.tracker.tracker import CrawlId
from tests.integration.tracking import (
    CRAWL,
    OTHER,
    balanced,
    books,
    finished,
    lease,
    offer,
    offers,
    settle,
    submit,
)

if TYPE_CHECKING:
    from crawling.tracker.tracker import Tracker
    from tests.integration.tracking import MakeTracker


async def fail(tracker: Tracker, count: int, domain: str, reason: str) -> None:
    await submit(tracker, *offers(count, domain))
    for each in await lease(tracker):
        await settle(tracker, each, "failed", reason=reason)


async def pages(tracker: Tracker, limit: int, reason: str = "", domain: str = "") -> list[str]:
    """Return the URLs of all failures, read page by page."""
    found, after = list[str](), ""
    while True:
        page = await tracker.failed(CRAWL, limit, reason=reason, domain=domain, after=after)
        assert len(page.failures) <= limit
        found += [each.url for each in page.failures]
        after = page.after
        if not after:
            return found


@pytest.mark.parametrize("limit", [1, 7, 100])
async def test_failures_are_read_page_by_page_each_once(tracker: Tracker, limit: int) -> None:
    for number in range(5):
        await fail(tracker, 4, f"{number}.example", "timeout")

    found = await pages(tracker, limit)

    assert len(found) == 20
    assert len(set(found)) == 20


async def test_failures_are_chosen_by_reason_and_domain(tracker: Tracker) -> None:
    await fail(tracker, 3, "a.example", "timeout")
    await fail(tracker, 2, "b.example", "timeout")
    await fail(tracker, 4, "c.example", "dns")

    assert len(await pages(tracker, 2, reason="timeout")) == 5
    assert len(await pages(tracker, 2, reason="dns")) == 4
    assert len(await pages(tracker, 2, domain="b.example")) == 2
    assert await pages(tracker, 2, reason="dns", domain="a.example") == []
    [one, *_] = (await tracker.failed(CRAWL, domain="b.example")).failures
    assert (one.domain, one.reason, one.attempts) == ("b.example", "timeout", 0)


async def test_nothing_failed_of_a_crawl_that_nobody_knows(tracker: Tracker) -> None:
    assert await tracker.failed(OTHER) == ([], "")


@pytest.mark.parametrize("after", ["x", "-1.0", "1.x", "9" * 80])
async def test_a_place_that_is_none_is_refused(tracker: Tracker, after: str) -> None:
    with pytest.raises(ConfigError, match="after: is no place that an earlier page named"):
        await tracker.failed(CRAWL, after=after)


async def test_all_domains_are_listed_however_many(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(hits=1, window=1000.0)
    count = 1201
    seeds = [offer("page", f"{number}.example") for number in range(count)]
    seeds += [offer("more", f"{number}.example") for number in range(50)]
    await tracker.submit(CRAWL, seeds)
    leased = await tracker.lease("worker-1", 100, "link")
    assert leased.leases

    domains = await tracker.all_domains("link")

    assert sorted(each.domain for each in domains) == sorted(
        f"{number}.example" for number in range(count)
    )
    assert sum(each.queued for each in domains) == len(seeds) - len(leased.leases)
    assert sum(each.leased for each in domains) == len(leased.leases)
    assert await tracker.all_domains("id") == []


async def test_domains_that_are_only_in_flight_are_listed_however_many(
    make_tracker: MakeTracker,
) -> None:
    tracker = await make_tracker(hits=0)
    count = 1201
    await tracker.submit(CRAWL, [offer("page", f"{number}.example") for number in range(count)])
    leased = 0
    while page := (await tracker.lease("worker-1", 500, "link")).leases:
        leased += len(page)
    assert leased == count

    domains = await tracker.all_domains("link")

    assert len({each.domain for each in domains}) == len(domains) == count
    assert {(each.queued, each.leased) for each in domains} == {(0, 1)}
    assert len(await tracker.domains("link", 30)) == 30


async def test_the_books_of_many_crawls_are_those_of_each(tracker: Tracker) -> None:
    names = [CrawlId("link", "app", str(number)) for number in range(5)]
    for number, name in enumerate(names):
        await submit(tracker, *offers(number + 1), crawl=name)

    found = await tracker.statuses([*names, CRAWL])

    assert found == [await books(tracker, name) for name in names]
    assert await tracker.statuses([]) == []


async def test_a_crawl_that_has_ended_can_be_forgotten(tracker: Tracker) -> None:
    await fail(tracker, 2, "a.example", "timeout")
    await submit(tracker, offer("page"))
    [page] = await lease(tracker)
    await settle(tracker, page)
    await submit(tracker, *offers(2), crawl=OTHER)
    await finished(tracker)

    assert await tracker.forget(CRAWL)

    assert await tracker.crawl(CRAWL) is None
    assert await tracker.crawls() == [OTHER]
    assert (await tracker.failed(CRAWL)).failures == []
    assert (await tracker.trace(CRAWL, page.fingerprint)).state == "unseen"
    await balanced(tracker)
    assert (await books(tracker, OTHER)).queued == 2


async def test_a_forgotten_crawl_may_begin_anew(tracker: Tracker) -> None:
    await submit(tracker, offer("page"))
    for each in await lease(tracker):
        await settle(tracker, each)
    await finished(tracker)
    assert await tracker.forget(CRAWL)

    assert await submit(tracker, offer("page"), entry="known") == 1

    assert (await books(tracker)).accepted == 1


async def test_a_crawl_that_goes_on_is_not_forgotten(tracker: Tracker) -> None:
    await submit(tracker, *offers(3))
    assert not await tracker.forget(CRAWL)
    await tracker.pause(CRAWL)
    assert not await tracker.forget(CRAWL)
    assert not await tracker.forget(OTHER)

    assert (await books(tracker)).queued == 3


async def test_a_stopped_crawl_is_forgotten_when_nothing_of_it_is_in_flight(
    tracker: Tracker,
) -> None:
    await submit(tracker, *offers(5))
    [page] = await lease(tracker, 1)
    await tracker.stop(CRAWL)
    assert not await tracker.forget(CRAWL)

    await settle(tracker, page)
    await finished(tracker)

    assert await tracker.forget(CRAWL)
    await balanced(tracker)
    assert await tracker.all_domains("link") == []
