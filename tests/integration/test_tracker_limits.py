"""Rule 8: depth, pages and the length of a queue, checked in the step that queues."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

import pytest

from crawling.tracker.tracker import CrawlOptions
from tests.integration.tracking import (
    CRAWL,
    balanced,
    books,
    lease,
    offer,
    offers,
    paths,
    settle,
    submit,
    until,
)

if TYPE_CHECKING:
    from crawling.tracker.tracker import Kind, Tracker
    from tests.integration.tracking import MakeTracker

ONE_EACH = CrawlOptions(domain_max_pages=1)
#: Over shards, leases of several domains come in any order.
DOMAIN = attrgetter("domain")


async def test_links_below_maxdepth_are_dropped(tracker: Tracker) -> None:
    await submit(tracker, offer("seed"), options=CrawlOptions(maxdepth=1))
    [seed] = await lease(tracker)

    await settle(tracker, seed, links=[offer("1", depth=1), offer("2", depth=2)])

    assert paths(await lease(tracker)) == ["1"]
    status = await books(tracker)
    assert (status.accepted, status.dropped, status.reasons) == (3, 1, {"depth": 1})


async def test_with_maxdepth_0_only_the_seeds_are_fetched(tracker: Tracker) -> None:
    await submit(tracker, offer("seed"), options=CrawlOptions(maxdepth=0))
    [seed] = await lease(tracker)

    await settle(tracker, seed, links=[offer("1", depth=1)])

    status = await books(tracker)
    assert (status.state, status.done, status.dropped) == ("finished", 1, 1)


@pytest.mark.parametrize("pages", [1, 3, 10])
async def test_a_domain_gives_exactly_as_many_pages_as_it_may(
    tracker: Tracker, pages: int
) -> None:
    options = CrawlOptions(domain_max_pages=pages)
    await submit(tracker, offer("seed"), options=options)
    [seed] = await lease(tracker)

    await settle(tracker, seed, links=[*offers(20), *offers(20, "b.example")])

    leases = await lease(tracker)
    for leased in leases:
        await settle(tracker, leased, links=offers(50, leased.domain))
    status = await books(tracker)
    assert (status.state, status.done) == ("finished", 2 * pages)
    assert set(status.reasons) == {"page_limit"}


@pytest.mark.one_shard("order holds within a shard")
async def test_seeds_count_and_are_refused_like_any_page(tracker: Tracker) -> None:
    options = CrawlOptions(domain_max_pages=2)

    assert await submit(tracker, *offers(5), offer("b", "b.example"), options=options) == 3

    assert paths(await lease(tracker)) == ["0", "1", "b"]
    assert (await books(tracker)).reasons == {"page_limit": 3}


async def test_the_stricter_of_two_page_limits_wins(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(page_limit=2)
    wide, narrow = CrawlOptions(domain_max_pages=5), CrawlOptions(domain_max_pages=1)

    assert await submit(tracker, *offers(9), crawl=CRAWL._replace(crawlid="no")) == 2
    assert (
        await submit(tracker, *offers(9), crawl=CRAWL._replace(crawlid="wide"), options=wide)
        == 2
    )
    assert (
        await submit(
            tracker, *offers(9), crawl=CRAWL._replace(crawlid="narrow"), options=narrow
        )
        == 1
    )


@pytest.mark.parametrize("kind", ["failed", "dropped"])
async def test_a_request_that_ends_without_a_page_gives_its_unit_back(
    tracker: Tracker, kind: Kind
) -> None:
    await submit(tracker, offer("0"), options=ONE_EACH)
    [page] = await lease(tracker)
    assert await submit(tracker, offer("1"), entry="known") == 0

    await settle(tracker, page, kind)

    assert await submit(tracker, offer("1"), entry="known") == 1
    assert await submit(tracker, offer("2"), entry="known") == 0
    status = await books(tracker)
    assert status.reasons["page_limit"] == 1


async def test_a_page_keeps_its_unit(tracker: Tracker) -> None:
    await submit(tracker, offer("0"), options=ONE_EACH, hold=60)
    [page] = await lease(tracker)
    await settle(tracker, page)

    assert await submit(tracker, offer("1"), entry="known") == 0


@pytest.mark.parametrize("kind", ["retry", "released"])
async def test_what_comes_back_uses_no_second_unit(tracker: Tracker, kind: Kind) -> None:
    await submit(tracker, offer("0"), options=CrawlOptions(domain_max_pages=2))
    for _ in range(3):
        [page] = await lease(tracker)
        await settle(tracker, page, kind)

    assert await submit(tracker, offer("1"), entry="known") == 1
    assert await submit(tracker, offer("2"), entry="known") == 0


async def test_a_dead_worker_uses_no_unit(tracker: Tracker) -> None:
    await submit(tracker, offer("0"), options=CrawlOptions(domain_max_pages=2))
    await lease(tracker, worker="dead")
    await until(tracker.reclaim)
    await balanced(tracker)

    assert await submit(tracker, offer("1"), entry="known") == 1
    assert await submit(tracker, offer("2"), entry="known") == 0


@pytest.mark.one_shard("the unit stays in its shard")
async def test_a_redirect_uses_the_unit_of_the_domain_that_was_charged(
    tracker: Tracker,
) -> None:
    await submit(tracker, offer("0"), options=ONE_EACH)
    [page] = await lease(tracker)
    await settle(tracker, page, "redirect", next=offer("0", "b.example"))

    assert await submit(tracker, offer("1"), entry="known") == 0
    assert await submit(tracker, offer("1", "b.example"), entry="known") == 1

    [moved, _] = await lease(tracker)
    await settle(tracker, moved, "failed")
    assert await submit(tracker, offer("1"), entry="known") == 1
    assert await submit(tracker, offer("2", "b.example"), entry="known") == 0


async def test_stop_gives_the_units_of_its_backlog_back(tracker: Tracker) -> None:
    await submit(tracker, *offers(5), options=CrawlOptions(domain_max_pages=3))
    [page] = await lease(tracker, 1)
    await settle(tracker, page)
    [held] = await lease(tracker, 1)
    await tracker.stop(CRAWL)

    assert await submit(tracker, *offers(9)) == 1

    await settle(tracker, held)
    leases = await lease(tracker)
    assert len(leases) == 1
    await settle(tracker, leases[0])
    assert (await books(tracker)).done == 3


@pytest.mark.one_shard("max_pages is refused")
async def test_a_crawl_gives_exactly_as_many_pages_as_it_may(tracker: Tracker) -> None:
    seeds = [offer("seed", f"{number}.example") for number in range(4)]
    await submit(tracker, *seeds, options=CrawlOptions(max_pages=6))
    first, *rest = await lease(tracker)

    await settle(tracker, first, "failed")
    for leased in rest:
        await settle(tracker, leased, links=offers(4, leased.domain))
    for leased in await lease(tracker):
        await settle(tracker, leased, links=offers(9, "more.example"))

    status = await books(tracker)
    assert (status.state, status.done, status.failed) == ("finished", 6, 1)
    assert set(status.reasons) == {"timeout", "page_limit"}


async def test_what_a_limit_dropped_is_queued_when_there_is_room_again(
    tracker: Tracker,
) -> None:
    await submit(tracker, *offers(2), offer("b", "b.example"), options=ONE_EACH)
    page, other = sorted(await lease(tracker), key=DOMAIN)
    await settle(tracker, page, "failed")

    await settle(tracker, other, links=[offer("1")])

    assert paths(await lease(tracker)) == ["1"]
    status = await books(tracker)
    assert (status.accepted, status.dropped, status.reasons) == (3, 0, {"timeout": 1})


async def test_what_a_limit_dropped_stays_dropped_while_there_is_no_room(
    tracker: Tracker,
) -> None:
    await submit(tracker, *offers(2), offer("b", "b.example"), options=ONE_EACH)
    _, other = sorted(await lease(tracker), key=DOMAIN)

    await settle(tracker, other, links=[offer("1")])

    status = await books(tracker)
    assert (status.accepted, status.dropped, status.duplicates) == (3, 1, 1)


@pytest.mark.one_shard("the limit is divided")
async def test_links_beyond_the_longest_queue_are_dropped_and_not_recorded(
    make_tracker: MakeTracker,
) -> None:
    tracker = await make_tracker(max_queued=3)
    await submit(tracker, offer("seed"))
    [seed] = await lease(tracker)

    await settle(tracker, seed, links=offers(5))

    status = await books(tracker)
    assert (status.queued, status.dropped, status.reasons) == (3, 2, {"queue_full": 2})
    assert (await tracker.trace(CRAWL, offer("4").fingerprint)).state == "unseen"
    [first, *_] = await lease(tracker)
    await settle(tracker, first, links=[offer("4")])
    assert paths(await lease(tracker)) == ["4"]


async def test_seeds_are_queued_beyond_the_longest_queue(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(max_queued=3)

    assert await submit(tracker, *offers(5)) == 5


async def test_a_retry_stays_within_the_limits_of_its_crawl(tracker: Tracker) -> None:
    await submit(tracker, offer("0"), options=ONE_EACH, hold=60)
    [page] = await lease(tracker)
    await settle(tracker, page, "failed")
    await submit(tracker, offer("1"))

    assert await tracker.retry(CRAWL) == 0

    await balanced(tracker)
    assert (await books(tracker)).failed == 1
