"""Retries, redirects and domains that are too busy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from crawling.tracker.tracker import Outcome
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
    from crawling.tracker.tracker import Lease, Offer, Tracker
    from tests.integration.tracking import MakeTracker


async def state_of(tracker: Tracker, request: Offer) -> str:
    return (await tracker.trace(CRAWL, request.fingerprint)).state


async def leased_at(tracker: Tracker) -> tuple[Lease, float]:
    """Wait for the next lease; return it with the time when it was granted."""
    leases = await until(lambda: lease(tracker))
    return leases[0], time.time()


async def test_a_retry_waits_out_its_delay(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(retry_delay=0.2)
    await submit(tracker, offer("page"))
    [page] = await lease(tracker)
    begun = time.time()

    await settle(tracker, page, "retry")

    status = await books(tracker)
    assert (status.delayed, status.queued, status.state) == (1, 0, "running")
    again, granted = await leased_at(tracker)
    assert granted - begun >= 0.15
    assert (again.rid, again.attempts, again.priority) == (page.rid, 1, page.priority - 10)
    assert (await books(tracker)).delayed == 0


async def test_the_answer_to_lease_tells_when_a_retry_is_due(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(retry_delay=10.0)
    await submit(tracker, offer("page"))
    [page] = await lease(tracker)
    await settle(tracker, page, "retry")

    leases, wait = await tracker.lease("worker-1", 1, "link")

    assert leases == []
    assert wait is not None
    assert 7.0 <= wait <= 12.5


async def test_delays_double_up_to_a_longest(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(retry_delay=0.01, retry_delay_max=0.05)
    await submit(tracker, offer("page"))
    delays = []
    for _ in range(6):
        page, _ = await leased_at(tracker)
        begun = time.time()
        await settle(tracker, page, "retry")
        trace = await tracker.trace(CRAWL, page.fingerprint)
        delays.append((trace.next_try or begun) - begun)

    for attempt, delay in enumerate(delays):
        doubled = min(0.05, 0.01 * 2**attempt)
        assert doubled * 0.75 - 0.002 <= delay <= min(0.05, doubled * 1.25) + 0.03


async def test_a_retry_may_carry_other_extras(tracker: Tracker) -> None:
    await submit(tracker, offer("page", extras=b"old"))
    [page] = await lease(tracker)

    await settle(tracker, page, "retry", next=offer("page", extras=b"new"))

    [again] = await lease(tracker)
    assert (again.extras, again.fingerprint) == (b"new", page.fingerprint)


async def test_any_worker_may_retry(tracker: Tracker) -> None:
    await submit(tracker, offer("page"))
    [page] = await lease(tracker)
    await settle(tracker, page, "retry")

    [again] = await lease(tracker, worker="worker-2")

    assert await settle(tracker, again, worker="worker-2")


async def test_a_redirect_is_the_same_request_at_another_url(tracker: Tracker) -> None:
    await submit(tracker, offer("from", depth=0))
    [page] = await lease(tracker)
    target = offer("to", "b.example", extras=b"redirects")

    assert await settle(tracker, page, "redirect", next=target)

    status = await books(tracker)
    assert (status.accepted, status.queued) == (1, 1)
    [moved] = await lease(tracker)
    assert (moved.rid, moved.attempts) == (page.rid, 0)
    assert (moved.url, moved.domain, moved.extras) == (target.url, "b.example", b"redirects")
    assert moved.fingerprint == target.fingerprint


async def test_all_urls_of_a_redirect_end_as_it_does(tracker: Tracker) -> None:
    await submit(tracker, offer("1"))
    for number in (2, 3):
        [page] = await lease(tracker)
        assert await state_of(tracker, offer("1")) == "leased"
        await settle(tracker, page, "redirect", next=offer(str(number)))
        assert await state_of(tracker, offer("1")) == "queued"
    [page] = await lease(tracker)

    await settle(tracker, page)

    assert [await state_of(tracker, offer(str(n))) for n in (1, 2, 3)] == ["done"] * 3


async def test_the_target_of_a_redirect_is_seen(tracker: Tracker) -> None:
    await submit(tracker, offer("from"), offer("other"))
    page, other = await lease(tracker)
    await settle(tracker, page, "redirect", next=offer("to"))

    await settle(tracker, other, links=[offer("to"), offer("from")])

    assert (await books(tracker)).duplicates == 2
    assert paths(await lease(tracker)) == ["to"]


@pytest.mark.parametrize("kind", ["done", "failed", "dropped", "queued"])
async def test_a_redirect_to_what_another_request_has_seen_is_a_duplicate(
    tracker: Tracker, kind: str
) -> None:
    await submit(tracker, offer("from"), offer("to"))
    page, target = await lease(tracker)
    await settle(tracker, target, "released" if kind == "queued" else kind)  # type: ignore[arg-type]  # one of the kinds

    await settle(tracker, page, "redirect", next=offer("to"))

    status = await books(tracker)
    assert status.reasons["duplicate"] == 1
    assert status.duplicates == 0
    trace = await tracker.trace(CRAWL, offer("from").fingerprint)
    assert (trace.state, trace.reason) == ("dropped", "duplicate")
    assert await state_of(tracker, offer("to")) == kind


async def test_a_redirect_back_to_a_url_of_its_own_goes_on(tracker: Tracker) -> None:
    await submit(tracker, offer("1"))
    for number in (2, 1, 1, 3, 2):
        [page] = await lease(tracker)
        assert await settle(tracker, page, "redirect", next=offer(str(number)))
    [page] = await lease(tracker)

    await settle(tracker, page)

    status = await books(tracker)
    assert (status.accepted, status.done, status.state) == (1, 1, "finished")
    assert [await state_of(tracker, offer(str(n))) for n in (1, 2, 3)] == ["done"] * 3


async def test_a_redirect_to_what_a_passing_reason_dropped_goes_on(tracker: Tracker) -> None:
    await submit(tracker, offer("from"), offer("to"))
    page, target = await lease(tracker)
    await settle(tracker, target, "dropped", reason="page_limit")

    await settle(tracker, page, "redirect", next=offer("to"))

    assert paths(await lease(tracker)) == ["to"]


async def test_a_failed_redirect_is_retried_at_its_last_url(tracker: Tracker) -> None:
    await submit(tracker, offer("from"))
    [page] = await lease(tracker)
    await settle(tracker, page, "redirect", next=offer("to", "b.example", extras=b"kept"))
    [page] = await lease(tracker)
    await settle(tracker, page, "failed")
    assert [failure.url for failure in await tracker.failures(CRAWL)] == [page.url]

    assert await tracker.retry(CRAWL) == 1

    await balanced(tracker)
    [again] = await lease(tracker)
    assert (again.url, again.domain, again.extras) == (page.url, "b.example", b"kept")
    await settle(tracker, again)
    assert await state_of(tracker, offer("from")) == "done"


async def test_a_redirect_frees_its_place_at_the_old_domain(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(concurrency=1)
    await submit(tracker, *offers(2))
    [page] = await lease(tracker)
    await settle(tracker, page, "redirect", next=offer("to", "b.example"))

    assert sorted(paths(await lease(tracker))) == ["1", "to"]


async def test_a_busy_domain_rests_as_long_as_it_asks_for(make_tracker: MakeTracker) -> None:
    tracker = await make_tracker(retry_delay=0.01)
    await submit(tracker, *offers(2))
    [page] = await lease(tracker, 1)
    await submit(tracker, offer("b", "b.example"))
    begun = time.time()

    await settle(tracker, page, "retry", reason="http_429", busy=True, retry_after=0.3)

    assert paths(await lease(tracker)) == ["b"]
    leased, granted = await leased_at(tracker)
    assert (leased.domain, granted - begun >= 0.3) == ("a.example", True)


async def test_a_busy_domain_rests_no_longer_than_the_longest(
    make_tracker: MakeTracker,
) -> None:
    tracker = await make_tracker(defer_max=0.1)
    await submit(tracker, offer("page"))
    [page] = await lease(tracker)
    await settle(tracker, page, "retry", busy=True, retry_after=86400.0)

    _, wait = await tracker.lease("worker-1", 1, "link")

    assert wait is not None
    assert 0 < wait <= 0.1


async def rest_of(tracker: Tracker, page: Lease) -> tuple[float, float]:
    """Settle *page* as busy; return the least and the most that the domain may rest for it.

    A tracker's time may be cut to whole milliseconds.
    """
    begun = time.time()
    await settle(tracker, page, "retry", reason="http_503", busy=True)
    ended = time.time()
    await lease(tracker)
    [domain] = await tracker.domains("link")
    if domain.opens is None:  # it has rested already, on a slow machine
        return 0.0, time.time() - begun
    return domain.opens - ended, domain.opens + 0.001 - begun


async def test_a_busy_domain_rests_ever_longer_until_a_page_is_done(
    make_tracker: MakeTracker,
) -> None:
    tracker = await make_tracker(retry_delay=0.08, concurrency=1)
    await submit(tracker, *offers(9))
    for expected in (0.08, 0.16, 0.32):
        page, _ = await leased_at(tracker)
        least, most = await rest_of(tracker, page)
        assert most >= 0.75 * expected
        assert least <= 1.25 * expected

    page, _ = await leased_at(tracker)
    await settle(tracker, page)
    [page] = await lease(tracker)

    least, _ = await rest_of(tracker, page)
    assert least <= 1.25 * 0.08


async def test_what_was_on_its_way_does_not_make_a_rest_longer(
    make_tracker: MakeTracker,
) -> None:
    tracker = await make_tracker(retry_delay=0.4)
    await submit(tracker, *offers(20))
    begun = time.time()
    for page in await lease(tracker, 8):
        await settle(tracker, page, "retry", reason="http_503", busy=True)

    _, granted = await leased_at(tracker)

    assert 0.3 <= granted - begun < 5


async def test_a_domain_that_was_pushed_back_opens_as_it_is_told_last(
    tracker: Tracker,
) -> None:
    await submit(tracker, *offers(2))
    await tracker.defer("a.example", 60.0)
    assert await lease(tracker) == []

    await tracker.defer("a.example", 0.0)

    assert len(await lease(tracker, 1)) == 1
    await tracker.defer("a.example", 60.0)
    assert await lease(tracker) == []


async def test_a_deferred_domain_is_not_leased_before(tracker: Tracker) -> None:
    await submit(tracker, offer("a"), offer("b", "b.example"))
    begun = time.time()

    await tracker.defer("a.example", 0.3)

    [other] = await lease(tracker)
    assert other.domain == "b.example"
    leased, granted = await leased_at(tracker)
    assert (leased.domain, granted - begun >= 0.3) == ("a.example", True)


async def test_a_url_whose_target_was_given_up_is_queued_when_it_is_met_again(
    tracker: Tracker,
) -> None:
    await submit(tracker, offer("from"))
    [page] = await lease(tracker)
    await settle(tracker, page, "redirect", next=offer("to"))
    await tracker.stop(CRAWL)
    await submit(tracker, offer("new"))
    [new] = await lease(tracker)

    await settle(tracker, new, links=[offer("from")])

    status = await books(tracker)
    assert (status.accepted, status.queued, status.dropped) == (2, 1, 0)
    [page] = await lease(tracker)
    assert await settle(tracker, page, "redirect", next=offer("to"))
    [target] = await lease(tracker)
    assert await settle(tracker, target)
    assert await state_of(tracker, offer("from")) == "done"


async def test_a_drop_is_taken_back_once_by_whichever_url_is_met_first(
    tracker: Tracker,
) -> None:
    await submit(tracker, offer("from"))
    [page] = await lease(tracker)
    await settle(tracker, page, "redirect", next=offer("to"))
    await tracker.stop(CRAWL)
    await submit(tracker, offer("new"))
    [new] = await lease(tracker)

    await settle(tracker, new, links=[offer("to"), offer("from"), offer("to")])

    status = await books(tracker)
    assert (status.accepted, status.queued, status.dropped) == (2, 1, 0)
    assert status.duplicates == 2


async def test_a_domain_may_be_busy_more_often_than_a_float_can_double(
    make_tracker: MakeTracker,
) -> None:
    tracker = await make_tracker(retry_delay=0.0)
    await submit(tracker, offer("page"))
    for _ in range(1050):
        [[page], _] = await tracker.lease("worker-1", 1, "link")
        assert await tracker.settle("worker-1", [Outcome(page, "released", busy=True)])

    assert len(await lease(tracker)) == 1
