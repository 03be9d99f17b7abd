"""Stop, pause, resume, expire: a flag each, effective on the next lease."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from crawling.tracker.tracker import CrawlOptions
from tests.integration.tracking import (
    CRAWL,
    OTHER,
    balanced,
    books,
    fetch_all,
    finished,
    lease,
    offer,
    offers,
    paths,
    settle,
    submit,
    sweep,
    until,
)

if TYPE_CHECKING:
    from crawling.tracker.tracker import Kind, Tracker
    from tests.integration.tracking import MakeTracker


async def end(tracker: Tracker, how: str) -> int:
    dropped = await (tracker.stop(CRAWL) if how == "stopped" else tracker.expire(CRAWL))
    await balanced(tracker)
    return dropped


either_end = pytest.mark.parametrize("how", ["stopped", "expired"])


@either_end
async def test_the_end_drops_what_is_queued_and_delayed(
    make_tracker: MakeTracker, how: str
) -> None:
    tracker = await make_tracker(retry_delay=100.0)
    await submit(tracker, *offers(10))
    delayed, _ = await lease(tracker, 2)
    await settle(tracker, delayed, "retry")

    assert await end(tracker, how) == 9

    status = await books(tracker)
    assert (status.state, status.leased, status.dropped) == (how, 1, 9)
    assert status.reasons == {how: 9}
    assert await lease(tracker) == []


@either_end
async def test_what_waited_for_a_retry_at_the_end_stays_dropped(
    make_tracker: MakeTracker, how: str
) -> None:
    tracker = await make_tracker(retry_delay=0.02)
    await submit(tracker, *offers(3))
    delayed, _, _ = await lease(tracker, 3)
    await settle(tracker, delayed, "retry")
    await end(tracker, how)
    await submit(tracker, offer("new"))
    await asyncio.sleep(0.1)

    assert paths(await lease(tracker)) == ["new"]

    await balanced(tracker)
    status = await books(tracker)
    assert (status.dropped, status.delayed, status.queued) == (1, 0, 0)


@either_end
async def test_the_end_is_final_for_the_books_before_it_is_swept(
    tracker: Tracker, how: str
) -> None:
    await submit(tracker, *offers(2000))
    await end(tracker, how)
    before = await books(tracker)

    await sweep(tracker)

    assert await books(tracker) == before
    for number in (0, 1999):
        trace = await tracker.trace(CRAWL, offer(str(number)).fingerprint)
        assert (trace.state, trace.reason) == ("dropped", how)


@either_end
async def test_the_end_is_one_event_when_the_last_lease_is_over(
    tracker: Tracker, how: str
) -> None:
    await submit(tracker, *offers(3))
    [page] = await lease(tracker, 1)
    await end(tracker, how)
    assert await finished(tracker) == []

    await settle(tracker, page)

    [event] = await finished(tracker)
    assert (event.body["state"], event.body["done"], event.body["dropped"]) == (how, 1, 2)
    assert (await books(tracker)).ended is not None


@either_end
async def test_a_page_that_arrives_after_the_end_counts_and_its_links_do_not(
    tracker: Tracker, how: str
) -> None:
    await submit(tracker, offer("page"))
    [page] = await lease(tracker)
    await end(tracker, how)

    assert await settle(tracker, page, links=offers(3))

    status = await books(tracker)
    assert (status.done, status.dropped, status.queued) == (1, 3, 0)
    assert status.reasons == {how: 3}


@either_end
@pytest.mark.parametrize("kind", ["retry", "released", "redirect"])
async def test_what_comes_back_after_the_end_is_dropped(
    tracker: Tracker, how: str, kind: Kind
) -> None:
    await submit(tracker, offer("page"))
    [page] = await lease(tracker)
    await end(tracker, how)

    assert await settle(tracker, page, kind, next=offer("target"))

    status = await books(tracker)
    assert (status.dropped, status.outstanding, status.reasons) == (1, 0, {how: 1})
    assert len(await finished(tracker)) == 1


@either_end
async def test_a_new_seed_begins_again_without_the_old_backlog(
    tracker: Tracker, how: str
) -> None:
    await submit(tracker, *offers(100))
    await end(tracker, how)

    await submit(tracker, offer("new"), options=CrawlOptions())

    status = await books(tracker)
    assert (status.state, status.epoch, status.queued, status.dropped) == ("running", 2, 1, 100)
    assert await fetch_all(tracker) == ["http://a.example/new"]
    await sweep(tracker)
    assert await lease(tracker) == []
    assert [event.body["epoch"] for event in await finished(tracker)] == [1, 2]


@either_end
@pytest.mark.parametrize("swept", [False, True])
async def test_what_an_end_dropped_is_queued_when_it_is_met_again(
    tracker: Tracker, how: str, *, swept: bool
) -> None:
    await submit(tracker, *offers(100))
    await end(tracker, how)
    if swept:
        await sweep(tracker)

    await submit(tracker, offer("new"))
    [new] = await lease(tracker)
    await settle(tracker, new, links=offers(7))

    status = await books(tracker)
    assert (status.accepted, status.queued, status.dropped) == (101, 7, 93)
    await sweep(tracker)
    assert len(await lease(tracker)) == 7


@either_end
async def test_a_crawl_ends_once(tracker: Tracker, how: str) -> None:
    await submit(tracker, *offers(3))
    await end(tracker, how)

    assert await end(tracker, "stopped") == 0
    assert await end(tracker, "expired") == 0

    assert (await books(tracker)).state == how
    assert len(await finished(tracker)) == 1


async def test_a_finished_crawl_cannot_be_stopped(tracker: Tracker) -> None:
    await submit(tracker, offer("page"))
    await fetch_all(tracker)

    assert await end(tracker, "stopped") == 0

    assert (await books(tracker)).state == "finished"


async def test_an_unknown_crawl_has_no_flags(tracker: Tracker) -> None:
    assert await tracker.stop(CRAWL) == 0
    assert await tracker.expire(CRAWL) == 0
    assert not await tracker.pause(CRAWL)
    assert not await tracker.resume(CRAWL)


async def test_a_lease_from_before_a_stop_is_released_into_the_new_epoch(
    tracker: Tracker,
) -> None:
    await submit(tracker, *offers(3))
    [page] = await lease(tracker, 1)
    await end(tracker, "stopped")
    await submit(tracker, offer("new"))

    await settle(tracker, page, "released")

    assert sorted(paths(await lease(tracker))) == ["0", "new"]


async def test_a_paused_crawl_is_not_leased(tracker: Tracker) -> None:
    await submit(tracker, *offers(3))

    assert await tracker.pause(CRAWL)

    assert await lease(tracker) == []
    status = await books(tracker)
    assert (status.state, status.queued) == ("paused", 3)
    assert not await tracker.pause(CRAWL)


async def test_a_paused_crawl_stands_in_nobodys_way(tracker: Tracker) -> None:
    await submit(tracker, *offers(2000, priority=90))
    await submit(tracker, offer("other"), crawl=OTHER)
    await tracker.pause(CRAWL)

    assert paths(await lease(tracker, 1)) == ["other"]


@pytest.mark.one_shard("order holds within a shard")
async def test_a_resumed_crawl_goes_on_in_its_old_order(tracker: Tracker) -> None:
    await submit(tracker, *offers(3), offer("best", priority=80))
    await tracker.pause(CRAWL)
    assert await lease(tracker) == []
    await submit(tracker, offer("late"), offer("b", "b.example", priority=75))
    assert await lease(tracker) == []

    assert await tracker.resume(CRAWL)

    assert paths(await lease(tracker)) == ["best", "b", "0", "1", "2", "late"]
    assert not await tracker.resume(CRAWL)


async def test_a_paused_crawl_takes_back_what_was_leased(tracker: Tracker) -> None:
    await submit(tracker, *offers(4))
    done, released, retried = await lease(tracker, 3)
    await tracker.pause(CRAWL)
    await settle(tracker, done, links=[offer("link")])
    await settle(tracker, released, "released")
    await settle(tracker, retried, "retry")
    assert await lease(tracker) == []

    await tracker.resume(CRAWL)

    assert paths(await lease(tracker)) == ["1", "3", "link", "2"]


async def test_a_paused_crawl_can_be_stopped(tracker: Tracker) -> None:
    await submit(tracker, *offers(3))
    await tracker.pause(CRAWL)
    await lease(tracker)

    assert await end(tracker, "stopped") == 3

    assert not await tracker.resume(CRAWL)
    await sweep(tracker)
    assert await lease(tracker) == []


async def test_a_paused_crawl_finishes_with_its_last_lease(tracker: Tracker) -> None:
    await submit(tracker, offer("page"))
    [page] = await lease(tracker)
    await tracker.pause(CRAWL)

    await settle(tracker, page)

    assert (await books(tracker)).state == "finished"


async def test_nothing_is_leased_after_a_crawl_expires(tracker: Tracker) -> None:
    options = CrawlOptions(expires=time.time() + 0.1)
    await submit(tracker, *offers(3), options=options)
    await submit(tracker, offer("other"), crawl=OTHER)

    async def is_past() -> bool:
        return time.time() > options.expires + 0.01

    await until(is_past)

    assert paths(await lease(tracker)) == ["other"]
    status = await books(tracker)
    assert (status.state, status.dropped) == ("expired", 3)
    assert [event.body["state"] for event in await finished(tracker)] == ["expired"]


async def test_what_is_discovered_after_a_crawl_expires_is_dropped(tracker: Tracker) -> None:
    options = CrawlOptions(expires=time.time() + 0.3)
    await submit(tracker, offer("page"), options=options)
    [page] = await lease(tracker)

    async def is_past() -> bool:
        return time.time() > options.expires + 0.01

    await until(is_past)
    await settle(tracker, page, links=offers(2))

    status = await books(tracker)
    assert (status.state, status.done, status.reasons) == ("expired", 1, {"expired": 2})


async def test_a_crawl_that_nobody_leases_expires_too(tracker: Tracker) -> None:
    await submit(tracker, *offers(3), options=CrawlOptions(expires=time.time() + 0.05))

    async def expired() -> bool:
        await sweep(tracker)
        return (await books(tracker)).state == "expired"

    await until(expired)

    assert len(await finished(tracker)) == 1


async def test_an_expired_crawl_goes_on_with_a_later_expiry(tracker: Tracker) -> None:
    await submit(tracker, *offers(3))
    await end(tracker, "expired")

    later = CrawlOptions(expires=time.time() + 100)
    await submit(tracker, offer("new"), options=later)

    assert paths(await lease(tracker)) == ["new"]


async def test_nothing_is_queued_in_a_crawl_whose_time_is_over(tracker: Tracker) -> None:
    over = CrawlOptions(expires=time.time() - 1)

    assert await submit(tracker, *offers(2), options=over) == 0

    status = await books(tracker)
    assert (status.state, status.reasons) == ("expired", {"expired": 2})
    assert [event.body["state"] for event in await finished(tracker)] == ["expired"]


async def test_nothing_is_tried_again_in_a_crawl_whose_time_is_over(tracker: Tracker) -> None:
    await submit(tracker, offer("page"))
    [page] = await lease(tracker)
    await settle(tracker, page, "failed")
    await submit(tracker, options=CrawlOptions(expires=time.time() - 1))

    assert await tracker.retry(CRAWL) == 0

    status = await books(tracker)
    assert (status.state, status.failed, status.queued) == ("finished", 1, 0)


async def test_only_what_failed_in_one_domain_is_queued_again(tracker: Tracker) -> None:
    await submit(tracker, offer("a", "a.example"), offer("b", "b.example"))
    for leased in await lease(tracker):
        await settle(tracker, leased, "failed")

    assert await tracker.retry(CRAWL, domain="b.example") == 1
    assert await tracker.retry(CRAWL, "dns", "a.example") == 0

    assert paths(await lease(tracker)) == ["b"]
