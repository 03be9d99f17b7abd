"""Rule 5: who holds a request, and what happens when the holder dies."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

import pytest

from crawling.tracker.tracker import CrawlOptions, Offer, Outcome
from tests.integration.tracking import (
    CRAWL,
    OTHER,
    WORKER,
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


async def reclaimed(tracker: Tracker) -> int:
    """Wait until the workers that fell silent are declared dead; how much they held."""
    count: int = await until(tracker.reclaim)
    await balanced(tracker)
    return count


async def test_a_lease_carries_the_request_in_full(tracker: Tracker) -> None:
    seed = offer("page?q=%C3%BC", priority=-3, depth=2, extras=b"\x00\xff\x80")
    await submit(tracker, seed)

    [leased] = await lease(tracker)

    request = Offer(
        leased.url,
        leased.domain,
        leased.fingerprint,
        leased.priority,
        leased.depth,
        leased.extras,
    )
    assert request == seed
    assert (leased.crawl, leased.attempts) == (CRAWL, 0)
    assert (leased.start, leased.latest) == (0.0, float("inf"))


async def test_a_url_that_is_no_valid_text_goes_through_unchanged(tracker: Tracker) -> None:
    seed = offer("page")._replace(url="http://a.example/\udce9", domain="a\udce9.example")
    await submit(tracker, seed)

    [leased] = await lease(tracker)

    assert leased.url == seed.url


@pytest.mark.one_shard("max_pages is refused")
async def test_a_lease_carries_the_options_of_its_crawl(tracker: Tracker) -> None:
    options = CrawlOptions(maxdepth=3, max_pages=9, shared={"attrs": {"a": [1, "ü", None]}})
    await submit(tracker, *offers(2), options=options)
    [first] = await lease(tracker, 1)

    changed = CrawlOptions(domain_max_pages=5, shared={"useragent": "x"})
    await submit(tracker, options=changed)
    await submit(tracker, options=None)
    [second] = await lease(tracker, 1)

    assert first.options == options
    assert second.options == changed


async def test_what_is_leased_is_not_leased_again(tracker: Tracker) -> None:
    await submit(tracker, *offers(3))

    first = await lease(tracker, 2, worker="worker-1")
    second = await lease(tracker, 2, worker="worker-2")

    assert paths(first) == ["0", "1"]
    assert paths(second) == ["2"]


@pytest.mark.parametrize("kind", ["done", "failed", "retry", "redirect", "dropped", "released"])
async def test_a_lease_is_settled_once(tracker: Tracker, kind: Kind) -> None:
    await submit(tracker, offer("page"))
    [page] = await lease(tracker)
    target = offer("target") if kind == "redirect" else None
    assert await settle(tracker, page, kind, next=target)
    before = await books(tracker)

    assert not await settle(tracker, page, kind, next=target, links=offers(3))

    assert await books(tracker) == before


async def test_one_call_settles_a_lease_once(tracker: Tracker) -> None:
    await submit(tracker, offer("page"))
    [page] = await lease(tracker)

    outcome = Outcome(page, "done", status=200)
    assert await tracker.settle(WORKER, [outcome, outcome]) == [True, False]

    assert (await books(tracker)).done == 1


async def test_nobody_else_settles_a_lease(tracker: Tracker) -> None:
    await submit(tracker, offer("page"))
    [page] = await lease(tracker, worker="worker-1")

    assert not await settle(tracker, page, worker="worker-2", links=offers(3))

    status = await books(tracker)
    assert (status.leased, status.done, status.accepted) == (1, 0, 1)


async def test_leases_of_a_silent_worker_go_back_to_the_head(tracker: Tracker) -> None:
    await submit(tracker, *offers(5))
    await lease(tracker, 3, worker="dead")

    assert await reclaimed(tracker) == 3

    leases = await lease(tracker)
    assert paths(leases) == ["0", "1", "2", "3", "4"]
    assert [each.attempts for each in leases] == [0, 0, 0, 0, 0]


async def test_a_late_settle_changes_nothing(tracker: Tracker) -> None:
    await submit(tracker, offer("page"))
    [late] = await lease(tracker, worker="dead")
    await reclaimed(tracker)
    [again] = await lease(tracker, worker="worker-2")

    assert not await settle(tracker, late, worker="dead", links=offers(9))

    assert again.rid == late.rid
    assert (await books(tracker)).accepted == 1
    assert await settle(tracker, again, worker="worker-2")


async def test_a_late_settle_is_refused_before_anyone_else_has_the_request(
    tracker: Tracker,
) -> None:
    await submit(tracker, offer("page"))
    [late] = await lease(tracker, worker="dead")
    await reclaimed(tracker)

    assert not await settle(tracker, late, worker="dead")

    assert (await books(tracker)).queued == 1


async def test_a_settle_after_the_deadline_counts_if_nobody_reclaimed(
    make_tracker: MakeTracker,
) -> None:
    tracker = await make_tracker(lease_timeout=0.01)
    await submit(tracker, offer("page"))
    [page] = await lease(tracker)

    async def expired() -> bool:
        [worker] = await tracker.workers()
        return worker.deadline < time.time()

    await until(expired)

    assert await settle(tracker, page)


async def test_a_worker_that_renews_keeps_its_leases(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(lease_timeout=0.1)
    await submit(tracker, offer("page"), offer("lost"))
    [page] = await lease(tracker, 1, worker="alive")
    await lease(tracker, 1, worker="dead")

    async def dead_is_reclaimed() -> int:
        assert await tracker.renew("alive")
        return await tracker.reclaim()

    assert await until(dead_is_reclaimed) == 1

    assert await settle(tracker, page, worker="alive")


async def test_a_worker_that_was_declared_dead_is_told_so(tracker: Tracker) -> None:
    await submit(tracker, offer("page"))
    await lease(tracker, worker="dead")
    assert await tracker.renew("dead")

    await reclaimed(tracker)

    assert not await tracker.renew("dead")


async def test_a_worker_that_was_declared_dead_may_come_back(tracker: Tracker) -> None:
    await submit(tracker, offer("page"))
    [late] = await lease(tracker, worker="dead")
    await reclaimed(tracker)

    [again] = await lease(tracker, worker="dead")

    assert not await settle(tracker, late, worker="dead")
    assert await settle(tracker, again, worker="dead")


async def test_an_unknown_worker_has_nothing_to_renew(tracker: Tracker) -> None:
    assert not await tracker.renew("nobody")


async def test_leaving_gives_everything_back_at_once(tracker: Tracker) -> None:
    await submit(tracker, *offers(4))
    leases = await lease(tracker, 3)

    assert await tracker.leave(WORKER) == 3

    await balanced(tracker)
    assert await tracker.workers() == []
    assert not await settle(tracker, leases[0])
    assert paths(await lease(tracker, worker="worker-2")) == ["0", "1", "2", "3"]


async def test_what_comes_back_into_a_crawl_that_was_stopped_goes_before_what_is_new(
    tracker: Tracker,
) -> None:
    await submit(tracker, *offers(4))
    early = await lease(tracker, worker="leaves")
    await tracker.stop(CRAWL)
    await submit(tracker, offer("new"))
    await tracker.leave("leaves")
    assert len(early) == 4

    again = await lease(tracker)
    assert paths(again) == ["0", "1", "2", "3", "new"]

    # And so once more, whatever numbers they have now.
    await tracker.stop(CRAWL)
    await submit(tracker, offer("newer"))
    await tracker.leave(WORKER)
    assert paths(await lease(tracker)) == ["0", "1", "2", "3", "new", "newer"]


async def test_leaving_ends_what_belongs_to_a_stopped_crawl(tracker: Tracker) -> None:
    await submit(tracker, *offers(2))
    await lease(tracker)
    await tracker.stop(CRAWL)

    assert await tracker.leave(WORKER) == 2

    status = await books(tracker)
    assert (status.state, status.dropped, status.outstanding) == ("stopped", 2, 0)


async def test_a_request_that_kills_its_workers_fails_at_last(
    make_tracker: MakeTracker,
) -> None:
    tracker = await make_tracker(lease_timeout=0.01)
    await submit(tracker, offer("killer"))

    for number in range(11):
        assert (await books(tracker)).queued == 1
        await lease(tracker, worker=f"victim-{number}")
        await reclaimed(tracker)

    status = await books(tracker)
    assert (status.failed, status.reasons) == (1, {"spider_error": 1})
    [failure] = await tracker.failures(CRAWL)
    assert failure.detail == "worker died 11 times"


async def test_a_dead_worker_frees_its_places_at_the_domain(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(concurrency=2)
    await submit(tracker, *offers(4))
    await lease(tracker, worker="dead")
    assert await lease(tracker) == []

    await reclaimed(tracker)

    assert paths(await lease(tracker)) == ["0", "1"]


async def test_workers_are_listed_with_what_they_hold(tracker: Tracker) -> None:
    await submit(tracker, *offers(3))
    await submit(tracker, *offers(2), crawl=OTHER)
    await lease(tracker, 4, worker="busy")
    await tracker.lease("idle", 0, "link")

    workers = {each.worker: each for each in await tracker.workers()}

    assert {name: each.leased for name, each in workers.items()} == {"busy": 4, "idle": 0}
    assert 0 < workers["busy"].deadline - time.time() < 1


@pytest.mark.skipif(
    sys.version_info < (3, 11),
    reason="redis-py there swallows the cancellation: no caller went",
)
async def test_leases_whose_caller_went_away_are_lent_again(tracker: Tracker) -> None:
    assert await lease(tracker) == []
    await submit(tracker, *offers(5))
    call = asyncio.create_task(tracker.lease(WORKER, 3, "link"))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert paths(await lease(tracker)) == ["0", "1", "2", "3", "4"]
