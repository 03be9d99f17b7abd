"""Rule 1: which request comes first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.tracking import (
    CRAWL,
    OTHER,
    fetch_all,
    lease,
    offer,
    offers,
    paths,
    settle,
    submit,
)

if TYPE_CHECKING:
    from crawling.tracker.tracker import Tracker
    from tests.integration.tracking import MakeTracker


async def test_the_highest_priority_comes_first(tracker: Tracker) -> None:
    await submit(tracker, offer("low", priority=10), offer("high", priority=90), offer("mid"))

    assert paths(await lease(tracker)) == ["high", "mid", "low"]


async def test_the_order_holds_over_domains_and_over_calls(tracker: Tracker) -> None:
    await submit(
        tracker,
        offer("1", "z.example", priority=90),
        offer("3", "a.example", priority=50),
        offer("2", "m.example", priority=70),
        offer("4", "z.example", priority=-10),
    )

    leased = [paths(await lease(tracker, 1)) for _ in range(4)]

    assert leased == [["1"], ["2"], ["3"], ["4"]]


async def test_equal_priority_is_first_in_first_out(tracker: Tracker) -> None:
    await submit(tracker, *offers(300))

    assert paths(await lease(tracker, 300)) == [str(number) for number in range(300)]


async def test_equal_priority_is_first_in_first_out_over_domains_and_crawls(
    tracker: Tracker,
) -> None:
    await submit(tracker, offer("1", "z.example"), offer("2", "a.example"))
    await submit(tracker, offer("3", "z.example"), offer("4", "m.example"), crawl=OTHER)
    await submit(tracker, offer("5", "a.example"))

    assert paths(await lease(tracker)) == ["1", "2", "3", "4", "5"]


async def test_a_crawl_of_higher_priority_overtakes_a_long_queue_at_once(
    tracker: Tracker,
) -> None:
    await submit(tracker, *offers(1000))
    await lease(tracker, 3)

    await submit(tracker, offer("urgent", priority=90), crawl=OTHER)

    assert paths(await lease(tracker, 1)) == ["urgent"]


async def test_links_wait_behind_their_parents_unless_their_priority_is_higher(
    tracker: Tracker,
) -> None:
    await submit(tracker, offer("parent"), offer("sibling"))
    [parent] = await lease(tracker, 1)

    links = [offer("child", priority=60), offer("urgent", priority=80)]
    await settle(tracker, parent, links=links)

    assert paths(await lease(tracker)) == ["urgent", "sibling", "child"]


async def test_what_was_released_comes_next(tracker: Tracker) -> None:
    await submit(tracker, *offers(5))
    first, _ = await lease(tracker, 2)

    assert await settle(tracker, first, "released")

    assert paths(await lease(tracker)) == ["0", "2", "3", "4"]


async def test_a_released_request_is_the_same_request(tracker: Tracker) -> None:
    await submit(tracker, offer("page", extras=b"kept"))
    [before] = await lease(tracker)
    await settle(tracker, before, "released")

    [after] = await lease(tracker)

    assert after.token != before.token
    assert (after.rid, after.attempts, after.extras) == (before.rid, 0, b"kept")


async def test_a_retry_comes_after_what_was_not_tried_yet(tracker: Tracker) -> None:
    await submit(
        tracker, offer("again"), offer("lower", priority=65), offer("last", priority=59)
    )
    [again] = await lease(tracker, 1)

    assert await settle(tracker, again, "retry")

    leases = await lease(tracker)
    assert paths(leases) == ["lower", "again", "last"]
    assert [(each.priority, each.attempts) for each in leases] == [(65, 0), (60, 1), (59, 0)]


async def test_a_retry_goes_to_the_tail_of_its_priority(tracker: Tracker) -> None:
    await submit(tracker, offer("again"), offer("before", priority=60))
    [again] = await lease(tracker, 1)
    await settle(tracker, again, "retry")

    assert paths(await lease(tracker)) == ["before", "again"]


@pytest.mark.one_shard("order holds within a shard")
async def test_a_domain_has_no_more_than_its_cap_in_flight(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(concurrency=2)
    await submit(tracker, *offers(4), offer("elsewhere", "b.example"))

    first = await lease(tracker)
    assert paths(first) == ["0", "1", "elsewhere"]
    assert await lease(tracker, worker="worker-2") == []

    await settle(tracker, first[0])

    assert paths(await lease(tracker, worker="worker-2")) == ["2"]


async def test_what_enters_a_domain_at_its_cap_is_leased_when_a_lease_ends(
    make_tracker: MakeTracker,
) -> None:
    tracker = await make_tracker(concurrency=1)
    await submit(tracker, offer("first"))
    [first] = await lease(tracker)
    assert await lease(tracker) == []

    await submit(tracker, offer("second"))
    assert await lease(tracker) == []
    await settle(tracker, first)

    assert paths(await lease(tracker)) == ["second"]


async def test_every_request_is_leased_once(tracker: Tracker) -> None:
    await submit(tracker, *offers(50), *offers(50, "b.example"), *offers(50, "c.example"))

    fetched = await fetch_all(tracker)

    assert len(fetched) == len(set(fetched)) == 150


async def test_a_worker_gets_requests_of_its_own_kind_only(tracker: Tracker) -> None:
    await submit(tracker, offer("page"), offer("id", spiderid="id"))

    assert paths(await lease(tracker, spiderid="id")) == ["id"]
    [page] = await lease(tracker, spiderid="link")
    assert page.crawl == CRAWL


async def test_a_request_for_another_kind_of_spider_stays_in_its_crawl(
    tracker: Tracker,
) -> None:
    await submit(tracker, offer("page"))
    [page] = await lease(tracker)
    await settle(tracker, page, links=[offer("next", spiderid="wandering")])

    [handed] = await lease(tracker, spiderid="wandering")

    assert handed.crawl == CRAWL
    assert await lease(tracker) == []
