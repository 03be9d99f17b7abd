"""Rule 4: what a crawl has seen, and what it meets again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from crawling.tracker.tracker import CrawlOptions
from tests.integration.tracking import (
    CRAWL,
    OTHER,
    books,
    fetch_all,
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


async def test_a_link_is_queued_once(tracker: Tracker) -> None:
    await submit(tracker, offer("seed"))
    [seed] = await lease(tracker)
    await settle(tracker, seed, links=[*offers(3), *offers(3), offer("seed")])

    leases = await lease(tracker)
    assert paths(leases) == ["0", "1", "2"]
    await settle(tracker, leases[0], links=[*offers(4), offer("seed")])

    assert paths(await lease(tracker)) == ["3"]
    status = await books(tracker)
    assert (status.accepted, status.duplicates) == (5, 8)


async def test_crawls_do_not_share_what_they_have_seen(tracker: Tracker) -> None:
    await submit(tracker, offer("page"), entry="known")
    assert await submit(tracker, offer("page"), entry="known", crawl=OTHER) == 1


async def test_a_seed_is_queued_though_it_was_seen(tracker: Tracker) -> None:
    await submit(tracker, offer("page"))
    assert await submit(tracker, offer("page")) == 1
    assert len(await fetch_all(tracker)) == 2

    assert await submit(tracker, offer("page")) == 1

    status = await books(tracker)
    assert (status.accepted, status.queued, status.duplicates) == (3, 1, 0)


async def test_a_seed_is_recorded_as_seen(tracker: Tracker) -> None:
    await submit(tracker, offer("page"))

    assert await submit(tracker, offer("page"), entry="known") == 0

    assert (await books(tracker)).duplicates == 1


async def test_known_is_queued_once(tracker: Tracker) -> None:
    assert await submit(tracker, *offers(3), *offers(2), entry="known") == 3
    assert await submit(tracker, *offers(4), entry="known") == 1

    status = await books(tracker)
    assert (status.accepted, status.queued, status.duplicates) == (4, 4, 5)


async def test_explored_is_never_fetched_and_in_no_column(tracker: Tracker) -> None:
    assert await submit(tracker, *offers(3), entry="explored", hold=60) == 0
    status = await books(tracker)
    assert (status.accepted, status.outstanding, status.duplicates) == (0, 0, 0)

    assert await submit(tracker, *offers(4), entry="known") == 1

    assert paths(await lease(tracker)) == ["3"]
    assert (await tracker.trace(CRAWL, offer("0").fingerprint)).state == "done"


@pytest.mark.parametrize("kind", ["failed", "dropped"])
async def test_what_ended_for_good_is_not_met_again(tracker: Tracker, kind: Kind) -> None:
    await submit(tracker, offer("page"), offer("other"))
    page, other = await lease(tracker)
    await settle(tracker, page, kind)

    await settle(tracker, other, links=[offer("page")])

    status = await books(tracker)
    assert (status.outstanding, status.duplicates) == (0, 1)


async def test_what_failed_is_fetched_again_as_a_seed(tracker: Tracker) -> None:
    await submit(tracker, offer("page"), hold=60)
    [page] = await lease(tracker)
    await settle(tracker, page, "failed")

    assert await submit(tracker, offer("page")) == 1

    assert len(await lease(tracker)) == 1


@pytest.mark.parametrize("reason", ["page_limit", "queue_full", "stopped", "expired"])
async def test_what_was_dropped_for_a_passing_reason_is_queued_when_met_again(
    tracker: Tracker, reason: str
) -> None:
    await submit(tracker, offer("page"), offer("other"))
    page, other = await lease(tracker)
    await settle(tracker, page, "dropped", reason=reason)
    before = await books(tracker)
    assert (before.dropped, before.reasons) == (1, {reason: 1})

    await settle(tracker, other, links=[offer("page")])

    status = await books(tracker)
    assert (status.accepted, status.dropped, status.queued) == (2, 0, 1)
    assert status.reasons == {}
    assert paths(await lease(tracker)) == ["page"]


async def test_retry_queues_all_that_failed(tracker: Tracker) -> None:
    await submit(tracker, *offers(4))
    for leased, reason in zip(await lease(tracker), ["dns", "timeout", "dns"], strict=False):
        await settle(tracker, leased, "failed", reason=reason)

    assert await tracker.retry(CRAWL) == 3

    status = await books(tracker)
    assert (status.accepted, status.failed, status.queued, status.reasons) == (4, 0, 3, {})
    leases = await lease(tracker)
    assert paths(leases) == ["0", "1", "2"]
    assert [each.attempts for each in leases] == [0, 0, 0]
    assert await tracker.failures(CRAWL) == []


async def test_retry_queues_what_failed_for_one_reason(tracker: Tracker) -> None:
    await submit(tracker, *offers(4))
    for leased, reason in zip(await lease(tracker), ["dns", "timeout", "dns"], strict=False):
        await settle(tracker, leased, "failed", reason=reason)

    assert await tracker.retry(CRAWL, "dns") == 2

    assert paths(await lease(tracker)) == ["0", "2"]
    assert [failure.reason for failure in await tracker.failures(CRAWL)] == ["timeout"]


async def test_retry_of_nothing_queues_nothing(tracker: Tracker) -> None:
    assert await tracker.retry(CRAWL) == 0
    await submit(tracker, offer("page"))
    assert await tracker.retry(CRAWL) == 0
    assert await tracker.retry(CRAWL, "dns") == 0


async def test_a_failure_is_kept_with_its_story(tracker: Tracker) -> None:
    await submit(tracker, offer("page"))
    [page] = await lease(tracker)
    await settle(tracker, page, "retry")
    [page] = await lease(tracker)
    await settle(tracker, page, "failed", reason="http_500", detail="500 Oops")

    [failure] = await tracker.failures(CRAWL)

    assert failure.url == page.url
    assert (failure.reason, failure.detail, failure.attempts) == ("http_500", "500 Oops", 1)


async def test_the_seen_set_is_forgotten_long_after_the_end(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(dupefilter_timeout=0.05)
    await submit(tracker, offer("page"))
    await fetch_all(tracker)

    async def forgotten() -> bool:
        await sweep(tracker)
        return (await tracker.trace(CRAWL, offer("page").fingerprint)).state == "unseen"

    await until(forgotten)

    assert await submit(tracker, offer("page"), entry="known") == 1


async def test_the_seen_set_lives_as_long_as_the_crawl(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(dupefilter_timeout=0.0)
    await submit(tracker, *offers(2))
    page, _ = await lease(tracker)
    await settle(tracker, page)

    await sweep(tracker)

    assert await submit(tracker, offer("0"), entry="known") == 0


async def test_a_hold_keeps_the_seen_set_of_a_crawl_that_has_ended(
    make_tracker: MakeTracker,
) -> None:
    tracker = await make_tracker(dupefilter_timeout=0.05)
    await submit(tracker, offer("page"))
    await fetch_all(tracker)
    await submit(tracker, offer("page"), crawl=OTHER)
    await fetch_all(tracker)
    await submit(tracker, offer("explored"), entry="explored", hold=60.0)

    async def younger_is_forgotten() -> bool:
        await sweep(tracker)
        return (await tracker.trace(OTHER, offer("page").fingerprint)).state == "unseen"

    await until(younger_is_forgotten)

    assert await submit(tracker, offer("explored"), entry="known") == 0


async def test_the_seen_set_survives_the_end_for_a_while(tracker: Tracker) -> None:
    await submit(tracker, offer("page"))
    await fetch_all(tracker)
    await sweep(tracker)

    assert await submit(tracker, offer("page"), entry="known") == 0


async def test_a_large_page_is_deduplicated_like_a_small_one(tracker: Tracker) -> None:
    await submit(tracker, offer("seed"))
    [seed] = await lease(tracker)

    assert await settle(
        tracker, seed, links=offers(2500, "b.example") + offers(50, "b.example")
    )

    status = await books(tracker)
    assert (status.accepted, status.queued, status.duplicates) == (2501, 2500, 50)


async def test_options_of_an_earlier_submit_are_kept(tracker: Tracker) -> None:
    options = CrawlOptions(maxdepth=1, shared={"attrs": {"a": 1}})
    await submit(tracker, offer("page"), options=options)

    await submit(tracker, offer("page"))

    assert (await books(tracker)).options == options


async def test_links_that_the_worker_knows_are_counted_and_not_sent(tracker: Tracker) -> None:
    await submit(tracker, offer("seed"))
    [seed] = await lease(tracker)

    await settle(tracker, seed, links=offers(2), known=5)

    status = await books(tracker)
    assert (status.accepted, status.queued, status.duplicates) == (3, 2, 5)


async def test_what_is_known_holds_for_an_era_of_the_crawl(
    make_tracker: MakeTracker,
) -> None:
    """Another one begins wherever what was seen may be queued again."""
    tracker = await make_tracker(dupefilter_timeout=0.0)
    eras = []

    async def fetch(path: str, options: CrawlOptions | None = None) -> None:
        await submit(tracker, offer(path), options=options)
        [leased] = await lease(tracker)
        eras.append(leased.era)
        await settle(tracker, leased, links=())

    await submit(tracker, *offers(2))
    first, second = await lease(tracker)
    assert first.era == second.era != ""
    eras.append(first.era)
    await tracker.stop(CRAWL)
    for leased in (first, second):
        await settle(tracker, leased)
    await fetch("after the stop")
    await fetch("after the end")
    await fetch("other options", CrawlOptions(maxdepth=9))
    await sweep(tracker)
    await fetch("after it was forgotten")

    assert len(set(eras)) == len(eras) == 5
